use std::os::unix::ffi::OsStringExt;

use super::*;

const UUID: &str = "3fa85f64-5717-4562-b3fc-2c963f66afa6";

fn parse(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Call, CallError> {
    Call::parse(arguments.iter().copied(), environment.iter().copied())
}

fn request(arguments: &[&str]) -> Request {
    parse(arguments, &[("VEID", "101")]).unwrap_or_else(|error| panic!("{arguments:?}: {error}")).request
}

#[test]
fn every_call_of_openvz_is_understood() {
    let vmbr0 = Some("vmbr0".parse().unwrap());
    let add = |network: &str| Request::AddIf { network: network.to_owned() };
    let table = [
        (&["init", "veth", "veth101.0"] as &[&str], Request::Init { bridge: None }),
        (&["init", "veth", "veth101.0", "vmbr0"], Request::Init { bridge: vmbr0 }),
        // Proxmox, of an interface without a bridge.
        (&["init", "veth", "veth101.0", ""], Request::Init { bridge: None }),
        (&["addif", "veth51abcdef", "acme"], add("acme")),
        // A name with spaces, split as `vznetcfg` splits it, and whole.
        (&["addif", "veth51abcdef", "my", "own", "net"], add("my own net")),
        (&["addif", "veth51abcdef", "my own net"], add("my own net")),
        (&["addif", "veth51abcdef", "", "net", ""], add("net")),
        (&["delif", "veth51abcdef"], Request::DelIf),
        (&["delif", "veth51abcdef", ""], Request::DelIf),
    ];
    for (arguments, expected) in table {
        assert_eq!(request(arguments), expected, "{arguments:?}");
    }
}

#[test]
fn the_generation_and_the_file_follow_from_the_call() {
    let init = |veid| parse(&["init", "veth", "v"], &[("VEID", veid)]).unwrap();
    assert_eq!(init("101").generation(), Generation::Vzctl);
    assert_eq!(parse(&["delif", "v"], &[("VEID", UUID)]).unwrap().generation(), Generation::Libvzctl);
    let upper = UUID.to_uppercase();
    let table = [
        ("101", "101.conf".to_owned()),
        ("0101", "101.conf".to_owned()),
        (UUID, format!("{UUID}.conf")),
        (upper.as_str(), format!("{upper}.conf")),
    ];
    for (veid, file) in table {
        assert_eq!(init(veid).configuration_name(), file);
    }
    assert_eq!(init(&format!("{{{UUID}}}")).configuration_name(), format!("{UUID}.conf"));
    let again = Call::init("101".parse().unwrap(), "veth101.0".parse().unwrap());
    assert_eq!(parse(&["init", "veth", "veth101.0"], &[("VEID", "101")]), Ok(again));
}

#[test]
fn the_environment_is_read() {
    let environment = [
        ("HOME", "/"),
        ("TERM", "linux"),
        ("PATH", "/bin:."),
        ("VEID", UUID),
        ("NETWORK_TYPE", "bridge"),
        ("VPORT_TYPE", "ovs"),
        ("MAC", "00:18:51:AB:CD:EF"),
        ("IFACEID", "port-1"),
    ];
    let call = parse(&["addif", "v", "n"], &environment).unwrap();
    assert_eq!(call.ctid.as_str(), UUID);
    let expected = Environment {
        network_type: Some(NetifKind::Bridge),
        vport: Some(Vport::Ovs),
        mac: Some("00:18:51:ab:cd:ef".parse().unwrap()),
        iface_id: Some("port-1".to_owned()),
    };
    assert_eq!(call.environment, expected);
    let empty = [("VEID", "1"), ("NETWORK_TYPE", ""), ("VPORT_TYPE", ""), ("MAC", ""), ("IFACEID", "")];
    assert_eq!(parse(&["addif", "v", "n"], &empty).unwrap().environment, Environment::default());
}

/// Arguments, environment, and how the error starts.
type Odd = (&'static [&'static str], &'static [(&'static str, &'static str)], &'static str);

