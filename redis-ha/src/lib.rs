//! Highly available Redis for many tenants, each on an isolated network of its own.
//!
//! Built on the public API of `ovs-mesh`, `ovz-net` and `ovsmesh-lab` alone. The service's file ([`Config`]) names the
//! topology, the proxies and a cluster a tenant.

mod agent;
mod config;
mod resp;

pub use agent::{
    AGENT_PORT, AgentError, AgentOptions, AskError, FALL, HaproxyError, History, Judge, Listed, ListenError,
    Named, Notice, Part, Question, Reason, Replication, ReportError, Role, Rules, Tell, TrackError, Verdict,
    Vote, agent, answer, check_lines, server_options, verdict_commands,
};
pub use config::{
    AwsVip, Bytes, BytesError, Cluster, Config, ConfigError, Credentials, Eviction, Node, OPERATOR_USER,
    Pace, Persistence, Profile, Proxies, REDIS_PORT, SENTINEL_PORT, Secret, SecretError, Secrets, Watch,
};
pub use resp::{LARGEST, Reply, Request, RespError};
