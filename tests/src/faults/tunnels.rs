//! Tunnels that are not the mesh's, or not as it has them.

use ovs_mesh::isolation::Check;

use super::{Fault, synced, undone};

pub(super) const FAULTS: &[Fault] = &[
    synced(
        "two tenants' keys are swapped",
        &[Check::TunnelKeySwapped, Check::TraceTunnel],
        &[("h1", "vs set Interface $ACME_H2 options:key=8 -- set Interface $GLOBEX_H2 options:key=7")],
    ),
    synced(
        "two tenants' tunnels have one key",
        &[Check::TunnelDuplicate],
        &[("h1", "vs set Interface $ACME_H2 options:key=8")],
    ),
    synced("a key is no tenant's", &[Check::TunnelKey], &[("h1", "vs set Interface $ACME_H2 options:key=777")]),
    synced(
        "a key is cut to another tenant's",
        &[Check::TunnelKeyTruncated],
        &[("h1", "vs set Interface $ACME_H2 options:key=4294967304")],
    ),
    synced(
        "a key is read as octal",
        &[Check::TunnelKeyTruncated],
        &[("h1", "vs set Interface $ACME_H2 options:key=010")],
    ),
    synced("a key is no number", &[Check::TunnelKeyTruncated], &[(
        "h1",
        "vs set Interface $ACME_H2 options:key=acme",
    )]),
    synced("a tunnel has no key", &[Check::TunnelKey], &[("h1", "vs remove Interface $ACME_H2 options key")]),
    synced("a tunnel takes any key", &[Check::TunnelKey], &[("h1", "vs set Interface $ACME_H2 options:key=flow")]),
    synced(
        "a tunnel sends with another tenant's key",
        &[Check::TunnelKeySwapped, Check::TraceTunnel],
        &[("h1", "vs set Interface $ACME_H2 options:in_key=7 options:out_key=8")],
    ),
    synced(
        "both ends of a tunnel have another tenant's key",
        &[Check::PeerCrossing],
        &[
            ("h1", "vs del-port $GLOBEX_H2 -- set Interface $ACME_H2 options:key=8"),
            ("h2", "vs del-port $ACME_H1"),
        ],
    ),
    synced(
        "`protected` is cleared",
        &[Check::TunnelProtected, Check::TraceTransit],
        &[("h1", "vs set Port $ACME_H2 protected=false")],
    ),
    synced("a tunnel is missing", &[Check::TunnelMissing, Check::TraceMissing], &[("h1", "vs del-port $ACME_H2")]),
    synced("a tunnel goes one way only", &[Check::PeerSymmetry], &[("h2", "vs del-port $GLOBEX_H1")]),
    synced(
        "a tunnel too many to a host of the tenant's",
        &[Check::TunnelExtra],
        &[(
            "h1",
            "vs add-port br-acme extra -- set Port extra protected=true $(own acme) external_ids:ovsmesh-peer=h2 -- set Interface \
             extra type=gre options:remote_ip=10.0.1.12 options:local_ip=10.0.1.11 options:key=70",
        )],
    ),
    synced(
        "a tunnel goes to a stranger",
        &[Check::TunnelStranger],
        &[("h1", "vs set Interface $ACME_H2 options:remote_ip=10.0.1.99")],
    ),
    synced(
        "a tunnel goes to a host that does not carry the tenant",
        &[Check::TunnelStranger, Check::TraceTunnel],
        &[("h1", "vs set Interface $INITECH_H2 options:remote_ip=10.0.1.13")],
    ),
    synced(
        "a tunnel goes to another host of the tenant's",
        &[Check::TunnelRemote],
        &[("h1", "vs set Interface $ACME_H2 options:remote_ip=10.0.1.13")],
    ),
    synced(
        "a tunnel's far end is whatever flows say",
        &[Check::TunnelRemote],
        &[("h1", "vs set Interface $ACME_H2 options:remote_ip=flow")],
    ),
    synced(
        "a tunnel is of another type",
        &[Check::TunnelType],
        &[("h1", "vs set Interface $ACME_H2 type=vxlan")],
    ),
    synced(
        "a tunnel starts from any address",
        &[Check::TunnelLocal],
        &[("h1", "vs remove Interface $ACME_H2 options local_ip")],
    ),
    synced(
        "a tunnel asks for checksums",
        &[Check::TunnelOptions],
        &[("h1", "vs set Interface $ACME_H2 options:csum=true")],
    ),
    undone(
        "another agent's tunnel has a tenant's tuple",
        &[Check::TunnelDuplicate],
        &[(
            "h1",
            "vs add-br br-other -- set Bridge br-other datapath_type=$DP external_ids:agent=other
             vs add-port br-other theirs -- set Interface theirs type=gre options:remote_ip=10.0.1.12 \
             options:local_ip=10.0.1.11 options:key=7",
        )],
        &[("h1", "vs del-br br-other")],
    ),
    undone(
        "another agent's tunnel has taken a tenant's packets",
        &[Check::TunnelListed],
        &[(
            "h1",
            "vs del-port $ACME_H2
             vs add-br br-other -- set Bridge br-other datapath_type=$DP external_ids:agent=other
             vs add-port br-other theirs -- set Interface theirs type=gre options:remote_ip=10.0.1.12 \
             options:local_ip=10.0.1.11 options:key=7
             vs add-port br-acme $ACME_H2 -- set Port $ACME_H2 protected=true $(own acme) external_ids:ovsmesh-peer=h2 -- \
             set Interface $ACME_H2 type=gre options:remote_ip=10.0.1.12 options:local_ip=10.0.1.11 options:key=7",
        )],
        &[("h1", "vs del-br br-other")],
    ),
    undone(
        "another agent's tunnel sends with a tenant's key",
        &[Check::TunnelForeign],
        &[(
            "h1",
            "vs add-br br-other -- set Bridge br-other datapath_type=$DP external_ids:agent=other
             vs add-port br-other theirs -- set Interface theirs type=gre options:remote_ip=10.0.1.12 options:in_key=70 \
             options:out_key=7",
        )],
        &[("h1", "vs del-br br-other")],
    ),
    undone(
        "another agent's tunnel sends with a tenant's key, on another datapath",
        &[Check::TunnelForeign],
        &[(
            "h1",
            "vs --no-wait add-br br-other -- set Bridge br-other datapath_type=$OTHER_DP external_ids:agent=other -- \
             add-port br-other theirs -- set Interface theirs type=gre options:remote_ip=10.0.1.12 options:key=7; sleep 0.3",
        )],
        &[("h1", "vs --no-wait del-br br-other")],
    ),
    undone(
        "another agent's tunnel sends with whatever key flows say, to wherever they say",
        &[Check::TunnelForeign],
        &[(
            "h1",
            "vs add-br br-other -- set Bridge br-other datapath_type=$DP external_ids:agent=other
             vs add-port br-other theirs -- set Interface theirs type=gre options:remote_ip=flow options:key=flow",
        )],
        &[("h1", "vs del-br br-other")],
    ),
    undone(
        "another agent's flow sends with a tenant's key, by a tunnel that takes it from flows",
        &[Check::TunnelForeign, Check::TraceForeign],
        &[(
            "h1",
            "vs add-br br-other -- set Bridge br-other datapath_type=$DP external_ids:agent=other
             vs add-port br-other theirs -- set Interface theirs type=gre options:remote_ip=10.0.1.12 options:key=flow
             of add-flow br-other 'arp,actions=set_field:7->tun_id,NORMAL'",
        )],
        &[("h1", "vs del-br br-other")],
    ),
    undone(
        "another agent's tunnel takes any key, where a tenant's is missing",
        &[Check::TunnelForeign],
        &[(
            "h1",
            "vs del-port $ACME_H2
             vs add-br br-other -- set Bridge br-other datapath_type=$DP external_ids:agent=other
             vs add-port br-other theirs -- set Interface theirs type=gre options:remote_ip=flow options:key=flow",
        )],
        &[("h1", "vs del-br br-other")],
    ),
];
