//! One step at EC2: see where a VIP leads, or make it lead here.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use super::identity::{Identity, NoInterface, select};
use super::{InterfaceChoice, NotifyOptions, Outcome, Step, VipMode};
use crate::aws::{
    AwsEnvironment, CredentialChain, Ec2, Ec2Error, Endpoint, Imds, ImdsError, InterfaceId, NetworkInterface,
    Region, RouteTable, RouteTableId, Severity,
};

/// A step failed.
#[derive(Debug, thiserror::Error)]
pub enum VpcError {
    /// EC2 did not do what was asked.
    #[error(transparent)]
    Ec2(#[from] Ec2Error),
    /// The instance metadata could not be asked.
    #[error(transparent)]
    Imds(#[from] ImdsError),
    /// There is nowhere to lead the VIP to.
    #[error(transparent)]
    NoInterface(#[from] NoInterface),
    /// The VIP is an interface's own address, which no call can move.
    #[error("{address} is the primary address of {holder}")]
    Primary {
        /// The VIP.
        address: Ipv4Addr,
        /// Whose it is.
        holder: InterfaceId,
    },
    /// The VIP is with somebody who is no proxy.
    #[error("{address} belongs to {holder}, which is none of the interfaces that it may be taken from")]
    Foreign {
        /// The VIP.
        address: Ipv4Addr,
        /// Whose it is.
        holder: InterfaceId,
    },
    /// Nothing that a route leads here would be received.
    #[error("{interface} drops what is not for its own addresses (its source/destination check is on)")]
    SourceDestCheck {
        /// The interface.
        interface: InterfaceId,
    },
    /// There is no route to replace.
    #[error("{table} has no route to {destination}")]
    NoRoute {
        /// The table.
        table: RouteTableId,
        /// The destination.
        destination: String,
    },
}

impl VpcError {
    /// Whether it is of use to try again.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Ec2(error) => error.severity(),
            Self::Imds(_) => Severity::Transient,
            Self::NoInterface(_)
            | Self::Primary { .. }
            | Self::Foreign { .. }
            | Self::SourceDestCheck { .. }
            | Self::NoRoute { .. } => Severity::Permanent,
        }
    }

    /// What to do about it, where that can be said.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Ec2(Ec2Error::Refused { code, .. }) if code == "UnauthorizedOperation" => {
                Some("the role of this instance does not allow it; docs/aws.md lists what it must")
            }
            Self::Ec2(Ec2Error::Credentials(_)) => {
                Some("give the instance a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
            }
            Self::NoInterface(NoInterface::Subnet { .. }) => Some(
                "a secondary address cannot leave its subnet: for proxies in different zones use --route-table",
            ),
            Self::Imds(_) => Some("is this an EC2 instance? otherwise give --interface and --region"),
            Self::SourceDestCheck { .. } => Some("switch it off for both proxies' interfaces"),
            Self::NoRoute { .. } => Some("create the route once, to either proxy; it is then replaced"),
            Self::Foreign { .. } | Self::Primary { .. } => Some("is the VIP right?"),
            Self::Ec2(_) | Self::NoInterface(NoInterface::None) => None,
        }
    }
}

/// What is to be made to lead here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taking {
    /// Secondary addresses.
    Addresses(Vec<Ipv4Addr>),
    /// Routes.
    Routes(Vec<(RouteTableId, Ipv4Addr)>),
}

/// This machine's place in its VPC, with what was found out about it.
pub struct Vpc {
    imds: Imds,
    /// Made once the region is known.
    ec2: Option<Ec2>,
    region: Option<Region>,
    endpoint: Option<Endpoint>,
    environment: AwsEnvironment,
    choice: InterfaceChoice,
    mode: VipMode,
    /// By the first of the addresses that are moved together.
    identities: HashMap<Ipv4Addr, Identity>,
    /// Interfaces that are known to receive what routes lead to them.
    receiving: Vec<InterfaceId>,
}

impl Vpc {
    /// Asks nothing yet.
    pub fn new(options: &NotifyOptions, environment: AwsEnvironment) -> Self {
        Self {
            imds: Imds::new(options.imds_endpoint.clone()),
            ec2: None,
            region: options.region.clone(),
            endpoint: options.ec2_endpoint.clone(),
            environment,
            choice: options.interface.clone(),
            mode: options.mode.clone(),
            identities: HashMap::new(),
            receiving: Vec::new(),
        }
    }

    /// Finds out all that is needed for these addresses, so that a move need not.
    pub fn warm_up(&mut self, addresses: &[Ipv4Addr]) -> Result<(), VpcError> {
        let (ec2, imds) = self.services()?;
        ec2.warm_up(imds)?;
        self.look(addresses)?;
        Ok(())
    }

