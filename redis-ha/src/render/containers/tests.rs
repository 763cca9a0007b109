use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use super::*;

const MESH: &str = include_str!("../../../../examples/ha-redis.toml");
const SERVICE: &str = include_str!("../../../../examples/redis-ha.toml");
const UUID: &str = "0f2c6a1e-5a43-4d1c-9d4e-2f6a8b1c3d5e";

/// A host's programs, which write down what they are told. A container is there once it was made; `prlctl` gives one without a UUID a CTID
/// of its own.
struct Host(tempfile::TempDir);

impl Host {
    fn new(kernel: &str) -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        fs::create_dir(host.path().join("conf")).unwrap();
        host.program("uname", &format!("echo {kernel}"));
        host.program("tar", "cat > /dev/null");
        // What would write into this machine's own.
        host.program("install", "");
        let dir = host.path().display();
        let told = format!("echo \"${{0##*/}} $*\" >> {dir}/told");
        host.program("sysctl", &format!("{told}\nexit 255"));
        host.program(
            "vzctl",
            &format!("{told}\n[ \"$1\" != status ] || echo CTID $2 deleted unmounted down"),
        );
        host.program(
            "prlctl",
            &format!(
                "{told}\ncase \"$1 $*\" in\n'status '*) [ -e {dir}/$2 ] ;;\n\
                 'create '*--uuid*) touch {dir}/$2 \"{dir}/conf/${{*##* }}.conf\" ;;\n\
                 'create '*) touch {dir}/$2 {dir}/conf/{UUID}.conf ;;\nesac"
            ),
        );
        host
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn told(&self) -> String {
        fs::read_to_string(self.path().join("told")).unwrap_or_default()
    }

    /// Runs its script for that OpenVZ.
    fn run(&self, mesh: &str, openvz: &str, template: Option<&str>) -> Output {
        let mesh = format!("{mesh}\n[openvz]\nconf_dir = \"{}/conf\"\n", self.path().display());
        let config = config(&mesh);
        let name = format!("containers-openvz{openvz}.sh");
        let file = files(&config).into_iter().find(|file| file.path.ends_with(&name)).unwrap();
        let path = self.path().join(name);
        fs::write(&path, &file.text).unwrap();
        let checked = Command::new("shellcheck").arg(&path).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
        let mut command = Command::new("sh");
        command.arg(&path).env_clear().env("PATH", format!("{}:/usr/bin:/bin", self.path().display()));
        command.current_dir(self.path()).envs(template.map(|template| ("TEMPLATE", template)));
        command.output().unwrap()
    }

    /// Has a program say that containers run, and run in a directory what it is to run in one.
    fn runs(&self, program: &str, exec: &str) {
        let dir = self.path().display();
        fs::remove_file(self.path().join("tar")).unwrap();
        self.program(
            program,
            &format!(
                "echo \"${{0##*/}} $*\" >> {dir}/told\ncase $1 in\nstatus) echo exist mounted running ;;\n{exec})\n    shift 2\n    \
                 case $1 in /*) eval \"$(echo \"$@\" | sed 's, -C / , -C {dir}/root ,')\" ;; esac\nesac"
            ),
        );
    }
}

fn config(mesh: &str) -> Config {
    Config::parse(SERVICE, Path::new("redis-ha.toml"), mesh.parse().unwrap()).unwrap()
}

/// Files as `render` has a node's, with their modes.
fn put(dir: &Path, files: &[(&str, &str, u32)]) {
    for (path, text, mode) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
    }
}

#[test]
fn a_shell_has_nothing_against_lxcs_script() {
    let config = config(MESH);
    let dir = tempfile::tempdir().unwrap();
    for name in ["containers-lxc.sh", "ovsmesh-lxc"] {
        let all = files(&config);
        let file = all.iter().find(|file| file.path.ends_with(name)).unwrap();
        let path = dir.path().join(name);
        fs::write(&path, &file.text).unwrap();
        let checked = Command::new("shellcheck").arg(&path).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    }
}

