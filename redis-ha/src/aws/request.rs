//! A signed request of EC2's Query API (Signature Version 4).

use std::fmt::Display;
use std::time::SystemTime;

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use ureq::http::Request;

use super::{Credentials, Ec2Error, Endpoint, Region};

/// The version of the API that the parameters and the answers are of.
const VERSION: &str = "2016-11-15";

/// An action with its parameters, in the order in which they were added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    action: &'static str,
    parameters: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn new(action: &'static str) -> Self {
        Self { action, parameters: Vec::new() }
    }

    pub(crate) fn action(&self) -> &'static str {
        self.action
    }

    /// One parameter.
    pub(crate) fn with(mut self, name: impl Into<String>, value: impl Display) -> Self {
        self.parameters.push((name.into(), format!("{value}")));
        self
    }

    /// A list: `Name.1`, `Name.2` and so on.
    pub(crate) fn with_list(mut self, name: &str, values: impl IntoIterator<Item = impl Display>) -> Self {
        for (at, value) in values.into_iter().enumerate() {
            self = self.with(format!("{name}.{}", at + 1), value);
        }
        self
    }

    /// The `number`th filter; its values are alternatives.
    pub(crate) fn with_filter(
        self,
        number: usize,
        name: &str,
        values: impl IntoIterator<Item = impl Display>,
    ) -> Self {
        self.with(format!("Filter.{number}.Name"), name).with_list(&format!("Filter.{number}.Value"), values)
    }

    /// The form that is posted.
    pub(crate) fn body(&self) -> String {
        let mut body = format!("Action={}&Version={VERSION}", self.action);
        for (name, value) in &self.parameters {
            body.push('&');
            encode(&mut body, name);
            body.push('=');
            encode(&mut body, value);
        }
        body
    }

    pub(crate) fn signed(
        &self,
        endpoint: &Endpoint,
        region: &Region,
        credentials: &Credentials,
        now: SystemTime,
    ) -> Result<Request<Vec<u8>>, Ec2Error> {
        let body = self.body().into_bytes();
        let uri = endpoint.url("");
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| Ec2Error::Sign { action: self.action, source };
        let identity = credentials.for_signing().into();
        let settings = SigningSettings::default();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region.as_str())
            .name("ec2")
            .time(now)
            .settings(settings)
            .build()
            .map_err(|source| failed(source.into()))?;
        let content_type = "application/x-www-form-urlencoded; charset=utf-8";
        let signable = SignableRequest::new(
            "POST",
            &uri,
            [("content-type", content_type)].into_iter(),
            SignableBody::Bytes(&body),
        );
        let signature = signable.and_then(|signable| sign(signable, &parameters.into()));
        let (instructions, _) = signature.map_err(|source| failed(source.into()))?.into_parts();
        let request = Request::post(&uri).header("content-type", content_type).body(body);
        let mut request = request.map_err(|source| failed(source.into()))?;
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

/// Percent-encoding as RFC 3986 has it: everything but unreserved characters.
fn encode(into: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            into.push(char::from(byte));
        } else {
            into.push('%');
            for digit in [byte >> 4, byte & 15] {
                into.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_query_is_a_form() {
        let query = Query::new("DescribeNetworkInterfaces")
            .with_list("NetworkInterfaceId", ["eni-0123abcd"])
            .with_filter(1, "addresses.private-ip-address", ["10.0.1.100", "10.0.1.101"])
            .with("Note", "a b&c=\u{e4}~");
        assert_eq!(
            query.body(),
            "Action=DescribeNetworkInterfaces&Version=2016-11-15&NetworkInterfaceId.1=eni-0123abcd\
             &Filter.1.Name=addresses.private-ip-address&Filter.1.Value.1=10.0.1.100&Filter.1.Value.2=10.0.1.101\
             &Note=a%20b%26c%3D%C3%A4~"
        );
    }

    /// The signature itself is recomputed, by other code, in the tests' EC2.
    #[test]
    fn a_request_carries_its_signature() {
        let credentials =
            Credentials::new("AKIDEXAMPLE".into(), "secret".into(), Some("session".into()), None);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let request = Query::new("DescribeRouteTables")
            .signed(
                &"http://127.0.0.1:5000".parse().unwrap(),
                &"us-east-1".parse().unwrap(),
                &credentials,
                time,
            )
            .unwrap();
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(request.uri(), "http://127.0.0.1:5000/");
        assert_eq!(header("x-amz-date"), "20150830T123600Z");
        assert_eq!(header("x-amz-security-token"), "session");
        let scope =
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/ec2/aws4_request, SignedHeaders=";
        assert!(header("authorization").starts_with(scope), "{}", header("authorization"));
        assert!(!format!("{credentials:?}").contains("se"), "{credentials:?}");
    }
}
