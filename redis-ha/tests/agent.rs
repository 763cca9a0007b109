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
    bed.bootstrap();
    until("the first master", Duration::from_secs(1), || bed.servers() == [true, false, false]);
    assert_eq!(bed.agent_says("102").unwrap(), "down #another node is the master\n");
    let mut client = bed.client().unwrap();
    assert_eq!(client.ask(&["SET", "a", "1"]).unwrap(), ok());

    // The master dies.
    bed.kill(&format!("redis-{}", NODES[0]));
    let took = until("a new master", Duration::from_secs(10), || {
        bed.client().is_ok_and(|mut client| client.ask(&["SET", "b", "1"]).is_ok_and(|reply| reply == ok()))
    });
    eprintln!("a new master after {took:?}");
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

    // The agent is restarted, once HAProxy has asked often enough to forgive failures: nobody notices.
    std::thread::sleep(Duration::from_millis(500));
    let mut client = bed.client().unwrap();
    for _ in 0..3 {
        bed.kill("agent");
        bed.start_agent();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(700) {
            assert_eq!(client.ask(&["SET", "c", "1"]).unwrap(), ok());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    // The agent dies: all servers are down soon.
    bed.kill("agent");
    let took = until("no server", Duration::from_secs(5), || bed.servers() == [false; 3]);
    eprintln!("dead agent: {took:?}");
    bed.start_agent();
    until("the master", Duration::from_secs(5), || bed.servers().iter().filter(|up| **up).count() == 1);
}
