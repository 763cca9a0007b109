use std::fmt::Write;
use std::path::Path;

use super::*;

const MESH: &str = include_str!("../../../examples/ha-redis.toml");
const SERVICE: &str = include_str!("../../../examples/redis-ha.toml");

fn config(service: &str) -> Config {
    Config::parse(service, Path::new("/etc/redis-ha/redis-ha.toml"), MESH.parse().unwrap()).unwrap()
}

fn secrets(config: &Config) -> Secrets {
    let client = |cluster: &Cluster| Ok(format!("clients-of-{}-0000", cluster.tenant).parse().unwrap());
    Secrets::new(config, &"the-operators-secret".parse().unwrap(), client).unwrap()
}

fn shown(files: &[RenderedFile], keep: impl Fn(&RenderedFile) -> bool) -> String {
    let mut text = String::new();
    for file in files.iter().filter(|file| keep(file)) {
        writeln!(text, "=== {} {:04o}\n{}", file.relative().display(), file.mode, file.text).unwrap();
    }
    text
}

#[test]
fn the_files_of_a_node_a_proxy_and_a_host() {
    let config = config(SERVICE);
    let files = render(&config, &secrets(&config));
    let of = |place: Place| shown(&files, |file| file.place == place);
    insta::assert_snapshot!("node", of(Place::Node("101".parse().unwrap())));
    insta::assert_snapshot!("proxy", of(Place::Proxy("proxy1".parse().unwrap())));
    insta::assert_snapshot!("host", of(Place::Host("redis1".parse().unwrap())));
}

#[test]
fn the_other_ways() {
    let service = SERVICE
        .replace("persistence = \"aof\"", "persistence = \"none\"\nprofile = \"calm\"\ntls = \"acme.pem\"")
        .replace("router_id = 51", "router_id = 51\nprofile = \"seed\"\naws = { mode = \"address\" }")
        .replace("persistence = \"rdb\"", "persistence = \"rdb\"\nprofile = \"seed-30\"");
    let config = config(&service);
    let files = render(&config, &secrets(&config));
    let names = ["redis.conf", "sentinel.conf", "haproxy.cfg", "keepalived.conf", "redis-ha-notify.service"];
    let places = [
        Place::Node("101".parse().unwrap()),
        Place::Node("201".parse().unwrap()),
        Place::Proxy("proxy2".parse().unwrap()),
    ];
    insta::assert_snapshot!(shown(&files, |file| {
        places.contains(&file.place) && names.iter().any(|name| file.path.ends_with(name))
    }));
}

#[test]
fn no_password_is_in_a_file_that_all_can_read() {
    let config = config(SERVICE);
    let secrets = secrets(&config);
    let files = render(&config, &secrets);
    for (_, credentials) in secrets.of(&config) {
        let Credentials { client, operator, sentinel } = credentials;
        for secret in [client, operator, sentinel] {
            for file in files.iter().filter(|file| file.text.contains(secret.expose())) {
                assert_eq!(file.mode & 0o007, 0, "{}", file.path.display());
            }
        }
        assert!(!files.iter().any(|file| file.text.contains(client.expose())), "only its digest is needed");
    }
}

#[test]
fn no_two_files_are_one() {
    let config = config(SERVICE);
    let files = render(&config, &secrets(&config));
    let mut paths: Vec<_> = files.iter().map(RenderedFile::relative).collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), files.len());
}

#[test]
fn what_an_ended_agent_leaves_to_keepalived() {
    let dir = tempfile::tempdir().unwrap();
    let track = dir.path().join("dead");
    let table = [
        ("stopped", "success", "0\n", "1\n"),
        ("cannot start", "exit-code", "0\n", "1\n"),
        ("hung, and was stopped", "timeout", "0\n", "1\n"),
        ("killed", "signal", "0\n", "00\n"),
        ("hung", "watchdog", "0\n", "00\n"),
        ("killed again, without a word in between", "signal", "00\n", "1\n"),
        ("killed, with a dead HAProxy", "signal", "1\n", "1\n"),
        ("killed, with no file", "signal", "", "1\n"),
    ];
    for (what, result, before, expected) in table {
        if before.is_empty() {
            std::fs::remove_file(&track).unwrap();
        } else {
            std::fs::write(&track, before).unwrap();
        }
        let mut shell = std::process::Command::new("/bin/sh");
        shell.arg("-c").arg(after_agent(&track)).env("SERVICE_RESULT", result);
        assert!(shell.output().unwrap().status.success(), "{what}");
        assert_eq!(std::fs::read_to_string(&track).unwrap(), expected, "{what}");
    }
}
