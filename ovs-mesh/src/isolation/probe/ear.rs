//! The packet sockets (packet(7)) of a probe: the system's side of it.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket, sockopt,
};
use pnet::datalink::{Channel, Config, DataLinkSender, NetworkInterface, channel};
use pnet::util::MacAddr;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::ProbeError;
use super::filter::filter;
use crate::link::{Link, Netns};

/// Bytes that may wait to be read, for as long as ovs-vswitchd takes for a frame: some thousand frames of the largest MTU.
const BUFFER: usize = 64 << 20;
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
    /// How many frames the kernel had dropped when it queued the one that was read last (`SO_RXQ_OVFL`, socket(7)).
    dropped: u32,
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
        Ok(Self { socket, buffer: vec![0; FRAME_MAX], dropped: 0 })
    }

    /// Waits until there is something to hear.
    pub(super) async fn stirred(&self) {
        // A socket that cannot be waited for is one that the next read fails on.
        let _ = self.socket.readable().await;
    }

    /// All that was heard since; how many frames there was no room for meanwhile.
    pub(super) fn listen(&mut self, mut hear: impl FnMut(&Heard, &[u8])) -> io::Result<u32> {
        let Self { socket, buffer, dropped } = self;
        let before = *dropped;
        let mut control = nix::cmsg_space!(u32);
        for _ in 0..AT_ONCE {
            let read = socket.try_io(Interest::READABLE, |socket| {
                let mut into = [IoSliceMut::new(buffer)];
                let flags = MsgFlags::empty();
                let read = recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut into, Some(&mut control), flags)?;
                let device = read.address.map_or(0, |from| from.ifindex());
                let heard = Heard {
                    device: u32::try_from(device).unwrap_or(0),
                    outgoing: read.address.is_some_and(|from| from.pkttype() == OUTGOING),
                };
                let count = read.cmsgs()?.find_map(|message| match message {
                    ControlMessageOwned::RxqOvfl(count) => Some(count),
                    _ => None,
                });
                Ok((read.bytes, heard, count))
            });
            match read {
                Ok((length, heard, count)) => {
                    *dropped = count.unwrap_or(*dropped);
                    hear(&heard, &buffer[..length]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What a device that goes down, or away, leaves behind.
                Err(error)
                    if [Errno::EINTR, Errno::ENETDOWN, Errno::ENODEV, Errno::ENXIO]
                        .iter()
                        .any(|errno| error.raw_os_error() == Some(*errno as i32)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(dropped.wrapping_sub(before))
    }
}

fn name(netns: Option<&Netns>) -> Option<crate::NetnsName> {
    netns.map(|netns| netns.name().clone())
}

fn packet_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
    SockRef::from(&socket).attach_filter(&filter())?;
    setsockopt(&socket, sockopt::RxqOvfl, &1)?;
    // Without the privilege for so much it has as much as the system gives to anybody.
    if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
        let _ = setsockopt(&socket, sockopt::RcvBuf, &BUFFER);
    }
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

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    /// The same for a socket of any kind that counts.
    #[tokio::test]
    async fn what_there_is_no_room_for_is_counted() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_nonblocking(true).unwrap();
        setsockopt(&receiver, sockopt::RxqOvfl, &1).unwrap();
        setsockopt(&receiver, sockopt::RcvBuf, &4096).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        let mut ear = Ear::of(receiver.into()).unwrap();
        sender.send(&[7; 100]).unwrap();
        ear.stirred().await;
        let mut heard = Vec::new();
        assert_eq!(ear.listen(|_, frame| heard.push(frame.len())).unwrap(), 0);
        assert_eq!(heard, [100]);
        (0..200).for_each(|_| assert_eq!(sender.send(&[7; 100]).unwrap(), 100));
        ear.stirred().await;
        let (mut read, mut lost) = (0, ear.listen(|_, _| {}).unwrap());
        assert_eq!(lost, 0, "the count comes with the next frame");
        sender.send(&[7; 100]).unwrap();
        ear.stirred().await;
        lost += ear.listen(|_, _| read += 1).unwrap();
        assert_eq!(read, 1);
        assert!((100..200).contains(&lost), "{lost}");
    }
}
