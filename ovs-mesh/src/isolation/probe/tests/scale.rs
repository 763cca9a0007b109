//! Meshes that are large.

use super::*;

/// A mesh of so many hosts and tenants, each tenant with a container on every host and all with equal addresses.
fn large(hosts: usize, tenants: usize) -> Topology {
    use std::fmt::Write as _;
    let mut text = "[mesh]\nname = \"m\"\nunderlay_mtu = 1500\n".to_owned();
    for host in 0..hosts {
        let _ = writeln!(
            text,
            "[[host]]\nname = \"h{host}\"\nunderlay_ip = \"10.0.{}.{}\"",
            host / 200,
            host % 200 + 1
        );
    }
    for tenant in 0..tenants {
        let container = |host| {
            let ctid = 1000 + tenant * hosts + host;
            format!(
                "{{ ctid = \"{ctid}\", host = \"h{host}\", ip = \"192.168.{}.{}\" }}",
                host / 200,
                host % 200 + 1
            )
        };
        let containers = (0..hosts).map(container).collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            text,
            "[[tenant]]\nname = \"t{tenant}\"\nkey = {}\nsubnet = \"192.168.0.0/16\"\ncontainers = [{containers}]",
            tenant + 1
        );
    }
    text.parse().unwrap()
}

/// Asks for all of it where all answer; how many frames were sent and met, and how long it took to think.
fn thought(topology: &Topology) -> (usize, Duration) {
    let host = "h0".parse().unwrap();
    let plan = Plan::new(topology, &host).unwrap();
    let bridges = plan.bridges.iter().zip(0_u32..).map(|(bridge, at)| {
        let [.., high, low] = at.to_be_bytes();
        (bridge.name.clone(), Mac::from([2, 0, 0, 1, high, low]))
    });
    let facts = Facts { bridges: bridges.collect(), ..Facts::default() };
    let options = ProbeOptions { gap: Duration::from_micros(1), ..ProbeOptions::new(99) };
    let began = std::time::Instant::now();
    let (layout, owners) = (Layout::new(topology, &plan), Owners::new(topology));
    let (mut now, mut frames) = (Instant::now(), 0);
    let mut run = Run::new(&layout, &facts, &owners, &options, now);
    loop {
        match run.next(now) {
            Next::Done => break,
            Next::Wait(until) => now = until,
            Next::Send(Sending { tenant, ask, frame, .. }) => {
                let mark = run.cookie.find(&frame).unwrap();
                let (key, to) = (
                    Some(layout.tenant(tenant).key().get()),
                    facts.bridges[&layout.bridge(tenant).unwrap().name],
                );
                let here = layout.address(&host).unwrap();
                frames += 1;
                if mark.stage == Stage::Question {
                    for peer in layout.peers(tenant).keys() {
                        let outer = Some(Outer { src: here, dst: *peer, key });
                        run.met(WIRE, true, &Seen { outer, ..bare(own(mark)) });
                        frames += 1;
                    }
                }
                let Wanted::Known { way: Some(Way::Peer(peer)), .. } = &run.asked[ask].ask.wanted else {
                    continue;
                };
                let outer = Some(Outer { src: *peer, dst: here, key });
                let content = Content::Answer { address: run.asked[ask].ask.address, mac: mac(9), to };
                run.met(WIRE, false, &Seen { outer, ..bare(content) });
                frames += 1;
            }
        }
    }
    assert!(run.asked.iter().all(|asked| asked.sent[0] > 0), "not all were asked");
    let findings = run.findings();
    // This host's own containers are not there.
    assert_eq!(findings.len(), topology.tenants().len(), "{findings:?}");
    (frames, began.elapsed())
}

/// Prints what twice as many tenants, and twice as many hosts, cost in thinking: the time for a frame stays the same.
/// `cargo test --release -p ovs-mesh --lib probe::tests::scale::a_frame_costs -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn a_frame_costs_the_same_in_a_mesh_twice_as_large() {
    for (hosts, tenants) in [(50, 50), (50, 100), (100, 100), (200, 100), (100, 200)] {
        let topology = large(hosts, tenants);
        let (frames, time) = thought(&topology);
        let each = time / u32::try_from(frames).unwrap();
        println!("{hosts:4} hosts, {tenants:4} tenants: {frames:8} frames, {time:10.3?}, {each:?} each");
    }
}

/// However many tenants' bridges take no frames.
#[test]
fn closed_tenants_do_not_pile_up() {
    let (topology, facts, options) = (large(100, 100), facts(), ProbeOptions::new(99));
    let plan = Plan::new(&topology, &"h0".parse().unwrap()).unwrap();
    let (layout, owners) = (Layout::new(&topology, &plan), Owners::new(&topology));
    let now = Instant::now();
    let mut run = Run::new(&layout, &facts, &owners, &options, now);
    (0..100).for_each(|tenant| run.close(tenant, "it is gone".to_owned()));
    assert_eq!(run.next(now), Next::Done);
    assert_eq!(run.findings().len(), 100);
}
