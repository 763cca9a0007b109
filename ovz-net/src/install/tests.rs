//! Installing on directories that stand for hosts: what is there afterwards, and that all of it can be taken back.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

/// A host, as far as it has files.
struct TestHost(tempfile::TempDir);

impl TestHost {
    /// With systemd and OpenVZ, and nothing of an administrator's.
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        for directory in
            ["etc/vz/conf", "etc/systemd/system", "etc/ovsmesh", "var/lib", "usr/local/bin", "usr/lib"]
        {
            fs::create_dir_all(host.path(directory)).unwrap();
        }
        host.write("etc/ovsmesh/mesh.toml", "", 0o644);
        host.write("usr/local/bin/ovsmesh", "#!/bin/sh\n", 0o755);
        host
    }

    /// With files of an administrator's wherever one will be written.
    fn with_others() -> Self {
        let host = Self::new();
        host.write("etc/vz/vznet.conf", "EXTERNAL_SCRIPT=\"/usr/local/sbin/mine\"\n", 0o600);
        host.write("etc/vz/conf/vps.umount.old", "#!/bin/sh\nexit 3\n", 0o700);
        symlink("vps.umount.old", host.path("etc/vz/conf/vps.umount")).unwrap();
        host.write("etc/systemd/system/ovsmesh.service", "[Unit]\n", 0o640);
        fs::create_dir(host.path("etc/systemd/system/vz.service.d")).unwrap();
        host.write("etc/systemd/system/vz.service.d/ovsmesh.conf", "\u{0}\n\n", 0o444);
        fs::create_dir(host.path("usr/lib/ovsmesh")).unwrap();
        symlink("/nowhere", host.path("usr/lib/ovsmesh/vznetaddbr")).unwrap();
        fs::create_dir(host.path("var/lib/ovsmesh")).unwrap();
        host
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str, mode: u32) {
        fs::write(self.path(path), text).unwrap();
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    fn options(&self) -> InstallOptions {
        InstallOptions {
            root: self.0.path().to_owned(),
            program: "/usr/local/bin/ovsmesh".into(),
            variables: vec![("OVSMESH_HOST", "redis1".to_owned())],
            timeout: Duration::from_secs(10),
            config: "/etc/ovsmesh/mesh.toml".into(),
            dry_run: false,
        }
    }

    fn install(&self) -> InstallReport {
        install(&self.options()).unwrap()
    }

    fn uninstall(&self) -> UninstallReport {
        uninstall(self.0.path(), false).unwrap()
    }

    /// Installs up to a number of steps, as if killed after the last; how many there are.
    fn killed_install(&self, options: &InstallOptions, after: usize) -> usize {
        let (_, steps) = planned(options, &opened(self.0.path()).unwrap()).unwrap();
        steps.iter().take(after).for_each(|step| step.run().unwrap());
        steps.len()
    }

    fn killed_uninstall(&self, after: usize) -> usize {
        let host = Host::look(&opened(self.0.path()).unwrap(), &[]).unwrap();
        let (_, steps) = plan::uninstall(&host).unwrap();
        steps.iter().take(after).for_each(|step| step.run().unwrap());
        steps.len()
    }

    /// All that can be told of everything on it.
    fn tree(&self) -> BTreeMap<PathBuf, String> {
        let mut tree = BTreeMap::new();
        add(self.0.path(), &mut tree);
        tree
    }
}

fn add(directory: &Path, tree: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let (mode, owner) = (meta.mode(), (meta.uid(), meta.gid()));
        let text = if meta.is_dir() {
            add(&path, tree);
            format!("{mode:o} {owner:?}")
        } else {
            let content = if meta.is_symlink() {
                fs::read_link(&path).unwrap().display().to_string()
            } else {
                format!("{:?}", fs::read(&path).unwrap())
            };
            format!("{mode:o} {owner:?} {} {} {content}", meta.ino(), meta.mtime_nsec())
        };
        tree.insert(path, text);
    }
}

