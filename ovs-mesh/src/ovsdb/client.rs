//! A connection to an OVSDB server (RFC 7047 section 4.1).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::connection::{self, Command, Fate, Stream};
use super::endpoint::Endpoint;
use super::error::{CallError, ConnectError, ReplyError, TransactError};
use super::monitor::{Monitor, MonitorRequest, Updates};
use super::operation::{self, Operation, OperationResult};
use super::tls::TlsConfig;

/// How to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// This end's keys, which an `ssl:` endpoint needs.
    pub tls: Option<TlsConfig>,
    /// The time that connecting may take, the TLS handshake included; 10 s unless told otherwise.
    pub deadline: Duration,
    /// How long a server on the network may be silent before it is probed with an `echo`; 5 s unless told otherwise, as
    /// in OVS itself. Silent for as long again, it is taken for dead. A server on a Unix socket is not probed: the kernel
    /// tells when it is gone.
    pub probe_interval: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { tls: None, deadline: Duration::from_secs(10), probe_interval: Duration::from_secs(5) }
    }
}

/// A connection to an OVSDB server, for any number of calls at once. Clones share the connection; with the last one it
/// is closed.
///
/// Each call takes the moment at which it gives up. A future dropped before that gives up at once.
///
/// The connection belongs to the tokio runtime that it was made in, which needs its timers and I/O.
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
    next_id: Arc<AtomicU64>,
    fate: Fate,
}

impl Client {
    /// Connects.
    pub async fn connect(endpoint: &Endpoint, options: &ConnectOptions) -> Result<Self, ConnectError> {
        let waited = options.deadline;
        let stream = timeout(waited, open(endpoint, options))
            .await
            .map_err(|_| ConnectError::Deadline { endpoint: endpoint.clone(), waited })??;
        let (commands, queue) = mpsc::unbounded_channel();
        let fate = Fate::new(endpoint.clone());
        let probe = endpoint.is_network().then_some(options.probe_interval);
        tokio::spawn(connection::run(stream, queue, probe, fate.clone()));
        Ok(Self { commands, next_id: Arc::default(), fate })
    }

    /// The server.
    pub fn endpoint(&self) -> &Endpoint {
        self.fate.endpoint()
    }

    /// Whether the connection is known to be gone.
    pub fn is_lost(&self) -> bool {
        self.commands.is_closed()
    }

    /// Commits a transaction (RFC 7047 section 4.1.3): all of it, or an error and nothing of it. There is a result for
    /// each operation.
    ///
    /// The updates that it causes are in the queues of this connection's monitors before it returns. A call that is given
    /// up is cancelled on the server, which matters where a `wait` would hold it up and commit it later.
    pub async fn transact(
        &self,
        database: &str,
        operations: &[Operation],
        deadline: Instant,
    ) -> Result<Vec<OperationResult>, TransactError> {
        let params = TransactParams { database, operations };
        let reply = self.call(self.id(), "transact", params, deadline).await?;
        operation::results(operations, &reply)
    }

    /// Watches tables (RFC 7047 section 4.1.5): returns what is there, and a [`Monitor`] that yields what changes.
    pub async fn monitor(
        &self,
        database: &str,
        request: &MonitorRequest,
        deadline: Instant,
    ) -> Result<(Updates, Monitor), CallError> {
        let id = self.id();
        let (sender, updates) = mpsc::unbounded_channel();
        // Before the request: updates can share a read with the reply.
        let _ = self.commands.send(Command::Watch { id, updates: sender });
        // From here on, dropping the monitor takes its queue away and tells the server, which may have it even where the
        // call is given up.
        let mut monitor = Monitor {
            id,
            updates,
            commands: self.commands.downgrade(),
            cancel_id: Some(self.id()),
            fate: self.fate.clone(),
        };
        match self.call(id, "monitor", (database, id, request), deadline).await {
            Ok(reply) => Ok((read("monitor", &reply)?, monitor)),
            Err(error) => {
                if matches!(error, CallError::Refused { .. }) {
                    monitor.cancel_id = None;
                }
                Err(error)
            }
        }
    }

