//! What can go wrong, by what was being done.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::frame::FrameError;
use super::tls::TlsError;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no socket at the path.
    #[error("there is no socket at {endpoint}; is ovsdb-server running, and is this its socket?")]
    Missing {
        /// Where.
        endpoint: Endpoint,
    },
    /// The socket's or a directory's mode keeps this user out.
    #[error("no permission to connect to {endpoint}; this is for root or the group of Open vSwitch")]
    Permission {
        /// Where.
        endpoint: Endpoint,
    },
    /// Nobody listens there.
    #[error("nobody listens at {endpoint}; is ovsdb-server running, and told to listen there?")]
    Refused {
        /// Where.
        endpoint: Endpoint,
    },
    /// The operating system said no in another way.
    #[error("cannot connect to {endpoint}")]
    Io {
        /// Where.
        endpoint: Endpoint,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// No connection within the time given, TLS included.
    #[error("no connection to {endpoint} within {waited:?}")]
    Deadline {
        /// Where.
        endpoint: Endpoint,
        /// The time given.
        waited: Duration,
    },
    /// An `ssl:` endpoint needs keys, and none were given.
    #[error("{endpoint} needs a private key, a certificate and a CA certificate, and none were given")]
    KeysMissing {
        /// Where.
        endpoint: Endpoint,
    },
    /// The keys cannot be used.
    #[error("cannot use the keys for {endpoint}")]
    Keys {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        #[source]
        source: TlsError,
    },
    /// The two ends found no common ground, or one does not trust the other.
    #[error("the TLS handshake with {endpoint} failed")]
    Handshake {
        /// Where.
        endpoint: Endpoint,
        /// What rustls or the other end said.
        #[source]
        source: io::Error,
    },
}

impl ConnectError {
    pub(super) fn from_io(endpoint: &Endpoint, source: io::Error) -> Self {
        let endpoint = endpoint.clone();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { endpoint },
            io::ErrorKind::PermissionDenied => Self::Permission { endpoint },
            io::ErrorKind::ConnectionRefused => Self::Refused { endpoint },
            _ => Self::Io { endpoint, source },
        }
    }
}

/// A connection that was there is gone. What was read over it may be out of date: connect and read again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the connection to {endpoint} is lost")]
pub struct ConnectionLost {
    /// The server.
    pub endpoint: Endpoint,
    /// What happened.
    #[source]
    pub reason: LostReason,
}

/// How a connection ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LostReason {
    /// The server closed it, as it does when it stops, or when a client does not answer its probes.
    #[error("the server closed it")]
    Closed,
    /// Reading or writing failed.
    #[error("reading or writing failed")]
    Io {
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The server said nothing for a whole probe interval, and did not answer the probe in another.
    #[error("the server was silent for {silent:?}")]
    Silent {
        /// How long nothing was heard.
        silent: Duration,
    },
    /// What came is not a sequence of messages.
    #[error("the server sent something else than messages")]
    Frame {
        /// What is wrong with it.
        #[source]
        source: FrameError,
    },
    /// A message is not one of JSON-RPC 1.0.
    #[error("the server sent a message that is not JSON-RPC 1.0")]
    Message {
        /// What is wrong with it.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// The runtime that the connection lived in has stopped, or the last [`Client`](super::Client) is gone.
    #[error("this end closed it")]
    Dropped,
}

/// A reply that has the wrong shape.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReplyError {
    /// It is not what its method returns.
    #[error("the reply cannot be read")]
    Json {
        /// What is wrong with it.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// An operation's result is missing, or that of another kind of operation.
    #[error("the result {index} of the transaction is missing or of another kind")]
    Result {
        /// The place in the reply, from 0.
        index: usize,
    },
}

/// Why a call other than a transaction failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The connection is gone.
    #[error("`{method}` was not answered")]
    Connection {
        /// The method.
        method: &'static str,
        /// How it went.
        #[source]
        source: ConnectionLost,
    },
    /// The server did not answer in time.
    #[error("`{method}` was not answered within {waited:?}")]
    Deadline {
        /// The method.
        method: &'static str,
        /// The time given.
        waited: Duration,
    },
    /// The server refuses.
    #[error("the server refuses `{method}`: {error}{}", Details(.details.as_deref()))]
    Refused {
        /// The method.
        method: &'static str,
        /// The error's name.
        error: OperationError,
        /// What the server adds for a human.
        details: Option<String>,
    },
    /// The reply has the wrong shape.
    #[error("the reply to `{method}` has the wrong shape")]
    Protocol {
        /// The method.
        method: &'static str,
        /// What is wrong with it.
        #[source]
        source: ReplyError,
    },
}