#[test]
fn a_bare_host_gets_every_file_and_is_bare_again_afterwards() {
    let host = TestHost::new();
    let before = host.tree();
    let report = host.install();
    assert!(report.files.iter().all(|file| file.action == InstallAction::Created && file.kept.is_none()));
    assert_eq!(report.next, [DAEMON_RELOAD]);
    assert_eq!(report.warnings, [""; 0]);
    let link = fs::read_link(host.path("usr/lib/ovsmesh/vznetaddbr")).unwrap();
    assert_eq!(link, Path::new("/usr/local/bin/ovsmesh"));
    assert!(
        host.read("etc/vz/vznet.conf")
            .contains("EXTERNAL_SCRIPT='/usr/lib/ovsmesh/vznetaddbr'\nexport OVSMESH_HOST='redis1'\n")
    );
    let mode = |path: &str| host.path(path).metadata().unwrap().mode() & 0o7777;
    assert_eq!((mode("etc/vz/vznet.conf"), mode("etc/vz/conf/vps.umount")), (0o644, 0o755));
    let undone = host.uninstall();
    let all: Vec<UninstallAction> = undone.files.iter().map(|file| file.action).collect();
    assert_eq!(all, [UninstallAction::Removed; 5]);
    assert_eq!(host.tree(), before);
    let again = host.uninstall();
    assert!(again.files.is_empty() && again.is_complete() && again.is_unchanged());
    assert_eq!(host.tree(), before);
}

#[test]
fn what_was_there_is_kept_and_comes_back_as_the_same_files() {
    let host = TestHost::with_others();
    let before = host.tree();
    let report = host.install();
    assert!(report.files.iter().all(|file| file.action == InstallAction::Replaced && file.kept.is_some()));
    assert_eq!(report.files[1].no_longer_runs.as_deref(), Some("/usr/local/sbin/mine"));
    assert_eq!(host.read("etc/vz/vznet.conf.before-ovsmesh"), "EXTERNAL_SCRIPT=\"/usr/local/sbin/mine\"\n");
    assert!(
        host.read("etc/vz/conf/vps.umount")
            .ends_with("exec '/etc/vz/conf/vps.umount.before-ovsmesh' \"$@\"\n")
    );
    let undone = host.uninstall();
    assert!(undone.files.iter().all(|file| file.action == UninstallAction::Restored));
    assert_eq!(host.tree(), before);
}

#[test]
fn a_second_installation_changes_nothing() {
    for host in [TestHost::new(), TestHost::with_others()] {
        host.install();
        let tree = host.tree();
        let again = host.install();
        assert!(again.is_unchanged() && again.next.is_empty(), "{again:?}");
        assert_eq!(host.tree(), tree);
    }
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let host = TestHost::with_others();
    let before = host.tree();
    let dry = install(&InstallOptions { dry_run: true, ..host.options() }).unwrap();
    assert_eq!(host.tree(), before);
    let file = &dry.files[1];
    let lines = file.line_changes();
    assert_eq!(
        (lines[0].as_str(), lines[1].as_str()),
        ("- EXTERNAL_SCRIPT=\"/usr/local/sbin/mine\"", "+ #!/bin/sh")
    );
    let done = host.install();
    assert_eq!(dry.files, done.files);
    let installed = host.tree();
    let dry = uninstall(host.0.path(), true).unwrap();
    assert_eq!(host.tree(), installed);
    assert_eq!(dry.files, host.uninstall().files);
}

/// With other variables, another program: the original stays the one that is kept.
#[test]
fn another_installation_over_the_first_still_gives_back_the_original() {
    let host = TestHost::with_others();
    let before = host.tree();
    host.install();
    let other = InstallOptions { variables: vec![("OVSMESH_HOST", "redis2".to_owned())], ..host.options() };
    let report = install(&other).unwrap();
    let action = |at: usize| report.files[at].action;
    assert_eq!((action(0), action(1)), (InstallAction::Unchanged, InstallAction::Replaced));
    assert_eq!(
        report.files[1].line_changes(),
        ["- export OVSMESH_HOST='redis1'", "+ export OVSMESH_HOST='redis2'"]
    );
    assert_eq!(report.files[1].no_longer_runs, None);
    assert!(install(&other).unwrap().is_unchanged());
    assert!(host.uninstall().is_complete());
    assert_eq!(host.tree(), before);
}

