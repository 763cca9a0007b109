//! Reading a host for verification: the shell around [`HostSnapshot`].

use std::time::SystemTime;

use super::host::HostSnapshot;
use crate::names::{HostName, MeshName};
use crate::switch::{ControlError, Switch, SwitchError};

/// A host's switch, read.
#[derive(Debug)]
pub struct Collected {
    /// All but the kernel's devices ([`Machine`](super::Machine)).
    pub snapshot: HostSnapshot,
    /// Why ovs-vswitchd's own list of tunnels is not in it, if it is not.
    pub no_tunnels: Option<ControlError>,
}

/// Reads OVSDB's rows in one consistent transaction, then ovs-vswitchd's tunnels.
///
/// Read the kernel's devices after it: a row is only stale if its device is missing later.
pub async fn collect(switch: &Switch, mesh: &MeshName, host: &HostName) -> Result<Collected, SwitchError> {
    let results = switch.transact(&HostSnapshot::operations()).await?;
    let mut snapshot = HostSnapshot::from_results(mesh.clone(), host.clone(), results)?;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    snapshot.taken_at = since.ok().map(|since| since.as_secs());
    let no_tunnels = match switch.listed_tunnels().await {
        Ok(tunnels) => {
            snapshot.tunnels = Some(tunnels);
            None
        }
        Err(error) => Some(error),
    };
    Ok(Collected { snapshot, no_tunnels })
}
