//! Connections into a tenant's network: opened in its gateway's namespace, each step with a deadline.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ovs_mesh::NetnsName;
use ovs_mesh::link::{Netns, NetnsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

use super::resp::{Reply, Request, RespError};

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The tenant's namespace cannot be used.
    #[error("cannot enter the tenant's network{}", made_by(source))]
    Netns {
        /// Why.
        #[source]
        source: NetnsError,
    },
    /// No connection came about.
    #[error("cannot connect to {to}")]
    Connect {
        /// To whom.
        to: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to {to} broke")]
    Broken {
        /// To whom.
        to: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// No answer came in time.
    #[error("{to} did not answer in {waited:?}")]
    Timeout {
        /// Who.
        to: SocketAddr,
        /// How long was waited.
        waited: Duration,
    },
    /// The answer is none.
    #[error("{to} does not speak Redis' protocol")]
    Protocol {
        /// Who.
        to: SocketAddr,
        /// What is wrong.
        #[source]
        source: RespError,
    },
    /// The password was refused.
    #[error("{to} refused the login: {why}")]
    Login {
        /// Who.
        to: SocketAddr,
        /// What it says.
        why: String,
    },
}

fn made_by(why: &NetnsError) -> &'static str {
    if matches!(why, NetnsError::Absent { .. }) { ", which `ovsmesh sync` makes" } else { "" }
}

/// A TCP socket in a namespace, which is looked up each time: it may have been made anew under its name.
fn socket(netns: &NetnsName, to: SocketAddr) -> Result<io::Result<TcpSocket>, NetnsError> {
    Netns::open(netns)?.run(|| if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() })
}

/// A socket that has that address, in the namespace of the calling thread.
pub(crate) fn listener(at: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    Ok(socket)
}

/// A connection that is logged in.
#[derive(Debug)]
pub(crate) struct Connection {
    to: SocketAddr,
    stream: TcpStream,
    /// What was read and is not answered yet.
    read: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(
        netns: &NetnsName,
        to: SocketAddr,
        login: &Request,
        patience: Duration,
    ) -> Result<Self, AskError> {
        let failed = |source| AskError::Connect { to, source };
        let socket = socket(netns, to).map_err(|source| AskError::Netns { source })?.map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        let stream = timeout_at(Instant::now() + patience, socket.connect(to))
            .await
            .map_err(|_| AskError::Timeout { to, waited: patience })?
            .map_err(failed)?;
        let mut connection = Self { to, stream, read: Vec::new() };
        let replies = connection.ask(login, patience).await?;
        match replies
            .into_iter()
            .find_map(|reply| if let Reply::Error(why) = reply { Some(why) } else { None })
        {
            None => Ok(connection),
            Some(why) => Err(AskError::Login { to, why }),
        }
    }

    /// One connection for one request, all within `patience`.
    pub(crate) async fn once(
        netns: &NetnsName,
        to: SocketAddr,
        login: &Request,
        request: &Request,
        patience: Duration,
    ) -> Result<Vec<Reply>, AskError> {
        let exchange = async { Self::open(netns, to, login, patience).await?.ask(request, patience).await };
        timeout_at(Instant::now() + patience, exchange)
            .await
            .map_err(|_| AskError::Timeout { to, waited: patience })?
    }

    /// One reply a command. After an error the connection is of no use.
    pub(crate) async fn ask(
        &mut self,
        request: &Request,
        patience: Duration,
    ) -> Result<Vec<Reply>, AskError> {
        let to = self.to;
        timeout_at(Instant::now() + patience, self.exchange(request))
            .await
            .map_err(|_| AskError::Timeout { to, waited: patience })?
    }

    async fn exchange(&mut self, request: &Request) -> Result<Vec<Reply>, AskError> {
        let to = self.to;
        let broken = |source| AskError::Broken { to, source };
        self.stream.write_all(request.bytes()).await.map_err(broken)?;
        let mut replies = Vec::new();
        while replies.len() < request.replies() {
            match Reply::parse(&self.read).map_err(|source| AskError::Protocol { to, source })? {
                Some((reply, length)) => {
                    self.read.drain(..length);
                    replies.push(reply);
                }
                None if self.stream.read_buf(&mut self.read).await.map_err(broken)? == 0 => {
                    return Err(broken(io::ErrorKind::UnexpectedEof.into()));
                }
                None => {}
            }
        }
        Ok(replies)
    }
}
