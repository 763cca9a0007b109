//! The reply of `bridge/dump-flows` (ovs-vswitchd(8)): every flow of a bridge, also those that no traced packet meets.

use crate::isolation::findings::Severity;

/// The highest priority that `OpenFlow` can give; what stands above is ovs-vswitchd's own (in-band control, fail-open).
const OPENFLOW_PRIORITY: u32 = 65_535;
/// The table that only ovs-vswitchd itself writes.
const INTERNAL_TABLE: &str = "table_id=254";
/// What a line says of a flow's past.
const PAST: [&str; 5] = ["duration=", "n_packets=", "n_bytes=", "n_offload_packets=", "n_offload_bytes="];
/// Actions that keep a frame on its way or end it.
const TAME: [&str; 32] = [
    "NORMAL",
    "drop",
    "exit",
    "note",
    "meter",
    "clear_actions",
    "write_metadata",
    "fin_timeout",
    "check_pkt_larger",
    "set_queue",
    "pop_queue",
    "mod_dl_src",
    "mod_dl_dst",
    "mod_nw_src",
    "mod_nw_dst",
    "mod_nw_tos",
    "mod_nw_ttl",
    "mod_nw_ecn",
    "mod_tp_src",
    "mod_tp_dst",
    "mod_vlan_vid",
    "mod_vlan_pcp",
    "set_vlan_vid",
    "set_vlan_pcp",
    "strip_vlan",
    "pop_vlan",
    "push_vlan",
    "dec_ttl",
    "dec_mpls_ttl",
    "set_mpls_ttl",
    "set_mpls_label",
    "set_mpls_tc",
];
/// Actions that write a field, named at their end.
const WRITES: [&str; 3] = ["set_field", "load", "move"];
/// What the names of a frame's own fields begin with. That of any other decides where the frame goes.
const FRAME: [&str; 27] = [
    "eth_", "dl_", "vlan_", "mpls_", "ip_", "ipv6_", "nw_", "tp_", "arp_", "tcp_", "udp_", "sctp_", "icmp",
    "nd_", "OF_ETH", "OF_VLAN", "OF_IP", "OF_TCP", "OF_UDP", "OF_ICMP", "OF_ARP", "NX_ARP", "NX_IP",
    "NX_ICMP", "NX_ND", "NX_REG", "reg",
];

/// What is on a bridge beside the one flow that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowTable {
    /// Whether that one is there.
    pub normal: bool,
    /// The others, the worst first, and how bad each is.
    pub others: Vec<(Severity, String)>,
}

impl FlowTable {
    /// Reads a reply. A line that is not understood is a breach: nobody can say what it does.
    pub fn parse(reply: &str) -> Self {
        let mut table = Self { normal: false, others: Vec::new() };
        for line in reply.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let Some((what, actions)) = line.split_once("actions=") else {
                table.others.push((Severity::Breach, format!("`{line}`, which is no flow")));
                continue;
            };
            let words = what.split([',', ' ']).filter(|word| !word.is_empty());
            let matched: Vec<&str> =
                words.filter(|word| !PAST.iter().any(|past| word.starts_with(past))).collect();
            if matched.first() == Some(&INTERNAL_TABLE) {
                continue;
            }
            let priority = matched.iter().find_map(|word| word.strip_prefix("priority="));
            let priority = priority.and_then(|text| text.parse::<u32>().ok());
            let is_own = priority.is_some_and(|priority| priority > OPENFLOW_PRIORITY);
            if actions == "NORMAL" && (is_own || matched == ["priority=0"]) {
                table.normal |= matched.len() == 1;
                continue;
            }
            let text =
                format!("`{}`", [matched.join(","), format!("actions={actions}")].join(" ").trim_start());
            table.others.push((severity(actions), text));
        }
        table.others.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
        table
    }
}

fn severity(actions: &str) -> Severity {
    if parts(actions).into_iter().all(is_tame) { Severity::Degraded } else { Severity::Breach }
}

