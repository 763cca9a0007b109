//! Any bytes are a configuration to both programs, and what was read of it, written as they write it, reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovz_net::{Configuration, Generation, Netif, Vport};

/// An interface's keys, or nothing where a value has a character that no program would have written.
fn written(netif: &Netif) -> Option<String> {
    let Netif { line: _, ifname, host_ifname, mac, host_mac, bridge, network, kind, vport, iface_id, ips } =
        netif;
    // The last key, for its separator is the one between keys.
    let (v4, v6): (Vec<_>, Vec<_>) = ips.iter().partition(|ip| ip.is_ipv4());
    let list = |ips: Vec<&_>, by: &str| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(by);
    let keys = [
        Some(format!("ifname={ifname}")),
        host_ifname.as_ref().map(|name| format!("host_ifname={name}")),
        mac.map(|mac| format!("mac={mac}")),
        host_mac.map(|mac| format!("host_mac={mac}")),
        bridge.as_ref().map(|name| format!("bridge={name}")),
        network.as_ref().map(|name| format!("network={name}")),
        kind.map(|kind| format!("type={kind}")),
        vport.map(|Vport::Ovs| "vport=ovs".to_owned()),
        iface_id.as_ref().map(|id| format!("ifaceid={id}")),
        Some(format!("ip={}", list(v4, ":"))),
        Some(format!("ip6={}", list(v6, ","))),
    ];
    let text = keys.into_iter().flatten().collect::<Vec<_>>().join(",");
    (!text.contains(['"', '\'', '\\', '\u{fffd}'])).then_some(text)
}

fuzz_target!(|data: &[u8]| {
    let ctid = "101".parse().expect("a container id");
    for generation in [Generation::Vzctl, Generation::Libvzctl] {
        let conf = Configuration::read("c".as_ref(), data, generation);
        let lines = data.split(|byte| *byte == b'\n').count();
        for warning in conf.warnings() {
            assert!((1..=lines).contains(&warning.place.line) && !warning.to_string().is_empty());
        }
        assert!(conf.devices(&ctid).count() <= conf.netifs().len());
        for netif in conf.netifs() {
            assert!(!netif.ifname.is_empty() && (1..=lines).contains(&netif.line));
        }
        let Some(texts) = conf.netifs().iter().map(written).collect::<Option<Vec<_>>>() else { continue };
        let again = Configuration::read(
            "c".as_ref(),
            format!("NETIF=\"{}\"\n", texts.join(";")).as_bytes(),
            generation,
        );
        let mut expected = conf.netifs().to_vec();
        for netif in &mut expected {
            netif.line = 1;
            netif.ips.sort_by_key(|ip| ip.is_ipv6());
        }
        assert_eq!(again.netifs(), expected);
        assert!(again.warnings().is_empty(), "{:?}", again.warnings());
    }
});
