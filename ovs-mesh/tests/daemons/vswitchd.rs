//! The control socket's client against a real ovs-vswitchd.

use std::net::IpAddr;

use nix::sys::signal::Signal;
use ovs_mesh::ovsdb::{Client, MonitorRequest, Mutation, Mutator, Operation, Value};
use ovs_mesh::unixctl::{self, ListedKey, ListedRemote, Unixctl, UnixctlError, parse_tunnels};

use crate::support::{DB, Ovsdb, after, row, soon, start_vswitchd};

/// A bridge with one tunnel, applied: `cur_cfg` has caught up.
async fn add_tunnel(server: &Ovsdb, client: &Client) {
    let watch = MonitorRequest::new().table("Open_vSwitch", ["cur_cfg"]);
    let (_, mut monitor) = client.monitor(DB, &watch, soon()).await.expect("the table can be watched");
    let named = Value::named_uuid;
    let options = Value::string_map([("remote_ip", "10.0.0.2"), ("local_ip", "10.0.0.1"), ("key", "5")]);
    let interface = row([("name", "gre-5".into()), ("type", "gre".into()), ("options", options)]);
    let port = row([("name", "gre-5".into()), ("interfaces", named("i")), ("protected", true.into())]);
    let bridge = row([("name", "br0".into()), ("datapath_type", "dummy".into()), ("ports", named("p"))]);
    let mutations = vec![
        Mutation::new("bridges", Mutator::Insert, named("b")),
        Mutation::new("next_cfg", Mutator::Add, 1),
    ];
    let operations = [
        Operation::insert_named("Interface", "i", interface),
        Operation::insert_named("Port", "p", port),
        Operation::insert_named("Bridge", "b", bridge),
        Operation::mutate_row("Open_vSwitch", server.root, mutations),
    ];
    client.transact(DB, &operations, soon()).await.expect("a bridge can be added");
    loop {
        let updates = monitor.next(soon()).await.expect("ovs-vswitchd applies it");
        let mut rows = updates.table("Open_vSwitch").filter_map(|(_, update)| update.current());
        if rows.any(|row| row["cur_cfg"].integer() == Ok(1)) {
            break;
        }
    }
}

#[tokio::test]
async fn tunnels_are_listed_as_the_datapath_has_them() {
    let server = Ovsdb::start().await;
    let _vswitchd = start_vswitchd(&server).await;
    let client = server.client().await;
    add_tunnel(&server, &client).await;
    let control = unixctl::find(server.path(), "ovs-vswitchd").unwrap();
    let mut control = Unixctl::connect(control, soon()).await.unwrap();
    let reply = control.call("ofproto/list-tunnels", &[], soon()).await.unwrap();
    let tunnels = parse_tunnels(&reply).unwrap();
    let [tunnel] = tunnels.as_slice() else { panic!("{reply}") };
    assert_eq!((tunnel.name.as_str(), tunnel.kind.as_str()), ("gre-5", "gre"));
    assert_eq!(tunnel.local, Some(IpAddr::from([10, 0, 0, 1])));
    assert_eq!(tunnel.remote, ListedRemote::Address([10, 0, 0, 2].into()));
    assert_eq!((tunnel.in_key, tunnel.out_key), (ListedKey::Exact(5), ListedKey::Exact(5)));
}

#[tokio::test]
async fn refusals_leave_the_connection_usable() {
    let server = Ovsdb::start().await;
    let _vswitchd = start_vswitchd(&server).await;
    let control = unixctl::find(server.path(), "ovs-vswitchd").unwrap();
    let mut control = Unixctl::connect(control, soon()).await.unwrap();
    let error = control.call("no/such", &[], soon()).await.unwrap_err();
    let UnixctlError::Refused { command, reply } = &error else { panic!("{error}") };
    assert_eq!(command, "no/such");
    assert!(reply.contains("is not a valid command"), "{reply}");
    let error = control.call("fdb/show", &["no-such-bridge"], soon()).await.unwrap_err();
    assert!(matches!(error, UnixctlError::Refused { .. }), "{error}");
    assert!(control.call("version", &[], soon()).await.unwrap().contains("Open vSwitch"));
}

#[tokio::test]
async fn a_daemon_that_hangs_costs_no_more_than_the_deadline() {
    let server = Ovsdb::start().await;
    let mut vswitchd = start_vswitchd(&server).await;
    let path = unixctl::find(server.path(), "ovs-vswitchd").unwrap();
    let mut control = Unixctl::connect(&path, soon()).await.unwrap();
    vswitchd.signal(Signal::SIGSTOP);
    let error = control.call("version", &[], after(200)).await.unwrap_err();
    assert!(matches!(error, UnixctlError::Deadline { .. }), "{error}");
    vswitchd.signal(Signal::SIGCONT);
    // The reply to come must not be taken for that of another command.
    let error = control.call("list-commands", &[], soon()).await.unwrap_err();
    assert!(matches!(error, UnixctlError::Closed { .. }), "{error}");
    let mut control = Unixctl::connect(&path, soon()).await.unwrap();
    assert!(control.call("version", &[], soon()).await.unwrap().contains("Open vSwitch"));
    // A crash leaves the pid file and the socket behind.
    vswitchd.crash();
    assert!(matches!(control.call("version", &[], soon()).await, Err(UnixctlError::Closed { .. })));
    let path = unixctl::find(server.path(), "ovs-vswitchd").unwrap();
    let error = Unixctl::connect(path, soon()).await.unwrap_err();
    assert!(error.to_string().contains("is the daemon still running"), "{error}");
}
