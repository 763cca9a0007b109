//! What a node's Redis waits for before it is started.

use std::path::PathBuf;

use super::{Layout, head};
use crate::config::{Cluster, Node, SENTINEL_PORT};

const SCRIPT: &str = r#"# A Redis that was the master is not back before another is: this waits until this node's Sentinel names another, MAX s at most: as long
# as it takes to see that the master is down, and to vote a second time, if at first nobody was elected.
# Sentinels find one that is back before, as nobody's replica, by its INFO alone. By then no replica has heard from a master recently
# enough for them to promote it, and the cluster is without a master for good.
# A Sentinel that knows no replicas has nobody to name: the node is new.
REDISCLI_AUTH=$(sed -n 's/^requirepass //p' CONF)
export REDISCLI_AUTH
# By a clock that nobody sets: after a boot others may be set just now.
now() { read -r up _ < /proc/uptime && echo "${up%.*}"; }
end=$(($(now) + MAX))
while [ "$(now)" -le "$end" ]; do
    # A line each, in turn: a field's name, and what it is.
    if timeout 1 redis-cli -p PORT SENTINEL MASTER TENANT 2>&1 | awk '
        NR % 2 { name = $0; next }
        name == "ip" { ip = $0 }
        name == "num-slaves" { replicas = $0 }
        END { exit !(replicas != "" && (ip != "OWN" || replicas == 0)) }
    '; then
        exit 0
    fi
    sleep 0.2
done
echo "this node's Sentinel has named no other master in MAX s" >&2
"#;

/// Where it is.
pub(super) fn path(layout: &Layout) -> PathBuf {
    layout.conf.join("wait-until-replaced")
}

/// A script that ends when the node's Redis may start.
pub(super) fn script(cluster: &Cluster, node: Node<'_>, layout: &Layout) -> String {
    let text = SCRIPT
        .replace("MAX", &cluster.profile.pace().restart.as_secs().to_string())
        .replace("CONF", &layout.conf.join("sentinel.conf").display().to_string())
        .replace("PORT", &SENTINEL_PORT.to_string())
        .replace("TENANT", cluster.tenant.as_str())
        .replace("OWN", &node.ip.to_string());
    format!("#!/bin/sh\n{}{text}", head("What this node's Redis waits for"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::Config;

    /// Runs it beside a stand-in for redis-cli that answers so at first, and so after 2 s; how long it took, and what it said.
    fn waited(first: &str, then: &str) -> (Duration, String) {
        let service = include_str!("../../../examples/redis-ha.toml");
        let mesh = include_str!("../../../examples/ha-redis.toml").parse().unwrap();
        let config = Config::parse(service, Path::new("redis-ha.toml"), mesh).unwrap();
        let cluster = &config.clusters[0];
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout { conf: dir.path().to_owned(), ..Layout::default() };
        fs::write(dir.path().join("sentinel.conf"), "port 26379\nrequirepass secret\n").unwrap();
        let answer = |text: &str| text.replace(' ', "\\n");
        let mock = format!(
            "#!/bin/sh\n[ \"$REDISCLI_AUTH $*\" = 'secret -p 26379 SENTINEL MASTER acme' ] || exit 1\n\
             if [ \"$(date +%s)\" -lt \"$CHANGES\" ]; then printf '{}'; else printf '{}'; fi\n",
            answer(first),
            answer(then)
        );
        let cli = dir.path().join("redis-cli");
        fs::write(&cli, mock).unwrap();
        fs::set_permissions(&cli, fs::Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().join("wait");
        fs::write(&path, script(cluster, config.nodes(cluster).next().unwrap(), &layout)).unwrap();
        let checked = Command::new("shellcheck").arg(&path).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
        let began = Instant::now();
        let now = Command::new("date").arg("+%s").output().unwrap().stdout;
        let changes = String::from_utf8(now).unwrap().trim().parse::<u64>().unwrap() + 2;
        let output = Command::new("sh")
            .arg(&path)
            .env("PATH", format!("{}:/usr/bin:/bin", dir.path().display()))
            .env("CHANGES", changes.to_string())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        (began.elapsed(), String::from_utf8(output.stderr).unwrap())
    }

    #[test]
    fn a_node_starts_when_it_is_not_the_master_any_more() {
        let own = "name acme ip 192.168.10.11 port 6379 num-slaves 2 quorum 2 ";
        let other = own.replace("10.11", "10.12");
        let (took, said) = waited(own, &other);
        assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(8), "{took:?}");
        assert_eq!(said, "");
        // It never was, or there is nobody else. (Otherwise it would be 10 s.)
        for at_once in [&other, &own.replace("slaves 2", "slaves 0")] {
            let (took, said) = waited(at_once, at_once);
            assert!(took < Duration::from_secs(8), "{took:?}");
            assert_eq!(said, "");
        }
        // Its Sentinel is just being started.
        let (took, _) = waited("Could not connect", &other);
        assert!(took >= Duration::from_millis(900), "{took:?}");
        // Nobody is elected.
        let (took, said) = waited(own, own);
        assert!(took >= Duration::from_secs(9) && took < Duration::from_secs(20), "{took:?}");
        assert_eq!(said, "this node's Sentinel has named no other master in 10 s\n");
    }
}