#[test]
fn openvz_6s_kernel_gets_no_template_that_it_cannot_start() {
    let host = Host::new("2.6.32-042stab145.3");
    let output = host.run(MESH, "6", None);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), host.told().as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.contains("TEMPLATE=… must name a template"), "{stderr}");
    let output = host.run(MESH, "6", Some("ours"));
    assert!(output.status.success(), "{output:?}");
    // Where the kernel's settings cannot be made, that is told, and containers are all the same.
    assert!(host.told().starts_with("sysctl -q -p /etc/sysctl.d/60-redis-ha.conf\n"), "{}", host.told());
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("not all of /etc/sysctl.d/60-redis-ha.conf could be set")
    );
    assert!(
        host.told().contains("vzctl create 101 --ostemplate ours --hostname acme-101\n"),
        "{}",
        host.told()
    );
    // vzctl on an upstream kernel.
    let host = Host::new("6.1.0-37-amd64");
    assert!(host.run(MESH, "6", None).status.success());
    assert!(host.told().contains("vzctl create 101 --ostemplate debian-12-x86_64 "), "{}", host.told());
}

#[test]
fn a_container_that_the_hook_would_not_know_is_not_started() {
    let host = Host::new("3.10.0-1160.90.1.vz7.200.7");
    let output = host.run(MESH, "7", None);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("container 101 has another CTID than 101"), "{stderr}");
    // Nor when it is run again.
    assert_eq!(host.run(MESH, "7", None).status.code(), Some(1));
    assert_eq!(host.told().matches("prlctl create").count(), 1, "{}", host.told());
    assert!(!host.told().contains("prlctl start"), "{}", host.told());
    // With CTIDs that prlctl can be told.
    let mesh = MESH
        .replace("ctid = \"101\"", &format!("ctid = \"{UUID}\""))
        .replace("ctid = \"201\"", &format!("ctid = \"{}\"", UUID.replace('e', "f")));
    let host = Host::new("3.10.0-1160.90.1.vz7.200.7");
    let output = host.run(&mesh, "7", None);
    assert!(output.status.success(), "{output:?}");
    let create =
        format!("prlctl create acme-{UUID} --vmtype ct --ostemplate debian-12-x86_64 --uuid {UUID}\n");
    assert!(host.told().contains(&create), "{}", host.told());
    assert_eq!(host.told().matches("prlctl start").count(), 2, "{}", host.told());
}

#[test]
fn a_container_that_runs_gets_what_has_changed_and_its_memory() {
    for (openvz, program, exec, memory) in [
        ("6", "vzctl", "exec2", "vzctl set 101 --save --ram 640M --swappages 0 "),
        ("7", "prlctl", "exec", "prlctl set 101 --memsize 640M --swappages 0 "),
    ] {
        let host = Host::new("6.1.0-37-amd64");
        host.runs(program, exec);
        put(host.path(), &[("conf/101.conf", "", 0o644), ("conf/201.conf", "", 0o644)]);
        let (conf, sentinel, unit) =
            ("etc/redis-ha/redis.conf", "etc/redis-ha/sentinel.conf", "etc/x/a.service");
        let node = host.path().join("nodes/101");
        put(&node, &[(conf, "new", 0o640), (sentinel, "same", 0o640), (unit, "a longer one", 0o644)]);
        put(&host.path().join("nodes/201"), &[(sentinel, "same", 0o640)]);
        let (root, live) = (host.path().join("root"), "var/lib/redis-ha/sentinel/sentinel.conf");
        put(&root, &[(conf, "old", 0o640), (sentinel, "same", 0o640), (live, "its state", 0o600)]);
        fs::set_permissions(root.join("etc"), fs::Permissions::from_mode(0o711)).unwrap();
        let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;

        let output = host.run(MESH, openvz, None);
        assert!(output.status.success(), "{output:?}");
        let stdout = String::from_utf8(output.stdout).unwrap();
        let told = "container 101 runs on; changed in it, and not read yet: /etc/redis-ha/redis.conf /etc/x/a.service\n";
        assert_eq!(stdout, told);
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        assert_eq!([conf, sentinel, unit, live].map(read), ["new", "same", "a longer one", "its state"]);
        // What is there of directories stays as it is.
        assert_eq!([conf, unit, "etc"].map(mode), [0o640, 0o644, 0o711]);
        assert!(host.told().contains(memory), "{}", host.told());
        assert!(!host.told().contains(&format!("{program} start")), "{}", host.told());
        // Rendered again, and nothing has changed.
        put(&node, &[(conf, "new", 0o640)]);
        let output = host.run(MESH, openvz, None);
        assert_eq!((output.status.code(), output.stdout), (Some(0), Vec::new()));
        // A change that does not arrive is no change that was made.
        put(&node, &[(conf, "newer", 0o640)]);
        host.program("tar", "exit 1");
        let output = host.run(MESH, openvz, None);
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    }
}
