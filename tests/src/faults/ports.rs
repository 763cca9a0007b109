//! What is on a tenant's bridge that should not be, or not so.

use ovs_mesh::isolation::Check;

use super::{Fault, synced, undone};

/// Puts container 201 where it belongs.
const BACK_201: &str = "vs --if-exists del-port veth201.0
    ovsmesh attach veth201.0 --tenant globex --ctid 201";
/// Puts container 101 where it belongs.
const BACK_101: &str = "vs --if-exists del-port veth101.0
    ovsmesh attach veth101.0 --tenant acme --ctid 101";

pub(super) const FAULTS: &[Fault] = &[
    undone(
        "a container is on another tenant's bridge",
        &[Check::ContainerTenant],
        &[(
            "h1",
            "vs del-port veth201.0 -- add-port br-acme veth201.0 -- set Port veth201.0 $(own acme) external_ids:ovsmesh-ctid=201",
        )],
        &[("h1", BACK_201)],
    ),
    undone(
        "a port's row says another tenant",
        &[Check::PortMisplaced],
        &[("h1", "vs set Port veth101.0 external_ids:ovsmesh-tenant=globex")],
        &[("h1", BACK_101)],
    ),
    undone(
        "a port of the mesh's is on somebody else's bridge",
        &[Check::PortMisplaced],
        &[(
            "h1",
            "vs add-br br-other -- set Bridge br-other datapath_type=$DP external_ids:agent=other
             vs add-port br-other lost0 -- set Interface lost0 type=internal -- set Port lost0 $(own acme)",
        )],
        &[("h1", "vs del-br br-other")],
    ),
    undone(
        "a stranger's port is on a tenant's bridge",
        &[Check::PortStranger],
        &[("h1", "vs add-port br-acme alien0 -- set Interface alien0 type=internal")],
        &[("h1", "vs del-port alien0")],
    ),
    undone(
        "a stranger's tunnel is on a tenant's bridge",
        &[Check::PortStranger, Check::TraceTunnel],
        &[(
            "h1",
            "vs add-port br-acme alien0 -- set Interface alien0 type=vxlan options:remote_ip=10.0.1.13 options:key=5",
        )],
        &[("h1", "vs del-port alien0")],
    ),
    undone(
        "patch ports join two tenants",
        &[Check::PortPatch, Check::TraceLeak],
        &[(
            "h1",
            "vs add-port br-acme pa -- set Interface pa type=patch options:peer=pb -- add-port br-globex pb -- set Interface pb \
             type=patch options:peer=pa",
        )],
        &[("h1", "vs del-port pa -- del-port pb")],
    ),
    undone(
        "patch ports join two tenants by somebody else's bridge",
        &[Check::TenantsJoined],
        &[(
            "h1",
            "vs add-br br-int -- set Bridge br-int datapath_type=$DP
             vs add-port br-acme pa -- set Interface pa type=patch options:peer=pb -- add-port br-int pb -- set Interface pb \
             type=patch options:peer=pa
             vs add-port br-globex pc -- set Interface pc type=patch options:peer=pd -- add-port br-int pd -- set Interface pd \
             type=patch options:peer=pc",
        )],
        &[("h1", "vs del-port pa -- del-port pc -- del-br br-int")],
    ),
    undone(
        "a patch port leads to somebody else's bridge",
        &[Check::BridgeJoined],
        &[(
            "h1",
            "vs add-br br-int -- set Bridge br-int datapath_type=$DP -- add-port br-acme pa -- set Interface pa type=patch \
             options:peer=pb -- add-port br-int pb -- set Interface pb type=patch options:peer=pa",
        )],
        &[("h1", "vs del-port pa -- del-br br-int")],
    ),
    synced("a port has a VLAN tag", &[Check::PortVlan, Check::TraceMissing], &[("h1", "vs set Port veth101.0 tag=5")]),
    synced("a port is a trunk of other VLANs", &[Check::PortVlan], &[("h1", "vs set Port $ACME_H2 trunks=5,6")]),
    synced(
        "a port tags what it is untagged",
        &[Check::PortVlan],
        &[("h1", "vs set Port $ACME_H2 vlan_mode=native-tagged tag=5")],
    ),
    synced(
        "a container's port is protected",
        &[Check::PortProtected, Check::TraceMissing],
        &[("h1", "vs set Port veth101.0 protected=true")],
    ),
    undone(
        "a port is a bond with a stranger's interface",
        &[Check::PortBond],
        &[(
            "h1",
            "vs --id=@i create Interface name=alien0 type=internal -- add Port veth101.0 interfaces @i",
        )],
        &[("h1", BACK_101)],
    ),
    undone(
        "a port is on two bridges",
        &[Check::PortShared],
        &[("h1", "vs add Bridge br-globex ports $(ovs-vsctl --timeout=10 get Port veth101.0 _uuid)")],
        &[("h1", "vs remove Bridge br-globex ports $(ovs-vsctl --timeout=10 get Port veth101.0 _uuid)")],
    ),
    synced(
        "a port of the mesh's has no device",
        &[Check::PortError],
        &[("h1", "vs add-port br-acme ghost0 -- set Port ghost0 $(own acme) || true")],
    ),
    synced(
        "a gateway's row is left from an older topology",
        &[Check::RowStale],
        &[(
            "h1",
            "vs add-port br-acme gw-old -- set Interface gw-old type=internal -- set Port gw-old $(own acme) \
             external_ids:ovsmesh-gateway=$MESH-h1-old",
        )],
    ),
    undone(
        "a container is attached twice",
        &[Check::ContainerDuplicate],
        &[(
            "h2",
            "ip link add twin0 mtu 1458 type veth peer name twin1
             ip link set twin0 up
             vs add-port br-acme twin0 -- set Port twin0 $(own acme) external_ids:ovsmesh-ctid=101",
        )],
        &[("h2", "vs del-port twin0; ip link delete twin0")],
    ),
    undone(
        "a container is on another host than the topology says",
        &[Check::ContainerHost],
        &[("h2", "vs set Port veth102.0 external_ids:ovsmesh-ctid=103")],
        &[("h2", "vs set Port veth102.0 external_ids:ovsmesh-ctid=102")],
    ),
    synced("a gateway is not on its bridge", &[Check::GatewayMissing], &[("h1", "vs del-port $GW_ACME")]),
];
