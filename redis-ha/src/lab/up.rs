//! Brings a service's lab up.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::stat::{Mode, umask};
use ovs_mesh::Topology;
use ovs_mesh::link::{Links, set_tx_checksum};
use ovsmesh_lab::{Lab, LabOptions, MeshLab, Progress};
use tokio::time::sleep;

use super::service::Service;
use super::{ServiceLab, ServiceLabError, client_address, config_path, dir, file, write};
use crate::bootstrap::bootstrap;
use crate::config::{Config, Secrets};
use crate::proxy::ProxyView;
use crate::render::{Layout, Place, haproxy_cfg, keepalived_conf, redis_conf, sentinel_conf};

/// How long the service may take to work once all of it runs.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

impl ServiceLab {
    /// Builds the mesh on this machine and runs the whole service on it, with passwords of the lab's own; `program` is `redis-ha`
    /// itself, for its agent. When a step fails, all is taken down again.
    pub async fn up(
        config: Config,
        options: LabOptions<'_>,
        program: &Path,
        progress: &dyn Progress,
    ) -> Result<Self, ServiceLabError> {
        let mesh = MeshLab::up(config.topology.clone(), options, progress).await?;
        let name = mesh.name().clone();
        match Self::serve(mesh, config, program, progress).await {
            Ok(lab) => Ok(lab),
            Err(error) => {
                // The reason for it all is the one to tell; what stays is for `lab down`.
                let _ = Lab::down(&name);
                Err(error)
            }
        }
    }

    async fn serve(
        mesh: MeshLab,
        config: Config,
        program: &Path,
        progress: &dyn Progress,
    ) -> Result<Self, ServiceLabError> {
        umask(Mode::from_bits_truncate(0o077));
        let lab = Self::files(mesh, config)?;
        let clients = lab.client_netns()?;
        let bridge = lab.mesh.lab().plan().underlay_bridge();
        Links::open_in(&clients)?.add_address(bridge, lab.client_address()?).await?;
        // The userspace datapath sends frames on with the checksums that they came with.
        set_tx_checksum(Some(&clients), bridge, false).await?;
        let services = lab.services();
        for (at, service) in services.iter().enumerate() {
            // keepalived last: a proxy gets the VIP when it can serve.
            if let Service::Keepalived(_) = service
                && services
                    .get(at.wrapping_sub(1))
                    .is_some_and(|before| !matches!(before, Service::Keepalived(_)))
            {
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
        fs::create_dir_all(&base).map_err(file("create", &base))?;
        config.topology = Topology::clone(mesh.topology());
        mesh.lab().plan().underlay_interface().clone_into(&mut config.proxies.interface);
        config.secret_file = base.join("secret");
        write(&config.secret_file, &password()?, 0o600)?;
        for cluster in &mut config.clusters {
            cluster.password_file = base.join(format!("password-{}", cluster.tenant));
            write(&cluster.password_file, &password()?, 0o600)?;
        }
        let path = config_path(&mesh);
        write(&path, &config.to_toml(&mesh.lab().topology_path()), 0o600)?;
        client_address(&config, &mesh)?;
        let secrets = Secrets::read(&config)?;
        let lab = Self { mesh, config, secrets };
        for (cluster, credentials) in lab.secrets.of(&lab.config) {
            for node in lab.config.nodes(cluster) {
                let layout = lab.layout(&Place::Node(node.ctid.clone()));
                for dir in ["redis", "sentinel"] {
                    let dir = layout.state.join(dir);
                    fs::create_dir_all(&dir).map_err(file("create", &dir))?;
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
            fs::create_dir_all(conf).map_err(file("create", conf))?;
            let haproxy = haproxy_cfg(&lab.config, &lab.secrets, proxy, &layout);
            write(&conf.join("haproxy.cfg"), &haproxy, 0o600)?;
            write(&conf.join("keepalived.conf"), &keepalived_conf(&lab.config, proxy, &layout), 0o600)?;
        }
        Ok(lab)
    }

    /// Waits until every tenant has one master, on every proxy the same, and one proxy has the VIPs.
    pub async fn ready(&self, within: Duration) -> Result<(), ServiceLabError> {
        let started = Instant::now();
        loop {
            let proxies = self.proxies().await?;
            let missing = self.config.clusters.iter().find_map(|cluster| {
                let masters = |proxy: &ProxyView| proxy.masters(cluster.tenant.as_str()).join(", ");
                let bad = proxies.iter().find(|proxy| proxy.masters(cluster.tenant.as_str()).len() != 1)?;
                let found = if bad.servers.is_none() { "no HAProxy".to_owned() } else { masters(bad) };
                Some(format!("on {}, the masters of `{}` are: [{found}]", bad.host, cluster.tenant))
            });
            let holders = proxies.iter().filter(|proxy| proxy.has_vips).count();
            let missing = missing
                .or_else(|| (holders != 1).then(|| format!("{holders} proxies have the VIPs, not one")));
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
