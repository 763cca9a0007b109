//! The kernel's own Open vSwitch datapaths and their ports, over the generic netlink families `ovs_datapath` and
//! `ovs_vport` (linux/openvswitch.h): what `ovs-dpctl show` prints, without its daemons.

use super::genl::{Attributes, Genl, GenlError, kind_of, malformed, message, text_of, u32_of};
use super::{DeviceRef, Netns};

// linux/openvswitch.h
const DATAPATH_FAMILY: &str = "ovs_datapath";
const DATAPATH_VERSION: u8 = 2;
const DP_CMD_GET: u8 = 3;
const DP_ATTR_NAME: u16 = 1;
const VPORT_FAMILY: &str = "ovs_vport";
const VPORT_VERSION: u8 = 1;
const VPORT_CMD_GET: u8 = 3;
const VPORT_ATTR_PORT_NO: u16 = 1;
const VPORT_ATTR_TYPE: u16 = 2;
const VPORT_ATTR_NAME: u16 = 3;

/// Why the kernel's datapaths could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The kernel has no Open vSwitch; the userspace datapath works without.
    #[error("the kernel module openvswitch is not loaded")]
    NotLoaded {
        /// The family that is missing.
        #[source]
        source: GenlError,
    },
    /// The exchange failed.
    #[error("cannot list the kernel's {}", device.as_ref().map_or("datapaths".to_owned(), |d| format!("ports of {d}")))]
    Exchange {
        /// The datapath whose ports were asked for, if any.
        device: Option<DeviceRef>,
        /// What went wrong on the way to the kernel or in it.
        #[source]
        source: GenlError,
    },
}

/// A kernel datapath; ovs-vswitchd makes one for all bridges, `ovs-system`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datapath {
    /// The index of its device.
    pub index: i32,
    /// Its name.
    pub name: String,
}

/// A port of a kernel datapath.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vport {
    /// Its number in the datapath (not the `OpenFlow` one).
    pub number: u32,
    /// Its name; all GRE tunnels share `gre_sys`.
    pub name: String,
    /// What it is.
    pub kind: VportKind,
}

/// The kinds of a kernel datapath's ports (`enum ovs_vport_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VportKind {
    /// A network device.
    Netdev,
    /// The datapath's own device, or another of its kind.
    Internal,
    /// GRE tunnels.
    Gre,
    /// VXLAN tunnels.
    Vxlan,
    /// Geneve tunnels.
    Geneve,
    /// A kind that is newer than this list.
    Unknown(u32),
}

impl From<u32> for VportKind {
    fn from(number: u32) -> Self {
        match number {
            1 => Self::Netdev,
            2 => Self::Internal,
            3 => Self::Gre,
            4 => Self::Vxlan,
            5 => Self::Geneve,
            other => Self::Unknown(other),
        }
    }
}

/// The kernel's datapaths in that namespace, or in the calling thread's own.
pub async fn datapaths(netns: Option<&Netns>) -> Result<Vec<Datapath>, DatapathError> {
    Genl::with(netns.cloned(), |genl| {
        let family = genl.family(DATAPATH_FAMILY)?;
        let request = message(DP_CMD_GET, DATAPATH_VERSION, 0_i32, Attributes::new())?;
        let answers = genl.exchange(family, true, request)?;
        answers.iter().map(|answer| datapath(*answer.header(), answer.attrs())).collect()
    })
    .await
    .map_err(|source| failed(None, source))
}

/// The ports of one of them.
pub async fn vports(netns: Option<&Netns>, of: &Datapath) -> Result<Vec<Vport>, DatapathError> {
    let index = of.index;
    Genl::with(netns.cloned(), move |genl| {
        let family = genl.family(VPORT_FAMILY)?;
        let request = message(VPORT_CMD_GET, VPORT_VERSION, index, Attributes::new())?;
        let answers = genl.exchange(family, true, request)?;
        answers.iter().map(|answer| vport(answer.attrs())).collect()
    })
    .await
    .map_err(|source| {
        let netns = netns.map(|netns| netns.name().clone());
        failed(Some(DeviceRef { device: of.name.clone(), netns }), source)
    })
}

fn failed(device: Option<DeviceRef>, source: GenlError) -> DatapathError {
    match source {
        source @ GenlError::NoFamily { .. } => DatapathError::NotLoaded { source },
        source => DatapathError::Exchange { device, source },
    }
}

fn datapath(index: i32, attributes: &Attributes) -> Result<Datapath, GenlError> {
    let name = attributes.iter().find(|attribute| kind_of(attribute) == DP_ATTR_NAME);
    Ok(Datapath { index, name: text_of(name.ok_or_else(|| malformed("a datapath without a name"))?)? })
}

fn vport(attributes: &Attributes) -> Result<Vport, GenlError> {
    let find = |kind| attributes.iter().find(|attribute| kind_of(attribute) == kind);
    let number = find(VPORT_ATTR_PORT_NO).ok_or_else(|| malformed("a port without a number"))?;
    let name = find(VPORT_ATTR_NAME).ok_or_else(|| malformed("a port without a name"))?;
    let kind = find(VPORT_ATTR_TYPE).ok_or_else(|| malformed("a port without a type"))?;
    Ok(Vport { number: u32_of(number)?, name: text_of(name)?, kind: u32_of(kind)?.into() })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use neli::genl::Genlmsghdr;
    use neli::{FromBytesWithInput, ToBytes};

    use super::*;

    fn parse(bytes: &[u8]) -> Genlmsghdr<u8, u16, i32> {
        Genlmsghdr::from_bytes_with_input(&mut Cursor::new(bytes), bytes.len()).unwrap()
    }

    #[test]
    fn a_request_is_two_headers() {
        let request = message(DP_CMD_GET, DATAPATH_VERSION, 7_i32, Attributes::new()).unwrap();
        let mut bytes = Cursor::new(Vec::new());
        request.to_bytes(&mut bytes).unwrap();
        assert_eq!(bytes.into_inner(), [3, 2, 0, 0, 7, 0, 0, 0]);
    }

    #[test]
    fn a_datapath_has_its_index_in_the_header() {
        let answer = parse(b"\x01\x02\x00\x00\x05\x00\x00\x00\x0f\x00\x01\x00ovs-system\x00\x00");
        let found = datapath(*answer.header(), answer.attrs()).unwrap();
        assert_eq!(found, Datapath { index: 5, name: "ovs-system".to_owned() });
    }

    #[test]
    fn a_port_has_number_type_and_name() {
        let answer = parse(
            b"\x01\x01\x00\x00\x05\x00\x00\x00\
              \x08\x00\x01\x00\x02\x00\x00\x00\
              \x08\x00\x02\x00\x03\x00\x00\x00\
              \x0c\x00\x03\x00gre_sys\x00",
        );
        let found = vport(answer.attrs()).unwrap();
        assert_eq!(found, Vport { number: 2, name: "gre_sys".to_owned(), kind: VportKind::Gre });
    }

    #[test]
    fn a_port_without_a_name_is_an_error() {
        let answer = parse(b"\x01\x01\x00\x00\x05\x00\x00\x00\x08\x00\x01\x00\x02\x00\x00\x00");
        assert!(matches!(vport(answer.attrs()), Err(GenlError::Malformed { .. })));
    }
}
