//! Highly available Redis for many tenants, each on an isolated network of its own.
//!
//! Built on the public API of `ovs-mesh`, `ovz-net` and `ovsmesh-lab` alone. The service's file ([`Config`]) names the
//! topology, the proxies and a cluster a tenant. From it comes every configuration file ([`render`]), and from the files a service
//! that can be [checked](check), run on one machine ([`ServiceLab`]) and broken there on purpose ([`drill`]). On a proxy, the
//! [`agent`] tells `HAProxy` which node is the master.
//!
//! Two tenants have the same addresses inside their networks and share a pair of proxies; clients reach each by a port of the VIP:
//!
//! ```
//! use redis_ha::{Certificates, Config, Layout, Secrets, haproxy_cfg, render};
//!
//! let mut mesh = "[mesh]\nname = \"m\"\nunderlay_mtu = 9001\n".to_owned();
//! for (at, host) in ["redis1", "redis2", "redis3", "proxy1", "proxy2"].iter().enumerate() {
//!     mesh += &format!("[[host]]\nname = \"{host}\"\nunderlay_ip = \"10.0.1.{}\"\n", 11 + at);
//! }
//! let mut service = r#"
//! mesh = "mesh.toml"
//! secret_file = "service.secret"
//! [proxy]
//! hosts = ["proxy1", "proxy2"]
//! interface = "eth0"
//! vips = ["10.0.1.100/24"]
//! router_id = 51
//! "#
//! .to_owned();
//! for (tenant, number) in [("acme", 1), ("globex", 2)] {
//!     mesh += &format!(
//!         r#"
//! [[tenant]]
//! name = "{tenant}"
//! key = 10{number}
//! subnet = "192.168.10.0/24"
//! gateways = {{ proxy1 = "192.168.10.4", proxy2 = "192.168.10.5" }}
//! containers = [
//!     {{ ctid = "{number}01", host = "redis1", ip = "192.168.10.11" }},
//!     {{ ctid = "{number}02", host = "redis2", ip = "192.168.10.12" }},
//!     {{ ctid = "{number}03", host = "redis3", ip = "192.168.10.13" }},
//! ]
//! "#
//!     );
//!     service += &format!(
//!         r#"
//! [[cluster]]
//! tenant = "{tenant}"
//! listen = "10.0.1.100:{}"
//! max_memory = "64MiB"
//! password_file = "{tenant}.secret"
//! "#,
//!         6378 + number
//!     );
//! }
//! let config = Config::parse(&service, "redis-ha.toml".as_ref(), mesh.parse()?)?;
//! // From files, `Secrets::read(&config)` and `Certificates::read(&config)`, which no cluster here has.
//! let secrets = Secrets::new(&config, &"the-operators-secret".parse()?, |cluster| {
//!     Ok(format!("the-password-of-{}", cluster.tenant).parse().expect("it is long enough"))
//! })?;
//! let certificates = Certificates::new(&config, |_| unreachable!())?;
//!
//! // Redis, Sentinel, two units, what Redis waits for, the network and the kernel's settings of six nodes; HAProxy, keepalived, four
//! // units, settings and what our own program reads of two proxies; …
//! assert_eq!(render(&config, &secrets, &certificates).len(), 6 * 7 + 2 * (7 + 5) + 3 * 5);
//!
//! let proxy = &config.proxies.hosts[0];
//! let text = haproxy_cfg(&config, &secrets, proxy, &Layout::default());
//! let lines: Vec<&str> = text.lines().map(str::trim).collect();
//! let at = lines.iter().position(|line| *line == "listen globex").expect("each tenant has a section");
//! assert!(lines[at..].contains(&"bind 10.0.1.100:6380 transparent"));
//! let server = lines[at..].iter().find(|line| line.starts_with("server 201 ")).expect("and each node a line");
//! assert!(server.starts_with("server 201 192.168.10.11:6379 namespace m-proxy1-globex check "));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod agent;
pub mod aws;
mod bootstrap;
mod check;
mod config;
mod drill;
mod lab;
mod mesh_unit;
pub mod notify;
mod proxy;
mod render;
pub mod stack;
mod survey;
mod systemd;
mod wire;

pub use agent::{
    AGENT_PORT, AGENT_PRIORITY, AgentError, AgentOptions, FALL, HaproxyError, Judge, ListenError, Notice,
    Part, Question, Reason, Rules, Tell, TrackError, Verdict, Vote, WATCHDOG, agent, answer, check_lines,
    server_options, verdict_commands,
};
pub use bootstrap::{Bootstrap, BootstrapError, Bootstrapped, Obstacle, Step, bootstrap, decide, ready};
pub use check::{CheckError, CheckReport, Finding, check, consistent};
pub use config::{
    Aws, AwsVip, Bytes, BytesError, Certificate, CertificateError, Certificates, Cluster, Config,
    ConfigError, Credentials, Eviction, Node, OPERATOR_USER, Pace, PasswordError, Persistence, Profile,
    Proxies, REDIS_PORT, SENTINEL_PORT, Secret, SecretError, Secrets, Watch,
};
pub use drill::{DrillError, DrillOptions, DrillReport, Fault, Moment, drill};
pub use lab::{Damage, LabEc2Error, Service, ServiceError, ServiceLab, ServiceLabError, ServiceOptions};
pub use proxy::{ProxyError, ProxyView, ServerView, StatsError, VipView, Whereabouts, servers};
pub use render::{
    Layout, Place, RenderedFile, container_memory, directories, haproxy_cfg, keepalived_conf, redis_conf,
    render, sentinel_conf,
};
pub use survey::{ClusterView, NodeView, RedisView, Unanswered, survey};
pub use wire::dial::AskError;
pub use wire::report::{History, Listed, Named, Replication, ReportError, Role};
pub use wire::resp::{LARGEST, Reply, Request, RespError};
