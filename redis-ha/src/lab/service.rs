//! The daemons of the service in a lab, one by one.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, getpgid};
use ovs_mesh::link::Netns;
use ovs_mesh::{Ctid, HostName};

use super::{ServiceLab, ServiceLabError};
use crate::config::Cluster;
use crate::render::{Place, notify_options};

/// How long a daemon may take to end.
const DEADLINE: Duration = Duration::from_secs(15);

/// A daemon of the service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// A node's Redis.
    Redis(Ctid),
    /// A node's Sentinel.
    Sentinel(Ctid),
    /// A proxy's agent.
    Agent(HostName),
    /// A proxy's `HAProxy`.
    Haproxy(HostName),
    /// A proxy's notifier, in a lab with an EC2.
    Notify(HostName),
    /// A proxy's keepalived.
    Keepalived(HostName),
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(ctid) => write!(f, "redis of node {ctid}"),
            Self::Sentinel(ctid) => write!(f, "sentinel of node {ctid}"),
            Self::Agent(host) => write!(f, "agent on {host}"),
            Self::Haproxy(host) => write!(f, "haproxy on {host}"),
            Self::Notify(host) => write!(f, "notify on {host}"),
            Self::Keepalived(host) => write!(f, "keepalived on {host}"),
        }
    }
}

impl Service {
    fn name(&self) -> &'static str {
        match self {
            Self::Redis(_) => "redis",
            Self::Sentinel(_) => "sentinel",
            Self::Agent(_) => "agent",
            Self::Haproxy(_) => "haproxy",
            Self::Notify(_) => "notify",
            Self::Keepalived(_) => "keepalived",
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Redis(ctid) | Self::Sentinel(ctid) => Place::Node(ctid.clone()),
            Self::Agent(host) | Self::Haproxy(host) | Self::Notify(host) | Self::Keepalived(host) => {
                Place::Proxy(host.clone())
            }
        }
    }
}