    /// The interface that addresses are made to lead to, as far as it is known.
    pub fn interface_of(&self, addresses: &[Ipv4Addr]) -> Option<&InterfaceId> {
        self.identities.get(addresses.first()?).map(|identity| &identity.interface)
    }

    /// Carries out a step. `may_move` is asked immediately before each call that moves something; if it says no, that call
    /// and all after it are not made.
    pub fn carry_out(
        &mut self,
        addresses: &[Ipv4Addr],
        step: &Step<Taking>,
        may_move: &dyn Fn() -> bool,
    ) -> Result<Outcome<Taking>, VpcError> {
        let result = match step {
            Step::Look => self.look(addresses),
            Step::Take(what) => self.take(addresses, what, may_move).map(|()| Outcome::Taken),
        };
        if let Err(VpcError::Ec2(error)) = &result {
            let is_gone = error.code().is_some_and(|code| code.starts_with("InvalidNetworkInterfaceID"));
            if is_gone || matches!(error, Ec2Error::Unknown { .. }) {
                // The interface was detached, say: who this is must be found out anew.
                self.identities.clear();
            }
        }
        result
    }

    fn services(&mut self) -> Result<(&mut Ec2, &mut Imds), VpcError> {
        if self.ec2.is_none() {
            let region = self.region.clone().map_or_else(|| self.imds.region(), Ok)?;
            let chain = CredentialChain::new(self.environment.clone());
            self.ec2 = Some(Ec2::new(region, self.endpoint.clone(), chain));
        }
        // It was just made.
        let Some(ec2) = self.ec2.as_mut() else { return Err(NoInterface::None.into()) };
        Ok((ec2, &mut self.imds))
    }

    fn identity(&mut self, addresses: &[Ipv4Addr]) -> Result<Identity, VpcError> {
        let key = addresses.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
        if let Some(identity) = self.identities.get(&key) {
            return Ok(identity.clone());
        }
        let identity = match &self.choice {
            InterfaceChoice::Id(id) => Identity { interface: id.clone(), mac: None },
            InterfaceChoice::BySubnet => {
                let interfaces = self.imds.interfaces()?;
                let found = select(&interfaces, addresses, &self.mode)?;
                Identity { interface: found.id.clone(), mac: Some(found.mac.clone()) }
            }
        };
        Ok(self.identities.entry(key).insert_entry(identity).get().clone())
    }

    fn look(&mut self, addresses: &[Ipv4Addr]) -> Result<Outcome<Taking>, VpcError> {
        let identity = self.identity(addresses)?;
        match self.mode.clone() {
            VipMode::Address { peers } => self.look_at_addresses(addresses, &identity, &peers),
            VipMode::Route { tables } => self.look_at_routes(addresses, &identity, &tables),
        }
    }

    fn look_at_addresses(
        &mut self,
        addresses: &[Ipv4Addr],
        identity: &Identity,
        peers: &[InterfaceId],
    ) -> Result<Outcome<Taking>, VpcError> {
        let Identity { interface, mac } = identity;
        let (ec2, imds) = self.services()?;
        let (own, others) = ec2.interfaces(imds, interface, peers)?;
        let missing: Vec<Ipv4Addr> =
            addresses.iter().copied().filter(|address| !own.holds(*address)).collect();
        let is_with_peer = |address: &Ipv4Addr| others.iter().any(|peer| peer.holds(*address));
        if !peers.is_empty() && !missing.iter().all(is_with_peer) {
            // Nobody's, or somebody else's.
            refuse_others(&missing, &ec2.holders(imds, &own.subnet, &missing)?, peers)?;
        }
        refuse_primary(&missing, &others)?;
        if !missing.is_empty() {
            return Ok(Outcome::Elsewhere(Taking::Addresses(missing)));
        }
        let Some(mac) = mac else { return Ok(Outcome::Held) };
        let carried_out = self.imds.addresses(mac)?;
        let is_held = addresses.iter().all(|address| carried_out.contains(address));
        Ok(if is_held { Outcome::Held } else { Outcome::Unsettled })
    }

    fn look_at_routes(
        &mut self,
        addresses: &[Ipv4Addr],
        identity: &Identity,
        tables: &[RouteTableId],
    ) -> Result<Outcome<Taking>, VpcError> {
        let interface = &identity.interface;
        let is_receiving = self.receiving.contains(interface);
        let (ec2, imds) = self.services()?;
        if !is_receiving && ec2.interfaces(imds, interface, &[])?.0.source_dest_check {
            return Err(VpcError::SourceDestCheck { interface: interface.clone() });
        }
        let missing = unled(addresses, interface, &ec2.route_tables(imds, tables)?)?;
        if !is_receiving {
            self.receiving.push(interface.clone());
        }
        let is_held = missing.is_empty();
        Ok(if is_held { Outcome::Held } else { Outcome::Elsewhere(Taking::Routes(missing)) })
    }

