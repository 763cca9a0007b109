//! As much of `OpenFlow` 1.0 as it takes to give a bridge one packet, as if it had come in by a port.
//!
//! Every bridge listens on `<rundir>/<bridge>.mgmt` (ovs-vswitchd(8)), whatever its controllers. The protocol is the
//! `OpenFlow` Switch Specification 1.0.0: a header of version, type, length and transaction id, then the body. A
//! `BARRIER_REQUEST` is answered once all before it has been done, or an `ERROR` before it says why not.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

// Section 5.1, `ofp_type`.
const VERSION: u8 = 1;
const HELLO: u8 = 0;
const ERROR: u8 = 1;
const ECHO_REQUEST: u8 = 2;
const ECHO_REPLY: u8 = 3;
const PACKET_OUT: u8 = 13;
const BARRIER_REQUEST: u8 = 18;
const BARRIER_REPLY: u8 = 19;
const HEADER: usize = 8;
/// No buffer: the packet is in the message (section 5.3.6).
const NO_BUFFER: u32 = u32::MAX;
/// `OFPP_LOCAL` (section 5.2.1): the port of the bridge's own device.
pub(crate) const LOCAL: u16 = 0xfffe;

/// What becomes of a packet: an `OFPAT_OUTPUT` of 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// `OFPP_NORMAL`: as a bridge without flows forwards it.
    Normal,
    /// `OFPP_TABLE`: as the bridge forwards it with the flows that it has.
    Table,
}

impl Output {
    fn action(self) -> [u8; 8] {
        let port = match self {
            Self::Normal => 0xfa,
            Self::Table => 0xf9,
        };
        [0, 0, 0, 8, 0xff, port, 0, 0]
    }
}

/// Why a bridge did not take a packet.
#[derive(Debug, thiserror::Error)]
pub enum OpenFlowError {
    /// Nobody listens there: the bridge is not ovs-vswitchd's, or not any more.
    #[error("cannot connect to the bridge's OpenFlow socket {}; is ovs-vswitchd running?", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Reading or writing failed.
    #[error("the connection to the bridge's OpenFlow socket {} failed", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bridge refuses.
    #[error("the bridge refuses the packet: OpenFlow error type {kind}, code {code}")]
    Refused {
        /// `ofp_error_type` (section 5.4.4).
        kind: u16,
        /// Its code.
        code: u16,
    },
    /// What came is no message.
    #[error("the OpenFlow socket {} sent a message of {length} bytes", path.display())]
    Malformed {
        /// The socket.
        path: PathBuf,
        /// The length that its header tells.
        length: u16,
    },
    /// The packet does not fit into a message.
    #[error("a packet of {length} bytes is too long for an OpenFlow message")]
    TooLong {
        /// The packet's length.
        length: usize,
    },
    /// No answer in time.
    #[error("the OpenFlow socket {} did not answer within {waited:?}", path.display())]
    Deadline {
        /// The socket.
        path: PathBuf,
        /// The time given.
        waited: Duration,
    },
}

/// A connection to a bridge, greeted and not yet answered.
#[derive(Debug)]
pub(crate) struct Connection {
    path: PathBuf,
    stream: UnixStream,
}

impl Connection {
    /// Connects and says hello. ovs-vswitchd sees to it when it comes to it; meanwhile there is other work to do.
    pub(crate) async fn open(socket: &Path, deadline: Instant) -> Result<Self, OpenFlowError> {
        let path = socket.to_owned();
        let greeted = async {
            let connect = |source| OpenFlowError::Connect { path: path.clone(), source };
            let mut stream = UnixStream::connect(socket).await.map_err(connect)?;
            let hello = message(HELLO, 1, &[])?;
            let failed = |source| OpenFlowError::Io { path: path.clone(), source };
            stream.write_all(&hello).await.map_err(failed)?;
            Ok(stream)
        };
        let stream = in_time(socket, deadline, greeted).await?;
        Ok(Self { path, stream })
    }

    /// Gives the bridge a packet, an Ethernet frame, as if it had come in by the port `in_port`: the bridge learns its
    /// source address there, and forwards it as any other.
    pub(crate) async fn inject(
        &mut self,
        in_port: u16,
        output: Output,
        frame: &[u8],
        deadline: Instant,
    ) -> Result<(), OpenFlowError> {
        let request = packet_out(in_port, output, frame)?;
        in_time(&self.path, deadline, exchange(&self.path, &mut self.stream, &request)).await
    }
}

async fn in_time<T>(
    path: &Path,
    deadline: Instant,
    work: impl Future<Output = Result<T, OpenFlowError>>,
) -> Result<T, OpenFlowError> {
    let waited = deadline.saturating_duration_since(Instant::now());
    let late = |_| OpenFlowError::Deadline { path: path.to_owned(), waited };
    timeout_at(deadline, work).await.map_err(late)?
}

