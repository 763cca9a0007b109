//! systemd's watchdog: an agent that hangs is one whose datagrams do not come, and is killed.

use std::time::Duration;

/// After how long without a word an agent hangs. `HAProxy` in the profile `fast` takes twice as long to see it, and until then all goes on.
pub const WATCHDOG: Duration = Duration::from_millis(500);
/// How often it gives word.
pub(super) const PERIOD: Duration = Duration::from_millis(100);
/// The word.
pub(super) const WORD: &str = "WATCHDOG=1";
