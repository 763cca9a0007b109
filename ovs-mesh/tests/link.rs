//! Devices and namespaces against this machine's kernel. Needs root; every device is made in namespaces of its own.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ovs_mesh::NetnsName;
use ovs_mesh::isolation::{Device, Machine, MachineError, PeerNetns};
use ovs_mesh::link::{
    DatapathError, GatewayDiffers, GatewayError, GatewaySpec, LinkError, Links, Mac, Netns, NetnsError,
    VethSpec, datapaths, ensure_gateway, features, gateway_state, remove_gateway, set_tx_checksum,
};

/// Namespaces of one test, gone when it ends, however it ends.
struct Sandbox {
    prefix: String,
}

impl Sandbox {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let root = fs::metadata("/proc/self/ns/net").is_ok() && Netns::list().is_ok() && is_root();
        assert!(root, "this test makes network namespaces and has to run as root");
        Self { prefix: format!("ovsmesh-t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)) }
    }

    fn name(&self, name: &str) -> NetnsName {
        format!("{}-{name}", self.prefix).parse().unwrap()
    }

    fn netns(&self, name: &str) -> Netns {
        Netns::ensure(&self.name(name)).unwrap()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for name in Netns::list().unwrap_or_default() {
            if name.as_str().starts_with(&format!("{}-", self.prefix)) {
                let _ = Netns::delete(&name);
            }
        }
    }
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}

fn inside(netns: &Netns, command: &[&str]) -> Output {
    let mut process = Command::new(command[0]);
    process.args(&command[1..]);
    netns.run(move || process.output()).unwrap().unwrap()
}

fn says(netns: &Netns, command: &[&str]) -> String {
    let output = inside(netns, command);
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn namespaces_are_those_of_ip_netns() {
    let sandbox = Sandbox::new();
    let name = sandbox.name("a");
    assert!(matches!(Netns::open(&name), Err(NetnsError::Absent { .. })));
    let made = Netns::ensure(&name).unwrap();
    assert_eq!(Netns::ensure(&name).unwrap().id(), made.id());
    let listed = Command::new("ip").args(["netns", "list"]).output().unwrap();
    assert!(String::from_utf8(listed.stdout).unwrap().contains(name.as_str()));
    assert!(Netns::list().unwrap().contains(&name));
    assert!(Command::new("ip").args(["netns", "exec", name.as_str(), "true"]).status().unwrap().success());

    let mut sleeper = made.run(|| Command::new("sleep").arg("60").spawn()).unwrap().unwrap();
    let pids = made.pids().unwrap();
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert_eq!(pids, [sleeper.id()]);

    assert!(Netns::delete(&name).unwrap());
    assert!(!Netns::delete(&name).unwrap());
    assert!(!made.is_current());
    assert!(!Netns::exists(&name));
}

#[test]
fn what_a_crash_left_is_healed_and_what_ip_netns_makes_is_found() {
    let sandbox = Sandbox::new();
    sandbox.netns("first");
    let name = sandbox.name("stale");
    fs::write(format!("/run/netns/{name}"), "").unwrap();
    assert!(matches!(Netns::open(&name), Err(NetnsError::NotMounted { .. })));
    let started = Instant::now();
    Netns::ensure(&name).unwrap();
    assert!(started.elapsed() < Duration::from_secs(3));

    let foreign = sandbox.name("foreign");
    assert!(Command::new("ip").args(["netns", "add", foreign.as_str()]).status().unwrap().success());
    let opened = Netns::ensure(&foreign).unwrap();
    assert!(says(&opened, &["ip", "-o", "link"]).contains("lo"));
}

#[test]
fn many_make_one_namespace() {
    let sandbox = Sandbox::new();
    let name = sandbox.name("race");
    let ids: Vec<_> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..50).map(|_| scope.spawn(|| Netns::ensure(&name).unwrap().id())).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert_eq!(mounts.lines().filter(|line| line.contains(name.as_str())).count(), 1, "{mounts}");
}

#[test]
fn a_panic_inside_comes_out_and_leaves_the_caller_where_it_was() {
    let sandbox = Sandbox::new();
    let netns = sandbox.netns("panic");
    let before = fs::read_link("/proc/thread-self/ns/net").unwrap();
    let caught = std::panic::catch_unwind(|| netns.run(|| panic!("inside")));
    assert!(caught.is_err());
    assert_eq!(fs::read_link("/proc/thread-self/ns/net").unwrap(), before);
}

#[tokio::test]
async fn a_pair_is_born_with_its_far_end_in_place_and_carries_packets() {
    let sandbox = Sandbox::new();
    let (host, far) = (sandbox.netns("host"), sandbox.netns("far"));
    let (here, there) = (Links::open_in(&host).unwrap(), Links::open_in(&far).unwrap());
    let mac: Mac = "02:00:00:00:00:42".parse().unwrap();
    let pair = VethSpec {
        peer_netns: Some(far.clone()),
        peer_mac: Some(mac),
        peer_mtu: 8958,
        ..VethSpec::new("v0", "eth0", 1458)
    };
    here.create_veth(&pair).await.unwrap();
    assert!(matches!(here.create_veth(&pair).await, Err(LinkError::AlreadyExists { .. })));
    here.set_up("v0").await.unwrap();
    assert!(!here.get("v0").await.unwrap().unwrap().carrier);
    there.set_up("eth0").await.unwrap();
    let (outer, inner) = (here.get("v0").await.unwrap().unwrap(), there.get("eth0").await.unwrap().unwrap());
    assert_eq!((outer.mtu, outer.up, outer.carrier, outer.kind.as_deref()), (1458, true, true, Some("veth")));
    assert_eq!(
        (inner.mtu, inner.up, inner.mac, inner.peer_index),
        (8958, true, Some(mac), Some(outer.index))
    );
    assert!(outer.link_netns.is_some());
    assert!(here.get("eth0").await.unwrap().is_none());
    assert!(says(&far, &["ip", "-d", "link", "show", "eth0"]).contains("mtu 8958"));

    for (links, device, address) in [(&here, "v0", "10.9.0.1/24"), (&there, "eth0", "10.9.0.2/24")] {
        assert!(links.add_address(device, address.parse().unwrap()).await.unwrap());
        assert!(!links.add_address(device, address.parse().unwrap()).await.unwrap());
    }
    here.add_address("v0", "fd00::1/64".parse().unwrap()).await.unwrap();
    let addresses = here.addresses("v0").await.unwrap();
    let global: Vec<_> = addresses.iter().filter(|a| a.global).map(|a| a.network.to_string()).collect();
    assert_eq!(global, ["10.9.0.1/24", "fd00::1/64"]);
    says(&host, &["ping", "-c", "1", "-W", "2", "10.9.0.2"]);
    let counted = here.get("v0").await.unwrap().unwrap();
    assert!(counted.rx_packets > 0 && counted.tx_packets > 0, "{counted:?}");

    assert!(there.add_route("eth0", None, "10.9.0.1".parse().unwrap()).await.unwrap());
    assert!(!there.add_route("eth0", None, "10.9.0.1".parse().unwrap()).await.unwrap());
    assert!(says(&far, &["ip", "route"]).contains("default via 10.9.0.1 dev eth0"));
    assert!(there.delete_address("eth0", "10.9.0.2/24".parse().unwrap()).await.unwrap());
    assert!(!there.delete_address("eth0", "10.9.0.2/24".parse().unwrap()).await.unwrap());

    assert!(here.delete("v0").await.unwrap());
    assert!(!here.delete("v0").await.unwrap());
    assert!(there.get("eth0").await.unwrap().is_none());
}

#[tokio::test]
async fn devices_are_changed_one_property_at_a_time() {
    let sandbox = Sandbox::new();
    let (host, far) = (sandbox.netns("host"), sandbox.netns("far"));
    let links = Links::open_in(&host).unwrap();
    links.create_bridge("br0").await.unwrap();
    links.create_veth(&VethSpec::new("a0", "b0", 1500)).await.unwrap();
    links.set_up("br0").await.unwrap();
    links.set_mtu("a0", 9000).await.unwrap();
    links.set_mac("a0", "02:00:00:00:00:07".parse().unwrap()).await.unwrap();
    links.set_master("a0", Some("br0")).await.unwrap();
    links.set_up("a0").await.unwrap();
    links.set_alias("a0", "the near end").await.unwrap();
    let (bridge, port) = (links.get("br0").await.unwrap().unwrap(), links.get("a0").await.unwrap().unwrap());
    assert_eq!(bridge.kind.as_deref(), Some("bridge"));
    assert_eq!((port.mtu, port.master, port.up, port.carrier), (9000, Some(bridge.index), true, false));
    assert_eq!(port.alias.as_deref(), Some("the near end"));
    assert_eq!(port.mac.unwrap().to_string(), "02:00:00:00:00:07");
    links.set_master("a0", None).await.unwrap();
    links.set_down("a0").await.unwrap();
    links.set_name("a0", "c0").await.unwrap();
    assert!(matches!(links.set_name("c0", "br0").await, Err(LinkError::AlreadyExists { .. })));
    links.move_to_netns("b0", &far).await.unwrap();
    let names: Vec<_> = links.list().await.unwrap().into_iter().map(|link| link.name).collect();
    assert_eq!(names, ["lo", "br0", "c0"]);
    assert!(Links::open_in(&far).unwrap().get("b0").await.unwrap().is_some());

    let missing = links.set_up("nothing").await.unwrap_err();
    let name = host.name();
    assert_eq!(missing.to_string(), format!("there is no device `nothing` in network namespace `{name}`"));
}

fn gateway(sandbox: &Sandbox) -> GatewaySpec {
    GatewaySpec {
        host_device: "gw-acme".parse().unwrap(),
        netns: sandbox.name("gateway"),
        device: "eth0".to_owned(),
        address: "192.168.10.4/24".parse().unwrap(),
        mtu: 8959,
        checksum_offload: false,
    }
}

#[tokio::test]
async fn a_gateway_is_made_once_and_mended_always() {
    let sandbox = Sandbox::new();
    let host = Links::open_in(&sandbox.netns("host")).unwrap();
    let spec = gateway(&sandbox);
    assert_eq!(gateway_state(&host, &spec).await.unwrap().differs, [GatewayDiffers::NetnsAbsent]);
    assert!(ensure_gateway(&host, &spec).await.unwrap().created);
    assert!(gateway_state(&host, &spec).await.unwrap().converged());
    let again = ensure_gateway(&host, &spec).await.unwrap();
    assert_eq!((again.created, again.changed), (false, vec![]));

    let netns = Netns::open(&spec.netns).unwrap();
    assert!(
        says(&netns, &["ip", "addr"]).contains("inet 192.168.10.4/24 brd 192.168.10.255 scope global eth0")
    );
    says(&netns, &["ip", "addr", "del", "192.168.10.4/24", "dev", "eth0"]);
    says(&netns, &["ip", "addr", "add", "10.1.1.1/24", "dev", "eth0"]);
    says(&netns, &["ip", "link", "set", "eth0", "mtu", "1500"]);
    says(&netns, &["ip", "link", "set", "lo", "down"]);
    netns.run(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1")).unwrap().unwrap();
    host.set_down("gw-acme").await.unwrap();
    let state = gateway_state(&host, &spec).await.unwrap();
    for expected in [
        GatewayDiffers::InnerMtu(1500),
        GatewayDiffers::HostDown,
        GatewayDiffers::LoopbackDown,
        GatewayDiffers::AddressAbsent,
        GatewayDiffers::ForeignAddress("10.1.1.1/24".parse().unwrap()),
        GatewayDiffers::Forwards("net/ipv4/ip_forward"),
    ] {
        assert!(state.differs.contains(&expected), "{expected:?} is not in {state:?}");
    }
    let mended = ensure_gateway(&host, &spec).await.unwrap();
    assert!(!mended.created);
    assert!(gateway_state(&host, &spec).await.unwrap().converged());

    // Deleted while a process still holds the old one: its device lives on and has to be replaced.
    let mut sleeper = netns.run(|| Command::new("sleep").arg("60").spawn()).unwrap().unwrap();
    Netns::delete(&spec.netns).unwrap();
    let anew = ensure_gateway(&host, &spec).await;
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert!(anew.unwrap().created);
    assert!(gateway_state(&host, &spec).await.unwrap().converged());

    // Deleted for good: the kernel takes the device away a moment later.
    drop(netns);
    Netns::delete(&spec.netns).unwrap();
    assert!(ensure_gateway(&host, &spec).await.unwrap().created);
    assert!(gateway_state(&host, &spec).await.unwrap().converged());

    assert!(remove_gateway(&host, &spec.host_device, &spec.netns).await.unwrap());
    assert!(!remove_gateway(&host, &spec.host_device, &spec.netns).await.unwrap());
    assert!(host.get("gw-acme").await.unwrap().is_none());
}

#[tokio::test]
async fn a_foreign_device_of_that_name_is_left_alone() {
    let sandbox = Sandbox::new();
    let host = Links::open_in(&sandbox.netns("host")).unwrap();
    let spec = gateway(&sandbox);
    host.create_veth(&VethSpec::new("gw-acme", "other", 1500)).await.unwrap();
    assert!(matches!(ensure_gateway(&host, &spec).await, Err(GatewayError::Foreign { .. })));
    let removed = remove_gateway(&host, &spec.host_device, &spec.netns).await;
    assert!(matches!(removed, Err(GatewayError::Foreign { .. })));
    assert!(host.get("gw-acme").await.unwrap().is_some());
}

#[test]
fn fifty_make_one_gateway_and_one_of_them_made_it() {
    let sandbox = Sandbox::new();
    let host = sandbox.netns("host");
    let spec = gateway(&sandbox);
    // Each with a runtime and connections of its own, as processes have.
    let make = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let links = Links::open_in(&host).unwrap();
            let outcome = ensure_gateway(&links, &spec).await.unwrap();
            assert!(gateway_state(&links, &spec).await.unwrap().converged());
            u32::from(outcome.created)
        })
    };
    let created: u32 = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..50).map(|_| scope.spawn(make)).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).sum()
    });
    assert_eq!(created, 1);
}

