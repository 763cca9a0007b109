//! The daemon, told by its FIFO.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use crate::fake::{CREDENTIALS, ENI_A, ENI_B, ENI_OTHER, Eni, Fake, Fault, OVERLAY, TABLES, VIP, nowhere};
use crate::program::{Daemon, bare, notify, notify_on};

const VIP_ARGUMENTS: [&str; 4] = ["--vip", "VI_1=10.0.1.100", "--reconcile", "400ms"];
const TAKE: &str = "AssignPrivateIpAddresses";

fn ready(command: Command) -> Daemon {
    let mut daemon = Daemon::start(command, &VIP_ARGUMENTS);
    daemon.wait_for("EC2 answers");
    daemon
}

#[test]
fn a_master_takes_the_address_and_keeps_it() {
    let fake = Fake::new();
    fake.state().give(VIP, ENI_B);
    let mut daemon = ready(notify(&fake));
    assert_eq!(fake.called(TAKE), 0);
    let asked = fake.state().metadata_calls.len();
    daemon.master();
    let line = daemon.wait_for("now leads to");
    assert!(line.starts_with("<30>redis-ha["), "facility daemon, informational: {line}");
    assert!(line.contains(&format!("INSTANCE \"VI_1\": 10.0.1.100 now leads to {ENI_A} (")), "{line}");
    // Region, interface and credentials were known before.
    let state = fake.state();
    let asked = &state.metadata_calls[asked..];
    assert!(asked.iter().all(|call| call.ends_with("/local-ipv4s")), "{asked:?}");
    drop(state);
    // Nobody says anything, and somebody takes it.
    fake.state().give(VIP, ENI_B);
    let line = daemon.wait_for("now leads to");
    assert!(line.starts_with("<28>") && line.contains("which it did not"), "{line}");
    assert_eq!(fake.holder(VIP), Some(ENI_A));
    assert_eq!(daemon.terminate(), Some(0));
    fake.assert_no_offence();
}

#[test]
fn a_contested_master_claims_again_and_a_backup_does_not() {
    let fake = Fake::new();
    let mut daemon = Daemon::start(notify(&fake), &["--vip", "VI_1=10.0.1.100", "--reconcile", "1h"]);
    daemon.wait_for("EC2 answers");
    daemon.master();
    daemon.wait_for("now leads to");
    for _ in 0..30 {
        daemon.say("INSTANCE \"VI_1\" MASTER_RX_LOWER_PRI 100\n");
    }
    fake.state().give(VIP, ENI_B);
    daemon.say("INSTANCE \"VI_1\" MASTER_RX_LOWER_PRI 100\n");
    daemon.wait_for("now leads to");
    assert!(fake.calls() < 15, "{:?}", fake.state().actions());
    daemon.backup();
    daemon.wait_for("BACKUP");
    fake.state().give(VIP, ENI_B);
    let before = fake.calls();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!((fake.calls(), fake.holder(VIP)), (before, Some(ENI_B)));
}

#[test]
fn a_backup_ends_the_retries_of_a_master() {
    let fake = Fake::new();
    fake.state().give(VIP, ENI_B);
    let mut daemon = ready(notify(&fake));
    fake.state().fault(TAKE, &[Fault::Throttle; 20]);
    daemon.master();
    let line = daemon.wait_for("RequestLimitExceeded");
    assert!(line.starts_with("<28>") && line.contains("; again in "), "{line}");
    daemon.backup();
    daemon.wait_for("BACKUP");
    let before = fake.called(TAKE);
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!((fake.called(TAKE), fake.holder(VIP)), (before, Some(ENI_B)));
}

