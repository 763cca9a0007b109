//! The agent with real Redis, Sentinel and HAProxy. Needs root and Debian's redis-server, redis-sentinel and haproxy.
#![allow(clippy::unwrap_used, missing_docs)]

mod bed;

use std::fs;
use std::time::{Duration, Instant};

use bed::{Bed, NODES, until};
use redis_ha::Reply;

fn ok() -> Reply {
    Reply::Simple("OK".to_owned())
}

/// What `redis-ha bootstrap` does.
fn first_master(bed: &Bed) {
    let ip = Bed::ip(0).to_string();
    until("a Redis", Duration::from_secs(5), || {
        (0..3).all(|index| {
            bed.redis(index).ask(&["PING"]).is_ok_and(|reply| reply == Reply::Simple("PONG".into()))
        })
    });
    assert_eq!(bed.redis(0).ask(&["REPLICAOF", "NO", "ONE"]).unwrap(), ok());
    for index in 1..3 {
        assert_eq!(bed.redis(index).ask(&["REPLICAOF", &ip, "6379"]).unwrap(), ok());
    }
}

#[test]
fn clients_follow_the_master_and_a_dead_agent_or_haproxy_shows() {
    let mut bed = Bed::new("fast");
    bed.start_nodes();
    bed.start_agent();
    bed.start_haproxy();
    until("an answer", Duration::from_secs(5), || {
        bed.agent_says("alive").is_ok_and(|said| said == "alive\n")
    });
    until("all down", Duration::from_secs(5), || bed.servers() == [false; 3]);
    until("a listener", Duration::from_secs(5), || {
        fs::read_to_string(bed.path("haproxy.alive")).unwrap() == "0\n"
    });
    std::thread::sleep(Duration::from_millis(500));
    first_master(&bed);
    until("the first master", Duration::from_secs(10), || bed.servers() == [true, false, false]);
    assert_eq!(bed.agent_says("102").unwrap(), "down #another node is the master\n");
    until("replicas", Duration::from_secs(15), || {
        let Ok(Reply::Array(Some(fields))) = bed.sentinel(2).ask(&["SENTINEL", "MASTER", "acme"]) else {
            return false;
        };
        let get = |name: &str| {
            fields.chunks(2).find(|pair| pair[0].text() == Some(name)).unwrap()[1].text().unwrap().to_owned()
        };
        get("num-slaves") == "2" && get("num-other-sentinels") == "2"
    });
    let mut client = bed.client().unwrap();
    assert_eq!(client.ask(&["SET", "a", "1"]).unwrap(), ok());

    // The master dies.
    bed.kill(&format!("redis-{}", NODES[0]));
    let start = Instant::now();
    let took = until("a new master", Duration::from_secs(10), || {
        bed.client().is_ok_and(|mut client| client.ask(&["SET", "b", "1"]).is_ok_and(|reply| reply == ok()))
    });
    eprintln!("failover: {took:?} {:?}", start.elapsed());
    assert!(client.ask(&["SET", "a", "2"]).is_err(), "a session of the old master has ended");

    // HAProxy dies: keepalived knows within milliseconds.
    bed.kill("haproxy");
    let took = until("the track file", Duration::from_secs(1), || {
        fs::read_to_string(bed.path("haproxy.alive")).unwrap() == "1\n"
    });
    eprintln!("track file: {took:?}");
    bed.start_haproxy();
    until("HAProxy", Duration::from_secs(5), || bed.servers().iter().filter(|up| **up).count() == 1);
    until("the track file", Duration::from_secs(1), || {
        fs::read_to_string(bed.path("haproxy.alive")).unwrap() == "0\n"
    });

    for round in 0..10 {
        bed.kill("agent");
        std::thread::sleep(Duration::from_millis(150));
        let mut seen = Vec::new();
        let start = Instant::now();
        bed.start_agent();
        while start.elapsed() < Duration::from_millis(600) {
            let up = bed.servers();
            if seen.last().is_none_or(|(_, last)| *last != up) {
                seen.push((start.elapsed(), up));
            }
        }
        eprintln!("restart {round}: {seen:?}");
    }
    // The agent dies: all servers are down soon.
    bed.kill("agent");
    let took = until("no server", Duration::from_secs(5), || bed.servers() == [false; 3]);
    eprintln!("dead agent: {took:?}");
    bed.start_agent();
    until("the master", Duration::from_secs(5), || bed.servers().iter().filter(|up| **up).count() == 1);
}
