//! One blocking HTTP client, with a bound on time and size.

use std::time::Duration;

use ureq::http::{Request, Response, Uri};
use ureq::{Agent, Body};

/// No answer of ours is near it: one interface has 50 addresses at most, one route table 1,000 routes.
const MAX_ANSWER: u64 = 4 << 20;

/// The longest that a name may take, and a connection, TLS included (one retransmitted packet is a second): what was decided
/// to be sent is not sent long after.
const RESOLVE: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_secs(2);

/// Nothing answered, or not HTTP.
#[derive(Debug, thiserror::Error)]
#[error("no answer from {uri}")]
pub struct HttpError {
    uri: Uri,
    source: Box<ureq::Error>,
}

/// What was answered, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// A client that keeps its connections.
#[derive(Debug, Clone)]
pub(crate) struct Http(Agent);

impl Http {
    /// For a service on the network, through the environment's proxy where there is one.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self(Agent::new_with_config(config(timeout).build()))
    }

    /// For a service that is only ever this machine's own.
    pub(crate) fn local(timeout: Duration) -> Self {
        Self(Agent::new_with_config(config(timeout).proxy(None).build()))
    }

    pub(crate) fn send(&self, request: Request<impl ureq::AsSendBody>) -> Result<Answer, HttpError> {
        let uri = request.uri().clone();
        let read = |mut response: Response<Body>| {
            let status = response.status().as_u16();
            let body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_string()?;
            Ok(Answer { status, body })
        };
        self.0.run(request).and_then(read).map_err(|source| HttpError { uri, source: Box::new(source) })
    }
}

fn config(timeout: Duration) -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    Agent::config_builder()
        // An answer of 403 says why in its body.
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(timeout))
        .timeout_resolve(Some(RESOLVE))
        .timeout_connect(Some(CONNECT))
        .user_agent(concat!("redis-ha/", env!("CARGO_PKG_VERSION")))
}
