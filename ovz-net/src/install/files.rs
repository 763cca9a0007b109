//! The files themselves, as texts.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::content::{Content, Mode};
use crate::vznet_conf::{quoted, vznet_conf};

/// By this name the program is OpenVZ's hook.
pub(super) const HOOK: &str = "/usr/lib/ovsmesh/vznetaddbr";
/// Who OpenVZ's hook is.
pub(super) const VZNET_CONF: &str = "/etc/vz/vznet.conf";
/// What OpenVZ runs for every container that it unmounts.
pub(super) const UMOUNT: &str = "/etc/vz/conf/vps.umount";
/// systemd's own directory for what an administrator adds: where it is not, systemd is not.
pub(super) const SYSTEMD: &str = "/etc/systemd/system";
const SERVICE: &str = "/etc/systemd/system/ovsmesh.service";
const DROP_IN: &str = "/etc/systemd/system/vz.service.d/ovsmesh.conf";

/// Debian's name of Open vSwitch's unit, and the RPMs'. systemd passes over the one that is not there.
const OPEN_VSWITCH: &str = "openvswitch-switch.service openvswitch.service";

/// What the files say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Texts<'a> {
    /// The program's path on the host.
    pub(super) program: &'a str,
    /// What it is to find in its environment.
    pub(super) variables: &'a [(&'static str, String)],
    /// How long a container's end waits for its detachment.
    pub(super) timeout: Duration,
}

impl Texts<'_> {
    /// Every file, in the order in which they are written: each before who uses it. `kept` is what OpenVZ ran before at
    /// [`UMOUNT`].
    pub(super) fn files(&self, kept: Option<&Path>, has_systemd: bool) -> Vec<(PathBuf, Content)> {
        let plain = |text| Content::File { text, mode: Mode::PLAIN };
        let variables: Vec<(&str, &str)> =
            self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut files = vec![
            (HOOK, Content::Symlink { target: self.program.into() }),
            (VZNET_CONF, plain(vznet_conf(Path::new(HOOK), &variables))),
            (UMOUNT, self.umount(kept)),
        ];
        if has_systemd {
            files.extend([(SERVICE, plain(self.service())), (DROP_IN, plain(drop_in()))]);
        }
        files.into_iter().map(|(path, content)| (path.into(), content)).collect()
    }

    /// The detach point. Its container's veth is gone by now, and the rows should go as well; but above all the container
    /// has to be unmounted, so nothing of this may fail or hang. A script that was there before decides alone.
    pub(super) fn umount(&self, kept: Option<&Path>) -> Content {
        let mut text = "#!/bin/sh\n\
            # Written by `ovsmesh vznet install`; `ovsmesh vznet uninstall` puts back what was here.\n\
            # OpenVZ runs this for every container that it unmounts, and leaves mounted those for which it fails. So what goes\n\
            # wrong here is told and passed over: `ovsmesh sync` takes off the bridges what is left on them.\n(\n"
            .to_owned();
        for (name, value) in self.variables {
            let _ = writeln!(text, "    export {name}={}", quoted(value));
        }
        // timeout(1) takes whole seconds everywhere; SIGKILL is what nothing withstands.
        let seconds = self.timeout.as_secs() + u64::from(self.timeout.subsec_nanos() > 0);
        let _ = write!(
            text,
            "    [ -x /usr/bin/timeout ] &&\n        \
             /usr/bin/timeout -s KILL {seconds} {program} detach --ctid \"$VEID\" < /dev/null > /dev/null ||\n        \
             echo \"ovsmesh: container $VEID is not detached; \\`ovsmesh sync\\` takes off the bridge what it left\" >&2\n)\n",
            program = quoted(self.program),
        );
        match kept {
            Some(kept) => {
                let kept = quoted(&kept.to_string_lossy());
                let _ = write!(
                    text,
                    "# What was here before; how it ends is how this ends.\n[ -x {kept} ] || exit 0\nexec {kept} \"$@\"\n"
                );
            }
            None => text += "exit 0\n",
        }
        Content::File { text, mode: Mode::PROGRAM }
    }

    /// A host's share of the mesh, at boot.
    fn service(&self) -> String {
        let mut environment = String::new();
        for (name, value) in self.variables {
            let _ = writeln!(environment, "Environment={}", unit_quoted(&format!("{name}={value}")));
        }
        // In a command line, unlike elsewhere, systemd also looks for `$`.
        let program = unit_quoted(self.program).replace('$', "$$");
        format!(
            "# Written by `ovsmesh vznet install`; `ovsmesh vznet uninstall` takes it away.\n\
             [Unit]\n\
             Description=This host's share of the mesh of tenant networks (ovsmesh sync)\n\
             # Open vSwitch as Debian names it, and as the RPMs do.\n\
             Wants=network-online.target {OPEN_VSWITCH}\n\
             After=network-online.target {OPEN_VSWITCH}\n\
             # Containers' ports are transient: a restart of Open vSwitch drops them, and this puts them back.\n\
             PartOf={OPEN_VSWITCH}\n\
             \n\
             [Service]\n\
             Type=oneshot\n\
             RemainAfterExit=yes\n\
             {environment}\
             ExecStart={program} sync\n\
             # By itself systemd would wait for ever, and the containers with it.\n\
             TimeoutStartSec=300\n\
             \n\
             [Install]\n\
             WantedBy=multi-user.target\n"
        )
    }
}

/// Containers start after what carries them.
fn drop_in() -> String {
    format!(
        "# Written by `ovsmesh vznet install`; `ovsmesh vznet uninstall` takes it away.\n\
         [Unit]\n\
         # Wants, not Requires: a sync that fails, be it for one tenant, must not keep every container down. Those whose\n\
         # networks are there start; the others are refused one by one by the hook, each with its reason.\n\
         Wants={OPEN_VSWITCH} ovsmesh.service\n\
         After={OPEN_VSWITCH} ovsmesh.service\n"
    )
}

/// One word of a unit's (systemd.syntax(7), "Quoting"; systemd.unit(5), "Specifiers").
fn unit_quoted(text: &str) -> String {
    let escaped = text.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:%@,".contains(c);
    if escaped.chars().all(is_plain) { escaped } else { format!("\"{escaped}\"") }
}
