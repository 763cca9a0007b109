//! Brings a service's lab up.

use std::fs;
use std::future::pending;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use ovs_mesh::link::{Links, Netns, set_tx_checksum};
use ovs_mesh::{HostName, Topology};
use ovsmesh_lab::{LabOptions, Maker, MeshLab, Progress};
use tokio::time::sleep;

use super::ec2::LabEc2;
use super::service::Service;
use super::{
    MOTO_LOG, PYTHON, ServiceLab, ServiceLabError, client_address, config_path, create_dir, dir, file, write,
};
use crate::bootstrap::{bootstrap, ready};
use crate::config::{Config, Secrets};
use crate::proxy::ProxyView;
use crate::render::{Layout, Place, haproxy_cfg, keepalived_conf, redis_conf, sentinel_conf};
use crate::survey::survey;

/// The command that makes these labs.
const MAKER: &str = "redis-ha lab";
/// How long the service may take to work once all of it runs.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
/// How often all nodes are asked, and how long each may take to answer.
const LOOK: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(2);

/// How a service's lab is brought up.
#[derive(Debug)]
pub struct ServiceOptions<'a> {
    /// The mesh below it.
    pub mesh: LabOptions<'a>,
    /// `redis-ha` itself, for its agent and its notifier.
    pub program: &'a Path,
    /// A Python that has moto's server: that is the lab's EC2, where keepalived's notices move the VIPs. Without one, there is none.
    pub ec2: Option<&'a Path>,
}

impl ServiceLab {
    /// Builds the mesh on this machine and runs the whole service on it, with passwords of the lab's own. When a step fails, all is
    /// taken down again.
    pub async fn up(
        config: Config,
        options: ServiceOptions<'_>,
        progress: &dyn Progress,
    ) -> Result<Self, ServiceLabError> {
        Self::up_until(pending(), config, options, progress).await
    }

    /// The same until `stop` is done: then all is taken down again, and this fails with [`LabError::Stopped`](ovsmesh_lab::LabError).
    pub async fn up_until(
        stop: impl Future<Output = ()>,
        config: Config,
        options: ServiceOptions<'_>,
        progress: &dyn Progress,
    ) -> Result<Self, ServiceLabError> {
        let ServiceOptions { mesh, program, ec2 } = options;
        let (maker, topology) = (Maker { command: MAKER, stop }, config.topology.clone());
        let serve = async |mesh| Self::serve(mesh, config, program, ec2, progress).await;
        MeshLab::up_for(maker, topology, mesh, progress, serve).await
    }

