//! What vzctl does around its network hook, in its order (vzctl 4.11, `vzctl(8)`): devices are made, the hook is called for
//! each, and only then does the container's first process run. A hook that fails ends the start. Nothing is called at a stop.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::{TestLab, host};

/// vzctl's own, for what it starts.
const PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";

/// An interface as a container's configuration has it.
#[derive(Debug, Clone)]
pub struct Nic {
    /// Its number: `eth0` in the container, `veth101.0` on the host.
    pub number: u8,
    /// Its bridge, where the configuration names one.
    pub bridge: Option<&'static str>,
    /// Its Ethernet address in the container.
    pub mac: String,
    /// Its address.
    pub address: String,
}

/// vzctl on one host of a lab.
pub struct Vzctl<'a> {
    lab: &'a TestLab,
    host: &'static str,
}

impl<'a> Vzctl<'a> {
    /// The one on that host.
    pub fn on(lab: &'a TestLab, host: &'static str) -> Self {
        Self { lab, host }
    }

    /// The hook, called as vzctl calls it.
    pub fn hook(&self, veid: &str, arguments: &[&str]) -> Output {
        self.hook_with(veid, arguments, &[])
    }

    /// The hook, called as libvzctl calls it: with more in the environment.
    pub fn hook_with(&self, veid: &str, arguments: &[&str], more: &[(&str, &str)]) -> Output {
        let plan = self.lab.mesh.lab().plan().host(&host(self.host)).expect("a host of the lab");
        let mut call = Command::new(plan.vznetcfg());
        let null = File::options().write(true).open("/dev/null").expect("/dev/null");
        call.args(arguments).env_clear().stdin(null).envs(more.iter().copied());
        call.envs([("HOME", "/"), ("TERM", "linux"), ("PATH", PATH), ("VEID", veid)]);
        self.lab.netns(self.host).run(move || call.output()).expect("the namespace").expect("the hook")
    }

    fn configuration(&self, ctid: &str) -> PathBuf {
        self.lab.mesh.lab().vz_conf_dir().join(format!("{ctid}.conf"))
    }

    /// Saves a container's configuration.
    pub fn configure(&self, ctid: &str, nics: &[Nic]) {
        let nic = |Nic { number, bridge, mac, address: _ }: &Nic| {
            let bridge = bridge.map(|bridge| format!("bridge={bridge},")).unwrap_or_default();
            format!("ifname=eth{number},{bridge}mac={mac},host_ifname=veth{ctid}.{number}")
        };
        let netif: Vec<String> = nics.iter().map(nic).collect();
        let text = format!("ONBOOT=\"yes\"\nNETIF=\"{}\"\n", netif.join(";"));
        std::fs::write(self.configuration(ctid), text).expect("the configuration");
    }

    /// Makes an interface's pair, its other end in the container.
    pub fn make(&self, ctid: &str, nic: &Nic) {
        let Nic { number, mac, .. } = nic;
        let netns = format!("{}-ct{ctid}", self.lab.mesh.name());
        let script = format!(
            "ip link add veth{ctid}.{number} type veth peer name eth{number} address {mac} netns {netns}
             ip netns exec {netns} ethtool -K eth{number} tx off > /dev/null"
        );
        self.lab.run(self.host, &["sh", "-ec", &script]);
    }

    /// What a container's own first process does with an interface.
    pub fn boot(&self, ctid: &str, nic: &Nic) {
        let Nic { number, address, .. } = nic;
        let script =
            format!("ip link set eth{number} mtu 1458 up\nip address add {address}/24 dev eth{number}");
        self.lab.run(ctid, &["sh", "-ec", &script]);
    }

    /// Starts a container: the output of the hook that failed, if one did, with the container stopped again.
    pub fn start(&self, ctid: &str, nics: &[Nic]) -> Result<(), Output> {
        for nic in nics {
            self.make(ctid, nic);
        }
        for nic in nics {
            let output = self.hook(ctid, &["init", "veth", &format!("veth{ctid}.{}", nic.number)]);
            if !output.status.success() {
                self.stop(ctid);
                return Err(output);
            }
        }
        for nic in nics {
            self.boot(ctid, nic);
        }
        Ok(())
    }

    /// Stops a container: its devices go with it, and nobody is told.
    pub fn stop(&self, ctid: &str) {
        let script =
            format!("for device in /sys/class/net/veth{ctid}.*; do ip link delete ${{device##*/}}; done");
        // The shell needs the namespace's /sys to see its devices.
        let inside = format!("mount -t sysfs sysfs /sys\n{script}");
        self.lab.run(self.host, &["unshare", "--mount", "sh", "-ec", &inside]);
    }
}
