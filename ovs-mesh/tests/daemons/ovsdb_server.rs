//! The OVSDB client against a real ovsdb-server.

use std::time::Duration;

use nix::sys::signal::Signal;
use ovs_mesh::ovsdb::{
    CallError, Client, Condition, ConnectError, ConnectOptions, Endpoint, Function, LostReason, MonitorError,
    MonitorRequest, Mutation, Mutator, Operation, OperationError, OperationResult, RowUpdate, TransactError,
    Until, Value,
};
use ovs_mesh::unixctl::{self, Unixctl};
use tokio::time::{Instant, sleep};

use crate::support::{DB, Ovsdb, after, row, soon};

/// `QoS` is a table whose rows need nothing that refers to them.
fn qos(kind: &str) -> Operation {
    Operation::insert("QoS", row([("type", kind.into())]))
}

async fn select(client: &Client, table: &str, columns: &[&str]) -> Vec<ovs_mesh::ovsdb::Row> {
    let operations = [Operation::select_all(table, columns.iter().copied())];
    let results = client.transact(DB, &operations, soon()).await.expect("a table can be read");
    results.into_iter().next().and_then(OperationResult::into_rows).expect("a select yields rows")
}

#[tokio::test]
async fn rows_are_written_changed_read_and_removed() {
    let server = Ovsdb::start().await;
    let client = server.client().await;
    assert_eq!(client.list_dbs(soon()).await.unwrap(), ["Open_vSwitch", "_Server"]);
    let schema = client.get_schema(DB, soon()).await.unwrap();
    assert_eq!(schema["name"], DB);

    let results = server.add_bridge(&client, "br0").await;
    assert_eq!(results[1], OperationResult::Count(1));
    let bridge = results[0].inserted().unwrap();
    // Everything that JSON and its splitting could stumble over.
    let awkward = "\"}{][\\ \\\" \u{1}\n é 😀 \u{7f}";
    let update = row([("external_ids", Value::string_map([(awkward, awkward), ("a", "")]))]);
    let flood = Mutation::new("flood_vlans", Mutator::Insert, vec![1, 2]);
    let results = client
        .transact(
            DB,
            &[
                Operation::update_row("Bridge", bridge, update),
                Operation::mutate_row("Bridge", bridge, vec![flood]),
                Operation::Comment { comment: "x".into() },
                Operation::Commit { durable: true },
            ],
            soon(),
        )
        .await
        .unwrap();
    let count = OperationResult::Count;
    assert_eq!(results, [count(1), count(1), OperationResult::Done, OperationResult::Done]);

    let rows =
        select(&client, "Bridge", &["name", "external_ids", "flood_vlans", "fail_mode", "stp_enable"]).await;
    let [bridge_row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!(bridge_row["_uuid"].uuid().unwrap(), bridge);
    assert_eq!(bridge_row["external_ids"].string_at(awkward).unwrap(), Some(awkward));
    assert_eq!(bridge_row["flood_vlans"], Value::from(vec![2, 1]));
    assert_eq!(bridge_row["fail_mode"].optional_string().unwrap(), None);
    assert!(!bridge_row["stp_enable"].boolean().unwrap());
    // A set of one comes as a bare atom.
    let root = select(&client, "Open_vSwitch", &["bridges"]).await;
    assert_eq!(root[0]["bridges"].uuids().unwrap(), [bridge]);
    assert!(matches!(root[0]["bridges"], Value::Atom(_)));

    let removal = Mutation::new("bridges", Mutator::Delete, bridge);
    let operation = Operation::mutate_row("Open_vSwitch", server.root, vec![removal]);
    client.transact(DB, &[operation], soon()).await.unwrap();
    assert!(select(&client, "Bridge", &["name"]).await.is_empty());
}

#[tokio::test]
async fn equal_rows_are_not_folded() {
    let server = Ovsdb::start().await;
    let client = server.client().await;
    client.transact(DB, &vec![qos("linux-htb"); 100], soon()).await.unwrap();
    assert_eq!(select(&client, "QoS", &["type"]).await.len(), 100);
}

#[tokio::test]
async fn a_change_that_meets_no_row_counts_none() {
    let server = Ovsdb::start().await;
    let client = server.client().await;
    let nobody = uuid::Uuid::from_u128(1);
    let operations = [
        Operation::mutate_row(
            "Bridge",
            nobody,
            vec![Mutation::new("ports", Mutator::Insert, Value::empty_set())],
        ),
        Operation::update_row("Bridge", nobody, row([("fail_mode", "secure".into())])),
        Operation::Delete { table: "Bridge".into(), r#where: vec![Condition::equal("name", "x")] },
    ];
    assert_eq!(client.transact(DB, &operations, soon()).await.unwrap(), vec![OperationResult::Count(0); 3]);
}

#[tokio::test]
async fn refusals_are_typed_and_say_which_operation() {
    let server = Ovsdb::start().await;
    let client = server.client().await;
    let results = server.add_bridge(&client, "br0").await;
    let bridge = results[0].inserted().unwrap();
    let guard = Operation::guard_row("Bridge", bridge, row([("name", "br1".into())]));
    let next_cfg = |mutator, by: i64| {
        Operation::mutate_row("Open_vSwitch", server.root, vec![Mutation::new("next_cfg", mutator, by)])
    };
    let dangling = row([("name", "p".into()), ("interfaces", uuid::Uuid::from_u128(1).into())]);
    let add_port = Mutation::new("ports", Mutator::Insert, Value::named_uuid("p"));
    let twice = || Operation::insert_named("QoS", "q", row([]));
    for (operations, at, expected) in [
        (vec![qos("x"), guard], Some(1), OperationError::WaitTimedOut),
        // Checked when the transaction is whole: the reply has an element more than operations.
        (server.bridge("br0").to_vec(), None, OperationError::ConstraintViolation),
        (
            vec![
                Operation::insert_named("Port", "p", dangling),
                Operation::mutate_row("Bridge", bridge, vec![add_port]),
            ],
            None,
            OperationError::ReferentialIntegrityViolation,
        ),
        (
            vec![Operation::insert("Bridge", row([("fail_mode", "none".into())]))],
            Some(0),
            OperationError::ConstraintViolation,
        ),
        (vec![next_cfg(Mutator::Divide, 0)], Some(0), OperationError::Domain),
        (vec![next_cfg(Mutator::Add, i64::MAX); 2], Some(1), OperationError::Range),
        (vec![twice(), twice()], Some(1), OperationError::DuplicateUuidName),
        (vec![Operation::Abort], Some(0), OperationError::Aborted),
        (vec![Operation::Assert { lock: "l".into() }], Some(0), OperationError::NotOwner),
        (vec![Operation::insert("QoS", row([("nope", 1.into())]))], Some(0), OperationError::UnknownColumn),
        (vec![Operation::insert("QoS", row([("type", 1.into())]))], Some(0), OperationError::Syntax),
        // RFC 7047 has `unknown table`; the server has not.
        (vec![Operation::insert("Nope", row([]))], Some(0), OperationError::Syntax),
    ] {
        let error = client.transact(DB, &operations, soon()).await.unwrap_err();
        let conflict = error.is_conflict();
        let TransactError::Refused { operation_index, error, details } = error else { panic!("{error}") };
        assert_eq!((operation_index, &error), (at, &expected), "{details:?}");
        assert!(details.is_some());
        assert_eq!(conflict, expected == OperationError::WaitTimedOut);
    }
    assert!(select(&client, "QoS", &[]).await.is_empty(), "a transaction that failed did nothing");

    let error = client.transact("Nope", &[], soon()).await.unwrap_err();
    assert!(matches!(error, TransactError::Refused { error: OperationError::UnknownDatabase, .. }));
    let watch = MonitorRequest::new().table("Nope", ["name"]);
    let error = client.monitor(DB, &watch, soon()).await.unwrap_err();
    assert!(matches!(error, CallError::Refused { method: "monitor", .. }), "{error}");
}

#[tokio::test]
async fn every_condition_is_understood() {
    let server = Ovsdb::start().await;
    let client = server.client().await;
    let functions = [
        Function::Less,
        Function::LessOrEqual,
        Function::Equal,
        Function::NotEqual,
        Function::GreaterOrEqual,
        Function::Greater,
        Function::Includes,
        Function::Excludes,
    ];
    let counts = functions.map(|function| Operation::Update {
        table: "Open_vSwitch".into(),
        r#where: vec![Condition::new("next_cfg", function, 0)],
        row: row([("next_cfg", 0.into())]),
    });
    let results = client.transact(DB, &counts, soon()).await.unwrap();
    let met: Vec<_> = results.iter().map(|result| result.count().unwrap()).collect();
    assert_eq!(met, [0, 1, 1, 0, 1, 0, 1, 0]);
}

#[tokio::test]
async fn an_update_is_there_when_its_transaction_returns() {
    let server = Ovsdb::start().await;
    let client = server.client().await;
    let watch = MonitorRequest::new().table("Open_vSwitch", ["next_cfg"]);
    let (initial, mut monitor) = client.monitor(DB, &watch, soon()).await.unwrap();
    assert_eq!(initial.table("Open_vSwitch").count(), 1);
    for number in 1..=200 {
        let operation =
            Operation::update_row("Open_vSwitch", server.root, row([("next_cfg", number.into())]));
        client.transact(DB, &[operation], soon()).await.unwrap();
        let updates = monitor.try_next().unwrap().expect("the update comes before the reply");
        let (uuid, update) = updates.table("Open_vSwitch").next().unwrap();
        assert_eq!(uuid, server.root);
        let RowUpdate::Modified { old, new } = update else { panic!("{update:?}") };
        assert_eq!(old["next_cfg"].integer(), Ok(number - 1));
        assert_eq!(new["next_cfg"].integer(), Ok(number));
    }
    assert!(monitor.try_next().unwrap().is_none());

    let watch = watch.changes_only();
    let (initial, other) = client.monitor(DB, &watch, soon()).await.unwrap();
    assert!(initial.tables.is_empty());
    drop(other);
    client.echo(soon()).await.unwrap();
}

#[tokio::test]
async fn calls_share_a_connection() {
    let server = Ovsdb::start().await;
    let client = server.client().await;
    let calls: Vec<_> = (0..50)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                let kind = format!("kind-{number}");
                let results = client.transact(DB, &[qos(&kind)], soon()).await.unwrap();
                let uuid = results[0].inserted().unwrap();
                let select = Operation::Select {
                    table: "QoS".into(),
                    r#where: vec![Condition::uuid_is(uuid)],
                    columns: None,
                };
                let results = client.transact(DB, &[select], soon()).await.unwrap();
                let rows = results.into_iter().next().and_then(OperationResult::into_rows).unwrap();
                assert_eq!(rows[0]["type"].as_str().unwrap(), kind);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn thousands_of_rows_go_in_one_message_each_way() {
    let server = Ovsdb::start().await;
    let client = server.client().await;
    let padding = "x".repeat(800);
    let insert =
        Operation::insert("QoS", row([("external_ids", Value::string_map([("padding", &padding)]))]));
    let watch = MonitorRequest::new().table("QoS", ["external_ids"]);
    let (_, mut monitor) = client.monitor(DB, &watch, soon()).await.unwrap();
    // 5 MB out while 5 MB of update and reply come in.
    let results = client.transact(DB, &vec![insert; 5000], soon()).await.unwrap();
    assert_eq!(results.len(), 5000);
    assert_eq!(monitor.try_next().unwrap().unwrap().table("QoS").count(), 5000);
    let (initial, _monitor) = client.monitor(DB, &watch, soon()).await.unwrap();
    assert_eq!(initial.table("QoS").count(), 5000);
}

#[tokio::test]
async fn a_restart_is_told_to_every_caller_who_then_connects_again() {
    let mut server = Ovsdb::start().await;
    let client = server.client().await;
    let watch = MonitorRequest::new().table("Bridge", ["name"]);
    let (_, mut monitor) = client.monitor(DB, &watch, soon()).await.unwrap();
    let pending = tokio::spawn({
        let client = client.clone();
        async move { client.transact(DB, &[wait_for_qos()], soon()).await }
    });
    sleep(Duration::from_millis(100)).await;
    server.restart().await;
    let error = pending.await.unwrap().unwrap_err();
    let TransactError::Connection { source } = error else { panic!("{error}") };
    assert!(matches!(source.reason, LostReason::Closed));
    assert_eq!(source.endpoint, server.endpoint());
    let error = monitor.next(soon()).await.unwrap_err();
    assert!(matches!(error, MonitorError::Connection { .. }), "{error}");
    assert!(matches!(client.echo(soon()).await, Err(CallError::Connection { .. })));
    server.client().await.echo(soon()).await.unwrap();
}

/// A transaction that waits, without a limit of its own, for a row of `QoS`.
fn wait_for_qos() -> Operation {
    Operation::Wait {
        table: "QoS".into(),
        r#where: vec![],
        columns: vec!["type".into()],
        until: Until::NotEqual,
        rows: vec![],
        timeout_ms: None,
    }
}

#[tokio::test]
async fn a_transaction_that_is_given_up_is_not_committed_later() {
    let server = Ovsdb::start().await;
    let client = server.client().await;
    let late = [wait_for_qos(), qos("late")];
    let error = client.transact(DB, &late, after(300)).await.unwrap_err();
    assert!(matches!(error, TransactError::Deadline { .. }), "{error}");
    client.transact(DB, &[qos("now")], soon()).await.unwrap();
    let rows = select(&client, "QoS", &["type"]).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["type"].as_str().unwrap(), "now");
}

#[tokio::test]
async fn a_server_that_hangs_costs_no_more_than_the_deadline() {
    let server = Ovsdb::start().await;
    let client = server.client().await;
    server.daemon.signal(Signal::SIGSTOP);
    let started = Instant::now();
    let error = client.transact(DB, &[qos("x")], after(300)).await.unwrap_err();
    assert!(matches!(error, TransactError::Deadline { waited } if waited <= Duration::from_millis(300)));
    assert!(matches!(client.list_dbs(after(100)).await, Err(CallError::Deadline { method: "list_dbs", .. })));
    assert!(started.elapsed() < Duration::from_secs(5));
    server.daemon.signal(Signal::SIGCONT);
    // The late replies are ignored and the connection goes on.
    client.echo(soon()).await.unwrap();
}

#[tokio::test]
async fn waiting_for_a_vswitchd_that_is_down_is_bounded() {
    let server = Ovsdb::start().await;
    let client = server.client().await;
    let watch = MonitorRequest::new().table("Open_vSwitch", ["cur_cfg"]).changes_only();
    let (_, mut monitor) = client.monitor(DB, &watch, soon()).await.unwrap();
    let bump = Mutation::new("next_cfg", Mutator::Add, 1);
    client
        .transact(DB, &[Operation::mutate_row("Open_vSwitch", server.root, vec![bump])], soon())
        .await
        .unwrap();
    let error = monitor.next(after(300)).await.unwrap_err();
    assert!(matches!(error, MonitorError::Deadline { .. }), "{error}");
}

#[tokio::test]
async fn the_servers_probes_are_answered_while_idle() {
    let server = Ovsdb::start().await;
    let port = server.listen("ptcp:0:127.0.0.1", 1000).await;
    let endpoint: Endpoint = format!("tcp:127.0.0.1:{port}").parse().unwrap();
    let options = ConnectOptions { probe_interval: Duration::from_secs(60), ..ConnectOptions::default() };
    let client = Client::connect(&endpoint, &options).await.unwrap();
    // Unanswered, the server's probe after 1 s would close the connection after 2 s.
    sleep(Duration::from_millis(3500)).await;
    client.echo(soon()).await.unwrap();
}

#[tokio::test]
async fn a_silent_server_on_the_network_is_taken_for_dead() {
    let server = Ovsdb::start().await;
    let port = server.listen("ptcp:0:127.0.0.1", 0).await;
    let endpoint: Endpoint = format!("tcp:127.0.0.1:{port}").parse().unwrap();
    let options = ConnectOptions { probe_interval: Duration::from_millis(500), ..ConnectOptions::default() };
    let client = Client::connect(&endpoint, &options).await.unwrap();
    let watch = MonitorRequest::new().table("Bridge", ["name"]);
    let (_, mut monitor) = client.monitor(DB, &watch, soon()).await.unwrap();
    // A server that lives is not lost, however little happens.
    assert!(matches!(monitor.next(after(2500)).await, Err(MonitorError::Deadline { .. })));
    server.daemon.signal(Signal::SIGSTOP);
    let error = monitor.next(soon()).await.unwrap_err();
    let MonitorError::Connection { source } = error else { panic!("{error}") };
    let LostReason::Silent { silent } = source.reason else { panic!("{source}") };
    assert!(silent >= Duration::from_secs(1), "{silent:?}");
}

#[tokio::test]
async fn a_client_that_is_dropped_leaves_no_session() {
    let server = Ovsdb::start().await;
    let control = unixctl::find(server.path(), "ovsdb-server").unwrap();
    let mut control = Unixctl::connect(control, soon()).await.unwrap();
    let client = server.client().await;
    client.echo(soon()).await.unwrap();
    assert!(control.call("memory/show", &[], soon()).await.unwrap().contains("sessions:"));
    drop(client);
    let deadline = soon();
    while control.call("memory/show", &[], soon()).await.unwrap().contains("sessions:") {
        assert!(Instant::now() < deadline, "the server still has the session");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn why_there_is_no_connection_is_said() {
    let mut server = Ovsdb::start().await;
    let options = ConnectOptions::default();
    let missing = Endpoint::Unix(server.path().join("nope.sock"));
    let error = Client::connect(&missing, &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Missing { .. }));
    assert!(error.to_string().contains("nope.sock; is ovsdb-server running"), "{error}");
    // A socket that a crash left behind.
    server.daemon.crash();
    let error = Client::connect(&server.endpoint(), &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    let error = Client::connect(&"ssl:127.0.0.1:1".parse().unwrap(), &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::KeysMissing { .. }), "{error}");
}