#[test]
fn a_backup_during_a_look_keeps_the_address_from_being_taken() {
    let fake = Fake::new();
    fake.state().give(VIP, ENI_B);
    let mut daemon = ready(notify(&fake));
    fake.state().fault("DescribeNetworkInterfaces", &[Fault::Slow(Duration::from_millis(500))]);
    let before = fake.calls();
    daemon.master();
    fake.wait("the look", |state| state.calls.len() > before);
    daemon.backup();
    daemon.wait_for("BACKUP");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!((fake.called(TAKE), fake.holder(VIP)), (0, Some(ENI_B)));
}

/// The order to take it is given, and its request waits for credentials.
#[test]
fn a_backup_before_the_request_is_sent_keeps_the_address_from_being_taken() {
    let fake = Fake::new();
    fake.state().give(VIP, ENI_B);
    // Valid, but so near their end that each call asks for new ones.
    fake.state().role_expiry =
        humantime::format_rfc3339(SystemTime::now() + Duration::from_secs(120)).to_string();
    let mut daemon = ready(notify(&fake));
    fake.state().fault("DescribeNetworkInterfaces", &[Fault::Slow(Duration::from_millis(300))]);
    let before = fake.calls();
    daemon.master();
    fake.wait("the look", |state| state.calls.len() > before);
    let asked = fake.state().metadata_calls.len();
    fake.state().credentials_take = Duration::from_secs(1);
    fake.wait("credentials for the taking", |state| {
        state.metadata_calls[asked..].iter().any(|call| call.ends_with(CREDENTIALS))
    });
    daemon.backup();
    daemon.wait_for("BACKUP");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!((fake.called(TAKE), fake.holder(VIP)), (0, Some(ENI_B)));
    // No failure: nothing is told, and the next master's word is obeyed.
    assert!(!daemon.told().iter().any(|line| line.contains("not sent")), "{:?}", daemon.told());
    fake.state().credentials_take = Duration::ZERO;
    daemon.master();
    daemon.wait_for("now leads to");
    fake.assert_no_offence();
}

#[test]
fn a_backup_between_two_routes_keeps_the_second_from_being_taken() {
    let fake = Fake::new();
    fake.state().eni(ENI_A).source_dest_check = false;
    let tables = ["--route-table", TABLES[0], "--route-table", TABLES[1], "--vip", "VI_1=172.30.0.1"];
    let mut daemon = Daemon::start(notify(&fake), &tables);
    daemon.wait_for("EC2 answers");
    fake.state().fault("ReplaceRoute", &[Fault::Slow(Duration::from_millis(700))]);
    daemon.master();
    fake.wait("the first route's", |state| state.called("ReplaceRoute") == 1);
    daemon.backup();
    daemon.wait_for("BACKUP");
    std::thread::sleep(Duration::from_millis(1500));
    let led = TABLES.map(|table| fake.state().routes[table][&format!("{OVERLAY}/32")].clone());
    assert_eq!((fake.called("ReplaceRoute"), led), (1, [ENI_A, ENI_B].map(str::to_owned)));
}

#[test]
fn a_flood_of_lines_is_one_claim_and_its_last_word_counts() {
    let fake = Fake::new();
    fake.state().give(VIP, ENI_B);
    let mut daemon = ready(notify(&fake));
    let before = fake.calls();
    let line = |state: &str| format!("INSTANCE \"VI_1\" {state} 100\n");
    daemon.say(&((line("MASTER") + &line("BACKUP")).repeat(400) + &line("MASTER")));
    // Taken once: by the last word, or by one before that was not the last yet.
    fake.wait("the claim", |state| state.holder(VIP) == Some(ENI_A));
    // Each is told, or that it could not be: a log takes what fits into its queue, and nothing waits for it.
    let (mut told, mut missing) = (0, 0);
    let end = Instant::now() + Duration::from_secs(20);
    while told + missing < 801 {
        assert!(Instant::now() < end, "{told} words told, {missing} lines missing: {:?}", daemon.told());
        std::thread::sleep(Duration::from_millis(50));
        let lines = daemon.told();
        told = lines.iter().filter(|line| line.ends_with(" 100")).count();
        missing = lines.iter().filter_map(|line| missing_lines(line)).sum();
    }
    let state = fake.state();
    assert_eq!((state.called(TAKE), state.holder(VIP)), (1, Some(ENI_A)));
    assert!(state.calls.len() - before < 100, "401 times master: {:?}", state.actions());
}

