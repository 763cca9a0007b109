//! The agent with real Redis, Sentinel and HAProxy. Needs root and Debian's redis-server, redis-sentinel and haproxy.
#![allow(clippy::unwrap_used, missing_docs)]

mod bed;

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use bed::{Bed, NODES, TENANT, until};
use redis_ha::{Certificates, FALL, Profile, Reply, WATCHDOG, Watch};

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
    until("a listener", Duration::from_secs(5), || bed.track() == "0\n");
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
    let took = until("the track file", Duration::from_secs(1), || bed.track() == "1\n");
    eprintln!("track file: {took:?}");
    bed.start_haproxy();
    until("HAProxy", Duration::from_secs(5), || bed.servers().iter().filter(|up| **up).count() == 1);
    until("the track file", Duration::from_secs(1), || bed.track() == "0\n");

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

    // The agent dies: all servers are down after so many checks, and with them the sessions.
    let mut client = bed.client().unwrap();
    bed.kill("agent");
    let took = until("no server", Duration::from_secs(5), || bed.servers() == [false; 3]);
    eprintln!("dead agent: {took:?}");
    let Watch::Agent { check, .. } = Profile::Fast.pace().watch else { unreachable!("it has an agent") };
    assert!((check * (FALL - 2)..check * (FALL * 2)).contains(&took), "{took:?}");
    assert!(client.ask(&["SET", "c", "2"]).is_err(), "nobody says any longer that this is the master");
    bed.start_agent();
    until("the master", Duration::from_secs(5), || bed.servers().iter().filter(|up| **up).count() == 1);
}

#[test]
fn clients_speak_tls_where_there_is_a_certificate() {
    let mut bed = Bed::new("fast");
    let certificate = bed.certify();
    assert!(Certificates::read(&bed.config).is_ok(), "what OpenSSL writes is one");
    bed.start_nodes();
    bed.start_agent();
    bed.start_haproxy();
    until("HAProxy", Duration::from_secs(5), || bed.track() == "0\n");
    bed.bootstrap();
    until("the first master", Duration::from_secs(5), || bed.servers() == [true, false, false]);
    let cli = |trusted: &[&str], words: &[&str]| {
        let output = Command::new("ip")
            .args(["netns", "exec", &bed.name("proxy"), "redis-cli", "-h", "10.0.1.100", "--tls"])
            .args(trusted)
            .args(words)
            .env("REDISCLI_AUTH", bed.credentials.client.expose())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let trusted = &["--cacert", certificate.to_str().unwrap()];
    assert_eq!(cli(trusted, &["SET", "a", "1"]), "OK\n");
    assert_eq!(cli(trusted, &["GET", "a"]), "1\n");
    assert_eq!(cli(&[], &["GET", "a"]), "", "nobody of the system's vouches for it");
    assert!(bed.client().is_err(), "who speaks plainly is not heard");
}

#[test]
fn an_agent_that_starts_beside_a_master_without_replicas_lets_nobody_write() {
    let mut bed = Bed::new("fast");
    bed.start_nodes();
    bed.start_agent();
    bed.bootstrap();
    let says = |bed: &Bed, said: &str| bed.agent_says("101").is_ok_and(|answer| answer == said);
    // Both replicas have come, and all Sentinels know.
    until("known replicas", Duration::from_secs(20), || {
        (0..3).all(|index| {
            let reply = bed.sentinel(index).ask(&["SENTINEL", "REPLICAS", TENANT]);
            reply.is_ok_and(|reply| format!("{reply:?}").matches("Some(\"ok\")").count() == 2)
        })
    });
    bed.kill("agent");
    bed.start_agent();
    until("a master for an agent that starts", Duration::from_secs(5), || says(&bed, "ready up\n"));

    bed.kill(&format!("redis-{}", NODES[1]));
    bed.kill(&format!("redis-{}", NODES[2]));
    until("a closed gate", Duration::from_secs(5), || says(&bed, "down #no replica follows it\n"));
    bed.kill("agent");
    bed.start_agent();
    until("an answer", Duration::from_secs(5), || bed.agent_says("alive").is_ok());
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        assert_eq!(bed.agent_says("101").unwrap(), "down #no replica follows it\n");
        std::thread::sleep(Duration::from_millis(20));
    }
    bed.start_redis(1);
    until("a replica that is back", Duration::from_secs(20), || says(&bed, "ready up\n"));
}

