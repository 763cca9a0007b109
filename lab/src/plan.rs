//! What a lab consists of, decided before anything of it is made. Pure.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use ovs_mesh::{Ctid, Datapath, HostName, MeshName, NameError, NetnsName, PortName, TenantName};
use serde::{Deserialize, Serialize};

/// Where the labs' state directories are, one a lab.
pub(crate) const BASE: &str = "/run/ovsmesh/lab";
/// The longest path of a Unix socket without its NUL, in bytes (unix(7)).
const SOCKET_MAX: usize = 107;
/// The longest file name that a daemon adds to its run directory.
const LONGEST_SOCKET: &str = "ovs-vswitchd.4194304.ctl";

/// A lab as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabSpec {
    /// The lab's name, which all of its namespaces begin with.
    pub name: MeshName,
    /// The underlay's MTU in bytes.
    pub underlay_mtu: u32,
    /// The hosts' datapath.
    pub datapath: Datapath,
    /// The hosts.
    pub hosts: Vec<LabHost>,
    /// The containers.
    pub containers: Vec<LabContainer>,
    /// The gateways. The lab does not make them; it lets commands run in them, and removes their namespaces.
    pub gateways: Vec<LabGateway>,
}

/// A host of a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabHost {
    /// Its name.
    pub name: HostName,
    /// Its address on the underlay, with the underlay's prefix length.
    pub underlay: IpNetwork,
}

/// A container of a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabContainer {
    /// Its id.
    pub ctid: Ctid,
    /// The host that it runs on.
    pub host: HostName,
    /// The tenant whose network it is in.
    pub tenant: TenantName,
    /// Its address there, with the tenant's prefix length.
    pub address: IpNetwork,
    /// The tenant's MTU in bytes.
    pub mtu: u32,
}

/// A tenant's gateway on a host, made by whoever programs the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabGateway {
    /// The host.
    pub host: HostName,
    /// The tenant.
    pub tenant: TenantName,
    /// The gateway's namespace.
    pub netns: NetnsName,
}

/// Why a lab cannot be as it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum LabPlanError {
    /// There is nothing to make.
    #[error("a lab needs a host; the topology names none")]
    NoHosts,
    /// Two hosts have one name.
    #[error("two hosts are named `{host}`")]
    DuplicateHost {
        /// The name.
        host: HostName,
    },
    /// Something is on a host that is none of the lab's.
    #[error("{what} is on host `{host}`, which the lab does not have")]
    UnknownHost {
        /// The container or gateway.
        what: String,
        /// The host that is missing.
        host: HostName,
    },
    /// A namespace's name would not be one.
    #[error("{what} cannot have a network namespace")]
    Netns {
        /// The host or container.
        what: String,
        /// What is wrong with the name.
        #[source]
        source: NameError,
    },
    /// Two parts of the lab would share a namespace.
    #[error("{first} and {second} would both be network namespace `{netns}`; rename one of them")]
    SameNetns {
        /// The namespace.
        netns: NetnsName,
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// Two containers on a host would share a device.
    #[error(
        "on host `{host}`, containers {first} and {second} would both have device `{device}`; renumber one of them"
    )]
    SameDevice {
        /// The host.
        host: HostName,
        /// The device.
        device: PortName,
        /// The one.
        first: Ctid,
        /// The other.
        second: Ctid,
    },
}

/// A lab as it is made: every name in it. As text, the lab's manifest (`lab.json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabPlan {
    /// The lab's name.
    pub name: MeshName,
    /// The namespace of the underlay's Linux bridge.
    pub underlay: NetnsName,
    /// The underlay's MTU in bytes.
    pub underlay_mtu: u32,
    /// The hosts' datapath.
    #[serde(default = "userspace")]
    pub datapath: Datapath,
    /// The hosts.
    pub hosts: Vec<HostPlan>,
    /// The containers.
    pub containers: Vec<ContainerPlan>,
    /// The gateways.
    pub gateways: Vec<GatewayPlan>,
}

/// A host: a namespace with its own OVS, and a veth pair to the underlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPlan {
    /// Its name.
    pub name: HostName,
    /// Its namespace.
    pub netns: NetnsName,
    /// The run directory of its OVS: `db.sock`, the control sockets, pid files and logs.
    pub dir: PathBuf,
    /// The end of its veth pair in the underlay's namespace; the other is its `eth0`.
    pub underlay_device: PortName,
    /// Its address on the underlay, which its bridge `br-phy` has.
    pub underlay_address: IpNetwork,
}

