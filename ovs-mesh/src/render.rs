//! A plan as text, and as the `ovs-vsctl` commands that would do the same. Pure.

use std::fmt;

use crate::diff::{bridge_config, owned_ids, tunnel_options};
use crate::plan::{Bridge, GATEWAY_ID, GatewayPort, PEER_ID, Plan, Tunnel};
use crate::snapshot::StringMap;

/// The plan as a human reads it: a block a bridge, a line a port.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mesh, host, bridges } = self;
        writeln!(
            f,
            "mesh {mesh}, host {host}: {} bridges, {} tunnels",
            bridges.len(),
            self.tunnels().count()
        )?;
        for Bridge { name, tenant, datapath, mtu, tunnels, gateway, containers } in bridges {
            writeln!(f, "\nbridge {name}: tenant {tenant}, datapath {}, mtu {mtu}", datapath.as_str())?;
            for Tunnel { port, peer, tuple } in tunnels {
                writeln!(f, "  tunnel  {port}  to {peer}, {tuple}")?;
            }
            if let Some(GatewayPort { port, netns, address }) = gateway {
                writeln!(f, "  gateway {port}  {address} in netns {netns}")?;
            }
            for ctid in containers {
                writeln!(f, "  container {ctid} attaches when it starts")?;
            }
        }
        Ok(())
    }
}

/// The plan as commands, for reading and for comparison: see [`Plan::ovs_vsctl`].
#[derive(Debug, Clone, Copy)]
pub struct OvsVsctl<'a>(&'a Plan);

impl Plan {
    /// The `ovs-vsctl` and `ip` commands that would make the plan's rows on an empty switch. Each bridge is one
    /// command, so one transaction; `--may-exist` is left out, so that somebody else's rows are not taken over.
    pub fn ovs_vsctl(&self) -> OvsVsctl<'_> {
        OvsVsctl(self)
    }
}

impl fmt::Display for OvsVsctl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.0;
        writeln!(f, "# mesh {}, host {}", plan.mesh, plan.host)?;
        for bridge in &plan.bridges {
            let Bridge { name, tenant, datapath, mtu, tunnels, gateway, containers: _ } = bridge;
            if let Some(GatewayPort { port, netns, address }) = gateway {
                writeln!(f, "ip netns add {netns}")?;
                writeln!(f, "ip link add {port} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {netns}")?;
                writeln!(f, "ip -n {netns} address add {address} dev eth0")?;
                writeln!(f, "ip -n {netns} link set lo up")?;
                writeln!(f, "ip -n {netns} link set eth0 up")?;
                writeln!(f, "ip link set {port} up")?;
            }
            let ids = owned_ids(plan, tenant);
            write!(f, "ovs-vsctl --timeout=10 add-br {name}")?;
            write!(f, " -- set Bridge {name} datapath_type={} fail_mode=standalone", datapath.as_str())?;
            columns(f, "external_ids", &ids)?;
            columns(f, "other_config", &bridge_config())?;
            write!(f, " -- set Interface {name} mtu_request={mtu}")?;
            for Tunnel { port, peer, tuple } in tunnels {
                write!(f, " \\\n  -- add-port {name} {port} -- set Port {port} protected=true")?;
                columns(f, "external_ids", &ids)?;
                write!(f, " external_ids:{PEER_ID}={peer} -- set Interface {port} type={}", tuple.kind)?;
                columns(f, "options", &tunnel_options(tuple))?;
            }
            if let Some(GatewayPort { port, netns, address: _ }) = gateway {
                write!(f, " \\\n  -- add-port {name} {port} -- set Port {port}")?;
                columns(f, "external_ids", &ids)?;
                write!(f, " external_ids:{GATEWAY_ID}={netns}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// ` column:key="value"` for each pair; values are quoted where ovs-vsctl(8) would read a `:` as its own.
fn columns(f: &mut fmt::Formatter<'_>, column: &str, map: &StringMap) -> fmt::Result {
    for (key, value) in map {
        if value.contains(':') {
            write!(f, " {column}:{key}='\"{value}\"'")?;
        } else {
            write!(f, " {column}:{key}={value}")?;
        }
    }
    Ok(())
}