    /// The databases that the server has (RFC 7047 section 4.1.1).
    pub async fn list_dbs(&self, deadline: Instant) -> Result<Vec<String>, CallError> {
        let method = "list_dbs";
        read(method, &self.call(self.id(), method, [(); 0], deadline).await?)
    }

    /// A database's schema (RFC 7047 section 4.1.2 has its form).
    pub async fn get_schema(
        &self,
        database: &str,
        deadline: Instant,
    ) -> Result<serde_json::Value, CallError> {
        let method = "get_schema";
        read(method, &self.call(self.id(), method, [database], deadline).await?)
    }

    /// Asks whether the server is alive (RFC 7047 section 4.1.11).
    pub async fn echo(&self, deadline: Instant) -> Result<(), CallError> {
        self.call(self.id(), "echo", [(); 0], deadline).await.map(drop)
    }

    fn id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    async fn call(
        &self,
        id: u64,
        method: &'static str,
        params: impl Serialize,
        deadline: Instant,
    ) -> Result<Box<RawValue>, CallError> {
        let started = Instant::now();
        let message = super::message::request(method, params, Some(id));
        let (answer, reply) = oneshot::channel();
        let lost = || CallError::Connection { method, source: self.fate.lost() };
        self.commands.send(Command::Call { id, message, answer }).map_err(|_| lost())?;
        let mut given_up = GivenUp { id, commands: &self.commands, answered: false };
        let answer = timeout_at(deadline, reply).await.map_err(|_| {
            let waited = deadline.saturating_duration_since(started);
            CallError::Deadline { method, waited }
        })?;
        given_up.answered = true;
        answer.map_err(|_| lost())?.map_err(|(error, details)| CallError::Refused { method, error, details })
    }
}

/// Tells the connection when nobody waits for a reply any more: the deadline is past, or the future was dropped.
struct GivenUp<'a> {
    id: u64,
    commands: &'a mpsc::UnboundedSender<Command>,
    answered: bool,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let _ = self.commands.send(Command::Forget { id: self.id });
        }
    }
}

struct TransactParams<'a> {
    database: &'a str,
    operations: &'a [Operation],
}

impl Serialize for TransactParams<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut params = serializer.serialize_seq(Some(1 + self.operations.len()))?;
        params.serialize_element(self.database)?;
        for operation in self.operations {
            params.serialize_element(operation)?;
        }
        params.end()
    }
}

fn read<T: DeserializeOwned>(method: &'static str, reply: &RawValue) -> Result<T, CallError> {
    serde_json::from_str(reply.get()).map_err(|source| CallError::Protocol {
        method,
        source: ReplyError::Json { source: Arc::new(source) },
    })
}

async fn open(endpoint: &Endpoint, options: &ConnectOptions) -> Result<Box<dyn Stream>, ConnectError> {
    let failed = |source| ConnectError::from_io(endpoint, source);
    match endpoint {
        Endpoint::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(failed)?)),
        Endpoint::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            Ok(Box::new(stream))
        }
        Endpoint::Ssl(address) => {
            let keys = options.tls.as_ref();
            let keys = keys.ok_or_else(|| ConnectError::KeysMissing { endpoint: endpoint.clone() })?;
            let config = keys
                .load()
                .await
                .map_err(|source| ConnectError::Keys { endpoint: endpoint.clone(), source })?;
            let stream = TcpStream::connect(address).await.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            let name = ServerName::IpAddress(address.ip().into());
            let stream = TlsConnector::from(Arc::new(config))
                .connect(name, stream)
                .await
                .map_err(|source| ConnectError::Handshake { endpoint: endpoint.clone(), source })?;
            Ok(Box::new(stream))
        }
    }
}
