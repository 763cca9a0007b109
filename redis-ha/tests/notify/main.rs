//! `redis-ha notify` as a process, against a strict EC2 and instance metadata on 127.0.0.1.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::format_push_string, clippy::format_collect, reason = "the fake's answers are small")]

mod fake;
mod keepalived;
mod once;
mod program;
mod serve;