    fn take(
        &mut self,
        addresses: &[Ipv4Addr],
        what: &Taking,
        may_move: &dyn Fn() -> bool,
    ) -> Result<(), VpcError> {
        let Identity { interface, .. } = self.identity(addresses)?;
        let (ec2, imds) = self.services()?;
        match what {
            Taking::Addresses(missing) => ec2.assign(imds, &interface, missing, may_move)?,
            Taking::Routes(missing) => {
                for (table, address) in missing {
                    ec2.replace_route(imds, table, &destination(*address), &interface, may_move)?;
                }
            }
        }
        Ok(())
    }
}

fn destination(address: Ipv4Addr) -> String {
    format!("{address}/32")
}

/// An error where an address is an interface's own.
fn refuse_primary(addresses: &[Ipv4Addr], holders: &[NetworkInterface]) -> Result<(), VpcError> {
    for holder in holders {
        let mut own = holder.addresses.iter().filter(|held| held.is_primary).map(|held| held.address);
        if let Some(address) = own.find(|address| addresses.contains(address)) {
            return Err(VpcError::Primary { address, holder: holder.id.clone() });
        }
    }
    Ok(())
}

/// An error where an address is with somebody whom it may not be taken from.
fn refuse_others(
    addresses: &[Ipv4Addr],
    holders: &[NetworkInterface],
    peers: &[InterfaceId],
) -> Result<(), VpcError> {
    refuse_primary(addresses, holders)?;
    for holder in holders.iter().filter(|holder| !peers.contains(&holder.id)) {
        if let Some(address) = addresses.iter().copied().find(|address| holder.holds(*address)) {
            return Err(VpcError::Foreign { address, holder: holder.id.clone() });
        }
    }
    Ok(())
}

/// Which routes do not lead to an interface; an error where there is none.
fn unled(
    addresses: &[Ipv4Addr],
    interface: &InterfaceId,
    tables: &[RouteTable],
) -> Result<Vec<(RouteTableId, Ipv4Addr)>, VpcError> {
    let mut missing = Vec::new();
    for table in tables {
        for address in addresses {
            let destination = destination(*address);
            let route = table.routes.iter().find(|route| route.destination == destination);
            let Some(route) = route else {
                return Err(VpcError::NoRoute { table: table.id.clone(), destination });
            };
            if !route.is_active || route.interface.as_ref() != Some(interface) {
                missing.push((table.id.clone(), *address));
            }
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::{PrivateAddress, Route};

    const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 100);

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
        text.parse().unwrap()
    }

    fn holder(interface: &str, is_primary: bool) -> NetworkInterface {
        NetworkInterface {
            id: id(interface),
            subnet: id("subnet-00000001"),
            addresses: vec![PrivateAddress { address: VIP, is_primary }],
            source_dest_check: true,
        }
    }

    #[test]
    fn an_address_is_taken_from_a_peer_alone() {
        let peers = [id("eni-00000002")];
        let refuse =
            |interface: &str, is_primary| refuse_others(&[VIP], &[holder(interface, is_primary)], &peers);
        assert!(refuse_others(&[VIP], &[], &peers).is_ok());
        assert!(refuse("eni-00000002", false).is_ok());
        let foreign = refuse("eni-00000003", false).unwrap_err();
        assert_eq!(
            foreign.to_string(),
            "10.0.1.100 belongs to eni-00000003, which is none of the interfaces that it may be taken from"
        );
        let primary = refuse("eni-00000002", true).unwrap_err();
        assert_eq!(primary.to_string(), "10.0.1.100 is the primary address of eni-00000002");
    }

    #[test]
    fn a_route_that_leads_nowhere_is_replaced() {
        let ours: InterfaceId = id("eni-00000001");
        let look = |interface: &str, is_active| {
            let route =
                Route { destination: "10.0.1.100/32".to_owned(), interface: Some(id(interface)), is_active };
            unled(&[VIP], &ours, &[RouteTable { id: id("rtb-00000001"), routes: vec![route] }]).unwrap().len()
        };
        assert_eq!(look("eni-00000001", true), 0);
        assert_eq!(look("eni-00000001", false), 1);
        assert_eq!(look("eni-00000002", true), 1);
        let none = unled(&[VIP], &ours, &[RouteTable { id: id("rtb-00000001"), routes: vec![] }]);
        assert_eq!(none.unwrap_err().to_string(), "rtb-00000001 has no route to 10.0.1.100/32");
    }
}