#[tokio::test]
async fn transmit_checksums_are_switched_as_ethtool_does() {
    let sandbox = Sandbox::new();
    let netns = sandbox.netns("offload");
    let links = Links::open_in(&netns).unwrap();
    links.create_veth(&VethSpec::new("eth0", "eth1", 1500)).await.unwrap();
    assert!(features(Some(&netns), "eth0").await.unwrap().tx_checksum());
    assert!(set_tx_checksum(Some(&netns), "eth0", false).await.unwrap());
    assert!(!set_tx_checksum(Some(&netns), "eth0", false).await.unwrap());
    assert!(!features(Some(&netns), "eth0").await.unwrap().tx_checksum());
    let shown = says(&netns, &["ethtool", "-k", "eth0"]);
    assert!(shown.contains("tx-checksumming: off"), "{shown}");
    assert!(shown.contains("tx-tcp-segmentation: off"), "{shown}");
    assert!(says(&netns, &["ethtool", "-k", "eth1"]).contains("tx-checksumming: on"));
    set_tx_checksum(Some(&netns), "eth0", true).await.unwrap();
    assert!(says(&netns, &["ethtool", "-k", "eth0"]).contains("tx-checksumming: on"));
    let missing = set_tx_checksum(Some(&netns), "nothing", false).await.unwrap_err();
    assert!(missing.to_string().contains("device `nothing`"), "{missing}");
}