/// The packet, and a barrier to know when it has been dealt with.
fn packet_out(in_port: u16, output: Output, frame: &[u8]) -> Result<Vec<u8>, OpenFlowError> {
    let mut body = NO_BUFFER.to_be_bytes().to_vec();
    body.extend(in_port.to_be_bytes());
    body.extend([0, 8]);
    body.extend(output.action());
    body.extend(frame);
    let mut both = message(PACKET_OUT, 2, &body)?;
    both.extend(message(BARRIER_REQUEST, 3, &[])?);
    Ok(both)
}

fn message(kind: u8, transaction: u32, body: &[u8]) -> Result<Vec<u8>, OpenFlowError> {
    let length = u16::try_from(HEADER + body.len());
    let length = length.map_err(|_| OpenFlowError::TooLong { length: body.len() })?;
    let mut message = vec![VERSION, kind];
    message.extend(length.to_be_bytes());
    message.extend(transaction.to_be_bytes());
    message.extend(body);
    Ok(message)
}

async fn exchange(path: &Path, stream: &mut UnixStream, request: &[u8]) -> Result<(), OpenFlowError> {
    let failed = |source| OpenFlowError::Io { path: path.to_owned(), source };
    stream.write_all(request).await.map_err(failed)?;
    loop {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header).await.map_err(failed)?;
        let [_, kind, high, low, transaction @ ..] = header;
        let length = u16::from_be_bytes([high, low]);
        let Some(rest) = usize::from(length).checked_sub(HEADER) else {
            return Err(OpenFlowError::Malformed { path: path.to_owned(), length });
        };
        let mut body = vec![0; rest];
        stream.read_exact(&mut body).await.map_err(failed)?;
        match (kind, body.as_slice()) {
            (BARRIER_REPLY, _) => return Ok(()),
            (ERROR, [kind_high, kind_low, code_high, code_low, ..]) => {
                let kind = u16::from_be_bytes([*kind_high, *kind_low]);
                let code = u16::from_be_bytes([*code_high, *code_low]);
                return Err(OpenFlowError::Refused { kind, code });
            }
            (ECHO_REQUEST, body) => {
                let reply = message(ECHO_REPLY, u32::from_be_bytes(transaction), body)?;
                stream.write_all(&reply).await.map_err(failed)?;
            }
            // Its own hello, and what it tells of its ports unasked.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[test]
    fn a_packet_is_sent_with_a_barrier() {
        let text =
            |bytes: Vec<u8>| bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        assert_eq!(
            text(packet_out(7, Output::Normal, &[0xaa, 0xbb]).unwrap()),
            "010d001a00000002ffffffff0007000800000008fffa0000aabb\
             0112000800000003"
        );
        assert_eq!(
            text(packet_out(LOCAL, Output::Table, &[0xaa]).unwrap()),
            "010d001900000002fffffffffffe000800000008fff90000aa\
             0112000800000003"
        );
        assert!(matches!(
            packet_out(7, Output::Normal, &vec![0; 65_536]),
            Err(OpenFlowError::TooLong { length: 65_552 })
        ));
    }

    /// What comes of an answer, whatever it is.
    async fn answered(answer: &'static [u8]) -> Result<(), OpenFlowError> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("br.mgmt");
        let listener = UnixListener::bind(&path).unwrap();
        let deadline = Instant::now() + Duration::from_millis(200);
        let bridge = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer).await.unwrap();
            // Held open: silence is not the end of the connection.
            tokio::time::sleep(Duration::from_millis(300)).await;
        };
        let inject = async {
            let mut connection = Connection::open(&path, deadline).await?;
            connection.inject(1, Output::Normal, &[0; 60], deadline).await
        };
        tokio::select! {
            outcome = inject => outcome,
            () = bridge => panic!("no outcome by the deadline"),
        }
    }

    #[tokio::test]
    async fn every_answer_has_its_outcome() {
        let hello = b"\x04\0\0\x10\0\0\0\x09\0\x01\0\x08\0\0\0\x10\x01\x13\0\x08\0\0\0\x03";
        assert!(answered(hello).await.is_ok());
        let refused = answered(b"\x01\x01\0\x0c\0\0\0\x02\0\x01\0\x06").await;
        assert!(matches!(refused, Err(OpenFlowError::Refused { kind: 1, code: 6 })), "{refused:?}");
        let short = answered(b"\x01\x13\0\x07\0\0\0\x03").await;
        assert!(matches!(short, Err(OpenFlowError::Malformed { length: 7, .. })), "{short:?}");
        let silent = answered(b"").await;
        assert!(matches!(silent, Err(OpenFlowError::Deadline { .. })), "{silent:?}");
        let nobody =
            Connection::open(Path::new("/nonexistent/br.mgmt"), Instant::now() + Duration::from_secs(1));
        assert!(matches!(nobody.await, Err(OpenFlowError::Connect { .. })));
    }
}
