//! What `redis-ha` itself reads on a proxy: the service's file, the topology, the secrets.

use std::path::{Path, PathBuf};

use ovs_mesh::TenantName;

use super::{Layout, head};
use crate::config::{Config, Secrets};

/// Beside the service's file, wherever they were kept where it was written.
const MESH: &str = "mesh.toml";
const SECRET: &str = "secrets/service";

/// Path, text and mode of each.
pub(super) fn files(config: &Config, secrets: &Secrets, layout: &Layout) -> Vec<(PathBuf, String, u32)> {
    let mut own = config.clone();
    own.secret_file = SECRET.into();
    let mut files = vec![secret(layout, &own.secret_file, secrets.service().expose())];
    for (cluster, (_, credentials)) in own.clusters.iter_mut().zip(secrets.of(config)) {
        cluster.password_file = format!("secrets/tenants/{}.secret", cluster.tenant).into();
        files.push(secret(layout, &cluster.password_file, credentials.client.expose()));
        cluster.tls = cluster.tls.as_ref().map(|_| certificate(&cluster.tenant));
    }
    let readable = |name: &str, what: &str, text: &str| {
        (layout.conf.join(name), format!("{}\n{text}", head(what)), 0o644)
    };
    files.push(readable("redis-ha.toml", "what redis-ha reads on a proxy", &own.to_toml(Path::new(MESH))));
    files.push(readable(MESH, "the topology, for redis-ha on a proxy", &config.topology.to_toml()));
    files
}

/// A certificate's file, beside the service's.
pub(super) fn certificate(tenant: &TenantName) -> PathBuf {
    Path::new("tls").join(format!("{tenant}.pem"))
}

fn secret(layout: &Layout, path: &Path, text: &str) -> (PathBuf, String, u32) {
    (layout.conf.join(path), format!("{text}\n"), 0o600)
}
