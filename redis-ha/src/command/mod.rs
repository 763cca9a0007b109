//! The subcommands, one file each.

pub(crate) mod notify;
pub(crate) mod stack;
