//! The lines of keepalived's notify FIFO (keepalived.conf(5), `notify_fifo`): `INSTANCE "VI_1" MASTER 100`.

use std::fmt;
use std::str::FromStr;

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubjectKind {
    /// A `vrrp_instance`.
    Instance,
    /// A `vrrp_sync_group`.
    Group,
}

/// An instance or a group, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// Which of the two; a group and an instance may have one name.
    pub kind: SubjectKind,
    /// The name, as in keepalived's configuration.
    pub name: String,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            SubjectKind::Instance => "INSTANCE",
            SubjectKind::Group => "GROUP",
        };
        write!(f, "{kind} \"{}\"", self.name)
    }
}

/// What keepalived says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VrrpState {
    /// It has become master.
    Master,
    /// It is master, and has heard another one of lower priority (said on each of the other's adverts).
    MasterRxLowerPri,
    /// It is master, with another priority than before.
    MasterPriority,
    /// It has become backup.
    Backup,
    /// It is backup, with another priority than before.
    BackupPriority,
    /// It has failed.
    Fault,
    /// keepalived ends.
    Stop,
    /// It is no longer in the configuration.
    Deleted,
}

const STATES: [(&str, VrrpState); 8] = [
    ("MASTER", VrrpState::Master),
    ("MASTER_RX_LOWER_PRI", VrrpState::MasterRxLowerPri),
    ("MASTER_PRIORITY", VrrpState::MasterPriority),
    ("BACKUP", VrrpState::Backup),
    ("BACKUP_PRIORITY", VrrpState::BackupPriority),
    ("FAULT", VrrpState::Fault),
    ("STOP", VrrpState::Stop),
    ("DELETED", VrrpState::Deleted),
];

/// What a state means for who should have the VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// This machine, from now on.
    Master,
    /// This machine, as before.
    StillMaster,
    /// This machine; but another one believed the same for a while, and may have taken the VIP.
    Contested,
    /// Not this machine.
    NotMaster,
}

impl VrrpState {
    /// What it means for who should have the VIP.
    pub fn change(self) -> Change {
        match self {
            Self::Master => Change::Master,
            Self::MasterRxLowerPri => Change::Contested,
            Self::MasterPriority => Change::StillMaster,
            Self::Backup | Self::BackupPriority | Self::Fault | Self::Stop | Self::Deleted => {
                Change::NotMaster
            }
        }
    }

    fn as_str(self) -> &'static str {
        STATES.iter().find(|(_, state)| *state == self).map_or("", |(word, _)| word)
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Notice {
    /// What it is about.
    pub subject: Subject,
    /// What has become of it.
    pub state: VrrpState,
    /// The priority, 0 for a group.
    pub priority: i32,
}

/// A line that is none of VRRP's, as a health checker's in a FIFO that both write to, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no notice of VRRP", .line.escape_debug())]
pub struct NoticeError {
    line: String,
}

impl NoticeError {
    /// Whether a health checker wrote it (`VS`, a virtual server, or `RS`, a real one).
    pub(super) fn is_of_checker(&self) -> bool {
        self.line.starts_with("VS ") || self.line.starts_with("RS ")
    }
}

impl FromStr for Notice {
    type Err = NoticeError;

    /// keepalived writes `KIND "NAME" STATE PRIORITY` and escapes nothing: the name ends at the last quotation mark.
    fn from_str(line: &str) -> Result<Self, NoticeError> {
        let parse = || {
            let (kind, rest) = line.split_once(" \"")?;
            let (name, rest) = rest.rsplit_once("\" ")?;
            let (state, priority) = rest.split_once(' ')?;
            Self::from_words(kind, name, state, priority)
        };
        parse().ok_or_else(|| NoticeError { line: line.to_owned() })
    }
}

impl Notice {
    /// From the four words that keepalived adds to a `notify` script's own.
    pub fn from_words(kind: &str, name: &str, state: &str, priority: &str) -> Option<Self> {
        let kind = match kind {
            "INSTANCE" => SubjectKind::Instance,
            "GROUP" => SubjectKind::Group,
            _ => return None,
        };
        let (_, state) = *STATES.iter().find(|(word, _)| *word == state)?;
        let subject = Subject { kind, name: name.to_owned() };
        Some(Self { subject, state, priority: priority.parse().ok()? })
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, state, priority } = self;
        write!(f, "{subject} {} {priority}", state.as_str())
    }
}

