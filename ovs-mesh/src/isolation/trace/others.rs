//! Flows of others' bridges: what makes a tunnel that takes its key from flows send with a tenant's.

use std::collections::BTreeMap;

use super::Tracing;
use super::actions::long;
use crate::isolation::findings::{Check, Finding, Severity};
use crate::names::TenantName;
use crate::snapshot::Snapshot;
use crate::topology::Tenant;

/// The field of a packet that is a tunnel's key, by its names.
const FIELDS: [&str; 4] = ["tun_id", "tunnel_id", "NXM_NX_TUN_ID", "OXM_OF_TUNNEL_ID"];
/// Actions that put a number into a field.
const WRITES: [&str; 2] = ["set_field:", "load:"];
/// Actions that are for that field alone.
const SETS: [&str; 2] = ["set_tunnel:", "set_tunnel64:"];

impl Tracing<'_> {
    /// The others' bridges on which what flows say decides: they have a GRE tunnel that takes its key from them, to a host
    /// of the mesh or to wherever they say.
    pub(in crate::isolation) fn others<'s>(&self, rows: &'s Snapshot) -> Vec<&'s str> {
        let here = self.topology.host(&self.plan.host).map(crate::topology::Host::underlay_ip);
        let is_peer = |remote| self.topology.hosts().iter().any(|host| Some(host.underlay_ip()) == remote);
        let placed = rows.placed_interfaces().filter(|(bridge, port, interface)| {
            let is_ours = port.is_owned_by(&self.plan.mesh)
                || self.plan.bridges.iter().any(|own| own.name.as_str() == bridge.name);
            let remote = interface.effective_tuple().map(|tuple| tuple.remote);
            let leads = remote.is_some_and(|remote| remote.is_none() || (remote != here && is_peer(remote)));
            !is_ours && leads && interface.outgoing_key().is_none()
        });
        let mut names: Vec<&str> = placed.map(|(bridge, ..)| bridge.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What is wrong with the flows of such a bridge (`bridge/dump-flows`): those that write a key of a tenant of the host.
    pub(in crate::isolation) fn others_flows(&self, bridge: &str, reply: &str) -> Vec<Finding> {
        let carried = self.plan.bridges.iter().filter_map(|own| self.topology.tenant(&own.tenant));
        let tenants: BTreeMap<u32, &Tenant> = carried.map(|tenant| (tenant.key().get(), tenant)).collect();
        let mut found: BTreeMap<&TenantName, &str> = BTreeMap::new();
        for line in reply.lines().map(str::trim) {
            let Some((_, actions)) = line.split_once("actions=") else { continue };
            for tenant in keys(actions).filter_map(|key| tenants.get(&key)) {
                found.entry(tenant.name()).or_insert(line);
            }
        }
        let findings = found.into_iter().map(|(tenant, flow)| {
            let flow = flow.split_once("priority=").map_or(flow, |(_, flow)| flow);
            let reason = format!(
                "the flow `priority={flow}` sends with the tenant's key by a tunnel that goes to hosts of the mesh"
            );
            let remedy = format!("look at `ovs-ofctl dump-flows {bridge}`: its keys must be no tenant's");
            let (check, object) = (Check::TraceForeign, format!("bridge {bridge}"));
            Finding::new(check, Severity::Breach, &self.plan.host, &[tenant], object, reason, remedy)
        });
        findings.collect()
    }
}

