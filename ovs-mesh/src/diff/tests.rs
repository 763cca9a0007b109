use super::*;
use crate::lower::lower;
use crate::testing::model::{Database, Foreign};
use crate::testing::{changed_topologies, topologies};
use crate::topology::Topology;
use proptest::prelude::*;
use std::fmt::Write;

/// Removals that may share a transaction, where a test is not about that.
const AT_ONCE: usize = 500;

fn plan(topology: &Topology) -> Plan {
    Plan::new(topology, topology.hosts()[0].name()).unwrap()
}

/// Syncs the model as `sync` syncs a switch: step by step, each from a fresh look. Returns the steps taken.
fn converge(database: &mut Database, plan: &Plan, max_removals: usize) -> Result<usize, Vec<Conflict>> {
    for steps in 0..100 {
        let diff = Diff::new(plan, &database.snapshot, &HostDevices::default())?;
        if diff.is_empty() {
            return Ok(steps);
        }
        let step = diff.next_step(max_removals);
        assert!(!step.changes.is_empty(), "no step out of {diff:#?}");
        let operations = lower(plan, &database.snapshot, &step);
        // What others have made equal by their changes goes in its turn; nothing is made so.
        let before = database.tuples_twice();
        database.transact(&operations).unwrap();
        let after = database.tuples_twice();
        assert!(after.is_subset(&before), "a tuple twice: {after:?}");
    }
    panic!("no convergence in 100 steps");
}

proptest! {
    /// From any prior state, with rows of others in it, a sync ends with an empty diff and the others' rows as they were.
    #[test]
    fn converges_and_leaves_others_alone(
        (before, after) in changed_topologies(),
        foreign in Foreign::any(),
        drift in prop::collection::vec((any::<usize>(), 0u8..8), 0..6),
        max_removals in 1usize..20,
    ) {
        let mut database = Database::with_foreign(&foreign);
        let first = plan(&before);
        converge(&mut database, &first, max_removals).unwrap();
        database.attach(&foreign, &first);
        for (index, kind) in drift {
            database.drift(&first, index, kind);
        }
        let others = database.rows_not_of(&first.mesh);
        let second = plan(&after);
        prop_assert!(converge(&mut database, &second, max_removals).is_ok());
        prop_assert_eq!(&database.rows_not_of(&first.mesh), &others);
        prop_assert!(database.holds(&second));
    }

    /// A first sync of an empty switch is one transaction, and a second costs nothing.
    #[test]
    fn a_new_mesh_is_one_transaction(topology in topologies()) {
        let mut database = Database::default();
        let plan = plan(&topology);
        let steps = converge(&mut database, &plan, AT_ONCE).unwrap();
        prop_assert_eq!(steps, usize::from(!plan.bridges.is_empty()));
        prop_assert_eq!(converge(&mut database, &plan, AT_ONCE), Ok(0));
    }
}