#[test]
fn odd_calls_are_refused_with_what_is_accepted() {
    const VEID: &[(&str, &str)] = &[("VEID", "101")];
    let table: [Odd; 21] = [
        (
            &[],
            VEID,
            "the call has no arguments; accepted are `init veth DEV [BRIDGE]`, `addif DEV NETWORK` and `delif DEV`",
        ),
        (&[""], VEID, "`` is not an action; accepted are"),
        (&["start"], VEID, "`start` is not an action; accepted are"),
        (&["init"], VEID, "`init` has no kind of device; accepted are"),
        (&["init", "venet", "venet0"], VEID, "`init venet` is not known; accepted are"),
        (&["init", "veth"], VEID, "`init veth` has no DEV; accepted are"),
        (&["init", "veth", ""], VEID, "`init veth` has no DEV; accepted are"),
        (
            &["init", "veth", "v", "b", "c"],
            VEID,
            "`c` is one argument too many for `init veth`; accepted are",
        ),
        (&["init", "veth", "a name too long"], VEID, "DEV cannot be a port of a bridge"),
        (&["init", "veth", "v", "b/c"], VEID, "BRIDGE cannot be a bridge"),
        (&["addif"], VEID, "`addif` has no DEV; accepted are"),
        (&["addif", "v"], VEID, "`addif` has no NETWORK; accepted are"),
        (&["addif", "v", " "], VEID, "`addif` has no NETWORK; accepted are"),
        (&["delif"], VEID, "`delif` has no DEV; accepted are"),
        (&["delif", "v", "n"], VEID, "`n` is one argument too many for `delif`; accepted are"),
        (&["delif", "v"], &[], "VEID is not set; OpenVZ sets it to the container's id"),
        (&["delif", "v"], &[("VEID", "")], "VEID is not set"),
        (&["delif", "v"], &[("VEID", "../101")], "VEID is not usable"),
        (
            &["delif", "v"],
            &[("VEID", "1"), ("NETWORK_TYPE", "x")],
            "NETWORK_TYPE is `x`; accepted is `bridge` or `routed`",
        ),
        (&["delif", "v"], &[("VEID", "1"), ("VPORT_TYPE", "x")], "VPORT_TYPE is `x`; accepted is `ovs`"),
        (&["delif", "v"], &[("VEID", "1"), ("MAC", "x")], "MAC is `x`; accepted is a MAC address"),
    ];
    for (arguments, environment, expected) in table {
        let error = parse(arguments, environment).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{arguments:?} {environment:?}: {error}");
    }
}

#[test]
fn what_is_not_utf8_is_refused_by_name() {
    let bytes = || OsString::from_vec(vec![b'a', 0xff]);
    let words = |words: [&str; 2]| words.map(OsString::from).to_vec();
    let table = [
        (vec![bytes()], "the action is not UTF-8: `a\u{fffd}`"),
        ([words(["init", "veth"]), vec![bytes()]].concat(), "DEV is not UTF-8"),
        ([words(["addif", "v"]), vec![bytes()]].concat(), "NETWORK is not UTF-8"),
    ];
    for (arguments, expected) in table {
        let error = Call::parse(arguments, [("VEID", "101")]).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let error = Call::parse(["delif", "v"], [("VEID", bytes())]).unwrap_err().to_string();
    assert!(error.starts_with("VEID is not UTF-8"), "{error}");
    // What is not ours is not looked at.
    assert!(Call::parse(["delif", "v"], [(bytes(), bytes()), ("VEID".into(), "101".into())]).is_ok());
}

proptest::proptest! {
    #[test]
    fn any_call_is_read_or_refused(
        arguments in proptest::collection::vec("init|veth|addif|delif|[a-z0-9. /]{0,17}|.{0,4}", 0..6),
        veid in "[0-9a-f{}-]{0,38}|.{0,8}",
    ) {
        match Call::parse(&arguments, [("VEID", &veid)]) {
            Ok(call) => proptest::prop_assert!(!call.configuration_name().contains('/')),
            Err(error) => proptest::prop_assert!(!error.to_string().is_empty()),
        }
    }
}
