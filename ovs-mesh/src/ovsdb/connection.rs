//! The task that owns a connection's socket. It reads even while it writes, so that two large messages that meet cannot
//! hold each other up, and answers the server's probes whether or not anybody is calling.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::endpoint::Endpoint;
use super::error::{ConnectionLost, LostReason, OperationError};
use super::frame::Scanner;
use super::message::{self, Incoming};

/// A byte stream of any of the three kinds.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a call gets back: the result as text, or the server's refusal.
pub(super) type Answer = Result<Box<RawValue>, (OperationError, Option<String>)>;

/// What the handles ask of the task.
#[derive(Debug)]
pub(super) enum Command {
    /// Send a request, and hand its reply over.
    Call { id: u64, message: Vec<u8>, answer: oneshot::Sender<Answer> },
    /// Nobody waits for the reply any more.
    Forget { id: u64 },
    /// Hand over the updates of a monitor.
    Watch { id: u64, updates: mpsc::UnboundedSender<Box<RawValue>> },
    /// Nobody reads the monitor's updates any more; `request` tells the server so, if the server has the monitor.
    Unwatch { id: u64, request: Option<u64> },
}

/// Why the connection ended, for whoever asks after it did.
#[derive(Debug, Clone)]
pub(super) struct Fate {
    endpoint: Endpoint,
    reason: Arc<OnceLock<LostReason>>,
}

impl Fate {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, reason: Arc::default() }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn lost(&self) -> ConnectionLost {
        let reason = self.reason.get().cloned().unwrap_or(LostReason::Dropped);
        ConnectionLost { endpoint: self.endpoint.clone(), reason }
    }
}

/// Runs until the connection or its last handle is gone. The reason is set before any waiting call can notice.
pub(super) async fn run(
    stream: Box<dyn Stream>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    probe: Option<Duration>,
    fate: Fate,
) {
    let mut session = Session::default();
    let ended = session.run(stream, &mut commands, probe).await;
    let _ = fate.reason.set(ended.err().unwrap_or(LostReason::Dropped));
    // The handles' senders fail from here on, then the calls and monitors that wait.
    drop(commands);
}

#[derive(Default)]
struct Session {
    pending: HashMap<u64, oneshot::Sender<Answer>>,
    monitors: HashMap<u64, mpsc::UnboundedSender<Box<RawValue>>>,
    outgoing: Outgoing,
}

impl Session {
    async fn run(
        &mut self,
        stream: Box<dyn Stream>,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        probe: Option<Duration>,
    ) -> Result<(), LostReason> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut scanner = Scanner::new();
        let mut chunk = vec![0; 64 * 1024];
        let mut heard = Instant::now();
        let mut probed = false;
        loop {
            // Without a probe the timer is never polled.
            let interval = probe.unwrap_or_default();
            let due = if probed { heard + 2 * interval } else { heard + interval };
            tokio::select! {
                read = reader.read(&mut chunk) => {
                    let length = read.map_err(lost_io)?;
                    if length == 0 {
                        return Err(LostReason::Closed);
                    }
                    heard = Instant::now();
                    probed = false;
                    scanner.push(&chunk[..length]);
                    while let Some(message) = scanner.next().map_err(|source| LostReason::Frame { source })? {
                        self.receive(message)?;
                    }
                }
                written = self.outgoing.advance(&mut writer), if !self.outgoing.is_done() => {
                    written.map_err(lost_io)?;
                }
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => break,
                },
                () = sleep_until(due), if probe.is_some() => {
                    if probed {
                        return Err(LostReason::Silent { silent: heard.elapsed() });
                    }
                    probed = true;
                    self.outgoing.push(br#"{"method":"echo","params":[],"id":"probe"}"#.to_vec());
                }
            }
        }
        // Only TLS has something to say at the end; a peer that does not take it must not keep the task.
        let _ = timeout(Duration::from_secs(1), writer.shutdown()).await;
        Ok(())
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Call { id, message, answer } => {
                self.pending.insert(id, answer);
                self.outgoing.push(message);
            }
            Command::Forget { id } => {
                // RFC 7047 section 4.1.4; only a transaction that still waits is cancelled, all else is answered.
                if self.pending.remove(&id).is_some() {
                    self.outgoing.push(message::request("cancel", [id], None));
                }
            }
            Command::Watch { id, updates } => {
                self.monitors.insert(id, updates);
            }
            Command::Unwatch { id, request } => {
                self.monitors.remove(&id);
                if let Some(request) = request {
                    self.outgoing.push(message::request("monitor_cancel", [id], Some(request)));
                }
            }
        }
    }

    /// Takes messages in the order in which they came, so that an update which came before a reply is in its monitor's
    /// queue before the call returns.
    fn receive(&mut self, message: &[u8]) -> Result<(), LostReason> {
        let malformed = |source| LostReason::Message { source: Arc::new(source) };
        let incoming: Incoming<'_> = serde_json::from_slice(message).map_err(malformed)?;
        match (incoming.method.as_deref(), incoming.id) {
            (Some("echo"), Some(id)) => {
                if let Some(params) = incoming.params {
                    self.outgoing.push(message::echo_reply(params, id));
                }
            }
            (Some("update"), None) => {
                let params = incoming.params.unwrap_or(RawValue::NULL);
                let (id, updates): (u64, Box<RawValue>) =
                    serde_json::from_str(params.get()).map_err(malformed)?;
                if let Some(monitor) = self.monitors.get(&id) {
                    // The monitor may have gone just now: its Unwatch is then on the way.
                    let _ = monitor.send(updates);
                }
            }
            (Some(_), Some(id)) => self.outgoing.push(message::unknown_method_reply(id)),
            // A notification that nobody asked for, such as one about a lock.
            (Some(_), None) => {}
            (None, id) => {
                // Ids that are not numbers are the probe's; numbers not waited for are of calls given up.
                let id = id.and_then(|id| id.get().parse::<u64>().ok());
                if let Some(answer) = id.and_then(|id| self.pending.remove(&id)) {
                    let _ = answer.send(match incoming.error {
                        Some(error) => Err(message::refusal(error)),
                        None => Ok(incoming.result.unwrap_or(RawValue::NULL).to_owned()),
                    });
                }
            }
        }
        Ok(())
    }
}

fn lost_io(source: io::Error) -> LostReason {
    match source.kind() {
        // A server that stops with unread data on the socket, or that leaves TLS without a goodbye.
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            LostReason::Closed
        }
        _ => LostReason::Io { source: Arc::new(source) },
    }
}

/// Messages on their way out.
#[derive(Default)]
struct Outgoing {
    messages: VecDeque<Vec<u8>>,
    /// Bytes of the first message that are written.
    written: usize,
    /// Whether TLS may hold something back.
    unflushed: bool,
}

impl Outgoing {
    fn push(&mut self, message: Vec<u8>) {
        self.messages.push_back(message);
    }

    fn is_done(&self) -> bool {
        self.messages.is_empty() && !self.unflushed
    }

    /// Writes what the stream takes now. Dropped before it is done, it has not written anything.
    async fn advance(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let Some(message) = self.messages.front() else {
            writer.flush().await?;
            self.unflushed = false;
            return Ok(());
        };
        let length = writer.write(&message[self.written..]).await?;
        if length == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        self.written += length;
        if self.written == message.len() {
            self.messages.pop_front();
            self.written = 0;
        }
        Ok(())
    }
}
