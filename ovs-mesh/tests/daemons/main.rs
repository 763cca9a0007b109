//! The clients against real daemons: Debian's ovsdb-server and ovs-vswitchd, each test with its own, in its own directory.

mod fake;
mod isolation;
mod ovsdb_server;
mod ssl;
mod support;
mod vswitchd;