/// Cuts what is read from the FIFO into lines, however it was cut before.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    /// A line that is too long is skipped to its end.
    is_skipping: bool,
}

impl Lines {
    /// keepalived's longest word is a name, of 255 bytes at most in its own buffers.
    pub const MAX: usize = 1024;

    /// Takes what was read; `line` gets each line that is now complete, without its end.
    pub fn push(&mut self, read: &[u8], mut line: impl FnMut(&str)) {
        let mut rest = read;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.extend(&rest[..end]);
            if !self.is_skipping {
                line(&String::from_utf8_lossy(&self.partial));
            }
            self.forget();
            rest = &rest[end + 1..];
        }
        self.extend(rest);
    }

    /// What has come of a line so far was the end of it: who wrote it is gone.
    pub fn forget(&mut self) {
        self.partial.clear();
        self.is_skipping = false;
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.is_skipping |= self.partial.len() + bytes.len() > Self::MAX;
        if self.is_skipping {
            self.partial.clear();
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(name: &str) -> Subject {
        Subject { kind: SubjectKind::Instance, name: name.to_owned() }
    }

    #[test]
    fn lines_are_read_as_keepalived_writes_them() {
        let notice = |line: &str| line.parse::<Notice>();
        let expected = |subject, state, priority| Ok(Notice { subject, state, priority });
        assert_eq!(
            notice("INSTANCE \"VI_1\" MASTER 100"),
            expected(instance("VI_1"), VrrpState::Master, 100)
        );
        assert_eq!(
            notice("INSTANCE \"VI_1\" MASTER_RX_LOWER_PRI 100"),
            expected(instance("VI_1"), VrrpState::MasterRxLowerPri, 100)
        );
        let group = Subject { kind: SubjectKind::Group, name: "VG 1".to_owned() };
        assert_eq!(notice("GROUP \"VG 1\" FAULT 0"), expected(group, VrrpState::Fault, 0));
        // Nothing is escaped.
        let odd = r#"a" MASTER 1 "b"#;
        let line = format!("INSTANCE \"{odd}\" BACKUP 1");
        assert_eq!(notice(&line), expected(instance(odd), VrrpState::Backup, 1));
    }

    #[test]
    fn what_is_no_notice_is_told() {
        for line in [
            "",
            "VS [192.168.201.15]:tcp:80 UP",
            "RS [1.2.3.4]:tcp:80 [192.168.201.15]:tcp:80 DOWN",
            "INSTANCE \"VI_1\" MASTER",
            "INSTANCE \"VI_1\" master 100",
            "INSTANCE VI_1 MASTER 100",
            "INSTANCE \"VI_1\" MASTER 100 ",
            "instance \"VI_1\" MASTER 100",
            "NCE \"VI_1\" MASTER 100",
        ] {
            assert!(line.parse::<Notice>().is_err(), "{line}");
        }
        let error = "half\ta line".parse::<Notice>().unwrap_err();
        assert_eq!(error.to_string(), "`half\\ta line` is no notice of VRRP");
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        let text = format!("one\n\ntwo\n{}\nthree\npart", "x".repeat(Lines::MAX + 1));
        for size in [1, 2, 3, 7, 4096] {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for part in text.as_bytes().chunks(size) {
                lines.push(part, |line| found.push(line.to_owned()));
            }
            assert_eq!(found, ["one", "", "two", "three"]);
            lines.forget();
            lines.push(b"four\n", |line| found.push(line.to_owned()));
            assert_eq!(found.last().unwrap(), "four");
        }
    }
}
