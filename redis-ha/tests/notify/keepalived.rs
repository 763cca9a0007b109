//! The real keepalived, in a network namespace of its own, writes what the daemon reads.

use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fake::{ENI_A, ENI_B, Fake, VIP};
use crate::program::{Daemon, notify};

struct Keepalived(Child);

impl Keepalived {
    fn start(directory: &std::path::Path, fifo: &std::path::Path) -> Self {
        let at = |name: &str| directory.join(name).display().to_string();
        let configuration = format!(
            "global_defs {{\n enable_script_security\n script_user root\n vrrp_notify_fifo {}\n}}\nvrrp_instance VI_1 {{\n \
             state BACKUP\n interface vip0\n virtual_router_id 51\n priority 100\n advert_int 1\n \
             virtual_ipaddress {{\n 10.0.1.100/24\n }}\n}}\n",
            fifo.display()
        );
        std::fs::write(at("keepalived.conf"), configuration).unwrap();
        let script = format!(
            "ip link set lo up && ip link add vip0 type veth peer name peer0 && ip address add 10.0.1.21/24 dev \
             vip0 && ip link set vip0 up && ip link set peer0 up && exec keepalived --vrrp --dont-fork --log-console -f {} -p {} -r {}",
            at("keepalived.conf"),
            at("keepalived.pid"),
            at("vrrp.pid")
        );
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", &script]).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("unshare and keepalived, run as root"))
    }

    fn stop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        self.stop();
    }
}

#[test]
fn keepalived_says_who_is_master_over_its_restart() {
    let fake = Fake::new();
    fake.state().give(VIP, ENI_B);
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(notify(&fake), &["--vip", "VI_1=10.0.1.100"]);
    daemon.wait_for("EC2 answers");
    for _ in 0..2 {
        let mut keepalived = Keepalived::start(directory.path(), &daemon.fifo);
        daemon.wait_for("INSTANCE \"VI_1\" MASTER 100");
        daemon.wait_for("now leads to");
        assert_eq!(fake.holder(VIP), Some(ENI_A));
        keepalived.stop();
        daemon.wait_for("INSTANCE \"VI_1\" STOP 100");
        fake.state().give(VIP, ENI_B);
    }
    assert_eq!(fake.holder(VIP), Some(ENI_B));
}
