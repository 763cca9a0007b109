//! `ssl:` endpoints: certificates on both sides, trusted by CA and not by host name.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ovs_mesh::ovsdb::{
    CallError, Client, ConnectError, ConnectOptions, Endpoint, LostReason, Operation, OperationResult,
    TlsConfig, TlsError, Value,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::{DB, Ovsdb, program, row, run, soon};

struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test CA");
        let key = KeyPair::generate().expect("ring makes keys");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("ring signs");
        let directory = TempDir::new().expect("there is a directory for temporary files");
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("a fresh directory takes files");
        Self { issuer, directory }
    }

    /// Keys for one end, with a common name and these alternative names.
    fn keys(&self, name: &str, alternatives: &[&str]) -> TlsConfig {
        let alternatives: Vec<String> = alternatives.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(alternatives).expect("the names are names");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("ring makes keys");
        let certificate = params.signed_by(&key, &self.issuer).expect("ring signs");
        let path = |kind| self.directory.path().join(format!("{name}-{kind}.pem"));
        std::fs::write(path("key"), key.serialize_pem()).expect("a fresh directory takes files");
        std::fs::write(path("cert"), certificate.pem()).expect("a fresh directory takes files");
        TlsConfig { private_key: path("key"), certificate: path("cert"), ca_certificate: self.path() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }
}

async fn start(keys: &TlsConfig) -> (Ovsdb, Endpoint) {
    let server = Ovsdb::start_with(&[
        format!("--private-key={}", keys.private_key.display()),
        format!("--certificate={}", keys.certificate.display()),
        format!("--ca-cert={}", keys.ca_certificate.display()),
    ])
    .await;
    let port = server.listen("pssl:0:127.0.0.1", 1000).await;
    let endpoint = format!("ssl:127.0.0.1:{port}").parse().expect("this is an endpoint");
    (server, endpoint)
}

fn with(tls: TlsConfig) -> ConnectOptions {
    ConnectOptions { tls: Some(tls), ..ConnectOptions::default() }
}

async fn talk(endpoint: &Endpoint, keys: TlsConfig) {
    let client = Client::connect(endpoint, &with(keys)).await.expect("each side trusts the other");
    client.echo(soon()).await.expect("the server answers");
    // A whole probe of the server's, then messages larger than a TLS record both ways.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let long = "x".repeat(100_000);
    let insert = Operation::insert("QoS", row([("type", Value::string(&long))]));
    let results = client.transact(DB, &[insert, Operation::select_all("QoS", ["type"])], soon()).await;
    let [_, OperationResult::Rows(rows)] = &results.expect("the server answers")[..] else {
        panic!("a select yields rows")
    };
    assert_eq!(rows[0]["type"].as_str(), Ok(long.as_str()));
}

#[tokio::test]
async fn a_certificate_that_names_no_host_is_trusted_by_its_ca() {
    let ca = Ca::new();
    let (_server, endpoint) = start(&ca.keys("server", &[])).await;
    talk(&endpoint, ca.keys("client", &[])).await;
}

#[tokio::test]
async fn a_certificate_that_names_hosts_is_trusted_by_its_ca() {
    let ca = Ca::new();
    let (_server, endpoint) = start(&ca.keys("server", &["127.0.0.1", "localhost"])).await;
    talk(&endpoint, ca.keys("client", &["client.example"])).await;
    let (_server, endpoint) = start(&ca.keys("server", &["another.example"])).await;
    talk(&endpoint, ca.keys("client", &["client.example"])).await;
}

#[tokio::test]
async fn the_certificates_of_ovs_pki_work() {
    program("openssl", "openssl");
    let directory = TempDir::new().unwrap();
    let pki = |arguments: &[&str]| {
        run(Command::new(program("ovs-pki", "openvswitch-common"))
            .arg(format!("--dir={}", directory.path().join("pki").display()))
            .arg(format!("--log={}", directory.path().join("log").display()))
            .args(arguments)
            .current_dir(directory.path()));
    };
    pki(&["init"]);
    let keys = |name: &str, kind: &str, peer: &str| {
        pki(&["--unique", "req+sign", name, kind]);
        TlsConfig {
            private_key: directory.path().join(format!("{name}-privkey.pem")),
            certificate: directory.path().join(format!("{name}-cert.pem")),
            ca_certificate: directory.path().join(format!("pki/{peer}ca/cacert.pem")),
        }
    };
    let (_server, endpoint) = start(&keys("sw", "switch", "controller")).await;
    talk(&endpoint, keys("ctl", "controller", "switch")).await;
}

#[tokio::test]
async fn a_server_of_another_ca_is_not_trusted() {
    let ca = Ca::new();
    let (_server, endpoint) = start(&ca.keys("server", &["127.0.0.1"])).await;
    let mut keys = ca.keys("client", &[]);
    let stranger = Ca::new();
    keys.ca_certificate = stranger.path();
    let error = Client::connect(&endpoint, &with(keys)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Handshake { .. }), "{error}");
    let source = error.source().unwrap().to_string();
    assert!(source.contains("certificate"), "{source}");
}

#[tokio::test]
async fn a_client_of_another_ca_is_not_trusted() {
    let ca = Ca::new();
    let (_server, endpoint) = start(&ca.keys("server", &[])).await;
    let stranger = Ca::new();
    let keys = TlsConfig { ca_certificate: ca.path(), ..stranger.keys("client", &[]) };
    // In TLS 1.3 this end is done before the server has looked at its certificate.
    match Client::connect(&endpoint, &with(keys)).await {
        Err(error) => assert!(matches!(error, ConnectError::Handshake { .. }), "{error}"),
        Ok(client) => {
            let error = client.echo(soon()).await.unwrap_err();
            let CallError::Connection { source, .. } = error else { panic!("{error}") };
            assert!(matches!(source.reason, LostReason::Io { .. } | LostReason::Closed), "{source:?}");
        }
    }
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_named() {
    let ca = Ca::new();
    let endpoint: Endpoint = "ssl:127.0.0.1:1".parse().unwrap();
    let good = ca.keys("client", &[]);
    let other = ca.keys("other", &[]);
    let missing = Path::new("/nonexistent/key.pem").to_owned();
    let failure = async |keys: TlsConfig| {
        let error = Client::connect(&endpoint, &with(keys)).await.unwrap_err();
        let ConnectError::Keys { source, .. } = error else { panic!("{error}") };
        source
    };
    let error = failure(TlsConfig { private_key: missing, ..good.clone() }).await;
    assert_eq!(error.to_string(), "cannot read /nonexistent/key.pem");
    let error = failure(TlsConfig { private_key: good.certificate.clone(), ..good.clone() }).await;
    assert!(matches!(error, TlsError::Pem { what: "private key", .. }), "{error}");
    let error = failure(TlsConfig { ca_certificate: good.private_key.clone(), ..good.clone() }).await;
    assert!(matches!(error, TlsError::NoCertificate { .. }), "{error}");
    let error = failure(TlsConfig { private_key: other.private_key, ..good }).await;
    assert!(matches!(error, TlsError::Pair { .. }), "{error}");
}

#[tokio::test]
async fn a_handshake_that_hangs_costs_no_more_than_the_deadline() {
    let ca = Ca::new();
    // The kernel accepts the connection; nobody ever reads from it.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::Ssl(listener.local_addr().unwrap());
    let deadline = Duration::from_millis(200);
    let options = ConnectOptions { deadline, ..with(ca.keys("client", &[])) };
    let error = Client::connect(&endpoint, &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Deadline { waited, .. } if waited == deadline), "{error}");
}
