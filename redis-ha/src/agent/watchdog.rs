//! systemd's watchdog (`sd_notify`(3)): an agent that hangs is one whose datagrams do not come, and is killed.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// After how long without a word an agent hangs. `HAProxy` in the profile `fast` takes twice as long to see it, and until then all goes on.
pub const WATCHDOG: Duration = Duration::from_millis(500);
/// How often it gives word.
pub(super) const WORD: Duration = Duration::from_millis(100);

/// The socket on which systemd listens; none where nobody does.
#[derive(Debug)]
pub(super) struct Watchdog(Option<UnixDatagram>);

impl Watchdog {
    /// By `NOTIFY_SOCKET`. One that cannot be had is not needed: systemd would see that nothing comes.
    pub(super) fn open(socket: Option<&Path>) -> Self {
        Self(socket.and_then(|socket| connect(socket.as_os_str()).ok()))
    }

    /// Says that the agent does not hang.
    pub(super) fn tell(&self) {
        if let Some(socket) = &self.0 {
            // It must not wait; the next word is near.
            let _ = socket.send(b"WATCHDOG=1");
        }
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match name.as_bytes() {
        [b'@', rest @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(rest)?)?,
        _ => socket.connect(name)?,
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            Watchdog::open(Some(&name)).tell();
            let mut text = [0; 32];
            let length = listener.unwrap().recv(&mut text).unwrap();
            assert_eq!(&text[..length], b"WATCHDOG=1");
        }
        Watchdog::open(None).tell();
        Watchdog::open(Some(Path::new("/nonexistent/notify"))).tell();
    }
}
