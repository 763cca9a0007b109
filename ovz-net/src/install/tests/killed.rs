//! Killed after any step, and in the middle of the next: nothing is lost.

use super::*;

/// A number of steps into it, and also in the middle of the next one.
#[test]
fn an_installation_that_is_killed_anywhere_can_be_undone_and_finished() {
    let hosts: [fn() -> TestHost; 2] = [TestHost::new, TestHost::with_others];
    let mut cuts = 0;
    for make in hosts {
        let all = make().killed_install(&make().options(), 0);
        for after in 0..=all {
            let host = make();
            let before = host.tree();
            host.killed_install(&host.options(), after);
            tear(&host, after);
            host.uninstall();
            assert_eq!(host.tree(), before, "killed after step {after} of {all}");
            host.killed_install(&host.options(), after);
            tear(&host, after);
            host.install();
            assert!(host.install().is_unchanged());
            assert!(host.uninstall().is_complete());
            assert_eq!(host.tree(), before, "killed after step {after} of {all}, then finished");
            cuts += 1;
        }
    }
    assert!(cuts > 30, "only {cuts} cuts");
}

/// Killed while it writes a file: half of it is there, under the name that nobody reads.
fn tear(host: &TestHost, after: usize) {
    let (_, steps) = planned(&host.options(), &opened(host.0.path()).unwrap()).unwrap();
    let next = steps.iter().find(|step| matches!(step, Step::Write { .. }));
    if let Some(Step::Write { path, content: Content::File { .. } }) = next
        && path.parent().unwrap().is_dir()
        && after > 0
    {
        fs::write(path, "ha").unwrap();
    }
}

#[test]
fn another_installation_that_is_killed_anywhere_can_be_undone_and_finished() {
    let host = TestHost::with_others();
    host.install();
    let other = InstallOptions {
        program: host.path("usr/local/bin/ovsmesh"),
        timeout: Duration::from_millis(1500),
        ..host.options()
    };
    let all = host.killed_install(&other, 0);
    for after in 0..=all {
        let host = TestHost::with_others();
        let before = host.tree();
        let other = InstallOptions { program: host.path("usr/local/bin/ovsmesh"), ..other.clone() };
        host.install();
        host.killed_install(&other, after);
        host.uninstall();
        assert_eq!(host.tree(), before, "killed after step {after} of {all}");
        host.install();
        host.killed_install(&other, after);
        let root = host.options().root;
        install(&InstallOptions { root, ..other }).unwrap();
        assert!(host.uninstall().is_complete());
        assert_eq!(host.tree(), before, "killed after step {after} of {all}, then finished");
    }
}

#[test]
fn an_uninstallation_that_is_killed_anywhere_is_finished_by_the_next() {
    let hosts: [fn() -> TestHost; 2] = [TestHost::new, TestHost::with_others];
    for make in hosts {
        let host = make();
        host.install();
        let all = host.killed_uninstall(0);
        for after in 0..=all {
            let host = make();
            let before = host.tree();
            host.install();
            host.killed_uninstall(after);
            assert!(host.uninstall().is_complete(), "killed after step {after} of {all}");
            assert_eq!(host.tree(), before, "killed after step {after} of {all}");
            host.install();
            host.killed_uninstall(after);
            host.install();
            assert!(host.uninstall().is_complete());
            assert_eq!(host.tree(), before, "killed after step {after} of {all}, then installed");
        }
    }
}