#[test]
fn what_was_edited_since_stays_and_the_rest_goes() {
    let host = TestHost::with_others();
    let before = host.tree();
    host.install();
    let edited = host.read("etc/vz/vznet.conf") + "export OVSMESH_TIMEOUT=3s\n";
    host.write("etc/vz/vznet.conf", &edited, 0o644);
    // Over an edit nothing is installed either.
    let refused = install(&host.options().with_host("redis2")).unwrap_err();
    assert!(matches!(&refused, InstallError::Edited { path } if path == Path::new("/etc/vz/vznet.conf")));
    assert!(host.read("etc/vz/conf/vps.umount").contains("redis1"));
    for _ in 0..2 {
        let report = host.uninstall();
        let left: Vec<&UninstalledFile> =
            report.files.iter().filter(|file| !file.action.is_undone()).collect();
        assert_eq!(left.len(), 1);
        assert_eq!(
            (left[0].path.as_path(), left[0].action),
            (Path::new("/etc/vz/vznet.conf"), UninstallAction::Edited)
        );
        assert_eq!(left[0].kept.as_deref(), Some(Path::new("/etc/vz/vznet.conf.before-ovsmesh")));
        assert_eq!(host.read("etc/vz/vznet.conf"), edited);
        assert!(!host.read("etc/systemd/system/ovsmesh.service").contains("Open vSwitch"));
    }
    fs::remove_file(host.path("etc/vz/vznet.conf")).unwrap();
    assert!(host.uninstall().is_complete());
    assert_eq!(host.tree(), before);
}

#[test]
fn an_edited_file_that_was_not_there_before_stays_in_its_directory() {
    let host = TestHost::new();
    let before = host.tree();
    host.install();
    let drop_in = "etc/systemd/system/vz.service.d/ovsmesh.conf";
    // To make it another mode is to edit it, too.
    host.write(drop_in, &host.read(drop_in), 0o600);
    assert!(!host.uninstall().is_complete());
    assert_eq!(host.read(drop_in).lines().count(), 6);
    assert!(!host.path("usr/lib/ovsmesh").exists());
    fs::remove_file(host.path(drop_in)).unwrap();
    assert!(host.uninstall().is_complete());
    assert_eq!(host.tree(), before);
}

#[test]
fn a_backup_that_is_gone_is_told() {
    let host = TestHost::with_others();
    host.install();
    fs::remove_file(host.path("etc/vz/vznet.conf.before-ovsmesh")).unwrap();
    let report = host.uninstall();
    let gone = report.files.iter().find(|file| file.action == UninstallAction::BackupGone).unwrap();
    assert_eq!(gone.path, Path::new("/etc/vz/vznet.conf"));
    assert!(host.read("etc/vz/vznet.conf").contains("EXTERNAL_SCRIPT"));
}

/// What cannot be kept is in the way: nothing is changed.
#[test]
fn what_is_in_the_way_is_named() {
    let host = TestHost::with_others();
    host.write("etc/vz/vznet.conf.before-ovsmesh", "mine", 0o644);
    let before = host.tree();
    let error = install(&host.options()).unwrap_err().to_string();
    assert!(
        error.starts_with("/etc/vz/vznet.conf cannot be kept as /etc/vz/vznet.conf.before-ovsmesh"),
        "{error}"
    );
    assert_eq!(host.tree(), before);

    let host = TestHost::new();
    fs::create_dir(host.path("etc/vz/conf/vps.umount")).unwrap();
    let before = host.tree();
    let error = install(&host.options()).unwrap_err().to_string();
    assert!(error.starts_with("/etc/vz/conf/vps.umount is neither a file nor"), "{error}");
    assert_eq!(host.tree(), before);
}

