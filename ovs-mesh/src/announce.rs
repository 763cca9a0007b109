//! Tells a tenant's mesh where a MAC address is now, as hypervisors do after a migration.
//!
//! Every switch that has seen the address elsewhere would send there until its entry ages, 300 s later
//! (ovs-vswitchd.conf.db(5), `mac-aging-time`). A reverse ARP request (RFC 903) from the address, given to the bridge as
//! if the container had sent it, makes all of them learn, and asks nothing of anybody: there are no RARP servers left.

use pnet::packet::Packet;
use pnet::packet::arp::{ArpHardwareTypes, ArpOperation, MutableArpPacket};
use pnet::packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet::util::MacAddr;

use crate::attach::{AttachError, Attachment, Decision, attach};
use crate::link::Mac;
use crate::names::{BridgeName, PortName};
use crate::openflow::{Connection, OpenFlowError, Output};
use crate::ovsdb::{Condition, Operation, OperationResult, TransactError, Value};
use crate::plan::Plan;
use crate::switch::Switch;

/// Why an address was not announced.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// OVSDB does not say which port the device is.
    #[error(transparent)]
    Transact(#[from] TransactError),
    /// The device is no port that ovs-vswitchd has open.
    #[error("`{device}` is no open port of the switch")]
    NoPort {
        /// The device.
        device: PortName,
    },
    /// The bridge's socket is on the switch's own machine, and this is another.
    #[error("the sockets of bridge `{bridge}` are on the switch's own machine")]
    Remote {
        /// The bridge.
        bridge: BridgeName,
    },
    /// The bridge did not take the packet.
    #[error(transparent)]
    OpenFlow(#[from] OpenFlowError),
}

/// A bridge that is about to be told.
///
/// Open it before the interface is attached: ovs-vswitchd takes the connection along with the port, and the announcement
/// need not wait for it once more.
#[derive(Debug)]
struct Announcer<'a> {
    switch: &'a Switch,
    connection: Connection,
}

impl<'a> Announcer<'a> {
    /// Connects to the bridge of a tenant.
    async fn open(switch: &'a Switch, bridge: &BridgeName) -> Result<Self, AnnounceError> {
        let rundir = switch.rundir().ok_or_else(|| AnnounceError::Remote { bridge: bridge.clone() })?;
        let socket = rundir.join(format!("{bridge}.mgmt"));
        Ok(Self { switch, connection: Connection::open(&socket, switch.deadline()).await? })
    }

    /// Announces into the tenant's mesh that a MAC address is behind this device.
    async fn announce(mut self, device: &PortName, mac: Mac) -> Result<(), AnnounceError> {
        let select = Operation::Select {
            table: "Interface".to_owned(),
            r#where: vec![Condition::equal("name", Value::string(device.as_str()))],
            columns: Some(vec!["_uuid".to_owned(), "ofport".to_owned()]),
        };
        let rows = self.switch.transact(&[select]).await?.pop().and_then(OperationResult::into_rows);
        let port = rows.unwrap_or_default().first().and_then(|row| row.get("ofport")?.integer().ok());
        // OFPP_MAX is 0xff00 (OpenFlow 1.0, section 5.2.1); −1 is a port that could not be opened.
        let port = port.and_then(|number| u16::try_from(number).ok()).filter(|number| *number < 0xff00);
        let port = port.ok_or_else(|| AnnounceError::NoPort { device: device.clone() })?;
        Ok(self.connection.inject(port, Output::Normal, &reverse_arp(mac), self.switch.deadline()).await?)
    }
}

/// Attaches an interface and, where its MAC address is known, announces it; why it could not be announced is no failure:
/// what others know of the address ages.
pub async fn attach_and_announce(
    switch: &Switch,
    plan: &Plan,
    wanted: &Attachment,
) -> Result<(Decision, Option<AnnounceError>), AttachError> {
    let bridge = plan.bridge_of(&wanted.tenant).map(|bridge| &bridge.name);
    let (Some(mac), Some(bridge)) = (wanted.mac, bridge) else {
        return Ok((attach(switch, plan, wanted).await?, None));
    };
    let announcer = Announcer::open(switch, bridge).await;
    let decision = attach(switch, plan, wanted).await?;
    let told = match announcer {
        Ok(announcer) => announcer.announce(&wanted.device, mac).await,
        Err(error) => Err(error),
    };
    Ok((decision, told.err()))
}

/// The shortest frame that Ethernet has, without its checksum.
const FRAME: usize = 60;
const ETHERNET: usize = 14;
/// RFC 903: "request reverse".
const REQUEST_REVERSE: ArpOperation = ArpOperation(3);

/// A reverse ARP request of this address for itself, to everybody.
fn reverse_arp(mac: Mac) -> Vec<u8> {
    let address = MacAddr::from(mac.octets());
    let mut bytes = vec![0; FRAME];
    let (ethernet, rest) = bytes.split_at_mut(ETHERNET);
    if let Some(mut header) = MutableEthernetPacket::new(ethernet) {
        header.set_destination(MacAddr::broadcast());
        header.set_source(address);
        header.set_ethertype(EtherTypes::Rarp);
    }
    if let Some(mut request) = MutableArpPacket::new(rest) {
        request.set_hardware_type(ArpHardwareTypes::Ethernet);
        request.set_protocol_type(EtherTypes::Ipv4);
        request.set_hw_addr_len(6);
        request.set_proto_addr_len(4);
        request.set_operation(REQUEST_REVERSE);
        request.set_sender_hw_addr(address);
        request.set_target_hw_addr(address);
        debug_assert_eq!(request.packet().len(), FRAME - ETHERNET);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reverse_arp_request_is_that_of_the_rfc() {
        let frame = reverse_arp("02:00:00:00:ab:01".parse().unwrap());
        let text = frame.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        assert_eq!(
            text,
            format!(
                "{}{}",
                "ffffffffffff02000000ab018035\
                 000108000604000302000000ab010000000002000000ab0100000000",
                "00".repeat(18)
            )
        );
    }
}
