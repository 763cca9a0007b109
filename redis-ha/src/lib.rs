//! Highly available Redis for many tenants, each on an isolated network of its own.
//!
//! Built on the public API of `ovs-mesh`, `ovz-net` and `ovsmesh-lab` alone. The service's file ([`Config`]) names the
//! topology, the proxies and a cluster a tenant.

mod agent;
mod check;
mod config;
mod drill;
mod lab;
mod render;
mod resp;

pub use agent::{
    AGENT_PORT, AgentError, AgentOptions, AskError, FALL, HaproxyError, History, Judge, Listed, ListenError,
    Named, Notice, Part, Question, Reason, Replication, ReportError, Role, Rules, Tell, TrackError, Verdict,
    Vote, agent, answer, check_lines, server_options, verdict_commands,
};
pub use check::{CheckError, CheckReport, Finding, check, consistent};
pub use config::{
    AwsVip, Bytes, BytesError, Cluster, Config, ConfigError, Credentials, Eviction, Node, OPERATOR_USER,
    Pace, Persistence, Profile, Proxies, REDIS_PORT, SENTINEL_PORT, Secret, SecretError, Secrets, Watch,
};
pub use drill::{DrillError, DrillOptions, DrillReport, Fault, Moment, drill};
pub use lab::{
    ProxyView, ServerView, Service, ServiceError, ServiceLab, ServiceLabError, StatsError, servers,
};
pub use render::{
    Layout, Place, RenderedFile, container_memory, haproxy_cfg, keepalived_conf, redis_conf, render,
    sentinel_conf,
};
pub use resp::{LARGEST, Reply, Request, RespError};