#[test]
fn what_the_hook_could_not_run_with_is_refused() {
    let host = TestHost::new();
    let before = host.tree();
    let absent = InstallOptions { program: "/usr/bin/none".into(), ..host.options() };
    assert!(matches!(install(&absent), Err(InstallError::Program { .. })));
    let control = InstallOptions { variables: vec![("OVSMESH_CONFIG", "a\nb".to_owned())], ..host.options() };
    assert!(matches!(install(&control), Err(InstallError::Text { .. })));
    let nowhere = InstallOptions { root: "/nonexistent".into(), ..host.options() };
    assert!(matches!(install(&nowhere), Err(InstallError::Root { .. })));
    for manifest in ["", "{}", r#"{"version": 1, "directories": [], "files": [], "more": 1}"#] {
        fs::create_dir_all(host.path("var/lib/ovsmesh")).unwrap();
        host.write("var/lib/ovsmesh/vznet.json", manifest, 0o644);
        assert!(matches!(install(&host.options()), Err(InstallError::Manifest { .. })));
        assert!(matches!(uninstall(host.0.path(), false), Err(InstallError::Manifest { .. })));
    }
    host.write("var/lib/ovsmesh/vznet.json", r#"{"version": 2, "directories": [], "files": []}"#, 0o644);
    assert!(matches!(install(&host.options()), Err(InstallError::Version { version: 2, .. })));
    fs::remove_dir_all(host.path("var/lib/ovsmesh")).unwrap();
    assert_eq!(host.tree(), before);
}

#[test]
fn only_one_at_a_time() {
    let host = TestHost::new();
    let lock = lock(host.0.path()).unwrap();
    assert!(matches!(install(&host.options()), Err(InstallError::Running)));
    assert!(matches!(uninstall(host.0.path(), false), Err(InstallError::Running)));
    drop(lock);
    host.install();
}

/// As on OpenVZ 6, where `/etc/vz/conf` is such a link: in an image it leads into the image.
#[test]
fn links_on_the_way_lead_into_the_root() {
    let host = TestHost::new();
    fs::remove_dir(host.path("etc/vz/conf")).unwrap();
    fs::create_dir_all(host.path("etc/sysconfig/vz-scripts")).unwrap();
    symlink("/etc/sysconfig/vz-scripts", host.path("etc/vz/conf")).unwrap();
    let before = host.tree();
    host.install();
    assert!(host.read("etc/sysconfig/vz-scripts/vps.umount").contains("detach"));
    assert!(host.uninstall().is_complete());
    assert_eq!(host.tree(), before);
    for (path, real) in
        [("/a/up/x", "b/x"), ("/a/out/x", "etc/x"), ("/a/clamp/x", "c/x"), ("/a/none/x", "a/none/x")]
    {
        fs::create_dir_all(host.path("a/deep")).unwrap();
        for (link, target) in [("up", "../b"), ("out", "/etc"), ("clamp", "../../../../c"), ("loop", "loop")]
        {
            let _ = symlink(target, host.path("a").join(link));
        }
        assert_eq!(place(host.0.path(), Path::new(path)).unwrap(), host.path(real));
    }
    assert!(matches!(place(host.0.path(), Path::new("/a/loop/x")), Err(InstallError::Links { .. })));
}

#[test]
fn without_systemd_the_order_is_told_in_words() {
    let host = TestHost::new();
    fs::remove_dir_all(host.path("etc/systemd")).unwrap();
    fs::remove_file(host.path("etc/ovsmesh/mesh.toml")).unwrap();
    fs::remove_dir_all(host.path("etc/vz")).unwrap();
    let report = host.install();
    assert_eq!(report.files.len(), 3);
    assert_eq!(report.next, [SYSV]);
    assert_eq!(report.warnings.len(), 2, "{:?}", report.warnings);
    assert!(!host.path("etc/systemd").exists());
    assert!(host.uninstall().is_complete());
    assert!(!host.path("etc/vz").exists());
}

impl InstallOptions {
    fn with_host(mut self, name: &str) -> Self {
        self.variables = vec![("OVSMESH_HOST", name.to_owned())];
        self
    }
}

mod killed;
mod umount;
mod units;