/// Why a transaction failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransactError {
    /// The connection is gone. Whether the transaction was committed is not known: read before trying again.
    #[error("the transaction was not answered")]
    Connection {
        /// How it went.
        #[source]
        source: ConnectionLost,
    },
    /// The server did not answer in time. It was told to cancel, yet may have committed before it heard: read before
    /// trying again.
    #[error("the transaction was not answered within {waited:?}")]
    Deadline {
        /// The time given.
        waited: Duration,
    },
    /// The server refuses; nothing of the transaction was done.
    #[error("{}: {error}{}", At(*.operation_index), Details(.details.as_deref()))]
    Refused {
        /// The operation that failed, from 0; `None` if it was the commit, or the transaction as a whole.
        operation_index: Option<usize>,
        /// The error's name.
        error: OperationError,
        /// What the server adds for a human.
        details: Option<String>,
    },
    /// The reply has the wrong shape. Whether the transaction was committed is not known.
    #[error("the reply to the transaction has the wrong shape")]
    Protocol {
        /// What is wrong with it.
        #[source]
        source: ReplyError,
    },
}

impl TransactError {
    /// Whether a `wait` failed: the rows are no longer what they were when the transaction was planned, so that a fresh
    /// snapshot and plan may succeed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { error: OperationError::WaitTimedOut, .. })
    }
}

impl From<CallError> for TransactError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Connection { method: _, source } => Self::Connection { source },
            CallError::Deadline { method: _, waited } => Self::Deadline { waited },
            CallError::Refused { method: _, error, details } => {
                Self::Refused { operation_index: None, error, details }
            }
            CallError::Protocol { method: _, source } => Self::Protocol { source },
        }
    }
}

struct At(Option<usize>);

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(index) => write!(f, "operation {index} of the transaction failed"),
            None => f.write_str("the transaction cannot be committed"),
        }
    }
}

struct Details<'a>(Option<&'a str>);

impl std::fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |details| write!(f, " ({})", details.trim_end_matches('.')))
    }
}

/// The errors of RFC 7047 sections 4.1 and 5.2 by name, and those that ovsdb-server adds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// `timed out`: a `wait` did not see its rows in time.
    #[error("the rows waited for did not come about in time")]
    WaitTimedOut,
    /// `constraint violation`: a column's or table's own rules, such as a name used twice.
    #[error("a constraint is violated")]
    ConstraintViolation,
    /// `referential integrity violation`: a reference to a row that is not there.
    #[error("a reference is violated")]
    ReferentialIntegrityViolation,
    /// `resources exhausted`
    #[error("the server is out of resources")]
    ResourcesExhausted,
    /// `I/O error`
    #[error("the server cannot write the database")]
    Io,
    /// `duplicate uuid-name` (RFC 7047 has it without the hyphen): two inserts of one transaction under one name.
    #[error("two inserts have the same uuid-name")]
    DuplicateUuidName,
    /// `domain error`: a division by zero.
    #[error("a division by zero")]
    Domain,
    /// `range error`: a number that does not fit.
    #[error("a number is out of range")]
    Range,
    /// `aborted`: by an `abort` operation.
    #[error("aborted by its own request")]
    Aborted,
    /// `not owner`: of the lock that an `assert` names.
    #[error("this connection does not hold the lock")]
    NotOwner,
    /// `not allowed`: the server is a standby or read-only for this client, or role-based access control forbids it.
    #[error("this is not allowed")]
    NotAllowed,
    /// `canceled`: by this client.
    #[error("it was cancelled")]
    Canceled,
    /// `unknown database`
    #[error("the server has no such database")]
    UnknownDatabase,
    /// `unknown table`; ovsdb-server says `syntax error` in a transaction.
    #[error("the database has no such table")]
    UnknownTable,
    /// `unknown column`
    #[error("the table has no such column")]
    UnknownColumn,
    /// `syntax error`: a value of another type than the column's, or an operation the server does not know.
    #[error("the server does not understand the request")]
    Syntax,
    /// Another one.
    #[error("{name}")]
    Unknown {
        /// The name as the server has it.
        name: String,
    },
}

impl OperationError {
    pub(super) fn from_name(name: &str) -> Self {
        match name {
            "timed out" => Self::WaitTimedOut,
            "constraint violation" => Self::ConstraintViolation,
            "referential integrity violation" => Self::ReferentialIntegrityViolation,
            "resources exhausted" => Self::ResourcesExhausted,
            "I/O error" => Self::Io,
            "duplicate uuid-name" | "duplicate uuid name" => Self::DuplicateUuidName,
            "domain error" => Self::Domain,
            "range error" => Self::Range,
            "aborted" => Self::Aborted,
            "not owner" => Self::NotOwner,
            "not allowed" => Self::NotAllowed,
            "canceled" => Self::Canceled,
            "unknown database" => Self::UnknownDatabase,
            "unknown table" => Self::UnknownTable,
            "unknown column" => Self::UnknownColumn,
            "syntax error" => Self::Syntax,
            other => Self::Unknown { name: other.to_owned() },
        }
    }
}
