//! The packet sockets (packet(7)) of a probe: the system's side of it.

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
};
use pnet::datalink::{Channel, Config, DataLinkSender, NetworkInterface, channel};
use pnet::util::MacAddr;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::ProbeError;
use super::filter::filter;
use crate::link::{Link, Netns};

/// Bytes that may wait to be read: some thousand frames of the largest MTU.
const BUFFER: usize = 16 << 20;
/// The largest frame that is read whole, in bytes.
const FRAME_MAX: usize = 1 << 16;
/// How many frames are looked at before there is something else to do.
const AT_ONCE: usize = 4096;
/// `PACKET_OUTGOING` (`linux/if_packet.h`).
const OUTGOING: u8 = 4;

/// A socket that hears every device of a namespace, or one.
pub(super) struct Ear {
    socket: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
}

/// Where a frame was heard.
pub(super) struct Heard {
    /// The device's index.
    pub(super) device: u32,
    /// Whether it was on its way out.
    pub(super) outgoing: bool,
}

impl Ear {
    /// Hears all devices of the namespace; none is the caller's own.
    pub(super) fn open(netns: Option<&Netns>) -> Result<Self, ProbeError> {
        let open = || packet_socket().map_err(|source| ProbeError::Socket { netns: name(netns), source });
        let socket = match netns {
            Some(netns) => netns.run(open)??,
            None => open()?,
        };
        Self::of(socket).map_err(|source| ProbeError::Socket { netns: name(netns), source })
    }

    #[expect(deprecated, reason = "sound for a descriptor that is owned; the other way is unsafe code")]
    fn of(socket: OwnedFd) -> io::Result<Self> {
        let socket = AsyncFd::with_interest(socket, Interest::READABLE)?;
        Ok(Self { socket, buffer: vec![0; FRAME_MAX] })
    }

    /// Waits until there is something to hear.
    pub(super) async fn stirred(&self) {
        // A socket that cannot be waited for is one that the next read fails on.
        let _ = self.socket.readable().await;
    }

    /// All that was heard since.
    pub(super) fn listen(&mut self, mut hear: impl FnMut(&Heard, &[u8])) -> io::Result<()> {
        let Self { socket, buffer } = self;
        for _ in 0..AT_ONCE {
            let read = socket.try_io(Interest::READABLE, |socket| {
                recvfrom::<LinkAddr>(socket.as_raw_fd(), buffer).map_err(io::Error::from)
            });
            match read {
                Ok((length, from)) => {
                    let device = from.map_or(0, |from| from.ifindex());
                    let heard = Heard {
                        device: u32::try_from(device).unwrap_or(0),
                        outgoing: from.is_some_and(|from| from.pkttype() == OUTGOING),
                    };
                    hear(&heard, &buffer[..length]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // What a device that goes down, or away, leaves behind.
                Err(error)
                    if [Errno::EINTR, Errno::ENETDOWN, Errno::ENODEV, Errno::ENXIO]
                        .iter()
                        .any(|errno| error.raw_os_error() == Some(*errno as i32)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn name(netns: Option<&Netns>) -> Option<crate::NetnsName> {
    netns.map(|netns| netns.name().clone())
}

fn packet_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
    SockRef::from(&socket).attach_filter(&filter())?;
    // Without the privilege for so much it has the system's default.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER);
    Ok(socket)
}

/// A tenant's gateway: its device, to speak and hear by.
pub(super) struct Gateway {
    pub(super) ear: Ear,
    speaker: Box<dyn DataLinkSender>,
}

impl Gateway {
    /// Opens the device in the gateway's namespace.
    pub(super) fn open(netns: &Netns, link: &Link) -> Result<Self, ProbeError> {
        let failed = |source| ProbeError::Socket { netns: name(Some(netns)), source };
        let socket = netns.run(packet_socket)?.map_err(failed)?;
        let heard = socket.try_clone().map_err(failed)?;
        let device = NetworkInterface {
            name: link.name.clone(),
            description: String::new(),
            index: link.index,
            mac: link.mac.map(|mac| MacAddr::from(mac.octets())),
            ips: Vec::new(),
            flags: 0,
        };
        let config = Config {
            read_buffer_size: 0,
            write_timeout: Some(Duration::from_millis(50)),
            promiscuous: false,
            socket_fd: Some(socket.into_raw_fd()),
            ..Config::default()
        };
        match channel(&device, config).map_err(failed)? {
            Channel::Ethernet(speaker, _) => Ok(Self { ear: Ear::of(heard).map_err(failed)?, speaker }),
            _ => Err(failed(io::Error::from(Errno::EPROTONOSUPPORT))),
        }
    }

    /// Sends a frame as the gateway's own.
    pub(super) fn speak(&mut self, frame: &[u8]) -> io::Result<()> {
        self.speaker.send_to(frame, None).unwrap_or(Ok(()))
    }
}
