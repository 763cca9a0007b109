//! Which changes may share a transaction.
//!
//! One transaction holds the whole diff, but for two cases where Open vSwitch itself needs more:
//!
//! - A tuple or a name that changes hands, or a device that came back: ovs-vswitchd must have let go of the old port
//!   before it is given the new one, else it says `File exists`, or passes no packets.
//! - Many removals: ovs-vswitchd copies its whole translation table twice for each port that goes (`xlate_txn_start` in
//!   ofproto-dpif), so that 5,000 ports take a hundred times as long as 500. It answers nobody meanwhile, no attach and
//!   no `ovs-appctl`. Steps do not make the removal faster, they let others in between.
//!
//! A step is committed and waited for, then the switch is read again and compared anew; so a sync that dies after any
//! step leaves nothing that the next one has to know of. Removals come first wherever there is a choice: what must not
//! be reachable any more is cut off before anything new is connected.

use std::collections::HashSet;

use super::{Change, Diff};
use crate::snapshot::EffectiveTuple;

/// The most removals of one transaction on a switch with so many ports, so that ovs-vswitchd is done with it in a few
/// seconds: what it takes grows with the product of both.
pub fn removals_at_once(ports: usize) -> usize {
    const PORTS_COPIED: usize = 5_000_000;
    const ENOUGH_TO_PROGRESS: usize = 50;
    (PORTS_COPIED / ports.max(1)).max(ENOUGH_TO_PROGRESS)
}

/// The changes that go into the next transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Step<'a> {
    /// The changes, in the diff's order.
    pub changes: Vec<&'a Change>,
    /// How many changes are left for later steps.
    pub left: usize,
}

impl Diff {
    /// The next step; empty only if the diff is.
    pub fn next_step(&self, max_removals: usize) -> Step<'_> {
        let mut names: HashSet<&str> = HashSet::new();
        let mut tuples: HashSet<EffectiveTuple> = HashSet::new();
        for change in &self.changes {
            match change {
                Change::RemovePort { port, tuple, .. } => {
                    names.insert(port);
                    tuples.extend(tuple);
                }
                Change::RemoveBridge { bridge, .. } => {
                    names.insert(bridge);
                }
                _ => {}
            }
        }
        // On a bridge that keeps ports for a later step, nothing new is connected: they may be another tenant's.
        let mut full: HashSet<&str> = HashSet::new();
        let mut removals = 0;
        for change in &self.changes {
            if let Change::RemovePort { bridge, .. } = change {
                removals += 1;
                if removals > max_removals {
                    full.insert(bridge);
                }
            }
        }
        let mut removals = 0;
        let mut blocked: HashSet<&str> = HashSet::new();
        let mut changes = Vec::new();
        for change in &self.changes {
            let fits = match change {
                Change::RemovePort { .. } => {
                    removals += 1;
                    removals <= max_removals
                }
                Change::RemoveBridge { bridge, .. } => !full.contains(bridge.as_str()),
                Change::AddBridge { bridge, .. } => {
                    let free = !names.contains(bridge.as_str());
                    if !free {
                        blocked.insert(bridge.as_str());
                    }
                    free
                }
                Change::AddTunnel { bridge, tunnel, .. } => {
                    !full.contains(bridge.as_str())
                        && !blocked.contains(bridge.as_str())
                        && !names.contains(tunnel.port.as_str())
                        && !tuples.contains(&tunnel.tuple.effective())
                }
                Change::AddGateway { bridge, gateway, .. } => {
                    !full.contains(bridge.as_str())
                        && !blocked.contains(bridge.as_str())
                        && !names.contains(gateway.port.as_str())
                }
                Change::TakePort { bridge, .. } => {
                    !full.contains(bridge.as_str()) && !blocked.contains(bridge.as_str())
                }
                // What it says of its tenant stays true of all that is on it.
                Change::ChangeBridge { bridge, .. } => !full.contains(bridge.as_str()),
                Change::ReleasePort { .. }
                | Change::ChangePort { .. }
                | Change::FixDevice { .. }
                | Change::FixLink { .. } => true,
            };
            if fits {
                changes.push(change);
            }
        }
        let left = self.changes.len() - changes.len();
        Step { changes, left }
    }
}