/// How many lines a line of the log says are missing before it.
fn missing_lines(line: &str) -> Option<usize> {
    let (_, text) = line.split_once("]: ")?;
    let (before, _) = text.split_once(" missing here")?;
    before.split(' ').next()?.parse().ok()
}

#[test]
fn lines_that_no_vip_follows_are_told_but_not_those_of_health_checkers() {
    let fake = Fake::new();
    let mut daemon = ready(notify(&fake));
    daemon.say("VS [10.0.0.1]:tcp:80 UP\nINSTANCE \"VI_9\" MASTER 1\nnonsense\n");
    daemon.wait_for("INSTANCE \"VI_9\" MASTER 1: no VIP follows it");
    daemon.wait_for("`nonsense` is no notice");
    // The first of all, and so told by now if it were.
    assert!(!daemon.told().iter().any(|line| line.contains("VS [")), "{:?}", daemon.told());
}

/// systemd starts keepalived when it has this word.
#[test]
fn systemd_is_told_when_the_fifo_is_there() {
    let fake = Fake::new();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("systemd");
    let systemd = UnixDatagram::bind(&socket).unwrap();
    systemd.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut command = notify(&fake);
    command.env("NOTIFY_SOCKET", &socket);
    let daemon = Daemon::start(command, &VIP_ARGUMENTS);
    let mut word = [0; 32];
    let size = systemd.recv(&mut word).unwrap();
    assert_eq!(&word[..size], b"READY=1");
    assert!(daemon.fifo.exists());
    // One that cannot be told is told of, and works all the same.
    std::fs::remove_file(&socket).unwrap();
    let mut command = notify(&fake);
    command.env("NOTIFY_SOCKET", &socket);
    let mut daemon = Daemon::start(command, &VIP_ARGUMENTS);
    daemon.wait_for("cannot tell systemd");
    daemon.wait_for("EC2 answers");
}

