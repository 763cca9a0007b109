//! What systemd is told (`sd_notify`(3)).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// The socket on which systemd listens.
#[derive(Debug)]
pub(crate) enum Systemd {
    /// It did not start this process, or wants no word.
    None,
    /// It does, and cannot be told.
    Unreachable,
    /// Here.
    Socket(UnixDatagram),
}

impl Systemd {
    /// By `NOTIFY_SOCKET`; no word is waited for.
    pub(crate) fn open(socket: Option<&Path>) -> Self {
        Self::with(socket, |socket| socket.set_nonblocking(true))
    }

    /// The same for a word that must not be lost, which may take so long to be sent.
    pub(crate) fn open_patient(socket: Option<&Path>, time: Duration) -> Self {
        Self::with(socket, |socket| socket.set_write_timeout(Some(time)))
    }

    fn with(socket: Option<&Path>, set: impl FnOnce(&UnixDatagram) -> io::Result<()>) -> Self {
        let Some(name) = socket else { return Self::None };
        let connected = connect(name.as_os_str()).and_then(|socket| set(&socket).map(|()| socket));
        connected.map_or(Self::Unreachable, Self::Socket)
    }

    /// Says a word; whether all who are to hear it did.
    pub(crate) fn tell(&self, word: &str) -> bool {
        match self {
            Self::None => true,
            Self::Unreachable => false,
            Self::Socket(socket) => socket.send(word.as_bytes()).is_ok(),
        }
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match name.as_bytes() {
        [b'@', rest @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(rest)?)?,
        _ => socket.connect(name)?,
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(1);

    #[test]
    fn systemd_hears_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let abstract_name = format!("redis-ha-{}", std::process::id());
        let there = [
            (path.clone(), UnixDatagram::bind(&path)),
            (
                format!("@{abstract_name}").into(),
                SocketAddr::from_abstract_name(&abstract_name).and_then(|at| UnixDatagram::bind_addr(&at)),
            ),
        ];
        for (name, listener) in there {
            let listener = listener.unwrap();
            for socket in [Systemd::open(Some(&name)), Systemd::open_patient(Some(&name), TIME)] {
                assert!(socket.tell("WATCHDOG=1"));
                let mut text = [0; 32];
                let length = listener.recv(&mut text).unwrap();
                assert_eq!(&text[..length], b"WATCHDOG=1");
            }
        }
        // Nobody is to hear.
        assert!(Systemd::open(None).tell("READY=1"));
        // Somebody is, and does not.
        assert!(!Systemd::open(Some(Path::new("/nonexistent/notify"))).tell("READY=1"));
    }
}
