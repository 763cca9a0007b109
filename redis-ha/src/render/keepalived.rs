//! keepalived.conf of a proxy.

use std::fmt::Write;

use ovs_mesh::HostName;

use super::{ALIVE_PORT, Layout, VRRP_INSTANCE, head};
use crate::config::{Config, Proxies, Watch};

/// The configuration of a proxy's keepalived.
pub fn keepalived_conf(config: &Config, proxy: &HostName, layout: &Layout) -> String {
    let Proxies { hosts, interface, vips, router_id, profile, aws } = &config.proxies;
    let pace = profile.pace();
    let underlay = |host: &HostName| config.topology.host(host).map(|host| host.underlay_ip().to_string());
    let peers: Vec<String> = hosts.iter().filter(|host| *host != proxy).filter_map(underlay).collect();
    let priority = if hosts.first() == Some(proxy) { 150 } else { 100 };
    let mut text = head(&format!("keepalived on {proxy}"));
    // Writing into a string cannot fail.
    let _ = write!(
        text,
        "
global_defs {{
    router_id {proxy}
    # Version 3 alone can say that it lives more often than once a second.
    vrrp_version 3
    enable_script_security
    script_user root
    # Before all that shares the processor with it: a late advertisement is a needless failover.
    vrrp_rt_priority 50
    # By default the kernel kills such a process once it has run for 10 ms on end, as when it takes the VIPs over. Seen.
    vrrp_rlimit_rttime 1000000
    vrrp_no_swap
    # Once a second the master says again where the VIP is: when two masters meet, the one that stays may not have heard of the other,
    # and clients would go on to the one that left for ten seconds. Seen.
    vrrp_garp_master_refresh 1
    vrrp_garp_master_refresh_repeat 1
"
    );
    if aws.is_some() {
        let _ = writeln!(
            text,
            "    # redis-ha notify reads it, and moves the VIP in the VPC. Started by keepalived itself, a script would be neither\n    \
             # waited for nor kept from running twice.\n    vrrp_notify_fifo {}",
            layout.notify_fifo().display()
        );
    }
    text.push_str("}\n");
    // The article's way is a script each second; it has no agent to write the file.
    let is_tracked = matches!(pace.watch, Watch::Agent { .. });
    let _ = if is_tracked {
        write!(
            text,
            "
# The agent writes 1 there when HAProxy is dead, and keepalived sees it at once. A script can be run once a second at most; watching
# the process (vrrp_track_process) fails inside a network namespace. 1 until the agent has spoken.
track_file haproxy {{
    file {}
    weight 0
    init_file 1
}}
",
            layout.track_file().display()
        )
    } else {
        write!(
            text,
            "
vrrp_script haproxy {{
    script \"/bin/bash -c '</dev/tcp/127.0.0.1/{ALIVE_PORT}'\"
    interval 1
}}
"
        )
    };
    let _ = write!(
        text,
        "
vrrp_instance {VRRP_INSTANCE} {{
    # Neither begins as the master, and who has the VIP keeps it: a proxy that comes back takes it from nobody.
    state BACKUP
    nopreempt
    interface {interface}
    virtual_router_id {router_id}
    priority {priority}
    advert_int {advert}
    # A VPC carries no multicast.
    unicast_src_ip {own}
    unicast_peer {{
        {peers}
    }}
    check_unicast_src
    {track} {{
        haproxy
    }}
    virtual_ipaddress {{
",
        advert = pace.advert.as_secs_f64(),
        own = underlay(proxy).unwrap_or_default(),
        peers = peers.join("\n        "),
        track = if is_tracked { "track_file" } else { "track_script" },
    );
    for vip in vips {
        let _ = writeln!(text, "        {vip} dev {interface}");
    }
    text.push_str("    }\n}\n");
    text
}
