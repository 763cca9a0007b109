//! Listens on a device and takes the tunnels' packets apart, to see what really goes over the underlay.

use std::io;
use std::time::{Duration, Instant};

use ovs_mesh::link::{DeviceRef, Netns, NetnsError};
pub use ovs_mesh::{GreFrame, parse_gre};
use pnet::datalink::{self, Channel, DataLinkReceiver};

/// How long one read waits before the deadline is looked at.
const SLICE: Duration = Duration::from_millis(20);
/// The largest frame that is read whole, in bytes.
const FRAME_MAX: usize = 1 << 16;

/// Why a device could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// There is no such device.
    #[error("there is no {device} to listen on")]
    NoDevice {
        /// The device.
        device: DeviceRef,
    },
    /// The packet socket failed (packet(7)); it takes `CAP_NET_RAW`.
    #[error("cannot listen on {device}")]
    Socket {
        /// The device.
        device: DeviceRef,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The device is none that carries Ethernet frames.
    #[error("{device} does not carry Ethernet frames")]
    NotEthernet {
        /// The device.
        device: DeviceRef,
    },
}

/// An open packet socket on one device. It holds what came since it was opened, up to the socket's buffer.
pub struct Capture {
    device: DeviceRef,
    frames: Box<dyn DataLinkReceiver>,
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture").field("device", &self.device).finish_non_exhaustive()
    }
}

impl Capture {
    /// Starts to listen, in both directions, to everything on the device.
    pub fn open(netns: &Netns, device: &str) -> Result<Self, CaptureError> {
        let name = || DeviceRef { device: device.to_owned(), netns: Some(netns.name().clone()) };
        netns.run(|| {
            let interface = datalink::interfaces().into_iter().find(|found| found.name == device);
            let interface = interface.ok_or_else(|| CaptureError::NoDevice { device: name() })?;
            let config = datalink::Config {
                read_timeout: Some(SLICE),
                read_buffer_size: FRAME_MAX,
                ..datalink::Config::default()
            };
            match datalink::channel(&interface, config) {
                Ok(Channel::Ethernet(_, frames)) => Ok(Self { device: name(), frames }),
                Ok(_) => Err(CaptureError::NotEthernet { device: name() }),
                Err(source) => Err(CaptureError::Socket { device: name(), source }),
            }
        })?
    }

    /// Reads until enough has come, or until the deadline; whatever came by then is the answer. Blocks.
    pub fn collect_until(
        &mut self,
        deadline: Instant,
        mut enough: impl FnMut(&[GreFrame]) -> bool,
    ) -> Result<Vec<GreFrame>, CaptureError> {
        let mut found = Vec::new();
        while Instant::now() < deadline {
            match self.frames.next() {
                Ok(frame) => {
                    let before = found.len();
                    found.extend(parse_gre(frame));
                    if found.len() > before && enough(&found) {
                        break;
                    }
                }
                Err(why) if matches!(why.kind(), io::ErrorKind::TimedOut | io::ErrorKind::Interrupted) => {}
                Err(source) => return Err(CaptureError::Socket { device: self.device.clone(), source }),
            }
        }
        Ok(found)
    }
}
