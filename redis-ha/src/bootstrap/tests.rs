use super::*;
use crate::survey::RedisView;
use crate::wire::report::{History, Named, Replication, ReportError};

fn ctid(index: usize) -> Ctid {
    (101 + index).to_string().parse().unwrap()
}

fn address(index: usize) -> SocketAddr {
    format!("10.0.0.{index}:6379").parse().unwrap()
}

/// Three nodes that have just been started.
fn fresh() -> ClusterView {
    let node = |index: usize| NodeView {
        ctid: ctid(index),
        ip: address(index).ip(),
        redis: Ok(RedisView {
            replication: Replication {
                role: Role::Replica,
                history: History::of("h"),
                offset: 0,
                master: Some("127.0.0.1:1".parse().unwrap()),
                link: false,
                copying: false,
                replicas: Vec::new(),
            },
            keys: 0,
        }),
        sentinel: Ok(Named {
            master: address(0),
            epoch: 0,
            replicas: 0,
            sentinels: 0,
            flags: "master".to_owned(),
        }),
    };
    ClusterView { tenant: "acme".parse().unwrap(), majority: 2, nodes: (0..3).map(node).collect() }
}

fn redis(view: &mut ClusterView, index: usize) -> &mut RedisView {
    view.nodes[index].redis.as_mut().unwrap()
}

fn sentinel(view: &mut ClusterView, index: usize) -> &mut Named {
    view.nodes[index].sentinel.as_mut().unwrap()
}

fn done() -> ClusterView {
    let mut view = fresh();
    redis(&mut view, 0).replication.role = Role::Master;
    for index in 1..3 {
        let replication = &mut redis(&mut view, index).replication;
        replication.master = Some(address(0));
        replication.link = true;
    }
    for index in 0..3 {
        let named = sentinel(&mut view, index);
        (named.replicas, named.sentinels) = (2, 2);
    }
    view
}

fn promotes(first: usize) -> Bootstrap {
    let place = |index| (ctid(index), address(index));
    let others = (0..3).filter(|index| *index != first).map(place).collect();
    Bootstrap::Promote { first: place(first), others }
}

#[test]
fn the_first_node_of_a_fresh_cluster_is_promoted_once() {
    assert_eq!(decide(&fresh(), None), Ok(promotes(0)));
    assert_eq!(decide(&done(), None), Ok(Bootstrap::Done(ctid(0))));
    let mut cut_short = fresh();
    redis(&mut cut_short, 0).replication.role = Role::Master;
    sentinel(&mut cut_short, 1).replicas = 1;
    assert_eq!(decide(&cut_short, None), Ok(promotes(0)));
}

#[test]
fn nothing_is_promoted_where_something_could_be_lost() {
    type Change = fn(&mut ClusterView);
    let table: [(Change, Obstacle); 7] = [
        (
            |view| view.nodes[1].redis = Err(ReportError::Refused("NOAUTH".to_owned()).into()),
            Obstacle::Redis { node: ctid(1), why: "it was refused: NOAUTH".to_owned() },
        ),
        (
            |view| view.nodes[2].sentinel = Err(ReportError::Refused("NOAUTH".to_owned()).into()),
            Obstacle::Sentinel { node: ctid(2), why: "it was refused: NOAUTH".to_owned() },
        ),
        (|view| redis(view, 1).replication.role = Role::Master, Obstacle::Master(ctid(1))),
        (|view| redis(view, 2).keys = 3, Obstacle::Data { node: ctid(2), keys: 3 }),
        (|view| sentinel(view, 0).epoch = 1, Obstacle::FailedOver { node: ctid(0), epoch: 1 }),
        (|view| sentinel(view, 0).replicas = 1, Obstacle::Replicas { node: ctid(0), replicas: 1 }),
        (|view| sentinel(view, 1).master = address(2), Obstacle::Named { node: ctid(1), master: address(2) }),
    ];
    for (change, obstacle) in table {
        let mut view = fresh();
        change(&mut view);
        assert_eq!(decide(&view, None), Err(vec![obstacle]));
    }
}

#[test]
fn force_takes_the_data_of_the_node_that_sentinels_name() {
    let mut view = fresh();
    for index in 0..3 {
        redis(&mut view, index).keys = 7;
        let named = sentinel(&mut view, index);
        (named.master, named.epoch, named.replicas) = (address(1), 4, 2);
    }
    assert_eq!(decide(&view, Some(&ctid(1))), Ok(promotes(1)));
    assert_eq!(decide(&view, Some(&ctid(0))).map_err(|obstacles| obstacles.len()), Err(3));
    assert_eq!(decide(&view, Some(&ctid(9))), Err(vec![Obstacle::Stranger(ctid(9))]));
    redis(&mut view, 2).replication.role = Role::Master;
    assert_eq!(decide(&view, Some(&ctid(1))), Err(vec![Obstacle::Master(ctid(2))]));
}

#[test]
fn what_is_missing_is_told() {
    type Change = fn(&mut ClusterView);
    let table: [(Change, &str); 8] = [
        (|view| redis(view, 2).replication.link = false, "its link is down"),
        (
            |view| {
                let replication = &mut redis(view, 2).replication;
                (replication.link, replication.copying) = (false, true);
            },
            "it copies the data",
        ),
        (
            |view| redis(view, 2).replication.master = Some(address(1)),
            &format!("it is a replica of {}", address(1)),
        ),
        (
            |view| redis(view, 2).replication.master = Some("127.0.0.1:1".parse().unwrap()),
            "no Sentinel has told it yet whose replica to be",
        ),
        (|view| redis(view, 2).replication.master = None, "it is a replica of nobody"),
        (|view| redis(view, 2).replication.role = Role::Master, "it is a master"),
        (
            |view| view.nodes[2].redis = Err(ReportError::Refused("LOADING".to_owned()).into()),
            "its answer is of no use: it was refused: LOADING",
        ),
        (
            |view| {
                let waited = Duration::from_secs(2);
                view.nodes[2].redis = Err(AskError::Timeout { to: address(2), waited }.into());
            },
            &format!("it does not answer: {} did not answer in 2s", address(2)),
        ),
    ];
    for (change, why) in table {
        let mut view = done();
        change(&mut view);
        assert_eq!(ready(&view), Err(format!("103 is not linked to 101: {why}")));
    }
    let mut view = done();
    sentinel(&mut view, 0).replicas = 1;
    assert_eq!(ready(&view), Ok(()));
    sentinel(&mut view, 1).sentinels = 1;
    assert_eq!(
        ready(&view),
        Err("1 Sentinels know all replicas and each other, 2 are a majority".to_owned())
    );
}