#[test]
fn an_agent_that_hangs_gives_systemd_no_word() {
    let mut bed = Bed::new("fast");
    let systemd = UnixDatagram::bind(bed.path("notify")).unwrap();
    systemd.set_read_timeout(Some(WATCHDOG)).unwrap();
    bed.start_agent();
    let mut word = [0; 32];
    let mut hears = || systemd.recv(&mut word).is_ok_and(|length| &word[..length] == b"WATCHDOG=1");
    until("a first word", Duration::from_secs(5), &mut hears);
    let start = Instant::now();
    while start.elapsed() < WATCHDOG * 4 {
        assert!(hears(), "it is alive");
    }
    bed.signal("agent", "-STOP");
    // What it said before is still there.
    until("silence", WATCHDOG * 4, || !hears());
    bed.signal("agent", "-CONT");
    until("a word", Duration::from_secs(1), hears);
}

#[test]
fn an_haproxy_that_hangs_is_dead_until_it_goes_on() {
    let mut bed = Bed::new("fast");
    bed.start_nodes();
    bed.start_agent();
    bed.start_haproxy();
    until("HAProxy", Duration::from_secs(5), || bed.track() == "0\n");
    // Its sockets are open and take connections: only an answer shows that it lives. Asked each 100 ms, with five advertisements'
    // patience.
    let patience = Profile::Fast.pace().advert * 5;
    bed.signal("haproxy", "-STOP");
    let took = until("a dead HAProxy", Duration::from_secs(5), || bed.track() == "1\n");
    eprintln!("hung HAProxy: {took:?}");
    assert!(took <= patience + Duration::from_millis(250), "{took:?}");
    let hung = Instant::now();
    while hung.elapsed() < Duration::from_secs(1) {
        assert_eq!(bed.track(), "1\n", "it does not flap");
        std::thread::sleep(Duration::from_millis(10));
    }
    bed.signal("haproxy", "-CONT");
    until("a live HAProxy", Duration::from_secs(1), || bed.track() == "0\n");
}

#[test]
fn a_proxy_that_hears_no_sentinel_serves_nobody_until_it_does() {
    let mut bed = Bed::new("fast");
    bed.start_haproxy();
    bed.start_agent();
    // Its HAProxy lives; after `freshness` it knows that it hears nobody.
    std::thread::sleep(Duration::from_secs(1));
    until("a proxy that gave up", Duration::from_secs(5), || bed.track() == "1\n");
    bed.start_nodes();
    until("a proxy that hears", Duration::from_secs(10), || bed.track() == "0\n");
}

#[test]
fn a_gateway_that_is_made_anew_is_answered_in_again() {
    let mut bed = Bed::new("fast");
    bed.start_nodes();
    bed.start_agent();
    until("an answer", Duration::from_secs(5), || bed.agent_says("alive").is_ok());
    bed.bootstrap();
    until("a master", Duration::from_secs(5), || {
        bed.agent_says("101").is_ok_and(|said| said == "ready up\n")
    });

    // As `ovsmesh sync` does when it has to: the name is the same, the namespace is another.
    bed.unplug("p1-acme");
    std::thread::sleep(Duration::from_millis(600));
    assert!(bed.agent_says("alive").is_err(), "there is no such namespace");
    bed.plug("p1-acme", "192.168.10.4/24");
    let took = until("an answer", Duration::from_secs(3), || {
        bed.agent_says("101").is_ok_and(|said| said == "ready up\n")
    });
    eprintln!("a new gateway: {took:?}");
    assert_eq!(bed.agent_says("alive").unwrap(), "alive\n");
}
