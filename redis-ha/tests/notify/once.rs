//! `notify once`: one notice, as a plain notify script gets it.

use std::time::Duration;

use crate::fake::{ENI_A, ENI_B, ENI_OTHER, Eni, Fake, Fault, OVERLAY, TABLES, VIP, nowhere};
use crate::program::{bare, given, notify, notify_on, once};

const VIP_ARGUMENTS: [&str; 2] = ["--vip", "VI_1=10.0.1.100"];

#[test]
fn a_new_master_takes_the_address_from_its_peer() {
    let fake = Fake::new();
    fake.state().give(VIP, ENI_B);
    let ended = once(notify(&fake).args(VIP_ARGUMENTS), "MASTER");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(ended.stdout.starts_with(&format!("10.0.1.100 now leads to {ENI_A} (")), "{}", ended.stdout);
    let state = fake.state();
    assert_eq!(state.holder(VIP), Some(ENI_A));
    let (look, take) = ("DescribeNetworkInterfaces", "AssignPrivateIpAddresses");
    assert_eq!(state.actions(), [look, take, look]);
    let parameters = &state.calls[1].1;
    assert_eq!(parameters["AllowReassignment"], "true");
    assert_eq!(parameters["PrivateIpAddress.1"], "10.0.1.100");
    drop(state);
    fake.assert_no_offence();
}

#[test]
fn an_address_that_is_here_is_not_asked_for() {
    let fake = Fake::new();
    fake.state().give(VIP, ENI_A);
    for state in ["MASTER", "MASTER_RX_LOWER_PRI", "MASTER_PRIORITY"] {
        let ended = once(notify(&fake).args(VIP_ARGUMENTS), state);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.starts_with("10.0.1.100 leads to "), "{}", ended.stdout);
    }
    assert_eq!(fake.called("AssignPrivateIpAddresses"), 0);
    fake.assert_no_offence();
}

#[test]
fn who_is_not_master_asks_nothing() {
    let fake = Fake::new();
    fake.state().give(VIP, ENI_B);
    for state in ["BACKUP", "FAULT", "STOP", "DELETED", "BACKUP_PRIORITY"] {
        let ended = once(notify(&fake).args(VIP_ARGUMENTS), state);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(ended.stdout, format!("INSTANCE \"VI_1\" {state} 100: nothing to do\n"));
    }
    assert!(fake.state().calls.is_empty() && fake.state().metadata_calls.is_empty());
}

#[test]
fn words_that_are_no_notice_and_names_without_a_vip_are_usage() {
    let fake = Fake::new();
    let ended = once(notify(&fake).args(VIP_ARGUMENTS), "master");
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("`INSTANCE VI_1 master 100` is no notice"), "{}", ended.stderr);
    let ended = once(notify(&fake).args(["--vip", "VI_2=10.0.1.100"]), "MASTER");
    assert_eq!(ended.code, Some(2));
    assert_eq!(ended.stderr, "error: no VIP follows INSTANCE \"VI_1\"\n");
}

#[test]
fn another_interfaces_own_address_is_not_taken() {
    let fake = Fake::new();
    let vip = ["--vip", "VI_1=10.0.1.99"];
    let ended = once(notify(&fake).args(vip).args(["--peer", ENI_B]), "MASTER");
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.stderr,
        format!("error: 10.0.1.99 is the primary address of {ENI_OTHER}\nhint: is the VIP right?\n")
    );
    assert_eq!(fake.called("AssignPrivateIpAddresses"), 0);
    // Where it is not looked for, EC2 says no.
    let ended = once(notify(&fake).args(vip), "MASTER");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("was refused: InvalidParameterValue: [10.0.1.99]"), "{}", ended.stderr);
}

