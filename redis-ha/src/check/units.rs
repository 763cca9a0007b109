//! systemd's own check of a unit.

use std::io;
use std::path::Path;
use std::process::Command;

use super::{CheckError, CheckReport, programs};

const PROGRAM: &str = "systemd-analyze";

/// What systemd says of a unit.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said<'a> {
    problems: Vec<&'a str>,
    /// Programs that it starts and that this machine does not have; the one that it is for may.
    absent: Vec<&'a str>,
}

/// `systemd-analyze verify`, or `None` where this machine has none: that is noted, once.
pub(super) fn verify(path: &Path, report: &mut CheckReport) -> Result<Option<Vec<String>>, CheckError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let verified = programs::run(Command::new(PROGRAM).args(["verify", "--man=no"]).arg(path), PROGRAM);
    let output = match verified {
        Ok(output) => output,
        Err(CheckError::Program { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            note(report, format!("the systemd units are not checked: this machine has no `{PROGRAM}`"));
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let Said { problems, absent } = said(&text, name);
    for program in &absent {
        note(report, format!("{program}, which a systemd unit starts, is not on this machine"));
    }
    if problems.is_empty() && absent.is_empty() && !output.status.success() {
        return Ok(Some(vec![programs::text_of(&output)]));
    }
    Ok(Some(problems.into_iter().map(str::to_owned).collect()))
}

fn note(report: &mut CheckReport, note: String) {
    if !report.notes.contains(&note) {
        report.notes.push(note);
    }
}

/// Its lines about a unit; it also has some about what else the machine has.
fn said<'a>(text: &'a str, unit: &str) -> Said<'a> {
    let mut said = Said::default();
    for line in text.lines().filter(|line| line.contains(unit)) {
        let command = line.split_once(": Command ").map(|(_, rest)| rest);
        match command
            .and_then(|rest| rest.split_once(" is not executable: No such file"))
            .map(|(program, _)| program)
        {
            Some(program) => said.absent.push(program),
            None => said.problems.push(line),
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_here_is_no_problem_of_the_unit() {
        let text = "/tmp/x/a.service:4: Missing '=', ignoring line.\n\
                    a.service: Command /usr/sbin/x is not executable: No such file or directory\n\
                    other.service: Command /usr/sbin/y is not executable: No such file or directory\n\
                    a.service: Command /usr/sbin/z is not executable: Permission denied\n";
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            said(text, "a.service"),
            Said { problems: vec![lines[0], lines[3]], absent: vec!["/usr/sbin/x"] }
        );
    }

    #[test]
    fn systemd_reads_a_unit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.service");
        let mut report = CheckReport::default();
        let mut verify = |text: &str| {
            std::fs::write(&path, text).unwrap();
            verify(&path, &mut report).unwrap().expect("this machine has systemd-analyze")
        };
        assert_eq!(verify("[Service]\nExecStart=/bin/true\n"), Vec::<String>::new());
        for wrong in ["Restart=sometimes", "RestartSec=soon", "Nonsense=1", "nonsense"] {
            let problems = verify(&format!("[Service]\nExecStart=/bin/true\n{wrong}\n"));
            assert_eq!(problems.len(), 1, "{wrong}: {problems:?}");
        }
        assert!(
            !verify("[Service]\nExecStart=/bin/true\nAfter=x.service\n").is_empty(),
            "in the wrong section"
        );
        assert_eq!(verify("[Service]\nExecStart=/nonexistent/x\n"), Vec::<String>::new());
        assert_eq!(report.notes, ["/nonexistent/x, which a systemd unit starts, is not on this machine"]);
    }
}
