//! Signature Version 4, computed from what arrived: none of the code that the client signs with.

use sha2::{Digest, Sha256};

fn hash(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

/// RFC 2104.
fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = hash(&[&pad(0x36)[..], data].concat());
    hash(&[&pad(0x5c)[..], &inner].concat())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What an `Authorization` header says.
pub(super) struct Authorization<'a> {
    pub(super) key: &'a str,
    pub(super) date: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    pub(super) signed: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.strip_prefix("AWS4-HMAC-SHA256 ")?.split(',').map(str::trim);
        let mut part = |name| parts.next()?.strip_prefix(name)?.strip_prefix('=');
        let (credential, signed, signature) =
            (part("Credential")?, part("SignedHeaders")?, part("Signature")?);
        let mut scope = credential.split('/');
        let authorization = Self {
            key: scope.next()?,
            date: scope.next()?,
            region: scope.next()?,
            service: scope.next()?,
            signed: signed.split(';').collect(),
            signature,
        };
        (scope.next() == Some("aws4_request") && scope.next().is_none()).then_some(authorization)
    }

    /// Whether it is the signature of a POST to `/` without a query string.
    pub(super) fn is_right(
        &self,
        secret: &str,
        amz_date: &str,
        body: &[u8],
        header: impl Fn(&str) -> Option<String>,
    ) -> bool {
        let mut canonical = "POST\n/\n\n".to_owned();
        for name in &self.signed {
            let Some(value) = header(name) else { return false };
            canonical.push_str(&format!("{name}:{}\n", value.trim()));
        }
        canonical.push_str(&format!("\n{}\n{}", self.signed.join(";"), hex(&hash(body))));
        let scope = format!("{}/{}/{}/aws4_request", self.date, self.region, self.service);
        let text = format!("AWS4-HMAC-SHA256\n{amz_date}\n{scope}\n{}", hex(&hash(canonical.as_bytes())));
        let mut key = hmac(format!("AWS4{secret}").as_bytes(), self.date.as_bytes());
        for part in [self.region, self.service, "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        self.signed.is_sorted() && hex(&hmac(&key, text.as_bytes())) == self.signature
    }
}

#[test]
fn the_published_example_has_the_published_signature() {
    // RFC 4231, test case 2.
    assert_eq!(
        hex(&hmac(b"Jefe", b"what do ya want for nothing?")),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
}