#[test]
fn an_address_is_taken_from_named_peers_alone() {
    let fake = Fake::new();
    fake.state().give(VIP, ENI_OTHER);
    let ways = [notify(&fake), given(&fake)];
    for mut way in ways {
        let ended = once(way.args(VIP_ARGUMENTS).args(["--peer", ENI_B]), "MASTER");
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(
            ended.stderr.contains(&format!("belongs to {ENI_OTHER}, which is none of")),
            "{}",
            ended.stderr
        );
    }
    assert_eq!((fake.called("AssignPrivateIpAddresses"), fake.holder(VIP)), (0, Some(ENI_OTHER)));
    fake.state().give(VIP, ENI_B);
    let ended = once(given(&fake).args(VIP_ARGUMENTS).args(["--peer", ENI_B]), "MASTER");
    assert_eq!((ended.code, fake.holder(VIP)), (Some(0), Some(ENI_A)), "{}", ended.stderr);
    // A peer that is gone does not keep it, and nobody's is free.
    fake.state().enis.retain(|eni| eni.id != ENI_B);
    fake.state().eni(ENI_A).secondary.clear();
    let ended = once(given(&fake).args(VIP_ARGUMENTS).args(["--peer", ENI_B]), "MASTER");
    assert_eq!((ended.code, fake.holder(VIP)), (Some(0), Some(ENI_A)), "{}", ended.stderr);
    fake.assert_no_offence();
}

/// As in a new stack: the VIP is nobody's, and the other proxy is there.
#[test]
fn what_is_nobodys_is_taken_after_one_more_look() {
    let fake = Fake::new();
    assert_eq!(fake.holder(VIP), None);
    let ended = once(notify(&fake).args(VIP_ARGUMENTS).args(["--peer", ENI_A, "--peer", ENI_B]), "MASTER");
    assert_eq!((ended.code, fake.holder(VIP)), (Some(0), Some(ENI_A)), "{}", ended.stderr);
    let (look, take) = ("DescribeNetworkInterfaces", "AssignPrivateIpAddresses");
    // The second look is for others than the peers.
    assert_eq!(fake.state().actions(), [look, look, take, look]);
    fake.assert_no_offence();
}

#[test]
fn throttling_is_waited_out() {
    let fake = Fake::new();
    fake.state().fault("AssignPrivateIpAddresses", &[Fault::Throttle, Fault::Throttle]);
    fake.state().fault("DescribeNetworkInterfaces", &[Fault::Gateway, Fault::Internal]);
    let ended = once(notify(&fake).args(VIP_ARGUMENTS), "MASTER");
    assert_eq!((ended.code, fake.holder(VIP)), (Some(0), Some(ENI_A)), "{}", ended.stderr);
    // Two short pauses and two longer ones, of which at least the half is waited.
    assert!(ended.took > Duration::from_millis((100 + 200 + 1600 + 3200) / 2), "{:?}", ended.took);
    assert_eq!(fake.called("AssignPrivateIpAddresses"), 3);
}

#[test]
fn throttling_without_an_end_ends_at_the_deadline() {
    let fake = Fake::new();
    fake.state().fault("DescribeNetworkInterfaces", &[Fault::Throttle; 50]);
    let ended = once(notify(&fake).args(VIP_ARGUMENTS).args(["--deadline", "1s"]), "MASTER");
    assert_eq!(ended.code, Some(6));
    assert_eq!(
        ended.stderr,
        "error: 10.0.1.100 not seen to lead here within 1s\n  because: DescribeNetworkInterfaces was refused: \
         RequestLimitExceeded: Request limit exceeded.\n"
    );
    assert!(fake.calls() < 5 && ended.took < Duration::from_secs(2), "{:?}", ended.took);
}

#[test]
fn what_ec2_has_taken_on_is_waited_for() {
    let fake = Fake::new();
    fake.state().give(VIP, ENI_B);
    fake.state().lag = Duration::from_millis(800);
    let ended = once(notify(&fake).args(VIP_ARGUMENTS), "MASTER");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.took > Duration::from_millis(800), "{:?}", ended.took);
    assert_eq!(fake.called("AssignPrivateIpAddresses"), 1);
    // Never carried out: that is not success.
    fake.state().give(VIP, ENI_B);
    fake.state().lag = Duration::from_secs(3600);
    let ended = once(notify(&fake).args(VIP_ARGUMENTS).args(["--deadline", "500ms"]), "MASTER");
    assert_eq!(ended.code, Some(6));
    assert_eq!(ended.stderr, "error: 10.0.1.100 not seen to lead here within 500ms\n");
}

