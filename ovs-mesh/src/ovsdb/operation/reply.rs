//! The reply to a transaction (RFC 7047 section 4.1.3): one element an operation, null for what was not executed, and
//! one element more where it is the commit that failed.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Operation, OperationResult};
use crate::ovsdb::error::{OperationError, ReplyError, TransactError};
use crate::ovsdb::value::{Row, WireUuid};

#[derive(Deserialize)]
struct Element {
    uuid: Option<WireUuid>,
    rows: Option<Vec<Row>>,
    count: Option<u64>,
    error: Option<String>,
    details: Option<String>,
}

/// Pairs what came back with what was asked.
pub(in crate::ovsdb) fn results(
    operations: &[Operation],
    reply: &RawValue,
) -> Result<Vec<OperationResult>, TransactError> {
    let elements: Vec<Option<Element>> = serde_json::from_str(reply.get()).map_err(|source| {
        TransactError::Protocol { source: ReplyError::Json { source: Arc::new(source) } }
    })?;
    let received = elements.len();
    let mut results = Vec::with_capacity(operations.len());
    for (index, element) in elements.into_iter().enumerate() {
        let operation = operations.get(index);
        if let Some(Element { error: Some(name), details, .. }) = element {
            let error = OperationError::from_name(&name);
            return Err(TransactError::Refused { operation_index: operation.map(|_| index), error, details });
        }
        let unexpected = ReplyError::Result { index };
        let (Some(operation), Some(element)) = (operation, element) else {
            return Err(TransactError::Protocol { source: unexpected });
        };
        let result = match operation {
            Operation::Insert { .. } => element.uuid.map(|uuid| OperationResult::Inserted(uuid.0)),
            Operation::Select { .. } => element.rows.map(OperationResult::Rows),
            Operation::Update { .. } | Operation::Mutate { .. } | Operation::Delete { .. } => {
                element.count.map(OperationResult::Count)
            }
            Operation::Wait { .. }
            | Operation::Commit { .. }
            | Operation::Abort
            | Operation::Comment { .. }
            | Operation::Assert { .. } => Some(OperationResult::Done),
        };
        results.push(result.ok_or(TransactError::Protocol { source: unexpected })?);
    }
    if received < operations.len() {
        return Err(TransactError::Protocol { source: ReplyError::Result { index: received } });
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn read(operations: &[Operation], reply: &str) -> Result<Vec<OperationResult>, TransactError> {
        results(operations, &RawValue::from_string(reply.to_owned()).unwrap())
    }

    fn operations() -> Vec<Operation> {
        vec![
            Operation::insert("Bridge", Row::new()),
            Operation::select_all("Bridge", ["name"]),
            Operation::mutate_row("Bridge", Uuid::nil(), vec![]),
            Operation::Comment { comment: "x".into() },
        ]
    }

    const INSERTED: &str = r#"{"uuid":["uuid","00000000-0000-0000-0000-000000000000"]}"#;

    #[test]
    fn each_operation_has_its_kind_of_result() {
        let reply = format!(r#"[{INSERTED},{{"rows":[{{"name":"a"}}]}},{{"count":0}},{{}}]"#);
        assert_eq!(
            read(&operations(), &reply).unwrap(),
            [
                OperationResult::Inserted(Uuid::nil()),
                OperationResult::Rows(vec![Row::from([("name".to_owned(), "a".into())])]),
                OperationResult::Count(0),
                OperationResult::Done,
            ]
        );
    }

    #[test]
    fn errors_say_which_operation_or_that_it_was_the_commit() {
        let failed = format!(r#"[{INSERTED},{{"error":"timed out","details":"d"}},null,null]"#);
        let commit =
            format!(r#"[{INSERTED},{{"rows":[]}},{{"count":0}},{{}},{{"error":"constraint violation"}}]"#);
        for (reply, at, expected) in [
            (failed, Some(1), OperationError::WaitTimedOut),
            (commit, None, OperationError::ConstraintViolation),
        ] {
            let Err(TransactError::Refused { operation_index, error, .. }) = read(&operations(), &reply)
            else {
                panic!("{reply} is an error");
            };
            assert_eq!((operation_index, error), (at, expected));
        }
    }

    #[test]
    fn a_reply_of_another_shape_is_refused() {
        for reply in ["{}", "[]", "[{},{},{},{}]", "[null,null,null,null]", "[5]"] {
            assert!(matches!(read(&operations(), reply), Err(TransactError::Protocol { .. })), "{reply}");
        }
        assert!(matches!(read(&[], "[{}]"), Err(TransactError::Protocol { .. })));
    }
}
