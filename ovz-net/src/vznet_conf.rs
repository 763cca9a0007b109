//! `/etc/vz/vznet.conf`: which program `vznetcfg` hands its calls to. A shell script, which `vznetcfg` sources.

use std::fmt::Write;
use std::path::Path;

/// The file that makes this program the hook. vzctl clears the environment, so what the hook has to know is exported here.
///
/// ```
/// let text = ovz_net::vznet_conf("/usr/lib/ovsmesh/vznetaddbr".as_ref(), &[("OVSMESH_HOST", "redis1")]);
/// assert!(text.ends_with("EXTERNAL_SCRIPT='/usr/lib/ovsmesh/vznetaddbr'\nexport OVSMESH_HOST='redis1'\n"));
/// ```
pub fn vznet_conf(hook: &Path, variables: &[(&str, &str)]) -> String {
    let mut text =
        "#!/bin/sh\n# Container interfaces go to their tenants' bridges: `ovsmesh vznet`.\n".to_owned();
    let _ = writeln!(text, "EXTERNAL_SCRIPT={}", quoted(&hook.to_string_lossy()));
    for (name, value) in variables {
        let _ = writeln!(text, "export {name}={}", quoted(value));
    }
    text
}

/// The program that such a file names, by its last word on it; what a shell would still expand stays as it is written. For
/// people: the file is never run.
pub(crate) fn external_script(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let value = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let value = line.strip_prefix("EXTERNAL_SCRIPT=")?;
        let end = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => return value[1..].split(quote).next().map(str::to_owned),
            _ => value.find(|c: char| c.is_whitespace() || "#;&|".contains(c)).unwrap_or(value.len()),
        };
        Some(value[..end].to_owned())
    };
    text.lines().filter_map(value).next_back().filter(|script| !script.is_empty())
}

/// One word of a shell's (POSIX.1-2017, Shell Command Language, 2.2.2).
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for text in ["plain", "it's", "a b\"c$d`e\\f", ""] {
            let script = format!("printf %s {}", quoted(text));
            let output = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }

    #[test]
    fn the_script_that_a_file_names() {
        for (text, script) in [
            ("EXTERNAL_SCRIPT=\"/usr/local/sbin/mine\"\n", Some("/usr/local/sbin/mine")),
            ("#!/bin/sh\n  export EXTERNAL_SCRIPT='/a b' # mine\n", Some("/a b")),
            ("EXTERNAL_SCRIPT=/one\nEXTERNAL_SCRIPT=/two # not /three\n", Some("/two")),
            ("EXTERNAL_SCRIPT=$HOME/x; export EXTERNAL_SCRIPT", Some("$HOME/x")),
            ("#EXTERNAL_SCRIPT=/one\nMY_EXTERNAL_SCRIPT=/two\n", None),
            ("EXTERNAL_SCRIPT=\n", None),
            ("EXTERNAL_SCRIPT=\"", None),
            ("", None),
        ] {
            assert_eq!(external_script(text.as_bytes()).as_deref(), script, "{text}");
        }
    }
}
