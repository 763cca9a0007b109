//! A lab's EC2: moto's server on the underlay, with an interface of a VPC for each proxy.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ovs_mesh::link::Netns;
use ovs_mesh::{Chain, HostName};
use tokio::time::sleep;

use super::ServiceLabError;
use crate::aws::{
    AwsEnvironment, AwsNameError, CredentialChain, Ec2, Ec2Error, Endpoint, Imds, InterfaceId,
    NetworkInterface, Query, answer,
};
use crate::config::{Aws, AwsVip, Config};

const PORT: u16 = 5000;
const REGION: &str = "eu-central-1";
/// What moto takes for credentials: anything.
const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "lab"), ("AWS_SECRET_ACCESS_KEY", "lab")];
/// It is a large program, and the machine is busy with the lab.
const DEADLINE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);
/// How long one that is killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);
const MOTO: &str = include_str!("moto.py");

/// Why a lab's EC2 is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum LabEc2Error {
    /// moto could not be started.
    #[error("cannot start moto with {}", python.display())]
    Start {
        /// The Python that has it.
        python: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// moto ended.
    #[error("moto ended with {status}; {said}")]
    Ended {
        /// How.
        status: std::process::ExitStatus,
        /// What it said last: a lab that did not come up leaves no log.
        said: String,
    },
    /// A moto that is not the lab's EC2 could not be ended.
    #[error("cannot end moto (process {pid})")]
    End {
        /// Its process.
        pid: u32,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// moto does not answer.
    #[error("moto does not answer on {at} after {} s; {said}", DEADLINE.as_secs())]
    Silent {
        /// Where it was to.
        at: SocketAddr,
        /// What it said last.
        said: String,
    },
    /// It does not do what EC2 does.
    #[error(transparent)]
    Ec2(#[from] Ec2Error),
    /// Its names are not EC2's.
    #[error(transparent)]
    Name(#[from] AwsNameError),
    /// Who was started again names interfaces otherwise than before.
    #[error(
        "moto was started again and gives the proxies' interfaces other names; take the lab down and make it anew"
    )]
    Renamed,
    /// It moves addresses of IPv4 alone.
    #[error("EC2 in a lab needs proxies and VIPs of IPv4")]
    Family,
}

/// The last line of a log that says anything.
fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    match text.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("it said: {}", line.trim()),
        None => "it said nothing".to_owned(),
    }
}

/// A lab's EC2, as one who is on the underlay reaches it.
#[derive(Debug, Clone)]
pub(super) struct LabEc2 {
    netns: Netns,
    at: SocketAddr,
}

impl LabEc2 {
    /// Where it is, or would be: at an address that is no host's.
    pub(super) fn new(netns: Netns, address: IpAddr) -> Self {
        Self { netns, at: SocketAddr::new(address, PORT) }
    }

    /// A Python as it is found from any directory: one without a directory is looked for; a symbolic link is how a virtual
    /// environment knows itself.
    pub(super) fn absolute(python: &Path) -> Result<PathBuf, LabEc2Error> {
        let has_directory = python.parent().is_some_and(|dir| dir != Path::new(""));
        let failed = |source| LabEc2Error::Start { python: python.to_owned(), source };
        if has_directory { std::path::absolute(python).map_err(failed) } else { Ok(python.to_owned()) }
    }

    /// Starts it, and makes a VPC there with an interface for each proxy; the VIPs are nobody's yet.
    pub(super) async fn start(
        &self,
        python: &Path,
        log: &Path,
        config: &Config,
        underlay: IpNetwork,
    ) -> Result<Aws, ServiceLabError> {
        let failed = |source| LabEc2Error::Start { python: python.to_owned(), source };
        let mut options = File::options();
        let output = options.create(true).append(true).mode(0o600).open(log).map_err(failed)?;
        let mut command = Command::new(python);
        command.args(["-c", MOTO, "-H", &self.at.ip().to_string(), "-p", &PORT.to_string()]);
        command.stdin(Stdio::null()).stdout(output.try_clone().map_err(failed)?).stderr(output);
        command.process_group(0).current_dir("/");
        let mut child = self.netns.run(move || command.spawn())?.map_err(failed)?;
        let made = self.made(&mut child, python, log, config, underlay).await;
        if made.is_err() {
            // Half there it would be in the way of the next; killing fails only when it has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
        made
    }

    async fn made(
        &self,
        child: &mut Child,
        python: &Path,
        log: &Path,
        config: &Config,
        underlay: IpNetwork,
    ) -> Result<Aws, ServiceLabError> {
        let failed = |source| LabEc2Error::Start { python: python.to_owned(), source };
        let end = Instant::now() + DEADLINE;
        while self.netns.run(|| TcpStream::connect_timeout(&self.at, PAUSE).is_err())? {
            if let Some(status) = child.try_wait().map_err(failed)? {
                return Err(LabEc2Error::Ended { status, said: last_words(log) }.into());
            }
            if Instant::now() > end {
                return Err(LabEc2Error::Silent { at: self.at, said: last_words(log) }.into());
            }
            sleep(PAUSE).await;
        }
        Ok(self.netns.run(|| self.populate(config, underlay))??)
    }

    /// What is wrong with it, in words; none where it knows the proxies' interfaces.
    pub(super) fn fault(&self, config: &Config, aws: &Aws) -> Result<Option<String>, ServiceLabError> {
        match self.holders(config, aws) {
            Ok(_) => Ok(None),
            Err(ServiceLabError::Ec2(LabEc2Error::Ec2(why))) => {
                Ok(Some(match (self.processes()?.len(), why) {
                    (0, _) => "moto does not run".to_owned(),
                    (_, Ec2Error::Unreachable { .. }) => "moto does not answer".to_owned(),
                    (_, why) => format!("moto is not the lab's EC2: {}", Chain(&why)),
                }))
            }
            Err(why) => Err(why),
        }
    }

    /// Kills one that does not do what it should, if it runs.
    pub(super) async fn end(&self) -> Result<(), ServiceLabError> {
        let end = Instant::now() + PATIENCE;
        loop {
            let Some(pid) = self.processes()?.first().copied() else { return Ok(()) };
            let failed = |source| LabEc2Error::End { pid, source };
            match kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(failed(errno.into()).into()),
            }
            if Instant::now() > end {
                return Err(failed(std::io::ErrorKind::TimedOut.into()).into());
            }
            sleep(PAUSE).await;
        }
    }

