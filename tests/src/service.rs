//! Labs that run the Redis service.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ovs_mesh::{Chain, Datapath};
use ovsmesh_lab::{Lab, LabOptions};
use redis_ha::{Config, DrillOptions, DrillReport, Fault, ServiceLab, ServiceOptions, drill};
use tokio::sync::{Mutex, MutexGuard};

use crate::{binary, ovsmesh, unique_name};

/// The example's service.
pub const SERVICE: &str = include_str!("../../examples/redis-ha.toml");

/// Failovers are a matter of tenths of a second: one lab at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A lab of one test that runs the service, gone with it, also when the test panics; it then shows what the daemons said last.
pub struct TestService {
    /// The lab.
    pub lab: ServiceLab,
    _alone: MutexGuard<'static, ()>,
}

impl Drop for TestService {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for service in self.lab.services() {
                let log = std::fs::read_to_string(self.lab.log(&service)).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                eprintln!("== {service}\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
        if let Err(error) = Lab::down(self.lab.mesh().name()) {
            eprintln!("the lab did not go down: {error}");
        }
    }
}

/// The `redis-ha` binary of this build.
pub fn redis_ha() -> PathBuf {
    binary("redis-ha")
}

/// The Python that has moto.
pub fn python() -> PathBuf {
    let python = redis_ha().parent().and_then(Path::parent).expect("target").join("venv/bin/python");
    assert!(python.exists(), "{} is not there: run scripts/venv", python.display());
    python
}

impl TestService {
    /// Brings a service up, with moto as its EC2 where that Python is named.
    pub async fn up(service: &str, mesh: &str, ec2: Option<&Path>) -> Self {
        let alone = ALONE.lock().await;
        let topology = mesh.parse().unwrap_or_else(|error| panic!("{error}"));
        let config = Config::parse(service, Path::new("redis-ha.toml"), topology)
            .unwrap_or_else(|error| panic!("{error}"));
        // Flows on br-phy are how single pairs of hosts are cut from each other.
        let mesh = LabOptions { name: unique_name(), datapath: Datapath::Netdev, hook: &ovsmesh() };
        let options = ServiceOptions { mesh, program: &redis_ha(), ec2 };
        let lab = ServiceLab::up(config, options, &()).await;
        Self { lab: lab.unwrap_or_else(|error| panic!("{}", Chain(&error))), _alone: alone }
    }

    /// Holds a drill, which must be possible.
    pub async fn drill(&self, tenant: &str, fault: Fault) -> DrillReport {
        let report = drill(&self.lab, tenant, fault, DrillOptions::default(), &redis_ha()).await;
        let report = report.unwrap_or_else(|error| panic!("{fault}: {}", Chain(&error)));
        println!("{report}");
        report
    }

    /// `redis-ha lab status`.
    pub fn status(&self) -> Output {
        let name = self.lab.mesh().name().as_str();
        let status = Command::new(redis_ha()).args(["lab", "--name", name, "status"]).output();
        status.expect("redis-ha runs")
    }
}
