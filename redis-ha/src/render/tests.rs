use std::fmt::Write;
use std::path::Path;

use super::*;
use crate::config::Certificate;

const MESH: &str = include_str!("../../../examples/ha-redis.toml");
const SERVICE: &str = include_str!("../../../examples/redis-ha.toml");

fn config(service: &str) -> Config {
    Config::parse(service, Path::new("/etc/redis-ha/redis-ha.toml"), MESH.parse().unwrap()).unwrap()
}

fn secrets(config: &Config) -> Secrets {
    let client = |cluster: &Cluster| Ok(format!("clients-of-{}-0000", cluster.tenant).parse().unwrap());
    Secrets::new(config, &"the-operators-secret".parse().unwrap(), client).unwrap()
}

const PEM: &str = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n";

fn certificates(config: &Config) -> Certificates {
    Certificates::new(config, |path| Certificate::parse(PEM, path)).unwrap()
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
    let files = render(&config, &secrets(&config), &certificates(&config));
    let of = |place: Place| shown(&files, |file| file.place == place);
    insta::assert_snapshot!("node", of(Place::Node("101".parse().unwrap())));
    insta::assert_snapshot!("proxy", of(Place::Proxy("proxy1".parse().unwrap())));
    insta::assert_snapshot!("host", of(Place::Host("redis1".parse().unwrap())));
}

#[test]
fn the_other_ways() {
    let service = SERVICE
        .replace("persistence = \"aof\"", "persistence = \"none\"\nprofile = \"calm\"\ntls = \"acme.pem\"")
        .replace("router_id = 51", "router_id = 51\nprofile = \"seed\"\naws = { mode = \"address\", interfaces = { proxy1 = \"eni-0123456789abcdef0\", proxy2 = \"eni-0123456789abcdef1\" }, reserve = \"eni-0123456789abcdef2\" }")
        .replace("persistence = \"rdb\"", "persistence = \"rdb\"\nprofile = \"seed-30\"");
    let config = config(&service);
    let files = render(&config, &secrets(&config), &certificates(&config));
    let names = [
        "redis.conf",
        "sentinel.conf",
        "haproxy.cfg",
        "keepalived.conf",
        "redis-ha-notify.service",
        "redis-ha-keepalived.service",
        "acme.pem",
    ];
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
    let config = config(&SERVICE.replace("persistence = \"aof\"", "tls = \"acme.pem\""));
    let secrets = secrets(&config);
    let files = render(&config, &secrets, &certificates(&config));
    let keys: Vec<_> = files.iter().filter(|file| file.text.contains("PRIVATE KEY")).collect();
    assert_eq!(keys.len(), 2, "one a proxy");
    assert!(keys.iter().all(|file| file.mode == 0o600 && file.path.ends_with("tls/acme.pem")));
    for (_, credentials) in secrets.of(&config) {
        let Credentials { client, operator, sentinel } = credentials;
        for secret in [client, operator, sentinel, secrets.service()] {
            for file in files.iter().filter(|file| file.text.contains(secret.expose())) {
                assert_eq!(file.mode & 0o007, 0, "{}", file.path.display());
            }
        }
        for secret in [client, secrets.service()] {
            let with: Vec<_> = files.iter().filter(|file| file.text.contains(secret.expose())).collect();
            assert_eq!(with.len(), 2, "a proxy's agent needs it; else only the digest, or what is derived");
            for RenderedFile { place, mode, path, .. } in with {
                assert!(
                    matches!(place, Place::Proxy(_)) && path.starts_with("/etc/redis-ha/secrets"),
                    "{path:?}"
                );
                assert_eq!(*mode, 0o600);
            }
        }
    }
}

/// Wherever the service's file, the topology and the secrets were, a proxy's say the same beside each other.
#[test]
fn a_proxy_has_what_its_agent_reads() {
    let aws = "aws = { mode = \"address\", reserve = \"eni-0123456789abcdef2\" }";
    let service = SERVICE
        .replace("router_id = 51", &format!("router_id = 51\n{aws}"))
        .replace(
            "password_file = \"secrets/acme\"",
            "password_file = \"secrets/acme\"\ntls = \"/root/acme.pem\"",
        )
        .replace("secrets/acme", "../elsewhere/acme")
        .replace("secrets/service", "/root/service");
    let config = config(&service);
    let secrets = secrets(&config);
    let files = render(&config, &secrets, &certificates(&config));
    for proxy in &config.proxies.hosts {
        let text = |path: &Path| {
            let found =
                files.iter().find(|file| file.place == Place::Proxy(proxy.clone()) && file.path == path);
            &found.unwrap_or_else(|| panic!("{path:?} is not there")).text
        };
        let path = Path::new("/etc/redis-ha/redis-ha.toml");
        let mesh = text(Path::new("/etc/redis-ha/mesh.toml"));
        assert!(text(path).contains("mesh = \"mesh.toml\"\n"));
        let read = Config::parse(text(path), path, mesh.parse().unwrap()).unwrap();
        let password = |cluster: &Cluster| Ok(text(&cluster.password_file).parse().unwrap());
        let same = Secrets::new(&read, &text(&read.secret_file).parse().unwrap(), password).unwrap();
        assert_eq!(same, secrets);
        let certificate = |path: &Path| Certificate::parse(text(path), path);
        assert_eq!(Certificates::new(&read, certificate).unwrap(), certificates(&config));
        let mut moved = config.clone();
        moved.secret_file.clone_from(&read.secret_file);
        for (cluster, of_proxy) in moved.clusters.iter_mut().zip(&read.clusters) {
            cluster.password_file.clone_from(&of_proxy.password_file);
            cluster.tls.clone_from(&of_proxy.tls);
        }
        assert_eq!(read, moved);
    }
}

#[test]
fn no_two_files_are_one() {
    let config = config(SERVICE);
    let files = render(&config, &secrets(&config), &certificates(&config));
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
