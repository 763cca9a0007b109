//! What HAProxy asks the agent, and how: a line in, a line out, over TCP to 127.0.0.1 in the tenant's gateway namespace.
//!
//! | asked | by | answered |
//! | --- | --- | --- |
//! | `<ctid>` | `agent-check` (`agent-send`) | `ready up`, or `down #reason` |
//! | `alive` | `tcp-check` | `alive` |
//!
//! HAProxy 2.6 makes both connections in the namespace of the server that it checks. An agent that it cannot reach is no news to
//! `agent-check`, which leaves a server as it is; the ordinary check asks `alive` for that reason: when the agent has been gone for
//! [`FALL`] checks, all servers are down. Packets to 127.0.0.1 from a tenant's container are dropped by the kernel of the
//! namespace, unless somebody sets `route_localnet` there.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ovs_mesh::link::{LinkError, Links, LinksOpenError, Netns, NetnsError};
use ovs_mesh::{Ctid, NetnsName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::judge::Verdict;

/// The port at which the agent listens on 127.0.0.1 in each tenant's gateway namespace.
pub const AGENT_PORT: u16 = 9379;
/// After how many checks without an agent all servers are down. One that is restarted sooner is not missed.
pub const FALL: u32 = 5;
/// How long a question may take to come.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest question in bytes; a container's id has at most 36.
const LONGEST: usize = 64;
/// How often is looked whether the namespace is still the one that is listened in, or is there at all.
const LOOK: Duration = Duration::from_millis(250);

/// The lines of a HAProxy backend or listen section that ask the agent whether it lives.
pub fn check_lines() -> [String; 4] {
    [
        "option tcp-check".to_owned(),
        format!("tcp-check connect addr 127.0.0.1 port {AGENT_PORT}"),
        r#"tcp-check send "alive\n""#.to_owned(),
        "tcp-check expect string alive".to_owned(),
    ]
}

/// What follows a server's name and address in such a section: the namespace, both checks, and that sessions to a demoted master end.
pub fn server_options(netns: &NetnsName, node: &Ctid, check: Duration) -> String {
    let check = check.as_millis();
    format!(
        "namespace {netns} check inter {check}ms fall {FALL} rise 1 agent-check agent-addr 127.0.0.1 agent-port {AGENT_PORT} \
         agent-inter {check}ms agent-send \"{node}\\n\" on-marked-down shutdown-sessions"
    )
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Does the agent live?
    Alive,
    /// May clients write to this node?
    Node(Ctid),
}

impl Question {
    /// Out of a line without its end.
    pub fn read(line: &str) -> Option<Self> {
        match line.trim_end_matches('\r') {
            "alive" => Some(Self::Alive),
            ctid => ctid.parse().ok().map(Self::Node),
        }
    }
}

/// The line that answers a question; `verdict` is none for a node that the cluster does not have.
pub fn answer(question: Option<&Question>, verdict: impl FnOnce(&Ctid) -> Option<Verdict>) -> String {
    match question {
        Some(Question::Alive) => "alive\n".to_owned(),
        Some(Question::Node(node)) => match verdict(node) {
            // `ready`: a server begins `disabled`, so that none is up before it was asked for.
            Some(Verdict::Up) => "ready up\n".to_owned(),
            Some(Verdict::Down(reason)) => format!("down #{reason}\n"),
            None => "down #no such node\n".to_owned(),
        },
        None => "down #not understood\n".to_owned(),
    }
}

/// Why nothing is listened at.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The namespace cannot be used.
    #[error("cannot enter the tenant's network")]
    Netns(#[from] NetnsError),
    /// Its devices cannot be reached.
    #[error("cannot reach the devices of the tenant's network")]
    Links(#[from] LinksOpenError),
    /// Its loopback device cannot be brought up.
    #[error("cannot bring up the loopback device")]
    Loopback(#[from] LinkError),
    /// The port cannot be had.
    #[error("cannot listen at {at}")]
    Listen {
        /// Where.
        at: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// Answers in a namespace, whenever there is one of that name, until it is dropped.
///
/// `trouble` hears each error, and none once it listens.
pub(super) async fn serve(
    name: &NetnsName,
    answer: impl Fn(Option<&Question>) -> String + Clone + Send + Sync + 'static,
    mut trouble: impl FnMut(Option<ListenError>),
) {
    loop {
        match listen(name).await {
            Err(error) => trouble(Some(error)),
            Ok((netns, listener)) => {
                trouble(None);
                while netns.is_current() {
                    let Ok(accepted) = timeout(LOOK, listener.accept()).await else { continue };
                    match accepted {
                        Ok((stream, _)) => drop(tokio::spawn(converse(stream, answer.clone()))),
                        // Out of descriptors, or the peer has gone: neither is helped by trying at once.
                        Err(_) => sleep(Duration::from_millis(10)).await,
                    }
                }
            }
        }
        sleep(LOOK).await;
    }
}

async fn listen(name: &NetnsName) -> Result<(Netns, TcpListener), ListenError> {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, AGENT_PORT));
    let netns = Netns::open(name)?;
    Links::open_in(&netns)?.set_up("lo").await?;
    let listener = netns.run(|| crate::wire::dial::listener(at))?;
    let failed = |source| ListenError::Listen { at, source };
    let listener = listener.and_then(|socket| socket.listen(64)).map_err(failed)?;
    Ok((netns, listener))
}

/// One question, one answer.
async fn converse(mut stream: TcpStream, answer: impl Fn(Option<&Question>) -> String) {
    let exchange = async {
        let line = line(&mut stream).await?;
        let question = line.as_deref().and_then(Question::read);
        stream.write_all(answer(question.as_ref()).as_bytes()).await?;
        stream.shutdown().await
    };
    // A peer that goes away, or says nothing, gets no answer.
    let _ = timeout(PATIENCE, exchange).await;
}

async fn line(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            return Ok(String::from_utf8(bytes[..end].to_vec()).ok());
        }
        if bytes.len() > LONGEST || stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Reason;
    use super::*;

    #[test]
    fn each_question_has_an_answer() {
        let verdict = |ctid: &Ctid| match ctid.as_str() {
            "101" => Some(Verdict::Up),
            "102" => Some(Verdict::Down(Reason::Other { node: 0 })),
            _ => None,
        };
        let table = [
            ("alive", "alive\n"),
            ("101", "ready up\n"),
            ("101\r", "ready up\n"),
            ("102", "down #another node is the master\n"),
            ("103", "down #no such node\n"),
            ("", "down #not understood\n"),
            ("a b", "down #not understood\n"),
        ];
        for (line, expected) in table {
            assert_eq!(answer(Question::read(line).as_ref(), verdict), expected, "{line:?}");
        }
    }

    #[test]
    fn a_server_is_asked_for_by_its_container() {
        let options = server_options(
            &"m-p1-acme".parse().unwrap(),
            &"101".parse().unwrap(),
            Duration::from_millis(100),
        );
        assert_eq!(
            options,
            "namespace m-p1-acme check inter 100ms fall 5 rise 1 agent-check agent-addr 127.0.0.1 agent-port 9379 \
             agent-inter 100ms agent-send \"101\\n\" on-marked-down shutdown-sessions"
        );
    }
}
