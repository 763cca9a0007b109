//! `redis-ha status`.

use redis_ha::ServiceLab;

use super::print;
use crate::{Exit, Failure, Global};

pub(crate) async fn lab(_global: &Global, lab: &ServiceLab) -> Result<Exit, Failure> {
    let mut text = String::new();
    for proxy in lab.proxies().await? {
        for cluster in &lab.config().clusters {
            text.push_str(&format!(
                "{} {} {:?} vips={}\n",
                proxy.host,
                cluster.tenant,
                proxy.masters(cluster.tenant.as_str()),
                proxy.has_vips
            ));
        }
    }
    print(&text)?;
    Ok(Exit::Done)
}