/// A container: a namespace, and a veth pair to its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerPlan {
    /// Its id.
    pub ctid: Ctid,
    /// The host that it runs on.
    pub host: HostName,
    /// The tenant whose network it is in.
    pub tenant: TenantName,
    /// Its namespace.
    pub netns: NetnsName,
    /// The end of its veth pair on the host, as OpenVZ names it; the other is its `eth0`.
    pub device: PortName,
    /// The address of its `eth0`.
    pub address: IpNetwork,
    /// The MTU of both ends in bytes.
    pub mtu: u32,
}

/// A gateway, which the lab takes down but does not make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayPlan {
    /// The host that it is on.
    pub host: HostName,
    /// The tenant that it belongs to.
    pub tenant: TenantName,
    /// Its namespace.
    pub netns: NetnsName,
}

/// Where in a lab a command can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    /// The namespace.
    pub netns: &'a NetnsName,
    /// The host, when it is a host itself.
    pub host: Option<&'a HostPlan>,
}

/// A text that names no place in the lab; lists those that there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("lab `{lab}` has no `{target}`; it has {}", possible.join(", "))]
pub struct NoSuchTarget {
    /// The lab.
    pub lab: MeshName,
    /// The text.
    pub target: String,
    /// What would be accepted.
    pub possible: Vec<String>,
}

/// What every lab had before there was a choice.
fn userspace() -> Datapath {
    Datapath::Netdev
}

impl LabPlan {
    /// Decides every name of the lab, and that no two parts of it share one.
    pub fn new(spec: LabSpec) -> Result<Self, LabPlanError> {
        let LabSpec { name, underlay_mtu, datapath, hosts, containers, gateways } = spec;
        if hosts.is_empty() {
            return Err(LabPlanError::NoHosts);
        }
        let state = state_dir(&name);
        let netns = |what: String, rest: String| -> Result<NetnsName, LabPlanError> {
            format!("{name}-{rest}").parse().map_err(|source| LabPlanError::Netns { what, source })
        };
        let mut plan = Self {
            underlay: netns("the underlay".to_owned(), "underlay".to_owned())?,
            underlay_mtu,
            datapath,
            hosts: Vec::new(),
            containers: Vec::new(),
            gateways: Vec::new(),
            name: name.clone(),
        };
        for (number, LabHost { name: host, underlay }) in hosts.into_iter().enumerate() {
            if plan.host(&host).is_some() {
                return Err(LabPlanError::DuplicateHost { host });
            }
            let what = format!("host `{host}`");
            let device = format!("port{number}").parse();
            plan.hosts.push(HostPlan {
                netns: netns(what.clone(), host.to_string())?,
                dir: run_dir(&state, &host, number),
                underlay_device: device.map_err(|source| LabPlanError::Netns { what, source })?,
                underlay_address: underlay,
                name: host,
            });
        }
        for LabContainer { ctid, host, tenant, address, mtu } in containers {
            let what = format!("container {ctid}");
            if plan.host(&host).is_none() {
                return Err(LabPlanError::UnknownHost { what, host });
            }
            plan.containers.push(ContainerPlan {
                netns: netns(what.clone(), format!("ct{ctid}"))?,
                device: veth_name(&ctid).map_err(|source| LabPlanError::Netns { what, source })?,
                ctid,
                host,
                tenant,
                address,
                mtu,
            });
        }
        for LabGateway { host, tenant, netns } in gateways {
            if plan.host(&host).is_none() {
                return Err(LabPlanError::UnknownHost { what: format!("the gateway of `{tenant}`"), host });
            }
            plan.gateways.push(GatewayPlan { host, tenant, netns });
        }
        plan.unique_netns()?;
        plan.unique_devices()?;
        Ok(plan)
    }