/// The actions of a list; those in an action's parentheses are part of it.
fn parts(actions: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let split = actions.split(|letter: char| {
        match letter {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    });
    split.map(str::trim).collect()
}

fn is_tame(action: &str) -> bool {
    let name = action.split([':', '(']).next().unwrap_or_default();
    if WRITES.contains(&name) {
        let Some((_, field)) = action.rsplit_once("->") else { return false };
        let field = ["NXM_", "OXM_"].iter().find_map(|prefix| field.strip_prefix(prefix)).unwrap_or(field);
        return FRAME.iter().any(|own| field.starts_with(own));
    }
    TAME.contains(&name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What OVS 3.1.0 has in every bridge.
    const HEALTHY: &str = "duration=0s, n_packets=0, n_bytes=0, priority=0,actions=NORMAL
table_id=254, duration=0s, n_packets=0, n_bytes=0, priority=2,recirc_id=0,actions=drop
table_id=254, duration=0s, n_packets=0, n_bytes=0, priority=0,reg0=0x1,actions=controller(reason=)
table_id=254, duration=0s, n_packets=0, n_bytes=0, priority=0,reg0=0x2,actions=drop
table_id=254, duration=0s, n_packets=0, n_bytes=0, priority=0,reg0=0x3,actions=drop
";

    fn others(line: &str) -> Vec<(Severity, String)> {
        FlowTable::parse(&format!("{HEALTHY}{line}\n")).others
    }

    #[test]
    fn the_one_flow_and_what_is_ovs_own_are_nothing() {
        assert_eq!(FlowTable::parse(HEALTHY), FlowTable { normal: true, others: vec![] });
        assert!(!FlowTable::parse("").normal);
        let offload = "duration=9s, n_packets=1, n_bytes=2, n_offload_packets=0, n_offload_bytes=0, \
                       priority=0,actions=NORMAL";
        assert!(FlowTable::parse(offload).normal);
        // In-band control, and fail-open.
        let arp = "duration=0s, n_packets=0, n_bytes=0, priority=180005,arp,arp_op=2,actions=NORMAL";
        assert_eq!(others(arp), []);
        assert!(!FlowTable::parse(arp).normal);
        assert!(
            FlowTable::parse("duration=0s, n_packets=0, n_bytes=0, priority=15790320,actions=NORMAL").normal
        );
    }

    /// As OVS 3.1.0 wrote them.
    #[test]
    fn every_other_flow_is_as_bad_as_its_actions() {
        for (severity, flow) in [
            (Severity::Degraded, "priority=100,tcp,actions=drop"),
            (
                Severity::Degraded,
                "ip,dl_src=02:00:00:00:00:01,actions=set_field:02:00:00:00:00:99->eth_src,NORMAL",
            ),
            (
                Severity::Degraded,
                "priority=11,udp,actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],dec_ttl,NORMAL",
            ),
            (Severity::Degraded, "priority=15,udp,actions=note:01.02.00.00.00.00"),
            (
                Severity::Degraded,
                "priority=17,udp,actions=set_field:5->udp_dst,check_pkt_larger(100)->NXM_NX_REG0[0],NORMAL",
            ),
            (Severity::Degraded, "priority=7,actions=NORMAL"),
            (Severity::Breach, "priority=99,tcp,actions=CONTROLLER:65535,NORMAL"),
            (Severity::Breach, "ipv6,ipv6_dst=fe80::1,actions=output:1"),
            (Severity::Breach, "priority=12,udp,actions=FLOOD"),
            (Severity::Breach, "priority=13,udp,actions=LOCAL"),
            (Severity::Breach, "priority=18,udp,actions=IN_PORT"),
            (Severity::Breach, "priority=14,udp,actions=resubmit(,4)"),
            (Severity::Breach, "priority=19,udp,actions=clear_actions,write_metadata:0x1/0x3,goto_table:5"),
            (Severity::Breach, "priority=5,actions=set_field:0x5->tun_id,NORMAL"),
            (Severity::Breach, "priority=5,actions=load:0x5->NXM_NX_TUN_ID[],NORMAL"),
            (Severity::Breach, "priority=5,actions=load:0->NXM_OF_IN_PORT[],NORMAL"),
            (
                Severity::Breach,
                "priority=5,actions=learn(table=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),NORMAL",
            ),
            (Severity::Breach, "priority=5,actions=clone(NORMAL),NORMAL"),
            (Severity::Breach, "priority=5,actions=2"),
            (Severity::Breach, "priority=5,actions="),
            (Severity::Breach, "priority=180005,actions=drop,output:3"),
        ] {
            let found = others(&format!("duration=0s, n_packets=7, n_bytes=0, {flow}"));
            let (what, actions) = flow.split_once("actions=").unwrap();
            let text = format!("`{} actions={actions}`", what.trim_end_matches(','));
            assert_eq!(found, [(severity, text)], "{flow}");
        }
        let other = "table_id=3, duration=0s, n_packets=0, n_bytes=0, priority=0,actions=NORMAL";
        let text = "`table_id=3,priority=0 actions=NORMAL`".to_owned();
        assert_eq!(others(other), [(Severity::Degraded, text)]);
    }

    #[test]
    fn what_is_no_flow_is_a_breach_and_the_worst_is_first() {
        let found = others("priority=1,tcp,actions=drop\nwhat is this");
        let wanted = [
            (Severity::Breach, "`what is this`, which is no flow".to_owned()),
            (Severity::Degraded, "`priority=1,tcp actions=drop`".to_owned()),
        ];
        assert_eq!(found, wanted);
    }

    proptest! {
        #[test]
        fn no_line_is_lost(reply in "[ -~]{1,40}") {
            let line = format!("x{reply}");
            prop_assert_eq!(FlowTable::parse(&line).others.len(), 1);
        }
    }
}