#[test]
fn a_slow_answer_is_an_answer() {
    let fake = Fake::new();
    fake.state().fault("AssignPrivateIpAddresses", &[Fault::Slow(Duration::from_millis(1500))]);
    let ended = once(notify(&fake).args(VIP_ARGUMENTS), "MASTER");
    assert_eq!((ended.code, fake.called("AssignPrivateIpAddresses")), (Some(0), 1), "{}", ended.stderr);
}

#[test]
fn the_interface_is_the_one_in_the_vips_subnet() {
    let fake = Fake::new();
    let front = Eni {
        id: "eni-0000000d",
        mac: "02:00:00:00:00:0d",
        device: 0,
        subnet: "subnet-0000000d",
        primary: [10, 0, 9, 21].into(),
        ..fake.state().eni(ENI_A).clone()
    };
    fake.state().subnets.insert("subnet-0000000d", "10.0.9.0/24".parse().unwrap());
    fake.state().enis.push(front);
    fake.state().eni(ENI_A).device = 1;
    let ended = once(notify_on(&fake, &["eni-0000000d", ENI_A]).args(VIP_ARGUMENTS), "MASTER");
    assert_eq!((ended.code, fake.holder(VIP)), (Some(0), Some(ENI_A)), "{}", ended.stderr);
    let ended = once(notify_on(&fake, &["eni-0000000d"]).args(VIP_ARGUMENTS), "MASTER");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .contains("10.0.1.100 is in no subnet of this instance's interfaces (10.0.9.0/24)\nhint: "),
        "{}",
        ended.stderr
    );
}

#[test]
fn an_interface_that_is_not_there_is_told() {
    let fake = Fake::new();
    let mut command = bare();
    command.args([
        "--ec2-endpoint",
        &fake.ec2,
        "--region",
        crate::fake::REGION,
        "--interface",
        "eni-0000dead",
    ]);
    command.envs([("AWS_ACCESS_KEY_ID", "AKIAUSER"), ("AWS_SECRET_ACCESS_KEY", "user/secret")]);
    let ended = once(command.args(VIP_ARGUMENTS), "MASTER");
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr, "error: EC2 knows no eni-0000dead\n");
}

#[test]
fn a_missing_permission_is_told_with_what_to_do() {
    let fake = Fake::new();
    fake.state().keys.get_mut("ASIAROLE1").unwrap().denied.insert("AssignPrivateIpAddresses");
    let ended = once(notify(&fake).args(VIP_ARGUMENTS), "MASTER");
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.stderr,
        "error: AssignPrivateIpAddresses was refused: UnauthorizedOperation: You are not authorized to perform this \
         operation.\nhint: the role of this instance does not allow it; docs/aws.md lists what it must\n"
    );
    assert_eq!(fake.called("AssignPrivateIpAddresses"), 1);
}

#[test]
fn without_a_network_it_is_tried_until_the_deadline() {
    let fake = Fake::new();
    let mut command = bare();
    let ec2 = format!("http://{}", nowhere());
    command.args(["--imds-endpoint", &fake.imds(&[ENI_A]), "--ec2-endpoint", &ec2, "--deadline", "1s"]);
    let ended = once(command.args(VIP_ARGUMENTS), "MASTER");
    assert_eq!(ended.code, Some(6), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("DescribeNetworkInterfaces got no answer\n  because: no answer from"),
        "{}",
        ended.stderr
    );
    let mut command = bare();
    command.args(["--imds-endpoint", &ec2, "--deadline", "300ms"]);
    let ended = once(command.args(VIP_ARGUMENTS), "MASTER");
    assert_eq!(ended.code, Some(6), "{}", ended.stderr);
    assert!(ended.stderr.contains("the instance metadata does not answer"), "{}", ended.stderr);
}

#[test]
fn credentials_that_have_expired_are_fetched_anew() {
    let fake = Fake::new();
    fake.state().keys.get_mut("ASIAROLE1").unwrap().is_expired = true;
    fake.state().next_role_key = Some("ASIAROLE2".to_owned());
    let ended = once(notify(&fake).args(VIP_ARGUMENTS), "MASTER");
    assert_eq!((ended.code, fake.holder(VIP)), (Some(0), Some(ENI_A)), "{}", ended.stderr);
    assert_eq!(fake.state().metadata_calls.iter().filter(|call| call.ends_with("/notify")).count(), 2);
    fake.assert_no_offence();
}