    /// The device with a host's underlay address, in every host's namespace.
    pub fn underlay_interface(&self) -> &'static str {
        match self.datapath {
            Datapath::Netdev => crate::phy::BRIDGE,
            Datapath::System => crate::phy::CARD,
        }
    }

    /// The Linux bridge that joins the hosts, in the namespace [`Self::underlay`].
    pub fn underlay_bridge(&self) -> &'static str {
        crate::up::UNDERLAY
    }

    /// The lab's state directory.
    pub fn dir(&self) -> PathBuf {
        state_dir(&self.name)
    }

    /// The directory of the containers' configurations, as `/etc/vz/conf`.
    pub fn vz_conf_dir(&self) -> PathBuf {
        self.dir().join("vz").join("conf")
    }

    /// A host by its name.
    pub fn host(&self, name: &HostName) -> Option<&HostPlan> {
        self.hosts.iter().find(|host| host.name == *name)
    }

    /// Every namespace of the lab, with what it is, in the order in which they are taken down.
    pub fn netns(&self) -> impl Iterator<Item = (&NetnsName, String)> {
        let containers = self.containers.iter().map(|c| (&c.netns, format!("container {}", c.ctid)));
        let gateways = self.gateways.iter().map(|g| (&g.netns, format!("gateway `{}/{}`", g.host, g.tenant)));
        let hosts = self.hosts.iter().map(|h| (&h.netns, format!("host `{}`", h.name)));
        containers.chain(gateways).chain(hosts).chain([(&self.underlay, "the underlay".to_owned())])
    }

    /// The place that a text names: a host, `HOST/TENANT` for a gateway, `CTID` or `ctCTID`, or `underlay`.
    pub fn target(&self, text: &str) -> Result<Target<'_>, NoSuchTarget> {
        if let Some(host) = self.hosts.iter().find(|host| host.name.as_str() == text) {
            return Ok(Target { netns: &host.netns, host: Some(host) });
        }
        let gateway = text.split_once('/').and_then(|(host, tenant)| {
            self.gateways
                .iter()
                .find(|gateway| gateway.host.as_str() == host && gateway.tenant.as_str() == tenant)
        });
        let ctid = text.parse::<Ctid>().or_else(|_| text.strip_prefix("ct").unwrap_or(text).parse()).ok();
        let container = ctid.and_then(|ctid| self.containers.iter().find(|container| container.ctid == ctid));
        gateway
            .map(|gateway| &gateway.netns)
            .or(container.map(|container| &container.netns))
            .or((text == "underlay").then_some(&self.underlay))
            .map(|netns| Target { netns, host: None })
            .ok_or_else(|| NoSuchTarget {
                lab: self.name.clone(),
                target: text.to_owned(),
                possible: self.targets(),
            })
    }

    fn targets(&self) -> Vec<String> {
        let hosts = self.hosts.iter().map(|host| host.name.to_string());
        let gateways = self.gateways.iter().map(|gateway| format!("{}/{}", gateway.host, gateway.tenant));
        let containers = self.containers.iter().map(|container| format!("ct{}", container.ctid));
        hosts.chain(gateways).chain(containers).chain(["underlay".to_owned()]).collect()
    }

    fn unique_netns(&self) -> Result<(), LabPlanError> {
        let mut seen: HashMap<&NetnsName, String> = HashMap::new();
        for (netns, what) in self.netns() {
            match seen.entry(netns) {
                Entry::Vacant(free) => drop(free.insert(what)),
                Entry::Occupied(taken) => {
                    let (first, second) = (taken.get().clone(), what);
                    return Err(LabPlanError::SameNetns { netns: netns.clone(), first, second });
                }
            }
        }
        Ok(())
    }

    fn unique_devices(&self) -> Result<(), LabPlanError> {
        let mut seen = HashMap::new();
        for container in &self.containers {
            if let Some(first) = seen.insert((&container.host, &container.device), &container.ctid) {
                return Err(LabPlanError::SameDevice {
                    host: container.host.clone(),
                    device: container.device.clone(),
                    first: first.clone(),
                    second: container.ctid.clone(),
                });
            }
        }
        Ok(())
    }
}

pub(crate) fn state_dir(name: &MeshName) -> PathBuf {
    Path::new(BASE).join(name.as_str())
}

/// `<state>/<host>`, or a short stand-in where the sockets in it could not be connected to.
fn run_dir(state: &Path, host: &HostName, number: usize) -> PathBuf {
    let dir = state.join(host.as_str());
    let longest = dir.join(LONGEST_SOCKET).as_os_str().len();
    if longest <= SOCKET_MAX { dir } else { state.join(format!("host{number}")) }
}

