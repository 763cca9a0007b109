//! Replies of Redis 7.0.15, as they came: a master, two replicas and two Sentinels, through a failover and a copy.

use super::*;

fn replies(fixture: &str) -> Vec<Reply> {
    let mut replies = Vec::new();
    let mut rest = fixture.as_bytes();
    while let Some((reply, length)) = Reply::parse(rest).unwrap() {
        replies.push(reply);
        rest = &rest[length..];
    }
    assert_eq!(rest, b"", "the fixture ends within a reply");
    replies
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn what_a_redis_says_of_its_replication() {
    let replica = |history: &str, offset, master| Replication {
        role: Role::Replica,
        history: History::of(history),
        offset,
        master: Some(local(master)),
        link: false,
        copying: false,
        replicas: Vec::new(),
    };
    let master = |history: &str, offset, replicas| Replication {
        role: Role::Master,
        history: History::of(history),
        offset,
        master: None,
        link: false,
        copying: false,
        replicas,
    };
    let listed = |online, offset, lag| Listed { ip: local(0).ip(), online, offset, lag };
    let first = "42ad664dff938abe5257d84b63a30dba4a6eab39";
    let table = [
        (include_str!("../fixtures/master.resp"), master(first, 157, vec![listed(true, 157, 0); 2])),
        (
            include_str!("../fixtures/master-of-a-copy.resp"),
            master(
                "58144fb2eb4024a211d9d847f68df3e771ae550f",
                3114,
                vec![listed(true, 3114, 1), listed(false, 0, 0)],
            ),
        ),
        (
            include_str!("../fixtures/master-alone.resp"),
            master("0f2e4a51e9b160442d1abe07b43a839d883cfd1b", 0, Vec::new()),
        ),
        (include_str!("../fixtures/replica.resp"), Replication { link: true, ..replica(first, 157, 17001) }),
        (include_str!("../fixtures/replica-without-a-master.resp"), replica(first, 714, 17001)),
        (
            include_str!("../fixtures/never-a-master.resp"),
            replica("6798ed90e06185ccf6743424d4022ff440cd4366", 1, 1),
        ),
        (
            include_str!("../fixtures/copying.resp"),
            Replication { copying: true, ..replica("a6a9c3c2c7e3b3a619fcb76fad89f0e64ffa607b", 1, 17002) },
        ),
    ];
    for (fixture, expected) in table {
        assert_eq!(Replication::of(&replies(fixture)), Ok(expected), "{fixture}");
    }
}

#[test]
fn a_copy_that_stands_still_is_none() {
    let fixture = include_str!("../fixtures/copying.resp");
    for (line, copying) in [
        ("master_sync_last_io_seconds_ago:2", true),
        ("master_sync_last_io_seconds_ago:3", false),
        // All has come, and is being loaded.
        ("master_sync_last_io_seconds_ago:9\r\nmaster_sync_left_bytes:0", true),
    ] {
        let Some(text) = replies(fixture)[0].text().map(str::to_owned) else { panic!() };
        let text = text
            .replace("master_sync_left_bytes:-1\r\n", "")
            .replace("master_sync_last_io_seconds_ago:0", line);
        let report = Replication::of(&[Reply::Bulk(Some(text))]).unwrap();
        assert_eq!(report.copying, copying, "{line}");
    }
}

#[test]
fn how_many_keys_there_are() {
    let table = [
        (include_str!("../fixtures/keyspace.resp"), 3),
        (include_str!("../fixtures/keyspace-empty.resp"), 0),
    ];
    for (fixture, expected) in table {
        assert_eq!(keys(&replies(fixture)), Ok(expected));
    }
    let most = u64::MAX;
    let text = format!("db0:keys={most},expires=0\r\ndb1:keys={most},expires=0\r\n");
    assert_eq!(keys(&[Reply::Bulk(Some(text))]), Ok(most));
    let missing = Err(ReportError::Field { question: "INFO keyspace", field: "keys" });
    assert_eq!(keys(&[Reply::Bulk(Some("db0:expires=0\r\n".to_owned()))]), missing);
}

#[test]
fn what_a_sentinel_says_of_its_master() {
    let named = |port, epoch, flags: &str| Named {
        master: local(port),
        epoch,
        replicas: 2,
        sentinels: 1,
        flags: flags.to_owned(),
    };
    let table = [
        (include_str!("../fixtures/named.resp"), named(17001, 0, "master")),
        (
            include_str!("../fixtures/named-down.resp"),
            named(17001, 0, "s_down,o_down,master,disconnected,failover_in_progress"),
        ),
        (include_str!("../fixtures/named-after-failover.resp"), named(17002, 1, "master")),
    ];
    for (fixture, expected) in table {
        assert_eq!(Named::of(&replies(fixture)), Ok(expected), "{fixture}");
    }
}

#[test]
fn whom_replicas_have_followed() {
    // One lost its link a second ago, and one is dead.
    let fixture = include_str!("../fixtures/replicas-gone.resp");
    let master = SocketAddr::from(([192, 168, 10, 12], 6379));
    let cut = |text: &str| text.replace("$4\r\n1000\r\n", "$5\r\n-1000\r\n");
    let dead =
        |text: &str| text.replace("$2\r\nok\r\n", "$3\r\nerr\r\n").replace("$1\r\n0\r\n", "$5\r\n-1000\r\n");
    let table = [
        ("as it came", fixture.to_owned(), vec![master]),
        ("the one was never there", cut(fixture), vec![master]),
        ("the other was never there", dead(fixture), vec![master]),
        ("neither was", cut(&dead(fixture)), vec![]),
        ("neither was heard", fixture.replace("$13\r\n192.168.10.12\r\n", "$1\r\n?\r\n"), vec![]),
        ("there is none", "*0\r\n".to_owned(), vec![]),
    ];
    for (what, text, expected) in table {
        assert_eq!(followed(&replies(&text)[0]), Ok(expected.into_iter().collect()), "{what}");
    }
    let question = "SENTINEL REPLICAS";
    assert_eq!(followed(&Reply::Integer(1)), Err(ReportError::Kind { question }));
    let refused = Reply::Error("ERR No such master with that name".to_owned());
    assert!(matches!(followed(&refused), Err(ReportError::Refused(_))));
}

#[test]
fn what_is_no_report() {
    let refused = replies(include_str!("../fixtures/refused.resp"));
    let why = || "NOAUTH Authentication required.".to_owned();
    assert_eq!(Replication::of(&refused), Err(ReportError::Refused(why())));
    assert_eq!(keys(&refused), Err(ReportError::Refused(why())));
    assert_eq!(Named::of(&[&refused[..], &refused[..]].concat()), Err(ReportError::Refused(why())));
    // A Sentinel that does not know the name has no address, and an error for the rest.
    assert_eq!(
        Named::of(&replies(include_str!("../fixtures/unknown-name.resp"))),
        Err(ReportError::Refused("ERR No such master with that name".to_owned()))
    );

    let question = "INFO replication";
    let info = |text: &str| Reply::Bulk(Some(text.to_owned()));
    let table = [
        (vec![], ReportError::Kind { question }),
        (vec![Reply::Integer(1)], ReportError::Kind { question }),
        (vec![Reply::Bulk(None)], ReportError::Kind { question }),
        (vec![info("role:master"), info("role:master")], ReportError::Kind { question }),
        (vec![info("")], ReportError::Field { question, field: "role" }),
        (vec![info("role:sentinel")], ReportError::Field { question, field: "role" }),
        (vec![info("role:master\r\n")], ReportError::Field { question, field: "master_replid" }),
    ];
    for (replies, expected) in table {
        assert_eq!(Replication::of(&replies), Err(expected), "{replies:?}");
    }

    let fixture = include_str!("../fixtures/named.resp");
    let question = "SENTINEL MASTER";
    let table = [
        ("$5\r\n17001\r\n*40", "$5\r\n99999\r\n*40", "SENTINEL GET-MASTER-ADDR-BY-NAME", "address"),
        ("config-epoch", "config-epic!", question, "config-epoch"),
        ("num-slaves\r\n$1\r\n2", "num-slaves\r\n$1\r\nx", question, "num-slaves"),
    ];
    for (from, to, question, field) in table {
        let changed = fixture.replace(from, to);
        assert_ne!(changed, fixture, "{from}");
        assert_eq!(Named::of(&replies(&changed)), Err(ReportError::Field { question, field }));
    }
}

#[test]
fn a_replica_that_the_master_lists_badly_is_left_out() {
    let lines = [
        "slave0:ip=10.0.0.2,port=6379,state=online,offset=14,lag=0",
        "slave1:ip=replica.example,port=6379,state=online,offset=14,lag=0",
        "slave2:ip=10.0.0.3,port=6379,state=online,offset=x,lag=0",
        "slave3:ip=10.0.0.4,port=6379,state=send_bulk",
        "slaves:ip=10.0.0.5,port=6379,state=online,offset=14,lag=0",
    ];
    let text = format!("role:master\r\nmaster_replid:h\r\n{}\r\n", lines.join("\r\n"));
    let report = Replication::of(&[Reply::Bulk(Some(text))]).unwrap();
    let ips: Vec<String> = report.replicas.iter().map(|listed| listed.ip.to_string()).collect();
    assert_eq!(ips, ["10.0.0.2"]);
}