#[test]
fn an_instance_without_a_role_is_told_so() {
    let fake = Fake::new();
    fake.state().role_key = None;
    let ended = once(notify(&fake).args(VIP_ARGUMENTS), "MASTER");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("and this instance has no role\nhint: give the instance a role"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_file_and_the_environment_give_credentials_too() {
    let fake = Fake::new();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("credentials");
    let text = "[other]\naws_access_key_id = AKIAUSER\naws_secret_access_key = user/secret\n";
    std::fs::write(&file, text).unwrap();
    let mut command = notify(&fake);
    command.env("AWS_SHARED_CREDENTIALS_FILE", &file).env("AWS_PROFILE", "other").args(VIP_ARGUMENTS);
    assert_eq!(once(&mut command, "MASTER").code, Some(0));
    assert!(!fake.state().metadata_calls.iter().any(|call| call.contains("iam")));
    // A wrong secret does not get through a server that computes the signature itself.
    let mut command = given(&fake);
    command.env("AWS_SECRET_ACCESS_KEY", "wrong").args(VIP_ARGUMENTS);
    let ended = once(&mut command, "MASTER");
    assert!(ended.code == Some(1) && ended.stderr.contains("SignatureDoesNotMatch"), "{}", ended.stderr);
    assert_eq!(std::mem::take(&mut fake.state().offences).len(), 1);
}

#[test]
fn routes_are_led_here_in_all_tables() {
    let fake = Fake::new();
    fake.state().eni(ENI_A).source_dest_check = false;
    let tables = ["--vip", "VI_1=172.30.0.1", "--route-table", TABLES[0], "--route-table", TABLES[1]];
    let ended = once(notify(&fake).args(tables), "MASTER");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let led = |fake: &Fake, table: &str| fake.state().routes[table][&format!("{OVERLAY}/32")].clone();
    assert_eq!(TABLES.map(|table| led(&fake, table)), [ENI_A, ENI_A]);
    assert_eq!(fake.called("ReplaceRoute"), 2);
    // One that is led here already is left; one that is not there is told.
    fake.state().routes.get_mut(TABLES[1]).unwrap().insert(format!("{OVERLAY}/32"), ENI_B.to_owned());
    assert_eq!(once(notify(&fake).args(tables), "MASTER").code, Some(0));
    assert_eq!(fake.called("ReplaceRoute"), 3);
    fake.state().routes.get_mut(TABLES[1]).unwrap().clear();
    let ended = once(notify(&fake).args(tables), "MASTER");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("rtb-00000000000000002 has no route to 172.30.0.1/32\nhint"),
        "{}",
        ended.stderr
    );
    fake.assert_no_offence();
}

#[test]
fn a_route_to_an_interface_that_drops_is_not_made() {
    let fake = Fake::new();
    let ended = once(notify(&fake).args(["--vip", "VI_1=172.30.0.1", "--route-table", TABLES[0]]), "MASTER");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("its source/destination check is on"), "{}", ended.stderr);
    assert_eq!(fake.called("ReplaceRoute"), 0);
}

/// 127.0.0.77 is on no device: this machine has lost the VIP since the notice.
#[test]
fn who_has_lost_the_vip_meanwhile_does_not_take_it() {
    let fake = Fake::new();
    let local = Eni {
        id: "eni-0000000d",
        mac: "02:00:00:00:00:0d",
        subnet: "subnet-0000000d",
        primary: [127, 0, 0, 21].into(),
        ..fake.state().eni(ENI_OTHER).clone()
    };
    fake.state().subnets.insert("subnet-0000000d", "127.0.0.0/24".parse().unwrap());
    fake.state().enis.push(local);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_redis-ha"));
    command.env_clear().args(["notify", "--imds-endpoint", &fake.imds(&["eni-0000000d"])]);
    command.args(["--ec2-endpoint", &fake.ec2, "--vip", "VI_1=127.0.0.77"]);
    let ended = once(&mut command, "MASTER");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("this machine is no longer master"), "{}", ended.stderr);
    assert_eq!((fake.called("DescribeNetworkInterfaces"), fake.called("AssignPrivateIpAddresses")), (1, 0));
}
