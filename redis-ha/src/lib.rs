//! Highly available Redis for many tenants, each on an isolated network of its own.
//!
//! Built on the public API of `ovs-mesh`, `ovz-net` and `ovsmesh-lab` alone. The service's file ([`Config`]) names the
//! topology, the proxies and a cluster a tenant.

mod agent;
pub mod aws;
mod bootstrap;
mod check;
mod config;
mod drill;
mod lab;
pub mod notify;
mod proxy;
mod render;
pub mod stack;
mod survey;
mod wire;

pub use agent::{
    AGENT_PORT, AgentError, AgentOptions, FALL, HaproxyError, Judge, ListenError, Notice, Part, Question,
    Reason, Rules, Tell, TrackError, Verdict, Vote, agent, answer, check_lines, server_options,
    verdict_commands,
};
pub use bootstrap::{Bootstrap, BootstrapError, Bootstrapped, Obstacle, Step, bootstrap, decide, ready};
pub use check::{CheckError, CheckReport, Finding, check, consistent};
pub use config::{
    Aws, AwsVip, Bytes, BytesError, Cluster, Config, ConfigError, Credentials, Eviction, Node, OPERATOR_USER,
    Pace, Persistence, Profile, Proxies, REDIS_PORT, SENTINEL_PORT, Secret, SecretError, Secrets, Watch,
};
pub use drill::{DrillError, DrillOptions, DrillReport, Fault, Moment, drill};
pub use lab::{Service, ServiceError, ServiceLab, ServiceLabError};
pub use proxy::{ProxyError, ProxyView, ServerView, StatsError, servers};
pub use render::{
    Layout, Place, RenderedFile, container_memory, haproxy_cfg, keepalived_conf, redis_conf, render,
    sentinel_conf,
};
pub use survey::{ClusterView, NodeView, RedisView, Unanswered, survey};
pub use wire::dial::AskError;
pub use wire::report::{History, Listed, Named, Replication, ReportError, Role};
pub use wire::resp::{LARGEST, Reply, Request, RespError};
