//! From a draft to a service: what only shows when the values are seen together, and beside the topology.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::hash::Hash;
use std::ops::Range;
use std::path::Path;

use ipnetwork::IpNetwork;
use ovs_mesh::HostName;
use ovs_mesh::file::{At, Fault};
use ovs_mesh::{Tenant, TenantName, Topology};

use super::draft::{AwsDraft, ClusterDraft, Draft, ProxiesDraft};
use super::{Aws, AwsVip, Cluster, Config, Proxies};

pub(super) fn check(
    draft: Draft,
    faults: Vec<Fault>,
    topology: Topology,
    dir: &Path,
) -> Result<Config, Vec<Fault>> {
    let Draft { mesh: _, secret_file, proxies, clusters, host_memory } = draft;
    let mut checker = Checker { faults, topology: &topology, dir };
    let proxies = proxies.and_then(|proxies| checker.proxies(proxies));
    let clusters = checker.clusters(clusters, proxies.as_ref());
    let mut memory = BTreeMap::new();
    for (host, bytes) in host_memory {
        checker.is_host(&host);
        memory.insert(host.value, bytes);
    }
    let faults = checker.faults;
    match (proxies, secret_file) {
        (Some(proxies), Some(secret_file)) if faults.is_empty() => {
            let secret_file = dir.join(secret_file.value);
            Ok(Config { topology, proxies, clusters, secret_file, host_memory: memory })
        }
        _ => Err(faults),
    }
}

struct Checker<'a> {
    faults: Vec<Fault>,
    topology: &'a Topology,
    dir: &'a Path,
}

