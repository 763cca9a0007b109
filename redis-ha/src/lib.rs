//! Highly available Redis for many tenants, each on an isolated network of its own.
//!
//! Built on the public API of `ovs-mesh`, `ovz-net` and `ovsmesh-lab` alone.

pub mod aws;
pub mod notify;
pub mod stack;