#[test]
fn the_fifo_may_be_made_anew() {
    let fake = Fake::new();
    let mut daemon = ready(notify(&fake));
    // As keepalived does with a FIFO that it has made itself.
    std::fs::remove_file(&daemon.fifo).unwrap();
    fake.wait("another FIFO", |_| daemon.fifo.exists());
    daemon.master();
    daemon.wait_for("now leads to");
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn two_proxies_pass_the_address_to_and_fro() {
    let fake = Fake::new();
    let mut proxies = [ENI_A, ENI_B].map(|eni| {
        let peers = ["--peer", ENI_A, "--peer", ENI_B];
        let mut command = notify_on(&fake, &[eni]);
        command.args(peers);
        (ready(command), eni)
    });
    for round in 0..6 {
        let (old, new) = proxies.split_at_mut(1);
        let ((old, _), (new, eni)) =
            if round % 2 == 0 { (&mut new[0], &mut old[0]) } else { (&mut old[0], &mut new[0]) };
        old.backup();
        new.master();
        new.wait_for("leads to");
        assert_eq!(fake.holder(VIP), Some(*eni));
    }
    fake.assert_no_offence();
}

#[test]
fn a_network_that_comes_back_is_used() {
    let fake = Fake::new();
    fake.state().give(VIP, ENI_B);
    let (address, mut command) = (nowhere(), bare());
    command.args(["--imds-endpoint", &fake.imds(&[ENI_A]), "--ec2-endpoint", &format!("http://{address}")]);
    let mut daemon = Daemon::start(command, &VIP_ARGUMENTS);
    let line = daemon.wait_for("got no answer");
    assert!(line.starts_with("<27>"), "an error: {line}");
    daemon.master();
    daemon.wait_for("again in");
    fake.ec2_at(&address);
    daemon.wait_for("now leads to");
    assert_eq!(fake.holder(VIP), Some(ENI_A));
}

#[test]
fn a_failure_is_told_once_and_mended_by_itself() {
    let fake = Fake::new();
    fake.state().keys.get_mut("ASIAROLE1").unwrap().denied.insert(TAKE);
    let mut daemon = ready(notify(&fake));
    daemon.master();
    let line = daemon.wait_for("UnauthorizedOperation");
    assert!(line.starts_with("<27>") && line.contains("docs/aws.md"), "{line}");
    fake.wait("three tries", |state| state.called(TAKE) >= 3);
    let again = daemon.told().iter().filter(|line| line.contains("UnauthorizedOperation")).count();
    assert_eq!(again, 1);
    fake.state().keys.get_mut("ASIAROLE1").unwrap().denied.clear();
    daemon.wait_for("now leads to");
}

#[test]
fn a_token_of_the_metadata_that_is_refused_is_replaced() {
    let fake = Fake::new();
    let mut daemon = ready(notify(&fake));
    fake.state().tokens.clear();
    daemon.master();
    daemon.wait_for("now leads to");
    fake.assert_no_offence();
}

#[test]
fn it_ends_on_sigterm_whatever_is_under_way() {
    let fake = Fake::new();
    let mut daemon = ready(notify(&fake));
    fake.state().fault("DescribeNetworkInterfaces", &[Fault::Slow(Duration::from_secs(4))]);
    let before = fake.calls();
    daemon.master();
    fake.wait("the look", |state| state.calls.len() > before);
    let begun = Instant::now();
    daemon.told();
    assert_eq!(daemon.terminate(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(1));
}

/// 127.0.0.1 is on every machine, as a VIP is on a master's.
#[test]
fn who_has_the_vip_on_a_device_is_master_unless_keepalived_says_otherwise() {
    let fake = Fake::new();
    let local = Eni {
        id: "eni-0000000d",
        mac: "02:00:00:00:00:0d",
        device: 0,
        subnet: "subnet-0000000d",
        primary: [127, 0, 0, 21].into(),
        ..fake.state().eni(ENI_OTHER).clone()
    };
    fake.state().subnets.insert("subnet-0000000d", "127.0.0.0/24".parse().unwrap());
    fake.state().enis.push(local);
    let checked = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redis-ha"));
        command.env_clear().args(["notify", "--imds-endpoint", &fake.imds(&["eni-0000000d"])]);
        command.args(["--ec2-endpoint", &fake.ec2]);
        command
    };
    // Started after keepalived: no line comes.
    let mut daemon = Daemon::start(checked(), &["--vip", "VI_1=127.0.0.1", "--reconcile", "400ms"]);
    daemon.wait_for("no line has said so, but this machine has its VIP: it is master");
    daemon.wait_for("127.0.0.1 now leads to eni-0000000d");
    // The word counts, although the address stays: keepalived has not put it there.
    daemon.backup();
    let line = daemon.wait_for("is not master, but this machine has its VIP: not from keepalived");
    assert!(line.starts_with("<28>"), "{line}");
    let before = fake.calls();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(fake.calls(), before);
    let told = daemon.told().iter().filter(|line| line.contains("not from keepalived")).count();
    assert_eq!(told, 1, "told once");
    drop(daemon);
    // A BACKUP line was lost.
    let mut daemon = Daemon::start(checked(), &["--vip", "VI_1=127.0.0.77"]);
    daemon.wait_for("EC2 answers");
    daemon.master();
    daemon.wait_for("this machine has no VIP: it is not master");
    let before = fake.calls();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(fake.calls(), before);
}

#[test]
fn what_is_no_fifo_is_told_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = bare().args(["--vip", "VI_1=10.0.1.100", "--fifo"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("is no FIFO"), "{stderr}");
}
