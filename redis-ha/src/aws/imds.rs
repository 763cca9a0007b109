//! The instance's metadata, by the service's second version alone: a token first, then what it gives access to.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ipnetwork::Ipv4Network;
use ureq::http::Request;

use super::http::{Answer, Http};
use super::{Endpoint, HttpError, InterfaceId, Region};

/// It answers within milliseconds or not at all (the first answer may take one retransmitted packet).
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a token is asked to be valid; the longest that there is.
const TOKEN_LIFE: Duration = Duration::from_secs(6 * 60 * 60);
/// How long it is used.
const TOKEN_USE: Duration = Duration::from_secs(TOKEN_LIFE.as_secs() - 60);

/// The instance's metadata cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ImdsError {
    /// Nothing answers.
    #[error("the instance metadata does not answer")]
    Unreachable(#[from] HttpError),
    /// No token is given: the service is switched off, or this is not an instance.
    #[error("the instance metadata gives no token (HTTP {status})")]
    NoToken {
        /// The status of its answer.
        status: u16,
    },
    /// An item cannot be had.
    #[error("the instance metadata answers {path} with HTTP {status}")]
    Status {
        /// The item.
        path: String,
        /// The status of its answer.
        status: u16,
    },
    /// An item is not of its form.
    #[error("the instance metadata has at {path} what is no {what}: `{text}`")]
    Value {
        /// The item.
        path: String,
        /// What it should be.
        what: &'static str,
        /// What it is.
        text: String,
    },
}

/// A network interface of this instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataInterface {
    /// Its MAC address, which names it in the metadata.
    pub mac: String,
    /// Its number on the instance; 0 is the one that the instance was launched with.
    pub device: u32,
    /// Its identifier.
    pub id: InterfaceId,
    /// Its subnet's addresses.
    pub cidr: Ipv4Network,
}

/// A client of the instance metadata.
pub struct Imds {
    http: Http,
    endpoint: Endpoint,
    token: Option<(String, Instant)>,
}

impl Imds {
    /// A client of the service there.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { http: Http::local(TIMEOUT), endpoint, token: None }
    }

    /// The region.
    pub fn region(&mut self) -> Result<Region, ImdsError> {
        self.value("placement/region", "region")
    }

    /// The name of the instance's role, if it has one.
    pub(crate) fn role(&mut self) -> Result<Option<String>, ImdsError> {
        let roles = self.optional("iam/security-credentials/")?;
        Ok(roles
            .and_then(|roles| roles.lines().next().map(|role| role.trim().to_owned()))
            .filter(|role| !role.is_empty()))
    }

    pub(crate) fn role_credentials(&mut self, role: &str) -> Result<String, ImdsError> {
        self.text(&format!("iam/security-credentials/{role}"))
    }

    /// All interfaces of this instance, by their numbers.
    pub fn interfaces(&mut self) -> Result<Vec<MetadataInterface>, ImdsError> {
        let root = "network/interfaces/macs/";
        let mut interfaces = Vec::new();
        for line in self.text(root)?.lines() {
            let mac = line.trim().trim_end_matches('/').to_owned();
            let at = |item: &str| format!("{root}{mac}/{item}");
            interfaces.push(MetadataInterface {
                device: self.value(&at("device-number"), "number")?,
                id: self.value(&at("interface-id"), "network interface")?,
                cidr: self.value(&at("subnet-ipv4-cidr-block"), "block of addresses")?,
                mac,
            });
        }
        interfaces.sort_by_key(|interface| interface.device);
        Ok(interfaces)
    }

    /// The IPv4 addresses that an interface has by now: what EC2 has carried out, not only taken on.
    pub fn addresses(&mut self, mac: &str) -> Result<Vec<Ipv4Addr>, ImdsError> {
        let path = format!("network/interfaces/macs/{mac}/local-ipv4s");
        let text = self.text(&path)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let parse = |line: &str| {
            let (path, text) = (path.clone(), line.to_owned());
            line.parse().map_err(|_| ImdsError::Value { path, what: "IPv4 address", text })
        };
        lines.map(parse).collect()
    }

    fn value<T: std::str::FromStr>(&mut self, path: &str, what: &'static str) -> Result<T, ImdsError> {
        let text = self.text(path)?;
        let text = text.trim();
        text.parse().map_err(|_| ImdsError::Value { path: path.to_owned(), what, text: text.to_owned() })
    }

    fn text(&mut self, path: &str) -> Result<String, ImdsError> {
        self.optional(path)?.ok_or_else(|| ImdsError::Status { path: path.to_owned(), status: 404 })
    }

    /// An item, or nothing where the instance has none.
    fn optional(&mut self, path: &str) -> Result<Option<String>, ImdsError> {
        let mut answer = self.get(path)?;
        if answer.status == 401 {
            // The token is of an earlier boot, or was revoked.
            self.token = None;
            answer = self.get(path)?;
        }
        match answer.status {
            200 => Ok(Some(answer.body)),
            404 => Ok(None),
            status => Err(ImdsError::Status { path: path.to_owned(), status }),
        }
    }

    fn get(&mut self, path: &str) -> Result<Answer, ImdsError> {
        let token = self.token()?;
        let url = self.endpoint.url(&format!("latest/meta-data/{path}"));
        let request = Request::get(&url).header("x-aws-ec2-metadata-token", token);
        // A role's name is the only part that is not ours, and no text that a URL or a header cannot have comes as one.
        let request = request.body(()).map_err(|_| ImdsError::Value {
            path: path.to_owned(),
            what: "path",
            text: url,
        })?;
        Ok(self.http.send(request)?)
    }

    fn token(&mut self) -> Result<String, ImdsError> {
        if let Some((token, _)) = self.token.as_ref().filter(|(_, end)| Instant::now() < *end) {
            return Ok(token.clone());
        }
        let url = self.endpoint.url("latest/api/token");
        let life = TOKEN_LIFE.as_secs().to_string();
        // An empty text and not nothing at all, for which ureq would send chunks.
        let request = Request::put(&url).header("x-aws-ec2-metadata-token-ttl-seconds", life).body("");
        let Ok(request) = request else { return Err(ImdsError::NoToken { status: 0 }) };
        let asked = Instant::now();
        let Answer { status, body } = self.http.send(request)?;
        if status != 200 {
            return Err(ImdsError::NoToken { status });
        }
        let (token, _) = self.token.insert((body, asked + TOKEN_USE));
        Ok(token.clone())
    }
}
