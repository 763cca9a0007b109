//! Checksum offload, as `ethtool -K DEV tx on|off` sets it, over ethtool's generic netlink family.
//!
//! On the userspace datapath a container's TCP only works with it off at the container's end of the veth: a veth hands
//! frames on without their checksums, and ovs-vswitchd sends them out as they are.

use std::collections::BTreeSet;

use neli::genl::NoUserHeader;

use super::genl::{
    Attribute, Attributes, Genl, GenlError, kind_of, malformed, message, nested, text_attribute, text_of,
};
use super::{DeviceRef, Netns};

// linux/ethtool_netlink.h
const FAMILY: &str = "ethtool";
const VERSION: u8 = 1;
const MSG_FEATURES_GET: u8 = 11;
const MSG_FEATURES_SET: u8 = 12;
const FEATURES_HEADER: u16 = 1;
const FEATURES_HW: u16 = 2;
const FEATURES_WANTED: u16 = 3;
const FEATURES_ACTIVE: u16 = 4;
const HEADER_DEV_NAME: u16 = 2;
const BITSET_BITS: u16 = 3;
const BITSET_BITS_BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;

/// What `ethtool -K DEV tx` stands for: every feature whose name begins so.
const TX_CHECKSUM: &str = "tx-checksum-";

/// Why a device's offloads could not be read or set.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} the offloads of {device}")]
pub struct OffloadError {
    /// What was attempted.
    pub step: &'static str,
    /// The device.
    pub device: DeviceRef,
    /// What went wrong on the way to the kernel or in it.
    #[source]
    pub source: GenlError,
}

/// A device's features by the kernel's names, as `ethtool -k` lists them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Features {
    /// Those that are on.
    pub active: BTreeSet<String>,
    /// Those that can be switched; `ethtool -k` marks all others `[fixed]`.
    pub changeable: BTreeSet<String>,
}

impl Features {
    /// Whether any transmit checksum is left to the device: what `ethtool -k` sums up as `tx-checksumming`.
    pub fn tx_checksum(&self) -> bool {
        self.active.iter().any(|name| name.starts_with(TX_CHECKSUM))
    }
}

/// The features of a device in that namespace, or in the calling thread's own.
pub async fn features(netns: Option<&Netns>, device: &str) -> Result<Features, OffloadError> {
    let name = device.to_owned();
    Genl::with(netns.cloned(), move |genl| {
        let family = genl.family(FAMILY)?;
        read(genl, family, &name)
    })
    .await
    .map_err(|source| failed("read", netns, device, source))
}

/// Switches transmit checksum offload of a device on or off; whether that was a change.
///
/// Features that the device cannot switch are left alone, as `ethtool` does. The kernel takes segmentation offload
/// down along with the checksums that it needs.
pub async fn set_tx_checksum(netns: Option<&Netns>, device: &str, on: bool) -> Result<bool, OffloadError> {
    let name = device.to_owned();
    Genl::with(netns.cloned(), move |genl| {
        let family = genl.family(FAMILY)?;
        let before = read(genl, family, &name)?;
        let wrong: Vec<&str> = before
            .changeable
            .iter()
            .filter(|feature| feature.starts_with(TX_CHECKSUM) && before.active.contains(*feature) != on)
            .map(String::as_str)
            .collect();
        if wrong.is_empty() {
            return Ok(false);
        }
        let request = message(MSG_FEATURES_SET, VERSION, NoUserHeader, set_request(&name, &wrong, on)?)?;
        genl.exchange(family, false, request)?;
        Ok(true)
    })
    .await
    .map_err(|source| failed("set", netns, device, source))
}

fn failed(step: &'static str, netns: Option<&Netns>, device: &str, source: GenlError) -> OffloadError {
    let netns = netns.map(|netns| netns.name().clone());
    OffloadError { step, device: DeviceRef { device: device.to_owned(), netns }, source }
}

