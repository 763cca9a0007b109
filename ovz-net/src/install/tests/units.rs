//! systemd's files, read back by its rules (systemd.syntax(7)): systemd itself need not be where this is tested.

use std::path::Path;
use std::time::Duration;

use super::super::content::Content;
use super::super::files::Texts;

/// Sections, keys and values; anything else is a fault. Values go to the line's end: no line is continued.
fn parsed(text: &str) -> Vec<(String, String, String)> {
    let mut section = None;
    let mut found = Vec::new();
    for line in text.lines() {
        assert!(!line.ends_with('\\') && line.len() < 2048, "{line}");
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            assert!(["Unit", "Service", "Install"].contains(&name), "{name}");
            section = Some(name.to_owned());
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("no `=`: {line}"));
        assert!(key.chars().all(char::is_alphanumeric), "{line}");
        found.push((section.clone().expect("a section first"), key.to_owned(), value.to_owned()));
    }
    found
}

/// The words of a value: quotes and backslashes taken off, `%%` and, in a command line, `$$` halved.
fn words(value: &str, is_command: bool) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = value.chars().peekable();
    while chars.peek().is_some() {
        let mut word = String::new();
        let mut quoted = false;
        while let Some(c) = chars.next() {
            match c {
                '"' => quoted = !quoted,
                '\\' => word.push(chars.next().expect("something escaped")),
                ' ' if !quoted => break,
                '%' => word.push(chars.next_if_eq(&'%').expect("no specifier")),
                '$' if is_command => word.push(chars.next_if_eq(&'$').expect("no variable")),
                c => word.push(c),
            }
        }
        assert!(!quoted, "{value}");
        words.push(word);
    }
    words
}

fn units(program: &str, variables: &[(&'static str, String)]) -> [Vec<(String, String, String)>; 2] {
    let texts = Texts { program, variables, timeout: Duration::from_secs(10) };
    let files = texts.files(None, true);
    ["/etc/systemd/system/ovsmesh.service", "/etc/systemd/system/vz.service.d/ovsmesh.conf"].map(|path| {
        let (_, content) = files.iter().find(|(file, _)| file == Path::new(path)).unwrap();
        let Content::File { text, .. } = content else { panic!() };
        parsed(text)
    })
}

fn values<'a>(unit: &'a [(String, String, String)], section: &str, key: &str) -> Vec<&'a str> {
    let matches = |(found, name, _): &&(String, String, String)| found == section && name == key;
    unit.iter().filter(matches).map(|(_, _, value)| value.as_str()).collect()
}

#[test]
fn the_order_is_open_vswitch_then_sync_then_containers() {
    let [service, drop_in] = units("/usr/local/bin/ovsmesh", &[("OVSMESH_HOST", "redis1".to_owned())]);
    let both = "openvswitch-switch.service openvswitch.service";
    let online = format!("network-online.target {both}");
    for key in ["Wants", "After"] {
        assert_eq!(values(&service, "Unit", key), [&online]);
        assert_eq!(values(&drop_in, "Unit", key), [format!("{both} ovsmesh.service")]);
    }
    assert_eq!(values(&service, "Unit", "PartOf"), [both]);
    assert_eq!(values(&service, "Service", "Type"), ["oneshot"]);
    assert_eq!(values(&service, "Service", "ExecStart"), ["/usr/local/bin/ovsmesh sync"]);
    assert_eq!(values(&service, "Service", "Environment"), ["OVSMESH_HOST=redis1"]);
    // Neither keeps a container down for good: nothing is required, and no wait is for ever.
    assert!([&service, &drop_in].iter().all(|unit| values(unit, "Unit", "Requires").is_empty()));
    assert_eq!(values(&service, "Service", "TimeoutStartSec"), ["300"]);
}

#[test]
fn systemd_reads_back_what_was_quoted() {
    for text in ["/plain", "/a b", "/50%/x", "/$HOME/x", "/it's/\"so\"", "/back\\slash", "/über"] {
        let [service, _] = units(text, &[("OVSMESH_CONFIG", text.to_owned())]);
        let command = values(&service, "Service", "ExecStart");
        assert_eq!(words(command[0], true), [text, "sync"]);
        let environment = values(&service, "Service", "Environment");
        assert_eq!(words(environment[0], false), [format!("OVSMESH_CONFIG={text}")]);
    }
}