/// Why a daemon of the service is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// It could not be started.
    #[error("cannot start {service}")]
    Start {
        /// The daemon.
        service: Service,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// It ended at once.
    #[error("{service} was started and ended at once; its output is in {}", log.display())]
    Ended {
        /// The daemon.
        service: Service,
        /// What it said.
        log: PathBuf,
    },
    /// It could not be signalled.
    #[error("cannot stop {service}")]
    Stop {
        /// The daemon.
        service: Service,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// It did not end.
    #[error("{service} (process {pid}) is still there {} s after it was to end", DEADLINE.as_secs())]
    StillThere {
        /// The daemon.
        service: Service,
        /// Its process.
        pid: i32,
    },
}

impl ServiceLab {
    /// All daemons of the service, in the order in which they start.
    pub fn services(&self) -> Vec<Service> {
        let nodes = || self.config.clusters.iter().flat_map(|cluster| cluster.nodes.iter().cloned());
        let proxies = || self.config.proxies.hosts.iter().cloned();
        let mut all: Vec<Service> = nodes().map(Service::Redis).collect();
        all.extend(nodes().map(Service::Sentinel));
        all.extend(proxies().map(Service::Agent));
        all.extend(proxies().map(Service::Haproxy));
        // It makes keepalived's FIFO.
        if self.config.proxies.aws.is_some() {
            all.extend(proxies().map(Service::Notify));
        }
        all.extend(proxies().map(Service::Keepalived));
        all
    }

    /// Where a daemon's output goes.
    pub fn log(&self, service: &Service) -> PathBuf {
        self.layout(&service.place()).run.join(service.name()).with_extension("log")
    }

    fn pid_file(&self, service: &Service) -> PathBuf {
        self.layout(&service.place()).run.join(service.name()).with_extension("pid")
    }

    /// The daemon's process, if it runs.
    pub fn pid(&self, service: &Service) -> Option<i32> {
        self.process(service).map(|(pid, _)| pid)
    }

    /// Whether the daemon was stopped (`SIGSTOP`).
    pub(super) fn is_stopped(&self, service: &Service) -> bool {
        self.process(service).is_some_and(|(_, state)| matches!(state, 'T' | 't'))
    }

    /// The daemon's process and its state, unless it has ended.
    fn process(&self, service: &Service) -> Option<(i32, char)> {
        let text = fs::read_to_string(self.pid_file(service)).ok()?;
        let (pid, began) = text.trim().split_once(' ')?;
        let pid = pid.parse::<i32>().ok()?;
        // A child of ours that ended is a zombie until it is waited for.
        let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        let (state, now) = stat(pid)?;
        // Its number may have been given to another process.
        (!matches!(state, 'Z' | 'X') && now == began).then_some((pid, state))
    }

    /// Starts a daemon with the files that the lab has for it; one that runs is nothing to do.
    pub fn start(&self, service: &Service, program: &Path) -> Result<(), ServiceLabError> {
        if self.pid(service).is_some() {
            return Ok(());
        }
        let (netns, mut command) = self.command(service, program)?;
        self.end_rest(service, &netns)?;
        let failed = |source| ServiceError::Start { service: service.clone(), source };
        let mut log = File::options();
        let log = log.create(true).append(true).mode(0o600).open(self.log(service)).map_err(failed)?;
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(failed)?).stderr(log);
        command.process_group(0).current_dir("/");
        // Redis and Sentinel write files with passwords. The mask is that of the thread alone, which is one of its own.
        let spawn = move || {
            unshare(CloneFlags::CLONE_FS)?;
            umask(Mode::from_bits_truncate(0o077));
            command.spawn()
        };
        let child = netns.run(spawn)?.map_err(failed)?;
        // It is not waited for yet: dead or alive, it has a number of its own.
        let began = i32::try_from(child.id()).ok().and_then(stat).map(|(_, began)| began).unwrap_or_default();
        super::write(&self.pid_file(service), &format!("{} {began}\n", child.id()), 0o600)
    }

    /// Kills what a daemon whose first process has ended has left running, which would be in the way of the next.
    fn end_rest(&self, service: &Service, netns: &Netns) -> Result<(), ServiceLabError> {
        let text = fs::read_to_string(self.pid_file(service)).unwrap_or_default();
        let first = text.split_whitespace().next().and_then(|pid| pid.parse::<i32>().ok());
        // While any of its group is there, nobody else has its number.
        let Some(first) = first.filter(|pid| stat(*pid).is_none_or(|(state, _)| matches!(state, 'Z' | 'X')))
        else {
            return Ok(());
        };
        let is_left =
            |pid: &i32| getpgid(Some(Pid::from_raw(*pid))).is_ok_and(|group| group.as_raw() == first);
        let started = Instant::now();
        loop {
            let inside = netns.pids().map_err(super::file("look through", Path::new("/proc")))?;
            let Some(pid) = inside.into_iter().map(u32::cast_signed).find(is_left) else { return Ok(()) };
            match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => {
                    return Err(ServiceError::Stop { service: service.clone(), source: errno.into() }.into());
                }
            }
            if started.elapsed() > DEADLINE {
                return Err(ServiceError::StillThere { service: service.clone(), pid }.into());
            }
            sleep(Duration::from_millis(2));
        }
    }

    /// Sends a daemon a signal; `SIGKILL` and `SIGTERM` are waited for. One that does not run is nothing to do.
    ///
    /// `SIGKILL` goes to its children as well, as systemd sees to.
    pub fn signal(&self, service: &Service, signal: Signal) -> Result<(), ServiceLabError> {
        let Some(pid) = self.pid(service) else { return Ok(()) };
        // Each is the first of a group of its own.
        let to = if signal == Signal::SIGKILL { -pid } else { pid };
        match kill(Pid::from_raw(to), signal) {
            Ok(()) => {}
            Err(Errno::ESRCH) => return Ok(()),
            Err(errno) => {
                return Err(ServiceError::Stop { service: service.clone(), source: errno.into() }.into());
            }
        }
        if !matches!(signal, Signal::SIGKILL | Signal::SIGTERM) {
            return Ok(());
        }
        let started = Instant::now();
        while self.pid(service).is_some() {
            if started.elapsed() > DEADLINE {
                return Err(ServiceError::StillThere { service: service.clone(), pid }.into());
            }
            sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn command(&self, service: &Service, program: &Path) -> Result<(Netns, Command), ServiceLabError> {
        let layout = self.layout(&service.place());
        let with = |program: &str, args: &[&Path]| {
            let mut command = Command::new(program);
            command.args(args);
            command
        };
        Ok(match service {
            Service::Redis(ctid) => {
                let mut command = with("redis-server", &[&layout.conf.join("redis.conf")]);
                // As the unit does, but for the article's way, which trusts the configuration.
                let cluster = self.config.clusters.iter().find(|cluster| cluster.nodes.contains(ctid));
                if cluster.is_none_or(Cluster::starts_as_replica) {
                    command.args(["--replicaof", "127.0.0.1", "1"]);
                }
                (self.node_netns(ctid)?, command)
            }
            Service::Sentinel(ctid) => {
                let live = layout.state.join("sentinel").join("sentinel.conf");
                if !live.exists() {
                    let text = fs::read_to_string(layout.conf.join("sentinel.conf"));
                    let text = text.map_err(super::file("read", &layout.conf))?;
                    super::write(&live, &text, 0o600)?;
                }
                (self.node_netns(ctid)?, with("redis-sentinel", &[&live]))
            }
            Service::Agent(host) => {
                let mut command = Command::new(program);
                command.arg("--config").arg(self.config_path()).args(["agent", "--host", host.as_str()]);
                command.arg("--haproxy-socket").arg(layout.haproxy_socket());
                command.arg("--track-file").arg(layout.track_file());
                (self.host_netns(host)?, command)
            }
            Service::Haproxy(host) => {
                let conf = layout.conf.join("haproxy.cfg");
                (
                    self.host_netns(host)?,
                    with("haproxy", &[Path::new("-W"), Path::new("-db"), Path::new("-f"), &conf]),
                )
            }
            Service::Notify(host) => {
                let mut command = Command::new(program);
                command.arg("notify");
                if let Some(aws) = &self.config.proxies.aws {
                    command.args(notify_options(&self.config, aws, host, &layout));
                    self.ec2()?.prepare(&mut command)?;
                }
                // This machine's log is not the lab's.
                command.arg("--log-socket").arg(layout.run.join("no-log"));
                (self.host_netns(host)?, command)
            }
            Service::Keepalived(host) => {
                let files = ["keepalived.parent", "keepalived.vrrp"].map(|name| layout.run.join(name));
                let mut command = Command::new("keepalived");
                command.args(["--dont-fork", "--vrrp", "--log-console", "--log-detail", "--use-file"]);
                command.arg(layout.conf.join("keepalived.conf"));
                command.arg("--pid").arg(&files[0]).arg("--vrrp_pid").arg(&files[1]);
                // One that has ended counts for as long as nobody has waited for it.
                for file in files {
                    match fs::remove_file(&file) {
                        Err(why) if why.kind() != io::ErrorKind::NotFound => {
                            return Err(super::file("remove", &file)(why));
                        }
                        _ => {}
                    }
                }
                (self.host_netns(host)?, command)
            }
        })
    }
}

/// A process' state, and when it began: with its number, that is the process (proc(5), `stat`, fields 3 and 22).
fn stat(pid: i32) -> Option<(char, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name, in parentheses, which may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_its_number_and_when_it_began() {
        let mut child = Command::new("sleep").arg("9").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let (_, began) = stat(pid).unwrap();
        let (state, own) = stat(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(matches!(state, 'R' | 'S'), "{state}");
        assert!(began.parse::<u64>().unwrap() >= own.parse::<u64>().unwrap());
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        child.wait().unwrap();
        assert_eq!(stat(pid), None);
    }
}
