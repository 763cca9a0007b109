//! The service's file, written.

use std::fmt::Write;
use std::path::Path;

use super::{Aws, AwsVip, Cluster, Config, Persistence};

impl Config {
    /// The service's file that says this, for a topology at that path.
    pub fn to_toml(&self, mesh: &Path) -> String {
        let Self { topology: _, proxies, clusters, secret_file, host_memory } = self;
        let quoted = |text: &dyn std::fmt::Display| toml::Value::String(text.to_string()).to_string();
        let list = |items: Vec<String>| format!("[{}]", items.join(", "));
        let mut text =
            format!("mesh = {}\nsecret_file = {}\n", quoted(&mesh.display()), quoted(&secret_file.display()));
        // Writing into a string cannot fail. Keys are quoted: a host name may have dots.
        if !host_memory.is_empty() {
            let pairs: Vec<String> = host_memory
                .iter()
                .map(|(host, bytes)| format!("{} = {}", quoted(host), quoted(bytes)))
                .collect();
            let _ = writeln!(text, "host_memory = {{ {} }}", pairs.join(", "));
        }
        let _ = write!(
            text,
            "\n[proxy]\nhosts = {}\ninterface = {}\nvips = {}\nrouter_id = {}\nprofile = {}\n",
            list(proxies.hosts.iter().map(|host| quoted(host)).collect()),
            quoted(&proxies.interface),
            list(proxies.vips.iter().map(|vip| quoted(vip)).collect()),
            proxies.router_id,
            quoted(&proxies.profile.as_str()),
        );
        if let Some(Aws { vip, region, interfaces, reserve }) = &proxies.aws {
            let mut pairs = match vip {
                AwsVip::Address => vec!["mode = \"address\"".to_owned()],
                AwsVip::Route { tables } => {
                    let tables = list(tables.iter().map(|table| quoted(table)).collect());
                    vec!["mode = \"route\"".to_owned(), format!("route_tables = {tables}")]
                }
            };
            pairs.extend(region.iter().map(|region| format!("region = {}", quoted(region))));
            if !interfaces.is_empty() {
                let all: Vec<String> = interfaces
                    .iter()
                    .map(|(host, interface)| format!("{} = {}", quoted(host), quoted(interface)))
                    .collect();
                pairs.push(format!("interfaces = {{ {} }}", all.join(", ")));
            }
            pairs.extend(reserve.iter().map(|reserve| format!("reserve = {}", quoted(reserve))));
            let _ = writeln!(text, "aws = {{ {} }}", pairs.join(", "));
        }
        for cluster in clusters {
            let Cluster {
                tenant,
                nodes,
                listen,
                max_memory,
                eviction,
                persistence,
                password_file,
                profile,
                tls,
            } = cluster;
            let kept = match persistence {
                Persistence::None => "none",
                Persistence::Rdb => "rdb",
                Persistence::Aof => "aof",
            };
            let _ = write!(
                text,
                "\n[[cluster]]\ntenant = {}\nnodes = {}\nlisten = {}\nmax_memory = {}\neviction = {}\npersistence = \
                 {}\npassword_file = {}\nprofile = {}\n",
                quoted(tenant),
                list(nodes.iter().map(|node| quoted(node)).collect()),
                quoted(listen),
                quoted(max_memory),
                quoted(&eviction.as_str()),
                quoted(&kept),
                quoted(&password_file.display()),
                quoted(&profile.as_str()),
            );
            if let Some(tls) = tls {
                let _ = writeln!(text, "tls = {}", quoted(&tls.display()));
            }
        }
        text
    }
}