impl Checker<'_> {
    fn fault(&mut self, span: &Range<usize>, message: impl Into<String>, accepted: impl Into<String>) {
        self.faults.push(Fault::new(span.clone(), message, accepted));
    }

    fn is_host(&mut self, host: &At<HostName>) -> bool {
        let known = self.topology.host(&host.value).is_some();
        if !known {
            let hosts: Vec<&str> = self.topology.hosts().iter().map(|host| host.name().as_str()).collect();
            let accepted = format!("accepted are {}", hosts.join(", "));
            self.fault(&host.span, format!("the topology has no host `{}`", host.value), accepted);
        }
        known
    }

    /// Notes the first use of each value; a second one is a fault that shows both.
    fn unique<'v, T: Eq + Hash + Display + 'v>(
        &mut self,
        values: impl IntoIterator<Item = &'v At<T>>,
        what: &str,
    ) {
        let mut seen: HashMap<&T, &Range<usize>> = HashMap::new();
        for at in values {
            match seen.entry(&at.value) {
                Entry::Vacant(free) => drop(free.insert(&at.span)),
                Entry::Occupied(first) => self.faults.push(
                    Fault::new(
                        at.span.clone(),
                        format!("{what} `{}` is used twice", at.value),
                        "use it once",
                    )
                    .with_earlier((*first.get()).clone(), "first used here"),
                ),
            }
        }
    }

    fn proxies(&mut self, draft: ProxiesDraft) -> Option<Proxies> {
        let ProxiesDraft { hosts, interface, vips, router_id, profile, aws } = draft;
        if let Some(hosts) = &hosts {
            self.unique(&hosts.value, "host");
            for host in &hosts.value {
                self.is_host(host);
            }
            if hosts.value.len() != 2 {
                self.fault(&hosts.span, "a proxy pair has two hosts", "name two, the preferred one first");
            }
        }
        if let Some(interface) = &interface
            && let Err(error) = interface.value.parse::<ovs_mesh::PortName>()
        {
            self.fault(&interface.span, error.problem(), error.accepted());
        }
        if let Some(vips) = &vips {
            self.unique(&vips.value, "VIP");
            if vips.value.is_empty() {
                self.fault(&vips.span, "the proxies have no VIP", "name at least one, as \"10.0.1.100/24\"");
            }
            for vip in &vips.value {
                let underlay = self.topology.hosts().first().map(ovs_mesh::Host::underlay_ip);
                if underlay.is_some_and(|ip| ip.is_ipv4() != vip.value.is_ipv4()) {
                    let message = format!("VIP {} is of another family than the underlay", vip.value.ip());
                    self.fault(&vip.span, message, "VRRP carries addresses of the family that it runs over");
                }
                let taken = self.topology.hosts().iter().find(|host| host.underlay_ip() == vip.value.ip());
                if let Some(host) = taken.map(|host| host.name().clone()) {
                    let message = format!("VIP {} is the underlay address of host `{host}`", vip.value.ip());
                    self.fault(&vip.span, message, "an address that no host has");
                }
            }
        }
        let hosts: Vec<HostName> = hosts?.value.into_iter().map(|at| at.value).collect();
        let vips: Vec<IpNetwork> = vips?.value.into_iter().map(|at| at.value).collect();
        let aws = match aws {
            Some(aws) => Some(self.aws(aws, &hosts, &vips)?),
            None => None,
        };
        let (interface, router_id) = (interface?.value, router_id?.value);
        Some(Proxies { hosts, interface, vips, router_id, profile, aws })
    }

    fn aws(&mut self, draft: AwsDraft, hosts: &[HostName], vips: &[IpNetwork]) -> Option<Aws> {
        let AwsDraft { at, is_route, tables, region, interfaces, reserve } = draft;
        if vips.iter().any(IpNetwork::is_ipv6) {
            self.fault(
                &at.span,
                "redis-ha notify moves IPv4 addresses only",
                "VIPs of IPv4, or no [proxy.aws]",
            );
        }
        let mut of_proxies = BTreeMap::new();
        for (host, interface) in interfaces {
            if !hosts.contains(&host.value) {
                let accepted = format!(
                    "accepted are {}",
                    hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ")
                );
                self.fault(&host.span, format!("`{}` is no proxy", host.value), accepted);
            }
            of_proxies.insert(host.value, interface);
        }
        let vip = match (is_route, tables) {
            (false, None) => AwsVip::Address,
            (false, Some(tables)) => {
                self.fault(&tables.span, "route tables go with mode = \"route\"", "leave them out");
                return None;
            }
            (true, Some(tables)) if !tables.value.is_empty() => {
                AwsVip::Route { tables: tables.value.into_iter().map(|at| at.value).collect() }
            }
            (true, tables) => {
                let span = tables.map_or(at.span, |tables| tables.span);
                self.fault(&span, "mode = \"route\" needs the tables", "route_tables = [\"rtb-…\"]");
                return None;
            }
        };
        if let Some(reserve) = reserve.as_ref().filter(|_| is_route) {
            self.fault(&reserve.span, "nobody keeps a VIP that routes lead to", "leave `reserve` out");
        }
        let (region, reserve) = (region.map(|at| at.value), reserve.map(|at| at.value));
        Some(Aws { vip, region, interfaces: of_proxies, reserve })
    }

    fn clusters(&mut self, drafts: Vec<ClusterDraft>, proxies: Option<&Proxies>) -> Vec<Cluster> {
        self.unique(drafts.iter().filter_map(|draft| draft.tenant.as_ref()), "tenant");
        self.unique(drafts.iter().filter_map(|draft| draft.listen.as_ref()), "address");
        drafts.into_iter().filter_map(|draft| self.cluster(draft, proxies)).collect()
    }

    fn cluster(&mut self, draft: ClusterDraft, proxies: Option<&Proxies>) -> Option<Cluster> {
        let ClusterDraft {
            tenant,
            nodes,
            listen,
            max_memory,
            eviction,
            persistence,
            password_file,
            profile,
            tls,
        } = draft;
        if let (Some(listen), Some(proxies)) = (&listen, proxies) {
            let vips: Vec<String> = proxies.vips.iter().map(|vip| vip.ip().to_string()).collect();
            if !vips.contains(&listen.value.ip().to_string()) {
                let message = format!("the proxies do not have {}", listen.value.ip());
                self.fault(&listen.span, message, format!("one of the VIPs: {}", vips.join(", ")));
            }
            if listen.value.port() == 0 {
                self.fault(&listen.span, "nobody can connect to port 0", "a port from 1 to 65535");
            }
        }
        let name = tenant?;
        let Some(tenant) = self.topology.tenant(&name.value) else {
            let tenants: Vec<&str> =
                self.topology.tenants().iter().map(|tenant| tenant.name().as_str()).collect();
            let accepted = format!("accepted are {}", tenants.join(", "));
            self.fault(&name.span, format!("the topology has no tenant `{}`", name.value), accepted);
            return None;
        };
        let proxy_hosts = proxies.map_or(&[][..], |proxies| &proxies.hosts);
        // Of a host that is none it is told already.
        for host in proxy_hosts.iter().filter(|host| self.topology.host(host).is_some()) {
            if !tenant.gateways().iter().any(|gateway| gateway.host() == host) {
                self.fault(
                    &name.span,
                    format!("tenant `{}` has no gateway on proxy `{host}`", name.value),
                    format!("add it to the tenant's gateways in the topology, as {{ {host} = \"…\" }}"),
                );
            }
        }
        let nodes = self.nodes(&name, nodes, tenant);
        Some(Cluster {
            tenant: name.value,
            nodes,
            listen: listen?.value,
            max_memory: max_memory?.value,
            eviction,
            persistence,
            password_file: self.dir.join(password_file?.value),
            profile,
            tls: tls.map(|tls| self.dir.join(tls.value)),
        })
    }

    /// The nodes of a cluster: those that are named, or all containers of the tenant.
    fn nodes(
        &mut self,
        name: &At<TenantName>,
        named: Option<At<Vec<At<ovs_mesh::Ctid>>>>,
        tenant: &Tenant,
    ) -> Vec<ovs_mesh::Ctid> {
        let all = || {
            tenant
                .containers()
                .iter()
                .map(|container| At { value: container.ctid().clone(), span: name.span.clone() })
        };
        let At { value: nodes, span } =
            named.unwrap_or_else(|| At { value: all().collect(), span: name.span.clone() });
        self.unique(&nodes, "node");
        let mut hosts: HashMap<_, &At<ovs_mesh::Ctid>> = HashMap::new();
        for node in &nodes {
            let Some(found) = tenant.containers().iter().find(|container| *container.ctid() == node.value)
            else {
                let all: Vec<String> = all().map(|at| at.value.to_string()).collect();
                let message = format!("tenant `{}` has no container {}", name.value, node.value);
                self.fault(&node.span, message, format!("accepted are {}", all.join(", ")));
                continue;
            };
            let first = *hosts.entry(found.host()).or_insert(node);
            if first.value != node.value {
                let message =
                    format!("nodes {} and {} are both on host `{}`", first.value, node.value, found.host());
                self.fault(
                    &node.span,
                    message,
                    "nodes on hosts of their own: a host that dies takes one node",
                );
            }
        }
        if nodes.len() < 3 || nodes.len().is_multiple_of(2) {
            let message = format!("a cluster of {} nodes has no majority that survives one", nodes.len());
            self.fault(&span, message, "three nodes, or five, or another odd number");
        }
        nodes.into_iter().map(|at| at.value).collect()
    }
}
