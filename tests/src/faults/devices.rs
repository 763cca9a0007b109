//! What the kernel has, beside the switch's rows.

use ovs_mesh::isolation::Check;

use super::{Fault, synced, undone, userspace};

/// Makes container 101's pair of devices anew.
const ANEW_101: &str = "ip link delete veth101.0 2> /dev/null || true
    ip link add veth101.0 mtu 1458 type veth peer name eth0 mtu 1458 netns $MESH-ct101
    ip link set veth101.0 up
    ip netns exec $MESH-ct101 ethtool -K eth0 tx off > /dev/null
    ip -n $MESH-ct101 link set eth0 up
    ip -n $MESH-ct101 address add 192.168.7.11/24 dev eth0";

pub(super) const FAULTS: &[Fault] = &[
    userspace(
        "a Linux bridge joins two tenants' containers",
        &[Check::DeviceEnslaved],
        &[(
            "h1",
            "ip link add lb0 type bridge
             ip link set veth101.0 master lb0
             ip link set veth201.0 master lb0",
        )],
        &[("h1", "ip link delete lb0")],
    ),
    userspace(
        "a device is also a port of a Linux bridge",
        &[Check::DeviceEnslaved],
        &[("h1", "ip link add lb0 type bridge; ip link set veth101.0 master lb0")],
        &[("h1", "ip link delete lb0")],
    ),
    undone(
        "a veth pair joins two tenants' bridges",
        &[Check::TenantsJoined],
        &[(
            "h1",
            "ip link add va type veth peer name vb
             ip link set va up; ip link set vb up
             vs add-port br-acme va -- add-port br-globex vb",
        )],
        &[("h1", "vs del-port va -- del-port vb; ip link delete va")],
    ),
    undone(
        "two veth pairs and a Linux bridge in a namespace join two tenants",
        &[Check::TenantsJoined],
        &[(
            "h1",
            "ip netns add $MESH-join
             ip -n $MESH-join link add lb0 type bridge
             ip link add va type veth peer name pa netns $MESH-join
             ip link add vb type veth peer name pb netns $MESH-join
             ip -n $MESH-join link set pa master lb0; ip -n $MESH-join link set pb master lb0
             vs add-port br-acme va -- set Port va $(own acme) -- add-port br-globex vb -- set Port vb $(own globex)",
        )],
        &[("h1", "vs del-port va -- del-port vb; ip link delete va; ip link delete vb; ip netns delete $MESH-join")],
    ),
    undone(
        "a Linux bridge is on a tenant's network",
        &[Check::BridgeJoined],
        &[(
            "h1",
            "ip link add lb0 type bridge
             ip link add va type veth peer name vb
             ip link set vb master lb0
             vs add-port br-acme va -- set Port va $(own acme)",
        )],
        &[("h1", "vs del-port va; ip link delete va; ip link delete lb0")],
    ),
    userspace(
        "a macvlan device stands on a container's",
        &[Check::BridgeJoined],
        &[("h1", "ip link add link veth101.0 name mv0 type macvlan")],
        &[("h1", "ip link delete mv0")],
    ),
    undone(
        "a gateway routes between two tenants",
        &[Check::GatewayForwarding],
        &[(
            "h1",
            "ip link add va type veth peer name inner netns $NS_ACME
             ip link set va up
             ip -n $NS_ACME link set inner up
             ip -n $NS_ACME address add 192.168.7.99/24 dev inner
             forward $NS_ACME 1
             vs add-port br-globex va -- set Port va $(own globex)",
        )],
        &[("h1", "vs del-port va; ip link delete va; forward $NS_ACME 0")],
    ),
    undone(
        "a container routes between two tenants",
        &[Check::TenantsJoined],
        &[(
            "h1",
            "ip link add va type veth peer name eth1 netns $MESH-ct101
             ip link set va up
             ip -n $MESH-ct101 link set eth1 up
             ip -n $MESH-ct101 address add 192.168.7.99/24 dev eth1
             forward $MESH-ct101 1
             vs add-port br-globex va -- set Port va $(own globex)",
        )],
        &[("h1", "vs del-port va; ip link delete va; forward $MESH-ct101 0")],
    ),
    undone(
        "the host routes between two tenants",
        &[Check::TenantsJoined],
        &[(
            "h1",
            "ip link set br-acme up; ip link set br-globex up
             ip address add 192.168.7.200/25 dev br-acme; ip address add 192.168.7.100/25 dev br-globex
             echo 1 > /proc/sys/net/ipv4/ip_forward",
        )],
        &[(
            "h1",
            "ip address flush dev br-acme; ip address flush dev br-globex
             ip link set br-acme down; ip link set br-globex down
             echo 0 > /proc/sys/net/ipv4/ip_forward",
        )],
    ),
    undone(
        "the host has an address on a tenant's bridge",
        &[Check::HostAddress],
        &[("h1", "ip link set br-acme up; ip address add 192.168.7.200/24 dev br-acme")],
        &[("h1", "ip address flush dev br-acme; ip link set br-acme down")],
    ),
    undone(
        "a gateway forwards packets",
        &[Check::GatewayForwarding],
        &[("h1", "forward $NS_ACME 1")],
        &[("h1", "forward $NS_ACME 0")],
    ),
    undone(
        "one device of a gateway forwards packets",
        &[Check::GatewayForwarding],
        &[("h1", "forward $NS_ACME 1 conf/eth0/forwarding")],
        &[("h1", "forward $NS_ACME 0 conf/eth0/forwarding")],
    ),
    undone(
        "two tenants' gateways share a namespace",
        &[Check::GatewayShared],
        &[(
            "h1",
            "ip -n $NS_GLOBEX link set eth0 down
             ip -n $NS_GLOBEX link set eth0 name eth9
             ip -n $NS_GLOBEX link set eth9 netns $NS_ACME
             ip -n $NS_ACME link set eth9 up",
        )],
        &[("h1", "ip -n $NS_ACME link delete eth9")],
    ),
    synced(
        "a gateway has lost its address",
        &[Check::GatewayLink],
        &[("h1", "ip -n $NS_ACME address flush dev eth0")],
    ),
    synced("a gateway is down", &[Check::GatewayLink], &[("h1", "ip -n $NS_ACME link set eth0 down")]),
    synced("a gateway's namespace is gone", &[Check::GatewayLink], &[("h1", "ip netns delete $NS_ACME; sleep 0.2")]),
    undone(
        "a container's device is down",
        &[Check::DeviceDown],
        &[("h1", "ip link set veth101.0 down")],
        &[("h1", "ip link set veth101.0 up")],
    ),
    undone(
        "a container's device was made anew under its row",
        &[Check::DeviceStale],
        &[("h1", ANEW_101)],
        &[("h1", "ovsmesh sync")],
    ),
    undone(
        "a container is gone, its row is not",
        &[Check::DeviceStale],
        &[("h1", "ip link delete veth101.0")],
        &[(
            "h1",
            "ip link delete veth101.0 2> /dev/null || true
             ip link add veth101.0 mtu 1458 type veth peer name eth0 mtu 1458 netns $MESH-ct101
             ip link set veth101.0 up
             ip netns exec $MESH-ct101 ethtool -K eth0 tx off > /dev/null
             ip -n $MESH-ct101 link set eth0 up
             ip -n $MESH-ct101 address add 192.168.7.11/24 dev eth0
             vs del-port veth101.0
             ovsmesh attach veth101.0 --tenant acme --ctid 101",
        )],
    ),
    undone(
        "a container's MTU is too large",
        &[Check::MtuTenant],
        &[("h1", "ip link set veth101.0 mtu 1500")],
        &[("h1", "ip link set veth101.0 mtu 1458")],
    ),
    synced(
        "a gateway's MTU is too large",
        &[Check::MtuTenant],
        &[("h1", "ip -n $NS_ACME link set eth0 mtu 1500")],
    ),
    undone(
        "the underlay takes less than the topology says",
        &[Check::MtuUnderlay],
        &[("h1", "vs --if-exists set Interface br-phy mtu_request=1400; ip link set $PHY mtu 1400")],
        &[("h1", "vs --if-exists set Interface br-phy mtu_request=1500; ip link set $PHY mtu 1500")],
    ),
    undone(
        "the host has lost its underlay address",
        &[Check::UnderlayAddress],
        &[("h1", "ip address flush dev $PHY scope global")],
        &[("h1", "ip address add 10.0.1.11/29 dev $PHY")],
    ),
    undone(
        "two containers have one MAC address",
        &[Check::MacDuplicate],
        // The other one has the last word, so that host h1's bridge has it there.
        &[
            (
                "h1",
                "ip -n $MESH-ct101 link set eth0 address $(ip netns exec $MESH-ct102 cat /sys/class/net/eth0/address)",
            ),
            ("h2", "ip netns exec $MESH-ct102 ping -q -c1 -W1 192.168.7.99 > /dev/null || true"),
        ],
        &[("h1", "ip -n $MESH-ct101 link set eth0 address 02:00:00:00:01:01")],
    ),
    undone(
        "two containers have one address",
        &[Check::AddressDuplicate],
        &[("h1", "ip -n $MESH-ct101 address add 192.168.7.12/24 dev eth0")],
        &[("h1", "ip -n $MESH-ct101 address del 192.168.7.12/24 dev eth0")],
    ),
    undone(
        "a container has the gateway's address",
        &[Check::AddressDuplicate],
        &[("h2", "ip -n $MESH-ct102 address add 192.168.7.1/24 dev eth0")],
        &[("h2", "ip -n $MESH-ct102 address del 192.168.7.1/24 dev eth0")],
    ),
];
