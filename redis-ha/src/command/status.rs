//! `redis-ha status`.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use ovs_mesh::link::Links;
use ovs_mesh::{Chain, HostName};
use redis_ha::{
    ClusterView, Config, Damage, Layout, NodeView, ProxyView, Role, Secrets, ServiceLab, ServiceLabError,
    Unanswered, VipView, Whereabouts, survey,
};
use serde_json::{Value, json};

use super::print;
use crate::failure::lost_hint;
use crate::{Exit, Failure, Format, Global};

/// How long a Redis or a Sentinel may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// The proxy host that this is; by default this machine's host name
    #[arg(long, env = "REDIS_HA_HOST", value_name = "NAME")]
    host: Option<HostName>,
    /// HAProxy's stats socket [default: /run/redis-ha/haproxy.sock]
    #[arg(long, value_name = "PATH")]
    haproxy_socket: Option<PathBuf>,
}

pub(crate) async fn run(global: &Global, options: Status) -> Result<Exit, Failure> {
    let config = Config::read(&global.config)?;
    // First: on another machine there are no secrets either, and that is not what is wrong.
    let host = super::this_proxy(&config, options.host)?;
    let secrets = Secrets::read(&config)?;
    let socket = options.haproxy_socket.unwrap_or_else(|| Layout::default().haproxy_socket());
    let links = Links::open().map_err(|source| Failure::Links { source })?;
    let mut proxy = ProxyView::of(&config.proxies, &host, &links, &socket).await?;
    let (clusters, ()) = tokio::join!(clusters(&config, &secrets, &host), proxy.locate(&config));
    show(global, &clusters, &[proxy], None)
}

/// The same for a lab, where both proxies are at hand.
pub(crate) async fn lab(global: &Global, lab: &ServiceLab) -> Result<Exit, Failure> {
    let damage = lab.damage().await?;
    let shown = show_lab(global, lab, &damage).await;
    hint(lab, &damage);
    shown
}

async fn show_lab(global: &Global, lab: &ServiceLab, damage: &Damage) -> Result<Exit, Failure> {
    let config = lab.config();
    let proxies = lab.proxies().await?;
    // By way of the proxy that clients use.
    let active =
        proxies.iter().find(|proxy| proxy.has_vips).map_or(&config.proxies.hosts[0], |proxy| &proxy.host);
    let clusters = clusters(config, lab.secrets(), active).await;
    let led = match lab.led() {
        // All else is to be seen.
        Err(ServiceLabError::Ec2(why)) => {
            anstream::eprintln!("EC2: {}", Chain(&why));
            Err(Chain(&why).to_string())
        }
        led => Ok(led?),
    };
    show(global, &clusters, &proxies, Some(&OfLab { damage, led }))
}

/// Tells what is down in a lab, and what helps, beside the result.
fn hint(lab: &ServiceLab, damage: &Damage) {
    for what in damage.lost.iter().chain(&damage.mendable) {
        anstream::eprintln!("{what}");
    }
    let name = lab.mesh().name();
    if !damage.lost.is_empty() {
        anstream::eprintln!("hint: {}", lost_hint(name));
    } else if !damage.mendable.is_empty() {
        anstream::eprintln!("hint: make it whole with: redis-ha lab mend --name {name}");
    }
}

async fn clusters(config: &Config, secrets: &Secrets, host: &HostName) -> Vec<ClusterView> {
    let ways = secrets.of(config).map(|(cluster, credentials)| {
        let netns = config.gateway(host, &cluster.tenant);
        async move { survey(config, cluster, credentials, &netns, PATIENCE).await }
    });
    join_all(ways).await
}

/// What is to be seen of a lab alone.
struct OfLab<'a> {
    damage: &'a Damage,
    /// The proxies that EC2 leads the VIPs to, where there is one, or why that cannot be told.
    led: Result<Option<Vec<HostName>>, String>,
}