/// The keys that a list of actions writes, wherever in it, cut to the 32 bits of the wire.
fn keys(actions: &str) -> impl Iterator<Item = u32> {
    actions.split([',', '(', ')']).map(str::trim).filter_map(|action| {
        let strip = |names: &[&str], text| names.iter().find_map(|name| str::strip_prefix(text, name));
        let number = strip(&SETS, action).or_else(|| {
            let (value, field) = action.split_once("->")?;
            let is_key = FIELDS.contains(&field.split('[').next().unwrap_or_default());
            strip(&WRITES, value).filter(|_| is_key)
        })?;
        let number = long(number.split('/').next().unwrap_or_default())?;
        u32::try_from(number & u64::from(u32::MAX)).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::super::DatapathPorts;
    use super::*;
    use crate::snapshot::StringMap;
    use crate::testing::hosts::{ByName, add_port, healthy_hosts};
    use crate::topology::Topology;

    #[test]
    fn a_flow_of_others_is_a_breach_if_it_writes_the_key_of_a_tenant_of_the_host() {
        let text = r#"
            mesh = { name = "m", underlay_mtu = 1500 }
            host = [{ name = "a", underlay_ip = "10.0.0.1" }, { name = "b", underlay_ip = "10.0.0.2" }]
            tenant = [
                { name = "acme", key = 7, subnet = "192.168.0.0/24" },
                { name = "globex", key = 8, subnet = "192.168.0.0/24" },
                { name = "far", key = 9, subnet = "192.168.0.0/24", hosts = ["b"] },
            ]
        "#;
        let topology: Topology = text.parse().unwrap();
        let ports = DatapathPorts::parse(include_str!("samples/dpif_show_redis1.txt")).unwrap();
        let tracing = Tracing::new(&topology, &"a".parse().unwrap(), &ports).unwrap();
        for (remote, key, expected) in [
            ("10.0.0.2", "flow", vec!["br-acme2"]),
            ("flow", "flow", vec!["br-acme2"]),
            ("10.0.0.2", "70", vec![]),
            ("10.0.0.1", "flow", vec![]),
            ("10.0.9.9", "flow", vec![]),
        ] {
            let mut host = healthy_hosts(&topology).swap_remove(0);
            // The mesh's own bridge is another check's, also where a stranger's tunnel is on it.
            add_port(&mut host, "br-globex", "stray", "gre", &[("remote_ip", "flow"), ("key", "flow")], &[]);
            let row = host.bridge("br-acme");
            row.name = "br-acme2".to_owned();
            row.external_ids = StringMap::new();
            add_port(&mut host, "br-acme2", "theirs", "gre", &[("remote_ip", remote), ("key", key)], &[]);
            assert_eq!(tracing.others(&host.rows), expected, "{remote} {key}");
        }
        let reply = "duration=0s, n_packets=0, n_bytes=0, priority=0,actions=NORMAL\n\
                     duration=0s, n_packets=0, n_bytes=0, priority=3,arp,actions=set_field:0x8->tun_id,NORMAL\n\
                     duration=0s, n_packets=0, n_bytes=0, priority=4,udp,actions=set_field:0x8->tun_id,NORMAL\n\
                     duration=0s, n_packets=0, n_bytes=0, priority=5,udp,actions=set_field:0x9->tun_id,NORMAL\n\
                     duration=0s, n_packets=0, n_bytes=0, priority=6,udp,actions=set_field:0x46->tun_id,NORMAL\n";
        let found = tracing.others_flows("br-x", reply);
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((one.check, one.severity), (Check::TraceForeign, Severity::Breach));
        assert_eq!(
            (one.tenants.as_slice(), one.object.as_str()),
            (&["globex".parse().unwrap()][..], "bridge br-x")
        );
        assert_eq!(
            one.reason,
            "the flow `priority=3,arp,actions=set_field:0x8->tun_id,NORMAL` sends with the tenant's key by a tunnel that goes to \
             hosts of the mesh"
        );
    }

    /// As OVS 3.1.0 wrote them.
    #[test]
    fn every_way_to_write_a_key_is_known() {
        for (actions, expected) in [
            ("set_field:0x7->tun_id,NORMAL", vec![7]),
            ("set_field:0x100000007->tun_id,NORMAL", vec![7]),
            ("load:0x7->NXM_NX_TUN_ID[],NORMAL", vec![7]),
            ("load:0x7->NXM_NX_TUN_ID[0..7],NORMAL", vec![7]),
            ("clone(set_field:0x7->tun_id,NORMAL)", vec![7]),
            ("write_actions(set_field:0x7->tun_id,output:1)", vec![7]),
            ("learn(table=1,load:0x7->NXM_NX_TUN_ID[],output:OXM_OF_IN_PORT[])", vec![7]),
            ("set_tunnel:0x7,output:1,set_tunnel64:0x8,output:2", vec![7, 8]),
            ("set_field:0x7/0xff->tunnel_id,NORMAL", vec![7]),
            ("move:NXM_NX_REG0[]->NXM_NX_TUN_ID[0..31],NORMAL", vec![]),
            ("learn(table=1,load:NXM_NX_REG0[]->NXM_NX_TUN_ID[0..31],output:OXM_OF_IN_PORT[])", vec![]),
            ("load:0x7->NXM_NX_REG0[],set_field:10.0.1.12->tun_dst,NORMAL", vec![]),
            ("NORMAL", vec![]),
            ("drop", vec![]),
        ] {
            assert_eq!(keys(actions).collect::<Vec<u32>>(), expected, "{actions}");
        }
    }
}
