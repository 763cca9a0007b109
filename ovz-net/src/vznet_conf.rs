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
}