#[tokio::test]
async fn the_kernel_datapath_is_listed_or_said_to_be_missing() {
    let sandbox = Sandbox::new();
    let netns = sandbox.netns("datapath");
    let loaded = fs::read_to_string("/proc/modules").unwrap_or_default().contains("openvswitch ");
    match datapaths(Some(&netns)).await {
        Ok(found) => assert!(loaded && found.is_empty(), "{found:?}"),
        Err(why) => assert!(!loaded && matches!(why, DatapathError::NotLoaded { .. }), "{why}"),
    }
}

/// The machine as a host of it sees it: where the other ends of its devices are, whatever their indexes, and what forwards.
#[tokio::test]
async fn a_machine_is_seen_from_each_of_its_namespaces() {
    let sandbox = Sandbox::new();
    let [host, near, far] = ["host", "near", "far"].map(|name| sandbox.netns(name));
    let links = Links::open_in(&host).unwrap();
    assert_eq!(links.netns_id(&near).await.unwrap(), None);
    // Both far ends get one index, each in its namespace.
    for (device, netns) in [("v0", &near), ("v1", &far)] {
        let pair = VethSpec { peer_netns: Some(netns.clone()), ..VethSpec::new(device, "eth0", 1400) };
        links.create_veth(&pair).await.unwrap();
    }
    assert!(links.netns_id(&near).await.unwrap().is_some());
    Links::open_in(&near).unwrap().add_address("eth0", "10.9.9.1/24".parse().unwrap()).await.unwrap();
    far.run(|| fs::write("/proc/sys/net/ipv4/conf/eth0/forwarding", "1")).unwrap().unwrap();
    let machine = Machine::read(tokio::time::Instant::now() + Duration::from_secs(30)).await.unwrap();

    let seen = machine.host(host.id()).unwrap();
    let device = |devices: &[Device], name: &str| devices.iter().find(|it| it.name == name).unwrap().clone();
    let named = |netns: &Netns| PeerNetns::Named(netns.name().to_string());
    assert_eq!(device(&seen.devices, "v0").peer_netns, named(&near));
    assert_eq!(device(&seen.devices, "v1").peer_netns, named(&far));
    assert!(!seen.netns.iter().any(|space| space.name == host.name().as_str()), "the host is its own guest");
    let space = |name: &Netns| seen.netns.iter().find(|space| space.name == name.name().as_str()).unwrap();
    let inner = device(&space(&near).devices, "eth0");
    assert_eq!((inner.peer_netns, inner.mtu, inner.addresses.len()), (PeerNetns::Host, 1400, 1));
    assert!(space(&far).forwarding.ipv4, "one device's forwarding is not seen");
    assert!(!space(&near).forwarding.ipv4);
    let other = machine.host(near.id()).unwrap();
    assert_eq!(device(&other.devices, "eth0").peer_netns, named(&host));

    let late = Machine::read(tokio::time::Instant::now()).await;
    assert!(matches!(late, Err(MachineError::Deadline)), "{late:?}");
}
