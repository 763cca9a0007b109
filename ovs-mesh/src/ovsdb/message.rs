//! JSON-RPC 1.0 as RFC 7047 section 4 uses it. What a message carries stays text until the one who asked reads it, in
//! the type that he knows it has.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::OperationError;

/// A request of ours. Ids are numbers, so they cannot be mistaken for the server's, which are strings.
#[derive(Serialize)]
struct Request<'a, P> {
    method: &'a str,
    params: P,
    id: Option<u64>,
}

/// A call, or with no id a notification, as bytes.
pub(crate) fn request(method: &str, params: impl Serialize, id: Option<u64>) -> Vec<u8> {
    serde_json::to_vec(&Request { method, params, id })
        .expect("what is sent has strings for keys, and memory takes all that is written")
}

/// The answer to a server's request that repeats what it sent, as `echo` does (RFC 7047 section 4.1.11).
pub(super) fn echo_reply(params: &RawValue, id: &RawValue) -> Vec<u8> {
    format!(r#"{{"id":{id},"result":{params},"error":null}}"#).into_bytes()
}

/// The answer to a request that no client knows.
pub(super) fn unknown_method_reply(id: &RawValue) -> Vec<u8> {
    format!(r#"{{"id":{id},"result":null,"error":"unknown method"}}"#).into_bytes()
}

/// A message as it comes: a request or a notification if it has a method, a reply if it has none.
#[derive(Debug, Deserialize)]
pub(crate) struct Incoming<'a> {
    #[serde(borrow)]
    pub(crate) method: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) params: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) result: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) error: Option<&'a RawValue>,
}

/// A reply's own error: an object in ovsdb-server's replies, a bare string where a request was cancelled.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ErrorForm {
    Object { error: String, details: Option<String> },
    Text(String),
}

/// A reply's own error, read.
pub(super) fn refusal(error: &RawValue) -> (OperationError, Option<String>) {
    match serde_json::from_str(error.get()) {
        Ok(ErrorForm::Object { error, details }) => (OperationError::from_name(&error), details),
        Ok(ErrorForm::Text(name)) => (OperationError::from_name(&name), None),
        Err(_) => (OperationError::Unknown { name: error.get().to_owned() }, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_by_what_they_have() {
        let echo: Incoming<'_> =
            serde_json::from_str(r#"{"method":"ec\u0068o","params":[ 1 ],"id":"echo"}"#).unwrap();
        assert_eq!(echo.method.as_deref(), Some("echo"));
        let reply = echo_reply(echo.params.unwrap(), echo.id.unwrap());
        assert_eq!(reply, br#"{"id":"echo","result":[ 1 ],"error":null}"#);
        let reply: Incoming<'_> = serde_json::from_str(r#"{"id":5,"result":{},"error":null,"x":1}"#).unwrap();
        assert!(reply.method.is_none() && reply.error.is_none());
        assert_eq!(reply.result.unwrap().get(), "{}");
    }

    #[test]
    fn errors_come_in_two_forms() {
        let read = |text: &str| refusal(&RawValue::from_string(text.to_owned()).unwrap());
        let (error, details) = read(r#"{"error":"unknown database","details":"d","syntax":"x"}"#);
        assert_eq!((error, details.as_deref()), (OperationError::UnknownDatabase, Some("d")));
        assert_eq!(read(r#""canceled""#).0, OperationError::Canceled);
        assert_eq!(read("[1]").0, OperationError::Unknown { name: "[1]".into() });
    }
}
