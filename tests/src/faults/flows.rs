//! What `OpenFlow` does behind the database's back: only traces see it, and what matches none of the traced packets shows
//! in the flow table alone.

use ovs_mesh::isolation::Check;

use super::{Fault, undone};

/// The one flow that a bridge of the mesh's has.
const NORMAL: &[(&str, &str)] =
    &[("h1", "of del-flows br-acme; of add-flow br-acme priority=0,actions=NORMAL")];

pub(super) const FAULTS: &[Fault] = &[
    undone("all flows are gone", &[Check::TraceMissing], &[("h1", "of del-flows br-acme")], NORMAL),
    undone(
        "a flow drops broadcasts",
        &[Check::TraceMissing],
        &[("h1", "of add-flow br-acme priority=100,arp,actions=drop")],
        NORMAL,
    ),
    undone(
        "a flow drops what comes from one peer",
        &[Check::TraceMissing],
        &[("h1", "of add-flow br-acme priority=100,in_port=$ACME_H2,actions=drop")],
        NORMAL,
    ),
    undone(
        "a flow drops what is for one address",
        &[Check::TraceMissing],
        &[(
            "h1",
            "of add-flow br-acme priority=100,dl_dst=$(ip netns exec $NS_ACME cat /sys/class/net/eth0/address),actions=drop",
        )],
        NORMAL,
    ),
    undone(
        "a flow sends what is for one container to another",
        &[Check::TraceMissing],
        &[(
            "h1",
            "of add-flow br-acme priority=100,dl_dst=$(ip netns exec $NS_ACME cat \
             /sys/class/net/eth0/address),actions=output:veth101.0",
        )],
        NORMAL,
    ),
    undone(
        "a flow sends to one host only",
        &[Check::TraceMissing],
        &[("h1", "of add-flow br-acme priority=100,in_port=veth101.0,actions=output:$ACME_H2")],
        NORMAL,
    ),
    undone(
        "a flow rewrites addresses",
        &[Check::TraceRewrite],
        &[("h1", "of add-flow br-acme priority=100,ip,actions=mod_dl_src:02:00:00:00:00:99,NORMAL")],
        NORMAL,
    ),
    undone(
        "a flow tags frames",
        &[Check::TraceRewrite],
        &[("h1", "of add-flow br-acme priority=100,in_port=veth101.0,actions=mod_vlan_vid:7,output:$ACME_H2")],
        NORMAL,
    ),
    undone(
        "a flow sends frames to a controller",
        &[Check::TraceUserspace],
        &[("h1", "of add-flow br-acme priority=100,ip,actions=controller:128,NORMAL")],
        NORMAL,
    ),
    undone(
        "a flow drops what is not traced",
        &[Check::TraceFlows],
        &[("h1", "of add-flow br-acme priority=100,tcp,actions=drop")],
        NORMAL,
    ),
    undone(
        "a flow sends what is not traced to a controller",
        &[Check::TraceFlows],
        &[("h1", "of add-flow br-acme priority=100,tcp,actions=CONTROLLER:65535,NORMAL")],
        NORMAL,
    ),
    undone(
        "a flow drops what one address sends",
        &[Check::TraceFlows],
        &[("h1", "of add-flow br-acme dl_type=0x0800,dl_src=02:00:00:00:00:99,actions=drop")],
        NORMAL,
    ),
    undone(
        "a flow sends IPv6 that is not traced by one tunnel only",
        &[Check::TraceFlows],
        &[("h1", "of add-flow br-acme priority=100,tcp6,actions=output:$ACME_H2")],
        NORMAL,
    ),
    undone(
        "a flow sends frames into another tenant by a patch port",
        &[Check::TraceLeak],
        &[(
            "h1",
            "vs add-port br-acme pa -- set Interface pa type=patch options:peer=pb -- add-port br-globex pb -- set Interface pb \
             type=patch options:peer=pa
             of add-flow br-acme priority=100,ip,actions=output:pa",
        )],
        &[(
            "h1",
            "vs del-port pa -- del-port pb
             of del-flows br-acme; of add-flow br-acme priority=0,actions=NORMAL",
        )],
    ),
    undone(
        "a flow sends frames by another tenant's key, through a tunnel that takes any",
        &[Check::TraceTunnel],
        &[(
            "h1",
            "vs set Interface $ACME_H2 options:key=flow
             of add-flow br-acme priority=100,ip,actions=set_tunnel:8,output:$ACME_H2",
        )],
        NORMAL,
    ),
    undone(
        "a flow sends frames back into the tunnels, which are not protected any more",
        &[Check::TraceTransit],
        &[(
            "h1",
            "vs set Port $ACME_H2 protected=false -- set Port $ACME_H3 protected=false
             of add-flow br-acme priority=100,in_port=$ACME_H2,actions=output:$ACME_H3",
        )],
        NORMAL,
    ),
];