fn two_hosts(key: u32, tenant: &str) -> Topology {
    format!(
        "mesh = {{ name = \"m\", underlay_mtu = 1500 }}
         host = [{{ name = \"a\", underlay_ip = \"10.0.0.1\" }}, {{ name = \"b\", underlay_ip = \"10.0.0.2\" }}]
         tenant = [{{ name = \"{tenant}\", key = {key}, subnet = \"10.1.0.0/24\", gateways = {{ a = \"10.1.0.1\" }} }}]"
    )
    .parse()
    .unwrap()
}

/// Trap: `File exists` when a transaction removes a tunnel and adds another of the same tuple.
#[test]
fn a_tuple_changes_hands_in_two_steps() {
    let mut database = Database::default();
    converge(&mut database, &plan(&two_hosts(7, "old")), AT_ONCE).unwrap();
    let new = plan(&two_hosts(7, "new"));
    let diff = Diff::new(&new, &database.snapshot, &HostDevices::default()).unwrap();
    let step = diff.next_step(AT_ONCE);
    assert!(step.changes.iter().all(|change| !matches!(change, Change::AddTunnel { .. })));
    assert_eq!(step.left, 1);
    assert_eq!(converge(&mut database, &new, AT_ONCE), Ok(2));
}

/// Trap: one removal of many tunnels takes far longer than several of a few.
#[test]
fn many_removals_are_cut_into_steps() {
    let mut text = "mesh = { name = \"m\", underlay_mtu = 1500 }\n".to_owned();
    for host in 0..1201 {
        let _ = write!(
            text,
            "[[host]]\nname = \"h{host}\"\nunderlay_ip = \"10.0.{}.{}\"\n",
            host / 250,
            host % 250 + 1
        );
    }
    let without: Topology = text.parse().unwrap();
    let with: Topology =
        format!("{text}[[tenant]]\nname = \"t\"\nkey = 1\nsubnet = \"10.9.0.0/16\"\n").parse().unwrap();
    let mut database = Database::default();
    assert_eq!(converge(&mut database, &plan(&with), AT_ONCE), Ok(1));
    assert_eq!(converge(&mut database, &plan(&without), AT_ONCE), Ok(3));
}

/// Trap: an equal tuple of somebody else's gets packets that are ours, or ours get none; `010` is 8 to vswitchd.
#[test]
fn an_equal_tuple_of_somebody_elses_is_refused_by_name() {
    for (key, local) in
        [("8", Some("10.0.0.1")), ("010", Some("10.0.0.1")), ("0x8", None), ("4294967304", None)]
    {
        let mut database = Database::default();
        database.foreign_tunnel("br-int", "vm-tun7", "gre", key, local, "10.0.0.2");
        let conflicts =
            Diff::new(&plan(&two_hosts(8, "acme")), &database.snapshot, &HostDevices::default()).unwrap_err();
        let [conflict] = conflicts.as_slice() else { panic!("{conflicts:?}") };
        let text = conflict.to_string();
        assert!(
            text.contains("vm-tun7") && text.contains("br-int") && text.contains("agent=other"),
            "{text}"
        );
    }
    for (kind, key, remote) in
        [("gre", "9", "10.0.0.2"), ("gre", "8", "10.0.0.3"), ("vxlan", "8", "10.0.0.2")]
    {
        let mut database = Database::default();
        database.foreign_tunnel("br-int", "vm-tun7", kind, key, Some("10.0.0.1"), remote);
        assert!(Diff::new(&plan(&two_hosts(8, "acme")), &database.snapshot, &HostDevices::default()).is_ok());
    }
}

#[test]
fn names_of_somebody_elses_are_refused() {
    let mut database = Database::default();
    database.foreign_tunnel("br-acme", "vm-tun7", "vxlan", "8", None, "10.0.0.2");
    let conflicts =
        Diff::new(&plan(&two_hosts(8, "acme")), &database.snapshot, &HostDevices::default()).unwrap_err();
    insta::assert_snapshot!(conflicts.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

/// Trap: a device that was made anew under its row passes no packets on the userspace datapath until the row is new.
#[test]
fn a_gateway_whose_device_was_made_anew_gets_a_new_row() {
    let plan = plan(&two_hosts(8, "acme"));
    let mut database = Database::default();
    converge(&mut database, &plan, AT_ONCE).unwrap();
    let port = plan.bridges[0].gateway.as_ref().unwrap().port.clone();
    database.interface_mut(port.as_str()).ifindex = Some(7);
    let links =
        |index| HostDevices { ifindex: HashMap::from([(port.clone(), index)]), ..HostDevices::default() };
    assert!(Diff::new(&plan, &database.snapshot, &links(7)).unwrap().is_empty());
    let diff = Diff::new(&plan, &database.snapshot, &links(8)).unwrap();
    assert_eq!(diff.next_step(AT_ONCE).left, 1, "{diff:?}");
}

#[test]
fn a_diff_reads_well() {
    let mut database = Database::default();
    let plan = plan(&two_hosts(8, "acme"));
    let lines = |diff: &Diff| diff.changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let mut text = lines(&Diff::new(&plan, &database.snapshot, &HostDevices::default()).unwrap());
    converge(&mut database, &plan, AT_ONCE).unwrap();
    for kind in 0..8 {
        let mut drifted = database.clone();
        drifted.drift(&plan, 0, kind);
        let _ = write!(
            text,
            "\n\n{kind}\n{}",
            lines(&Diff::new(&plan, &drifted.snapshot, &HostDevices::default()).unwrap())
        );
    }
    insta::assert_snapshot!(text);
}

/// An attached interface follows its device and its tenant: what is gone goes, what was made anew or is on the wrong bridge
/// is put back in two steps, for ovs-vswitchd must let go of it in between.
#[test]
fn attached_interfaces_follow_their_devices_and_tenants() {
    let plan = plan(&two_hosts(7, "acme"));
    let mut database = Database::default();
    converge(&mut database, &plan, AT_ONCE).unwrap();
    let foreign = Foreign::container();
    database.attach(&foreign, &plan);
    let device = |index| HostDevice { index, mtu: 1458, up: true, linux_bridge: None };
    let with = |devices: &[(&str, u32)]| HostDevices {
        devices: Some(devices.iter().map(|(name, index)| ((*name).to_owned(), device(*index))).collect()),
        ..HostDevices::default()
    };
    let lines = |database: &Database, devices: &HostDevices| -> Vec<String> {
        let diff = Diff::new(&plan, &database.snapshot, devices).unwrap();
        diff.changes.iter().map(ToString::to_string).collect()
    };
    assert_eq!(lines(&database, &HostDevices::default()), Vec::<String>::new());
    assert_eq!(lines(&database, &with(&[("veth777.0", 9)])), Vec::<String>::new());
    assert_eq!(lines(&database, &with(&[])), ["- port    br-acme veth777.0: its device is gone"]);
    assert_eq!(
        lines(&database, &with(&[("veth777.0", 10)])),
        ["~ port    br-acme veth777.0: its device was made anew, released to be taken anew"]
    );
    database.interface_mut("veth777.0").error =
        Some("could not open network device (No such device)".to_owned());
    assert_eq!(
        lines(&database, &with(&[("veth777.0", 9)])),
        ["~ port    br-acme veth777.0: its device came back, released to be taken anew"]
    );
    database.interface_mut("veth777.0").error = None;
    // Its bridge has another name now.
    let mut renamed = two_hosts(7, "acme");
    renamed.tenants[0].bridge = "br-new".parse().unwrap();
    let renamed = super::tests::plan(&renamed);
    let devices = with(&[("veth777.0", 10)]);
    for _ in 0..3 {
        let diff = Diff::new(&renamed, &database.snapshot, &devices).unwrap();
        database.transact(&lower(&renamed, &database.snapshot, &diff.next_step(AT_ONCE))).unwrap();
    }
    assert!(Diff::new(&renamed, &database.snapshot, &devices).unwrap().is_empty());
    let port = database.snapshot.ports.values().find(|port| port.name == "veth777.0").unwrap();
    assert_eq!((port.tenant(), port.ctid(), port.ifindex()), (Some("acme"), Some("777"), Some(10)));
    assert_eq!(database.interface_mut("veth777.0").kind, "");
    let bridges: Vec<&str> = database.snapshot.bridges.values().map(|row| row.name.as_str()).collect();
    assert_eq!(bridges, ["br-new"]);
}

/// A device is up and has its tenant's MTU; one that is on a Linux bridge too would join the two.
#[test]
fn attached_devices_are_as_their_tenant_wants_them() {
    let plan = plan(&two_hosts(7, "acme"));
    let mut database = Database::default();
    converge(&mut database, &plan, AT_ONCE).unwrap();
    database.attach(&Foreign::container(), &plan);
    let lines = |device: HostDevice| -> Vec<String> {
        let devices = Some(HashMap::from([("veth777.0".to_owned(), device)]));
        let devices = HostDevices { devices, ..HostDevices::default() };
        Diff::new(&plan, &database.snapshot, &devices)
            .unwrap()
            .changes
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let good = HostDevice { index: 9, mtu: 1458, up: true, linux_bridge: None };
    assert_eq!(
        lines(HostDevice { mtu: 1500, up: false, ..good.clone() }),
        ["~ link    br-acme veth777.0: MTU 1500 → 1458; down → up"]
    );
    assert_eq!(
        lines(HostDevice { linux_bridge: Some("vmbr0".to_owned()), ..good }),
        ["- port    br-acme veth777.0: its device is on the Linux bridge vmbr0"]
    );
}

proptest! {
    /// A tenant that takes over another's bridge never has a tunnel on it beside one of the other's, however few
    /// removals a step may have.
    #[test]
    fn no_step_joins_two_tenants(hosts in 3_usize..9, max_removals in 1_usize..6) {
        let topology = |tenant: &str, key: u32| -> Topology {
            let mut text = "mesh = { name = \"m\", underlay_mtu = 1500 }\n".to_owned();
            for host in 0..hosts {
                let _ = write!(text, "[[host]]\nname = \"h{host}\"\nunderlay_ip = \"10.0.0.{}\"\n", host + 1);
            }
            let _ = write!(
                text,
                "[[tenant]]\nname = \"{tenant}\"\nkey = {key}\nbridge = \"br-shared\"\nsubnet = \"10.1.0.0/24\"\n\
                 gateways = {{ h0 = \"10.1.0.1\" }}\n"
            );
            text.parse().unwrap()
        };
        let mut database = Database::default();
        converge(&mut database, &plan(&topology("old", 7)), AT_ONCE).unwrap();
        let new = plan(&topology("new", 8));
        for _ in 0..20 {
            let diff = Diff::new(&new, &database.snapshot, &HostDevices::default()).unwrap();
            if diff.is_empty() {
                break;
            }
            let step = diff.next_step(max_removals);
            database.transact(&lower(&new, &database.snapshot, &step)).unwrap();
            let keys: HashSet<u32> =
                database.snapshot.interfaces.values().filter_map(|row| row.effective_tuple()?.key).collect();
            prop_assert!(keys.len() <= 1, "two tenants on one bridge: {keys:?}");
        }
        prop_assert!(database.holds(&new));
    }
}