fn show(
    global: &Global,
    clusters: &[ClusterView],
    proxies: &[ProxyView],
    lab: Option<&OfLab>,
) -> Result<Exit, Failure> {
    let led = lab.and_then(|lab| lab.led.as_ref().ok()).and_then(Option::as_deref);
    let agrees = |proxy: &ProxyView, cluster: &ClusterView| {
        let master = cluster.master().map(|node| node.ctid.as_str());
        proxy.masters(cluster.tenant.as_str()) == master.as_slice()
    };
    let is_well = lab.is_none_or(|lab| lab.damage.is_none() && lab.led.is_ok())
        && clusters.iter().all(is_whole)
        && proxies.iter().all(|proxy| clusters.iter().all(|cluster| agrees(proxy, cluster)))
        && proxies.iter().all(ProxyView::is_placed)
        // Where both are seen, one of them alone has the VIPs.
        && (proxies.len() < 2 || proxies.iter().filter(|proxy| proxy.has_vips).count() == 1)
        && led.is_none_or(|led| led.iter().eq(proxies.iter().filter(|proxy| proxy.has_vips).map(|proxy| &proxy.host)));
    match global.format {
        Format::Text => print(&text(clusters, proxies, led))?,
        Format::Json => {
            let clusters: Vec<Value> = clusters.iter().map(cluster_json).collect();
            let mut all = json!({ "whole": is_well, "clusters": clusters, "proxies": proxies });
            if let Some(led) = led {
                all["ec2"] = json!(led);
            }
            if let Some(OfLab { damage, led }) = lab {
                all["damage"] = json!({ "mendable": damage.mendable, "lost": damage.lost });
                all["ec2_error"] = json!(led.as_ref().err());
            }
            print(&format!("{all}\n"))?;
        }
    }
    Ok(if is_well { Exit::Done } else { Exit::Wanting })
}

/// One master, all others its replicas with their links up, and all Sentinels of one mind.
fn is_whole(cluster: &ClusterView) -> bool {
    let Some(master) = cluster.master() else { return false };
    cluster.nodes.iter().all(|node| {
        let sentinel = node.sentinel.as_ref().is_ok_and(|named| named.master == master.redis_address());
        let redis = node.redis.as_ref().is_ok_and(|redis| node.ctid == master.ctid || redis.replication.link);
        sentinel && redis
    })
}

fn text(clusters: &[ClusterView], proxies: &[ProxyView], led: Option<&[HostName]>) -> String {
    let mut text = String::new();
    for cluster in clusters {
        let tenant = &cluster.tenant;
        // Writing into a string cannot fail.
        let _ = match cluster.master() {
            Some(master) => writeln!(text, "{tenant}: master {} ({})", master.ctid, master.ip),
            None => writeln!(
                text,
                "{tenant}: NO MASTER that a majority of Sentinels names and that says that it is one"
            ),
        };
        for node in &cluster.nodes {
            let _ =
                writeln!(text, "  {} {}: {}; {}", node.ctid, node.ip, redis(cluster, node), sentinel(node));
        }
    }
    for proxy in proxies {
        let _ = write!(text, "{} {}", proxy.host, vips(proxy, proxies.len() > 1));
        if proxy.servers.is_none() {
            let why = proxy.unanswered.as_deref().unwrap_or_default();
            let _ = writeln!(text, "; HAProxy does NOT ANSWER: {why}");
            continue;
        }
        let goes = |cluster: &ClusterView| {
            let masters = proxy.masters(cluster.tenant.as_str());
            let to = if masters.is_empty() { "NOBODY".to_owned() } else { masters.join(" AND ") };
            format!("{} goes to {to}", cluster.tenant)
        };
        let _ = writeln!(text, "; {}", clusters.iter().map(goes).collect::<Vec<_>>().join(", "));
    }
    if let Some(led) = led {
        let to = led.iter().map(HostName::as_str).collect::<Vec<_>>().join(" AND ");
        let _ = writeln!(text, "EC2 leads the VIPs to {}", if to.is_empty() { "NOBODY" } else { &to });
    }
    text
}

