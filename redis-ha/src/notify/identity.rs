//! Which network interface of this instance the VIP is to lead to.

use std::net::Ipv4Addr;

use super::VipMode;
use crate::aws::{InterfaceId, MetadataInterface};

/// This machine, as EC2 knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The interface.
    pub interface: InterfaceId,
    /// Its MAC address, where the instance metadata is to confirm what was done.
    pub mac: Option<String>,
}

/// No interface of this instance can have the VIP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoInterface {
    /// It is in none of their subnets.
    #[error("{address} is in no subnet of this instance's interfaces ({subnets})")]
    Subnet {
        /// The VIP.
        address: Ipv4Addr,
        /// The subnets that there are.
        subnets: String,
    },
    /// The metadata lists none.
    #[error("this instance has no network interface")]
    None,
}

/// The interface that some addresses are to lead to, among all of this instance, which are by their numbers.
pub fn select<'a>(
    interfaces: &'a [MetadataInterface],
    addresses: &[Ipv4Addr],
    mode: &VipMode,
) -> Result<&'a MetadataInterface, NoInterface> {
    let first = interfaces.first().ok_or(NoInterface::None)?;
    let holds = |interface: &MetadataInterface, address: &Ipv4Addr| interface.cidr.contains(*address);
    match mode {
        VipMode::Route { .. } => Ok(first),
        VipMode::Address { .. } => {
            let fits =
                |interface: &&MetadataInterface| addresses.iter().all(|address| holds(interface, address));
            interfaces.iter().find(fits).ok_or_else(|| {
                // The one that is in no subnet, or else one that is not in the others'.
                let nowhere = addresses.iter().find(|at| !interfaces.iter().any(|one| holds(one, at)));
                let apart = addresses.iter().find(|at| !holds(first, at));
                let subnets =
                    interfaces.iter().map(|interface| interface.cidr.to_string()).collect::<Vec<_>>();
                NoInterface::Subnet {
                    address: *nowhere.or(apart).unwrap_or(&Ipv4Addr::UNSPECIFIED),
                    subnets: subnets.join(", "),
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(device: u32, cidr: &str) -> MetadataInterface {
        MetadataInterface {
            mac: format!("02:00:00:00:00:0{device}"),
            device,
            id: format!("eni-0000000{device}").parse().unwrap(),
            cidr: cidr.parse().unwrap(),
        }
    }

    #[test]
    fn the_subnet_that_holds_the_vip_decides() {
        let interfaces = [interface(0, "10.0.0.0/24"), interface(1, "10.0.1.0/24")];
        let (address, route) = (VipMode::Address { peers: vec![] }, VipMode::Route { tables: vec![] });
        let vip = |last| Ipv4Addr::new(10, 0, 1, last);
        let device = |mode, addresses: &[Ipv4Addr]| {
            select(&interfaces, addresses, mode).map(|interface| interface.device)
        };
        assert_eq!(device(&address, &[vip(100), vip(101)]), Ok(1));
        assert_eq!(device(&route, &[[172, 30, 0, 1].into()]), Ok(0));
        let error = device(&address, &[vip(100), [172, 30, 0, 1].into()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "172.30.0.1 is in no subnet of this instance's interfaces (10.0.0.0/24, 10.0.1.0/24)"
        );
        assert!(device(&address, &[vip(100), [10, 0, 0, 100].into()]).is_err());
        assert_eq!(select(&[], &[vip(100)], &route), Err(NoInterface::None));
    }
}
