//! What in a configuration does not do what it seems to.

use std::fmt;

use super::{NetifError, Place};

/// Something in a configuration that OpenVZ skips or reads otherwise than it looks; its `Display` names file, line and
/// remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// What.
    pub problem: Problem,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// What is wrong with a line, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The line names `NETIF` but assigns nothing to it.
    #[error(
        "OpenVZ does not take this for a NETIF; write `NETIF=\"…\"`, without spaces and without `export`"
    )]
    NotAssigned,
    /// vzctl skips a line whose value opens with `"` and does not end.
    #[error("the value has no closing quote, so vzctl skips the line; add a `\"` at its end")]
    Unterminated,
    /// To vzctl a single quote is a part of the value.
    #[error("vzctl takes the single quote for a part of the value; put the value in double quotes")]
    SingleQuoted,
    /// `VETH=` was of vzctl before 3.0.
    #[error("VETH is ignored; write NETIF in its place")]
    Veth,
    /// There are several `NETIF` lines, and another one counts.
    #[error("this NETIF is ignored, line {taken} has another; keep one of them")]
    Repeated {
        /// The line that counts.
        taken: usize,
    },
    /// An interface is not taken.
    #[error("OpenVZ skips the interface `{}`: {error}", netif.escape_debug())]
    Skipped {
        /// The interface's text.
        netif: String,
        /// Why.
        error: NetifError,
    },
    /// vzctl reads nothing after an interface that it skips.
    #[error("vzctl does not read the {count} after it either; correct the one it skips")]
    Dropped {
        /// How many are not read.
        count: usize,
    },
    /// Of two interfaces with one name the first is taken.
    #[error("there are two interfaces `{}`, and the first is taken; give the other a name of its own", ifname.escape_debug())]
    SameIfname {
        /// The name.
        ifname: String,
    },
    /// A space makes a key an unknown one, and unknown keys are ignored.
    #[error("`{key}` has a space beside it and is ignored; remove the space")]
    SpacedKey {
        /// The key without the space.
        key: &'static str,
    },
}