fn read(genl: &mut Genl, family: u16, device: &str) -> Result<Features, GenlError> {
    let request = [header(device)?].into_iter().collect();
    let answers = genl.exchange(family, false, message(MSG_FEATURES_GET, VERSION, NoUserHeader, request)?)?;
    decode(answers.first().ok_or_else(|| malformed("an answer without features"))?.attrs())
}

fn header(device: &str) -> Result<Attribute, GenlError> {
    nested(FEATURES_HEADER, &[text_attribute(HEADER_DEV_NAME, device)?])
}

/// A bitset in its verbose form with a mask: the bits named are to change, a bit without the value flag to off.
fn set_request(device: &str, names: &[&str], on: bool) -> Result<Attributes, GenlError> {
    let bit = |name: &&str| {
        let mut parts = vec![text_attribute(BIT_NAME, name)?];
        if on {
            parts.push(super::genl::attribute(BIT_VALUE, &[])?);
        }
        nested(BITSET_BITS_BIT, &parts)
    };
    let bits = names.iter().map(bit).collect::<Result<Vec<_>, _>>()?;
    let wanted = nested(FEATURES_WANTED, &[nested(BITSET_BITS, &bits)?])?;
    Ok([header(device)?, wanted].into_iter().collect())
}

fn decode(attributes: &Attributes) -> Result<Features, GenlError> {
    let mut features = Features::default();
    for attribute in attributes.iter() {
        match kind_of(attribute) {
            FEATURES_HW => features.changeable = names(attribute)?,
            FEATURES_ACTIVE => features.active = names(attribute)?,
            _ => {}
        }
    }
    Ok(features)
}

/// The names in a verbose bitset without a mask: it lists the bits that are set and no others.
fn names(bitset: &Attribute) -> Result<BTreeSet<String>, GenlError> {
    let mut names = BTreeSet::new();
    let parts = bitset.get_attr_handle::<u16>().map_err(malformed)?;
    for bits in parts.iter().filter(|part| kind_of(part) == BITSET_BITS) {
        for bit in bits.get_attr_handle::<u16>().map_err(malformed)?.iter() {
            for part in bit.get_attr_handle::<u16>().map_err(malformed)?.iter() {
                if kind_of(part) == BIT_NAME {
                    names.insert(text_of(part)?);
                }
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::super::genl::attribute;
    use super::*;

    #[test]
    fn an_answer_is_read_by_names() {
        let bit = |name| {
            nested(
                BITSET_BITS_BIT,
                &[attribute(1, &[9, 0, 0, 0]).unwrap(), text_attribute(BIT_NAME, name).unwrap()],
            )
            .unwrap()
        };
        let set = |kind, names: &[&'static str]| {
            let bits: Vec<_> = names.iter().map(|name| bit(*name)).collect();
            nested(kind, &[attribute(1, &[]).unwrap(), nested(BITSET_BITS, &bits).unwrap()]).unwrap()
        };
        let answer = [
            header("eth0").unwrap(),
            set(FEATURES_HW, &["tx-checksum-ip-generic", "tx-gso-robust"]),
            set(FEATURES_ACTIVE, &["tx-checksum-ip-generic"]),
        ];
        let features = decode(&answer.into_iter().collect()).unwrap();
        assert!(features.tx_checksum());
        assert_eq!(features.changeable.len(), 2);
    }

    #[test]
    fn off_names_the_bits_and_sets_none() {
        let off = set_request("eth0", &["tx-checksum-sctp"], false).unwrap();
        let on = set_request("eth0", &["tx-checksum-sctp"], true).unwrap();
        let wanted =
            |request: &Attributes| request.iter().nth(1).map(|a| a.nla_payload().as_ref().to_vec()).unwrap();
        assert_eq!(wanted(&on).len(), wanted(&off).len() + 4, "a flag is an attribute header alone");
        assert_eq!(
            wanted(&off)[..12],
            [32, 0, 3, 128, 28, 0, 1, 128, 21, 0, 2, 0],
            "linux/netlink.h NLA_F_NESTED"
        );
    }
}