    async fn serve(
        mesh: MeshLab,
        mut config: Config,
        program: &Path,
        ec2: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<Self, ServiceLabError> {
        create_dir(&dir(&mesh))?;
        let underlay = client_address(&config, mesh.lab().plan().hosts[0].underlay_address)?;
        let clients = Netns::open(&mesh.lab().plan().underlay)?;
        join(&mesh, &clients, underlay).await?;
        // What the file says of AWS is of other machines.
        config.proxies.aws = None;
        if let Some(python) = ec2 {
            progress.step(0, 1, "moto");
            let python = LabEc2::absolute(python)?;
            // For who starts it again.
            let path = dir(&mesh).join(PYTHON);
            fs::write(&path, python.as_os_str().as_bytes()).map_err(file("write", &path))?;
            let log = dir(&mesh).join(MOTO_LOG);
            let aws = LabEc2::new(clients, underlay.ip()).start(&python, &log, &config, underlay).await?;
            config.proxies.aws = Some(aws);
        }
        let lab = Self::files(mesh, config)?;
        let services = lab.services();
        let mut bootstrapped = false;
        for (at, service) in services.iter().enumerate() {
            // keepalived last: a proxy gets the VIP when it can serve.
            if matches!(service, Service::Keepalived(_)) && !std::mem::replace(&mut bootstrapped, true) {
                lab.bootstrap().await?;
            }
            lab.start(service, program)?;
            progress.step(at + 1, services.len() + 1, &service.to_string());
        }
        lab.ready(DEADLINE).await?;
        progress.step(services.len() + 1, services.len() + 1, "every tenant has a master");
        Ok(lab)
    }

    /// Writes all files of the service, under the lab's names and with its own passwords.
    fn files(mesh: MeshLab, mut config: Config) -> Result<Self, ServiceLabError> {
        let base = dir(&mesh);
        config.topology = Topology::clone(mesh.topology());
        mesh.lab().plan().underlay_interface().clone_into(&mut config.proxies.interface);
        config.secret_file = base.join("secret");
        write(&config.secret_file, &password()?, 0o600)?;
        for cluster in &mut config.clusters {
            // The lab's clients speak plainly, and the certificate is of another machine.
            cluster.tls = None;
            cluster.password_file = base.join(format!("password-{}", cluster.tenant));
            write(&cluster.password_file, &password()?, 0o600)?;
        }
        let path = config_path(&mesh);
        write(&path, &config.to_toml(&mesh.lab().topology_path()), 0o600)?;
        let secrets = Secrets::read(&config)?;
        let lab = Self { mesh, config, secrets };
        for (cluster, credentials) in lab.secrets.of(&lab.config) {
            for node in lab.config.nodes(cluster) {
                let layout = lab.layout(&Place::Node(node.ctid.clone()));
                for dir in ["redis", "sentinel"] {
                    create_dir(&layout.state.join(dir))?;
                }
                let redis = redis_conf(&lab.config, cluster, credentials, node, &layout);
                write(&layout.conf.join("redis.conf"), &redis, 0o600)?;
                let sentinel = sentinel_conf(&lab.config, cluster, credentials, node, &layout);
                write(&layout.conf.join("sentinel.conf"), &sentinel, 0o600)?;
            }
        }
        for proxy in &lab.config.proxies.hosts {
            let layout = lab.layout(&Place::Proxy(proxy.clone()));
            let Layout { conf, .. } = &layout;
            create_dir(conf)?;
            let haproxy = haproxy_cfg(&lab.config, &lab.secrets, proxy, &layout);
            write(&conf.join("haproxy.cfg"), &haproxy, 0o600)?;
            write(&conf.join("keepalived.conf"), &keepalived_conf(&lab.config, proxy, &layout), 0o600)?;
        }
        Ok(lab)
    }

    /// Waits until clients are served: every tenant has one master, on every proxy the same, and one proxy has the VIPs.
    pub async fn ready(&self, within: Duration) -> Result<(), ServiceLabError> {
        let started = Instant::now();
        loop {
            let proxies = self.proxies().await?;
            let missing = match missing(&self.config, &proxies) {
                None => misled(&proxies, self.led()?.as_deref()),
                missing => missing,
            };
            match missing {
                None => return Ok(()),
                Some(what) if started.elapsed() > within => {
                    return Err(ServiceLabError::NotReady { seconds: within.as_secs(), what });
                }
                Some(_) => sleep(PAUSE).await,
            }
        }
    }
}

impl ServiceLab {
    /// Waits until all is as it should be: clients are served, and every master has all of its replicas, known to a majority of
    /// Sentinels.
    pub async fn whole(&self, within: Duration) -> Result<(), ServiceLabError> {
        let started = Instant::now();
        self.ready(within).await?;
        loop {
            match self.wanting().await {
                None => return Ok(()),
                Some(what) if started.elapsed() > within => {
                    return Err(ServiceLabError::NotReady { seconds: within.as_secs(), what });
                }
                Some(_) => sleep(LOOK).await,
            }
        }
    }

