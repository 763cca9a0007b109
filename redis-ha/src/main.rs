//! `redis-ha`: highly available Redis for many tenants, each on an isolated network of its own.

fn main() {}
