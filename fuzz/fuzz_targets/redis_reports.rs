//! Whatever a Redis or a Sentinel answers is a report or an error, and what a report says stands in the answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redis_ha::{Named, Replication, Reply, Role};

fn replies(mut bytes: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while let Ok(Some((reply, length))) = Reply::parse(bytes) {
        replies.push(reply);
        bytes = &bytes[length..];
    }
    replies
}

fuzz_target!(|bytes: &[u8]| {
    let replies = replies(bytes);
    if let Ok(report) = Replication::of(&replies) {
        let text = replies[0].text().expect("a report is out of a text");
        assert!(text.contains(if report.role == Role::Master { "role:master" } else { "role:slave" }));
        assert!(report.replicas.len() <= text.matches("slave").count());
        assert!(report.master.is_none_or(|_| text.contains("master_host:")));
    }
    if let Ok(named) = Named::of(&replies) {
        let [address, _] = &replies[..] else { panic!("a vote is out of two replies") };
        let [ip, port] = address.array().expect("an address has two parts") else { panic!("two") };
        assert_eq!(ip.text().and_then(|ip| ip.parse().ok()), Some(named.master.ip()));
        assert_eq!(port.text().and_then(|port| port.parse().ok()), Some(named.master.port()));
    }
});