    /// What a cluster lacks.
    async fn wanting(&self) -> Option<String> {
        for (cluster, credentials) in self.secrets.of(&self.config) {
            let netns = self.config.gateway(&self.config.proxies.hosts[0], &cluster.tenant);
            let view = survey(&self.config, cluster, credentials, &netns, PATIENCE).await;
            if let Err(what) = ready(&view) {
                return Some(format!("of `{}`, {what}", cluster.tenant));
            }
        }
        None
    }
}

/// What clients lack, by what the proxies see. Pure.
fn missing(config: &Config, proxies: &[ProxyView]) -> Option<String> {
    for tenant in config.clusters.iter().map(|cluster| cluster.tenant.as_str()) {
        let mut agreed = None;
        for proxy in proxies {
            if proxy.servers.is_none() {
                return Some(format!("HAProxy on {} does not answer", proxy.host));
            }
            let [master] = proxy.masters(tenant)[..] else {
                let found = proxy.masters(tenant).join(", ");
                return Some(format!("on {}, the masters of `{tenant}` are: [{found}]", proxy.host));
            };
            if *agreed.get_or_insert(master) != master {
                return Some(format!("the proxies do not agree on the master of `{tenant}`"));
            }
        }
    }
    let holders = proxies.iter().filter(|proxy| proxy.has_vips).count();
    (holders != 1).then(|| format!("{holders} proxies have the VIPs, not one"))
}

/// What EC2, where there is one, has otherwise than the proxies. Pure.
fn misled(proxies: &[ProxyView], led: Option<&[HostName]>) -> Option<String> {
    let holder = proxies.iter().find(|proxy| proxy.has_vips).map(|proxy| &proxy.host);
    let led = led?;
    let names = led.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ");
    (led.iter().ne(holder)).then(|| format!("EC2 leads the VIPs to [{names}]"))
}

/// Gives the clients their address on the underlay.
async fn join(mesh: &MeshLab, clients: &Netns, address: IpNetwork) -> Result<(), ServiceLabError> {
    let bridge = mesh.lab().plan().underlay_bridge();
    let links = Links::open_in(clients)?;
    // A bridge has the lowest Ethernet address of its ports unless it was given one: each cut of the underlay would give the
    // clients another, and the proxies would answer the one before for as long as they remember it.
    if let Some(mac) = links.get(bridge).await?.and_then(|link| link.mac) {
        links.set_mac(bridge, mac).await?;
    }
    links.add_address(bridge, address).await?;
    // By which it reaches its own address.
    links.set_up("lo").await?;
    // The userspace datapath sends frames on with the checksums that they came with.
    set_tx_checksum(Some(clients), bridge, false).await?;
    Ok(())
}

/// A password that nobody knows.
fn password() -> Result<String, ServiceLabError> {
    let path = Path::new("/proc/sys/kernel/random/uuid");
    let text = fs::read_to_string(path).map_err(file("read", path))?;
    Ok(format!("{}\n", text.trim()))
}

impl ServiceLab {
    /// Makes every cluster's first master, by way of the first proxy; in the article's way it stands in the configuration.
    async fn bootstrap(&self) -> Result<(), ServiceLabError> {
        let all = self.secrets.of(&self.config).filter(|(cluster, _)| cluster.starts_as_replica());
        let ways = all.map(|(cluster, credentials)| {
            let netns = self.config.gateway(&self.config.proxies.hosts[0], &cluster.tenant);
            async move { bootstrap(&self.config, cluster, credentials, &netns, None, DEADLINE, |_| {}).await }
        });
        futures_util::future::try_join_all(ways).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::ServerView;

    const SERVICE: &str = include_str!("../../../examples/redis-ha.toml");
    const MESH: &str = include_str!("../../../examples/ha-redis.toml");

    fn view(host: &str, has_vips: bool, up: Option<&[(&str, &str)]>) -> ProxyView {
        let server = |(tenant, node): &(&str, &str)| ServerView {
            tenant: (*tenant).to_owned(),
            node: (*node).to_owned(),
            status: "UP".to_owned(),
        };
        let servers = up.map(|up| up.iter().map(server).collect());
        ProxyView { host: host.parse().unwrap(), has_vips, vips: Vec::new(), servers, unanswered: None }
    }

    #[test]
    fn what_clients_lack() {
        let config = Config::parse(SERVICE, Path::new("redis-ha.toml"), MESH.parse().unwrap()).unwrap();
        let both: &[_] = &[("acme", "101"), ("globex", "201")];
        let one = || view("proxy1", true, Some(both));
        let two = |has_vips, up| view("proxy2", has_vips, up);
        let table = [
            (vec![one(), two(false, Some(both))], None),
            (vec![one(), two(true, Some(both))], Some("2 proxies have the VIPs, not one")),
            (vec![two(false, Some(both))], Some("0 proxies have the VIPs, not one")),
            (vec![one(), two(false, None)], Some("HAProxy on proxy2 does not answer")),
            (vec![one(), two(false, Some(&both[..1]))], Some("on proxy2, the masters of `globex` are: []")),
            (
                vec![one(), two(false, Some(&[("acme", "102"), ("globex", "201")]))],
                Some("the proxies do not agree on the master of `acme`"),
            ),
        ];
        for (proxies, expected) in table {
            assert_eq!(missing(&config, &proxies).as_deref(), expected);
        }
    }
}