    /// Its processes, whoever started them: those on the underlay that were to listen there.
    fn processes(&self) -> Result<Vec<u32>, ServiceLabError> {
        let wanted = format!("\0-H\0{}\0-p\0{PORT}\0", self.at.ip());
        let is_moto = |pid: &u32| {
            // One that has ended has no words.
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.ends_with(wanted.as_bytes())
        };
        let on_underlay = self.netns.pids().map_err(super::file("look through", Path::new("/proc")))?;
        Ok(on_underlay.into_iter().filter(is_moto).collect())
    }

    fn populate(&self, config: &Config, underlay: IpNetwork) -> Result<Aws, LabEc2Error> {
        let IpNetwork::V4(network) = underlay else { return Err(LabEc2Error::Family) };
        let network = format!("{}/{}", network.network(), network.prefix());
        let (mut ec2, mut imds) = self.client()?;
        let mut make =
            |query: Query, names| ec2.ask(&mut imds, &query, |body| answer::identifier(body, names));
        let vpc = make(Query::new("CreateVpc").with("CidrBlock", &network), ["vpc", "vpcId"])?;
        let query = Query::new("CreateSubnet").with("VpcId", vpc).with("CidrBlock", &network);
        let subnet = make(query, ["subnet", "subnetId"])?;
        let mut interfaces = BTreeMap::new();
        for host in config.proxies.hosts.iter().filter_map(|host| config.topology.host(host)) {
            let query = Query::new("CreateNetworkInterface")
                .with("SubnetId", &subnet)
                .with("PrivateIpAddress", host.underlay_ip());
            let id = make(query, ["networkInterface", "networkInterfaceId"])?;
            interfaces.insert(host.name().clone(), id.parse::<InterfaceId>()?);
        }
        Ok(Aws { vip: AwsVip::Address, region: Some(REGION.parse()?), interfaces, reserve: None })
    }

    /// The proxies whose interfaces have all VIPs.
    pub(super) fn holders(&self, config: &Config, aws: &Aws) -> Result<Vec<HostName>, ServiceLabError> {
        let interfaces: Vec<InterfaceId> = aws.interfaces.values().cloned().collect();
        let Some((own, others)) = interfaces.split_first() else { return Ok(Vec::new()) };
        let found = self.netns.run(|| {
            let (mut ec2, mut imds) = self.client()?;
            let (own, mut all) = ec2.interfaces(&mut imds, own, others)?;
            all.push(own);
            Ok::<_, LabEc2Error>(all)
        })??;
        let holds = |interface: &NetworkInterface, vip: IpAddr| match vip {
            IpAddr::V4(vip) => interface.holds(vip),
            IpAddr::V6(_) => false,
        };
        let has_all = |id: &InterfaceId| {
            let its = found.iter().find(|interface| interface.id == *id);
            its.is_some_and(|interface| config.proxies.vips.iter().all(|vip| holds(interface, vip.ip())))
        };
        let holders = aws.interfaces.iter().filter(|(_, id)| has_all(id));
        Ok(holders.map(|(host, _)| host.clone()).collect())
    }

    /// What a notifier adds to its unit's command line here, and its variables.
    pub(super) fn prepare(&self, command: &mut Command) -> Result<(), LabEc2Error> {
        command.arg("--ec2-endpoint").arg(self.endpoint()?.as_str());
        for name in ["AWS_SESSION_TOKEN", "AWS_REGION"] {
            command.env_remove(name);
        }
        command.envs(KEYS);
        Ok(())
    }

    fn client(&self) -> Result<(Ec2, Imds), LabEc2Error> {
        let key =
            |name: &str| KEYS.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
        let chain = CredentialChain::new(AwsEnvironment::from_variables(key));
        // Its keys are given, and nobody asks for metadata.
        Ok((Ec2::new(REGION.parse()?, Some(self.endpoint()?), chain), Imds::new(Endpoint::imds())))
    }

    fn endpoint(&self) -> Result<Endpoint, LabEc2Error> {
        Ok(format!("http://{}", self.at).parse()?)
    }
}