/// Where the VIPs are. One that another proxy has needs no word where that one is seen, too.
fn vips(proxy: &ProxyView, is_seen_whole: bool) -> String {
    if proxy.has_vips {
        return "has the VIPs".to_owned();
    }
    let here: Vec<String> =
        proxy.vips.iter().filter(|vip| vip.at == Whereabouts::Here).map(|vip| vip.vip.to_string()).collect();
    let mut told = vec![if here.is_empty() {
        "stands by".to_owned()
    } else {
        format!("has {} and NOT ALL of the VIPs", here.join(", "))
    }];
    told.extend(proxy.vips.iter().filter_map(|VipView { vip, at, why }| match at {
        Whereabouts::Here => None,
        Whereabouts::Elsewhere => (!is_seen_whole).then(|| format!("{vip} answers elsewhere")),
        Whereabouts::Refused => Some(format!("{vip} REFUSES connections elsewhere")),
        Whereabouts::Nobody => Some(format!("NOBODY has {vip}")),
        Whereabouts::Unknown => {
            Some(format!("who has {vip} is NOT KNOWN: {}", why.as_deref().unwrap_or_default()))
        }
        Whereabouts::Unasked => Some(format!("no tenant listens on {vip}, so nobody can be asked for it")),
    }));
    told.join("; ")
}

fn redis(cluster: &ClusterView, node: &NodeView) -> String {
    let view = match &node.redis {
        Ok(view) => view,
        Err(why) => return format!("Redis {}", unanswered(why)),
    };
    let keys = count(view.keys, "key");
    match view.replication.role {
        Role::Master => format!("master, {keys}"),
        Role::Replica if !view.replication.link => format!("replica WITHOUT A MASTER, {keys}"),
        Role::Replica => match cluster.behind(node) {
            Some(behind) => format!("replica, {} behind, {keys}", count(behind, "byte")),
            None => format!("replica of another history, {keys}"),
        },
    }
}

fn sentinel(node: &NodeView) -> String {
    match &node.sentinel {
        Ok(named) => {
            let others = count(named.sentinels, "other");
            format!("its Sentinel names {} and knows {others}", named.master.ip())
        }
        Err(why) => format!("Sentinel {}", unanswered(why)),
    }
}

/// A number of things, each of which is called so.
fn count(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{number} {one}s"),
    }
}

fn unanswered(why: &Unanswered) -> String {
    match why {
        Unanswered::Ask(why) => format!("does NOT ANSWER: {}", Chain(why)),
        Unanswered::Report(why) => format!("answers NOTHING OF USE: {}", Chain(why)),
    }
}

fn cluster_json(cluster: &ClusterView) -> Value {
    let redis = |node: &NodeView| match &node.redis {
        Ok(view) => json!({
            "role": if view.replication.role == Role::Master { "master" } else { "replica" },
            "linked": view.replication.link,
            "offset": view.replication.offset,
            "behind_bytes": cluster.behind(node),
            "keys": view.keys,
        }),
        Err(why) => json!({ "error": Chain(why).to_string() }),
    };
    let sentinel = |node: &NodeView| match &node.sentinel {
        Ok(named) => {
            json!({ "master": named.master.to_string(), "epoch": named.epoch, "others": named.sentinels })
        }
        Err(why) => json!({ "error": Chain(why).to_string() }),
    };
    let nodes: Vec<Value> = cluster
        .nodes
        .iter()
        .map(|node| {
            json!({ "ctid": node.ctid.as_str(), "ip": node.ip, "redis": redis(node), "sentinel": sentinel(node) })
        })
        .collect();
    let master = cluster.master().map(|node| node.ctid.as_str());
    json!({ "tenant": cluster.tenant.as_str(), "master": master, "nodes": nodes })
}
