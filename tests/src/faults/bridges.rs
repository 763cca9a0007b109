//! Bridges that are gone, another's, or told to do other things than to forward.

use ovs_mesh::isolation::Check;

use super::{Fault, synced, undone};

pub(super) const FAULTS: &[Fault] = &[
    undone(
        "a tenant's bridge is gone",
        &[Check::BridgeMissing],
        &[("h1", "vs del-br br-globex")],
        &[("h1", "ovsmesh sync; ovsmesh attach veth201.0 --tenant globex --ctid 201")],
    ),
    synced(
        "a bridge's row says another tenant",
        &[Check::BridgeOwner],
        &[("h1", "vs set Bridge br-acme external_ids:ovsmesh-tenant=globex")],
    ),
    undone(
        "a bridge is no mesh's any more",
        &[Check::BridgeOwner],
        &[("h1", "vs remove Bridge br-acme external_ids ovsmesh-mesh")],
        &[("h1", "vs set Bridge br-acme external_ids:ovsmesh-mesh=$MESH")],
    ),
    synced(
        "a bridge is left from an older topology, with its tunnels",
        &[Check::RowStale],
        &[(
            "h1",
            "vs add-br br-old -- set Bridge br-old datapath_type=$DP $(own oldco)
             vs add-port br-old old0 -- set Port old0 $(own oldco) -- set Interface old0 type=gre options:remote_ip=10.0.1.12 \
             options:local_ip=10.0.1.11 options:key=66",
        )],
    ),
    synced(
        "a bridge has another datapath",
        &[Check::BridgeDatapath],
        &[("h1", "vs --no-wait set Bridge br-acme datapath_type=$OTHER_DP; sleep 0.3")],
    ),
    synced(
        "a bridge waits for a controller's flows",
        &[Check::BridgeFailMode],
        &[("h1", "vs set-fail-mode br-acme secure")],
    ),
    undone(
        "a bridge has a controller",
        &[Check::BridgeController],
        &[("h1", "vs set-controller br-acme tcp:127.0.0.1:6653")],
        &[("h1", "vs del-controller br-acme")],
    ),
    undone(
        "a mirror copies a tenant's frames to a port",
        &[Check::BridgeMirror],
        &[(
            "h1",
            "vs --id=@out get Port veth101.0 -- --id=@m create Mirror name=m0 select_all=true output_port=@out -- set Bridge \
             br-acme mirrors=@m",
        )],
        &[("h1", "vs clear Bridge br-acme mirrors")],
    ),
    undone(
        "a mirror copies a tenant's frames to a VLAN",
        &[Check::BridgeMirror],
        &[(
            "h1",
            "vs --id=@m create Mirror name=m0 select_all=true output_vlan=99 -- set Bridge br-acme mirrors=@m",
        )],
        &[("h1", "vs clear Bridge br-acme mirrors")],
    ),
    undone(
        "sFlow samples a tenant's frames",
        &[Check::BridgeSampling, Check::TraceUserspace],
        &[(
            "h1",
            r#"vs --id=@s create sFlow agent=lo target=\"127.0.0.1:6343\" sampling=64 -- set Bridge br-acme sflow=@s"#,
        )],
        &[("h1", "vs clear Bridge br-acme sflow")],
    ),
    undone(
        "NetFlow counts a tenant's flows",
        &[Check::BridgeSampling],
        &[("h1", r#"vs --id=@n create NetFlow targets=\"127.0.0.1:2055\" -- set Bridge br-acme netflow=@n"#)],
        &[("h1", "vs clear Bridge br-acme netflow")],
    ),
    undone(
        "IPFIX counts a tenant's flows",
        &[Check::BridgeSampling],
        &[(
            "h1",
            r#"vs --id=@i create IPFIX targets=\"127.0.0.1:4739\" sampling=64 obs_domain_id=1 obs_point_id=1 -- set Bridge br-acme ipfix=@i"#,
        )],
        &[("h1", "vs clear Bridge br-acme ipfix")],
    ),
    undone(
        "a spanning tree is on",
        &[Check::BridgeSpanningTree],
        &[("h1", "vs set Bridge br-acme stp_enable=true")],
        &[("h1", "vs set Bridge br-acme stp_enable=false")],
    ),
    undone(
        "a rapid spanning tree is on",
        &[Check::BridgeSpanningTree],
        &[("h1", "vs set Bridge br-acme rstp_enable=true")],
        &[("h1", "vs set Bridge br-acme rstp_enable=false")],
    ),
    undone(
        "multicast is snooped",
        &[Check::BridgeForwarding],
        &[("h1", "vs set Bridge br-acme mcast_snooping_enable=true")],
        &[("h1", "vs set Bridge br-acme mcast_snooping_enable=false")],
    ),
    undone(
        "a bridge floods instead of learning",
        &[Check::BridgeForwarding],
        &[("h1", "vs set Bridge br-acme flood_vlans=0")],
        &[("h1", "vs clear Bridge br-acme flood_vlans")],
    ),
    undone(
        "a bridge's flows are limited",
        &[Check::BridgeForwarding],
        &[("h1", "vs --id=@t create Flow_Table flow_limit=1000 -- set Bridge br-acme flow_tables:0=@t")],
        &[("h1", "vs clear Bridge br-acme flow_tables")],
    ),
];
