//! What `redis-ha notify` is told: plain data.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::Subject;
use crate::aws::{Endpoint, InterfaceId, Region, RouteTableId};

/// An address that follows a VRRP instance's, or a group's, master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vip {
    /// Whose master has it.
    pub subject: Subject,
    /// The address, as in keepalived's `virtual_ipaddress`.
    pub address: Ipv4Addr,
}

/// How the VPC is told who has the VIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VipMode {
    /// It is a secondary private address, of a subnet that all proxies have an interface in. Moves in about 1.2 s; it
    /// cannot leave its subnet, and so not its availability zone.
    Address {
        /// Whom it may be taken from; empty means from whoever has it. An address of somebody else's is then left alone,
        /// whatever the permissions allow.
        peers: Vec<InterfaceId>,
    },
    /// It is outside the VPC's own addresses, and each of these tables has a route to it. For proxies in different zones.
    Route {
        /// The route tables of all subnets that clients are in.
        tables: Vec<RouteTableId>,
    },
}

/// Which network interface of this instance the VIP is to lead to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum InterfaceChoice {
    /// The one whose subnet holds the VIP; where routes lead to it, the one that the instance was launched with.
    #[default]
    BySubnet,
    /// This one. The instance metadata is not asked for it, and what was done is confirmed by EC2's API alone.
    Id(InterfaceId),
}

/// All that a process needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifyOptions {
    /// keepalived's notify FIFO; made if it is not there.
    pub fifo: PathBuf,
    /// The VIPs. Those of one subject are moved together.
    pub vips: Vec<Vip>,
    /// How they are moved.
    pub mode: VipMode,
    /// Where to.
    pub interface: InterfaceChoice,
    /// The region; the instance metadata's, if it is not given.
    pub region: Option<Region>,
    /// EC2's endpoint; the region's own, if it is not given.
    pub ec2_endpoint: Option<Endpoint>,
    /// The instance metadata's endpoint.
    pub imds_endpoint: Endpoint,
    /// How long a move is tried before it is given up, until the next reconciliation.
    pub deadline: Duration,
    /// How often a master makes sure that it still has the VIP.
    pub reconcile: Duration,
    /// Whether keepalived puts the VIP on a device of this network namespace, so that the state can be read there: after a
    /// start, and where a line was lost.
    pub has_local_addresses: bool,
    /// The log daemon's socket.
    pub log_socket: PathBuf,
    /// Where systemd listens for the word that the FIFO is read (`NOTIFY_SOCKET`, `sd_notify`(3)).
    pub notify_socket: Option<PathBuf>,
}

impl NotifyOptions {
    /// The subjects, each once, with their addresses, in the order in which they were named.
    pub(crate) fn subjects(&self) -> Vec<(Subject, Vec<Ipv4Addr>)> {
        let mut subjects: Vec<(Subject, Vec<Ipv4Addr>)> = Vec::new();
        for Vip { subject, address } in &self.vips {
            match subjects.iter_mut().find(|(known, _)| known == subject) {
                Some((_, addresses)) => addresses.push(*address),
                None => subjects.push((subject.clone(), vec![*address])),
            }
        }
        subjects
    }
}