/// The host's end of a container's veth: `veth<CTID>.0` as vzctl(8) names it, and where that is too long for a device
/// or the id is a UUID, `veth` with eight hexadecimal digits of the id.
fn veth_name(ctid: &Ctid) -> Result<PortName, NameError> {
    match ctid.as_str().parse::<u32>() {
        Ok(number) => format!("veth{number}.0").parse().or_else(|_| format!("veth{number:08x}").parse()),
        Err(_) => format!("veth{}", ctid.as_str().split('-').next().unwrap_or_default()).parse(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(hosts: &[&str], containers: &[(&str, &str)]) -> LabSpec {
        let host = |(i, name): (usize, &&str)| LabHost {
            name: name.parse().unwrap(),
            underlay: format!("10.0.1.{}/24", i + 1).parse().unwrap(),
        };
        let container = |(ctid, host): &(&str, &str)| LabContainer {
            ctid: ctid.parse().unwrap(),
            host: host.parse().unwrap(),
            tenant: "acme".parse().unwrap(),
            address: "192.168.10.1/24".parse().unwrap(),
            mtu: 1458,
        };
        LabSpec {
            name: "demo".parse().unwrap(),
            underlay_mtu: 1500,
            datapath: Datapath::Netdev,
            hosts: hosts.iter().enumerate().map(host).collect(),
            containers: containers.iter().map(container).collect(),
            gateways: hosts
                .iter()
                .map(|name| LabGateway {
                    host: name.parse().unwrap(),
                    tenant: "acme".parse().unwrap(),
                    netns: format!("demo-{name}-acme").parse().unwrap(),
                })
                .collect(),
        }
    }

    #[test]
    fn the_manifest_says_all_and_reads_back() {
        let plan = LabPlan::new(spec(&["h1", "h2"], &[("101", "h1")])).unwrap();
        let names: Vec<_> = plan.netns().map(|(netns, _)| netns.to_string()).collect();
        assert_eq!(
            names,
            ["demo-ct101", "demo-h1-acme", "demo-h2-acme", "demo-h1", "demo-h2", "demo-underlay"]
        );
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<LabPlan>(&text).unwrap(), plan);
    }

    #[test]
    fn what_cannot_be_is_said() {
        for (spec, expected) in [
            (spec(&[], &[]), "a lab needs a host; the topology names none"),
            (spec(&["h1", "h1"], &[]), "two hosts are named `h1`"),
            (spec(&["h1"], &[("1", "h2")]), "container 1 is on host `h2`, which the lab does not have"),
            (
                spec(&["h1", "ct7"], &[("7", "h1")]),
                "container 7 and host `ct7` would both be network namespace `demo-ct7`; rename one of them",
            ),
            (
                spec(&["underlay"], &[]),
                "host `underlay` and the underlay would both be network namespace `demo-underlay`; rename one of them",
            ),
            (
                spec(
                    &["h1"],
                    &[
                        ("3fa85f64-5717-4562-b3fc-2c963f66afa6", "h1"),
                        ("3fa85f64-0000-4562-b3fc-2c963f66afa6", "h1"),
                    ],
                ),
                "on host `h1`, containers 3fa85f64-5717-4562-b3fc-2c963f66afa6 and \
                 3fa85f64-0000-4562-b3fc-2c963f66afa6 would both have device `veth3fa85f64`; renumber one of them",
            ),
        ] {
            assert_eq!(LabPlan::new(spec).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn devices_fit_the_kernel() {
        for (ctid, device) in [
            ("101", "veth101.0"),
            ("999999999", "veth999999999.0"),
            ("2147483647", "veth7fffffff"),
            ("3fa85f64-5717-4562-b3fc-2c963f66afa6", "veth3fa85f64"),
        ] {
            assert_eq!(veth_name(&ctid.parse().unwrap()).unwrap().as_str(), device);
        }
    }

    #[test]
    fn a_socket_in_a_run_directory_can_be_connected_to() {
        let long = "a-very-long-host-name-that-the-kernel-would-still-accept-as-one";
        let mut asked = spec(&[long], &[]);
        asked.name = "a-lab-with-a-name-of-32-bytes---".parse().unwrap();
        let plan = LabPlan::new(asked).unwrap();
        assert!(plan.hosts[0].dir.join(LONGEST_SOCKET).as_os_str().len() <= SOCKET_MAX);
        assert_eq!(
            LabPlan::new(spec(&["h1"], &[])).unwrap().hosts[0].dir,
            Path::new("/run/ovsmesh/lab/demo/h1")
        );
    }

    #[test]
    fn targets_are_found_or_listed() {
        let plan = LabPlan::new(spec(&["h1", "7"], &[("101", "h1"), ("7", "h1")])).unwrap();
        for (text, netns) in [
            ("h1", "demo-h1"),
            ("h1/acme", "demo-h1-acme"),
            ("101", "demo-ct101"),
            ("ct101", "demo-ct101"),
            ("7", "demo-7"),
            ("ct7", "demo-ct7"),
            ("underlay", "demo-underlay"),
        ] {
            assert_eq!(plan.target(text).unwrap().netns.as_str(), netns, "{text}");
        }
        assert_eq!(
            plan.target("h9").unwrap_err().to_string(),
            "lab `demo` has no `h9`; it has h1, 7, h1/acme, 7/acme, ct101, ct7, underlay"
        );
    }
}
