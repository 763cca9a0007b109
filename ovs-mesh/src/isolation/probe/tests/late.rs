//! Runs that do not come to their end, or do not hear all.

use super::*;

#[test]
fn nothing_is_told_of_those_whom_nobody_could_ask() {
    let (topology, facts) = (topology(), facts());
    let options = ProbeOptions {
        wait: Duration::from_millis(64),
        deadline: Duration::from_millis(5),
        ..ProbeOptions::new(99)
    };
    let plan = Plan::new(&topology, &"a".parse().unwrap()).unwrap();
    let layout = Layout::new(&topology, &plan);
    let owners = owners(&topology);
    let mut now = Instant::now();
    let mut run = Run::new(&layout, &facts, &owners, &options, now);
    run.close(0, "it is gone".to_owned());
    loop {
        match run.next(now) {
            Next::Done => break,
            Next::Wait(until) => now = until,
            Next::Send(sending) => assert_eq!(sending.tenant, 1),
        }
    }
    let findings = run.findings();
    let acme: Vec<_> = findings.iter().filter(|it| it.tenants[0].as_str() == "acme").collect();
    assert_eq!(acme.len(), 1, "{findings:#?}");
    assert_eq!((acme[0].object.as_str(), acme[0].check), ("bridge br-acme", Check::ProbeUnanswered));
    // What there was no time for is not taken for well, nor for a fault.
    let square = &run.report().matrix()[0];
    let [Skipped { checks, reason }] = square.skipped.as_slice() else { panic!("{:?}", square.skipped) };
    assert_eq!(
        *checks,
        Check::ALL.iter().filter(|it| it.level() == Level::Probe).copied().collect::<Vec<_>>()
    );
    assert_eq!(
        reason,
        "4 of 10 questions (192.168.0.11 of tenant globex, for one) were not asked to the end within 35ms"
    );
}

/// Nothing is told of what a switch that is busy did not take, and what was heard until then stays.
#[test]
fn a_switch_that_is_busy_is_nobodys_fault() {
    let (topology, facts, options) = (topology(), facts(), ProbeOptions::new(99));
    let plan = Plan::new(&topology, &"a".parse().unwrap()).unwrap();
    let layout = Layout::new(&topology, &plan);
    let owners = owners(&topology);
    let now = Instant::now();
    let run = || Run::new(&layout, &facts, &owners, &options, now);
    // It takes none at all.
    let mut first = run();
    assert!(matches!(first.next(now), Next::Send(_)));
    first.stop("it did not answer within 10s".to_owned());
    assert_eq!(first.next(now), Next::Done);
    let report = first.report();
    assert_eq!((report.findings(), report.matrix()[0].checked.len()), (&[][..], 0), "{report}");
    let told = "10 of 10 questions (192.168.0.11 of tenant acme, for one) were not asked to the end: it did not answer within 10s";
    assert!(report.to_string().contains(told), "{report}");
    // It takes two seconds for the second frame, and forwards nobody's answer meanwhile.
    let (mut second, mut now) = (run(), now);
    let mut sent = Vec::new();
    for busy in [0, 2, 0] {
        let Next::Send(sending) = second.next(now) else { panic!("nothing is sent") };
        now += Duration::from_secs(busy);
        second.taken(&sending, now);
        sent.push(sending.ask);
        now += options.gap;
    }
    assert_eq!(sent, [0, 1, 2], "asked again for no reason");
}

/// Silence proves nothing where not all was heard.
#[test]
fn what_was_not_heard_is_told() {
    let (topology, facts, options) = (topology(), facts(), ProbeOptions::new(99));
    let plan = Plan::new(&topology, &"a".parse().unwrap()).unwrap();
    let layout = Layout::new(&topology, &plan);
    let owners = owners(&topology);
    let mut run = Run::new(&layout, &facts, &owners, &options, Instant::now());
    run.missed(3);
    let square = &run.report().matrix()[0];
    let told = square.skipped.iter().find(|it| it.reason.starts_with("3 frames were lost")).unwrap();
    assert!(
        told.checks.contains(&Check::ProbeForeignAnswer) && told.checks.contains(&Check::ProbeForeignFrame)
    );
}

/// However many there are, silence alone takes no run to its end.
#[test]
fn there_is_time_for_all_to_be_silent() {
    let containers = (0..2000).map(|n| {
        format!("{{ ctid = \"{}\", host = \"a\", ip = \"10.1.{}.{}\" }},", 1000 + n, n / 250, 1 + n % 250)
    });
    let text = format!(
        "mesh = {{ name = \"m\", underlay_mtu = 1500 }}\n\
         host = [{{ name = \"a\", underlay_ip = \"10.0.0.1\" }}]\n\
         [[tenant]]\nname = \"acme\"\nkey = 7\nsubnet = \"10.1.0.0/16\"\ncontainers = [{}]",
        containers.collect::<String>()
    );
    let (topology, facts): (Topology, _) = (text.parse().unwrap(), facts());
    let options = ProbeOptions { deadline: Duration::from_secs(1), ..ProbeOptions::new(99) };
    let plan = Plan::new(&topology, &"a".parse().unwrap()).unwrap();
    let layout = Layout::new(&topology, &plan);
    let owners = owners(&topology);
    let started = Instant::now();
    let mut now = started;
    let mut run = Run::new(&layout, &facts, &owners, &options, now);
    let mut sent = 0;
    loop {
        match run.next(now) {
            Next::Done => break,
            Next::Wait(until) => now = until,
            Next::Send(_) => sent += 1,
        }
    }
    assert_eq!(sent, 3 * 2000, "after {:?}", now - started);
    let findings = run.findings();
    assert_eq!(findings.len(), 2000);
    assert!(findings.iter().all(|it| it.object.starts_with("container ")));
}
