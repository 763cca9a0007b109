//! A strict EC2 and instance metadata, on 127.0.0.1: it does to addresses and routes what the services do, checks every
//! signature by its own computation, and refuses what they refuse. What it is asked for is written down.

mod ec2;
mod imds;
mod signature;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use ipnetwork::Ipv4Network;
use tiny_http::{Request, Server};

pub(crate) const REGION: &str = "eu-central-1";
/// The two proxies' interfaces, and one of somebody else, all in one subnet.
pub(crate) const ENI_A: &str = "eni-0000000000000000a";
pub(crate) const ENI_B: &str = "eni-0000000000000000b";
pub(crate) const ENI_OTHER: &str = "eni-0000000000000000c";
pub(crate) const TABLES: [&str; 2] = ["rtb-00000000000000001", "rtb-00000000000000002"];
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 100);
/// Where the instance metadata has the role's credentials.
pub(crate) const CREDENTIALS: &str = "iam/security-credentials/notify";
/// A VIP that routes lead to.
pub(crate) const OVERLAY: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 1);

#[derive(Debug, Clone)]
pub(crate) struct Eni {
    pub(crate) id: &'static str,
    pub(crate) mac: &'static str,
    pub(crate) device: u32,
    pub(crate) subnet: &'static str,
    pub(crate) primary: Ipv4Addr,
    /// With the time from which the instance metadata has them.
    pub(crate) secondary: BTreeMap<Ipv4Addr, Instant>,
    pub(crate) source_dest_check: bool,
}

impl Eni {
    fn new(id: &'static str, mac: &'static str, device: u32, subnet: &'static str, primary: [u8; 4]) -> Self {
        let (secondary, source_dest_check) = (BTreeMap::new(), true);
        Self { id, mac, device, subnet, primary: primary.into(), secondary, source_dest_check }
    }
}

/// An access key.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
    pub(crate) is_expired: bool,
    /// Actions that it may not call.
    pub(crate) denied: BTreeSet<&'static str>,
}

/// What an action is answered with in place of being carried out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Throttle,
    Internal,
    /// A gateway's page.
    Gateway,
    /// Carried out, after so long.
    Slow(Duration),
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) enis: Vec<Eni>,
    pub(crate) subnets: BTreeMap<&'static str, Ipv4Network>,
    /// Per table: destination and interface.
    pub(crate) routes: BTreeMap<&'static str, BTreeMap<String, String>>,
    pub(crate) keys: BTreeMap<String, Key>,
    /// Per action, used up one a call.
    pub(crate) faults: BTreeMap<&'static str, VecDeque<Fault>>,
    /// How long an assigned address takes to be in the instance metadata.
    pub(crate) lag: Duration,
    /// All calls that were carried out or refused, in order, with their parameters.
    pub(crate) calls: Vec<(String, BTreeMap<String, String>)>,
    /// Requests that no such client may make: unsigned, by the metadata's first version, with unknown parameters.
    pub(crate) offences: Vec<String>,
    /// Tokens that the instance metadata gave.
    pub(crate) tokens: BTreeSet<String>,
    /// The access key that the role gives now; none: the instance has no role.
    pub(crate) role_key: Option<String>,
    /// The one that it gives from the next time on.
    pub(crate) next_role_key: Option<String>,
    pub(crate) role_expiry: String,
    pub(crate) metadata_calls: Vec<String>,
    /// How long the role's credentials take.
    pub(crate) credentials_take: Duration,
}

impl State {
    pub(crate) fn eni(&mut self, id: &str) -> &mut Eni {
        self.enis.iter_mut().find(|eni| eni.id == id).expect("an interface of the fake")
    }

    pub(crate) fn holder(&self, address: Ipv4Addr) -> Option<&'static str> {
        self.enis.iter().find(|eni| eni.secondary.contains_key(&address)).map(|eni| eni.id)
    }

    pub(crate) fn give(&mut self, address: Ipv4Addr, id: &str) {
        for eni in &mut self.enis {
            eni.secondary.remove(&address);
        }
        self.eni(id).secondary.insert(address, Instant::now());
    }

    pub(crate) fn called(&self, action: &str) -> usize {
        self.calls.iter().filter(|(called, _)| called == action).count()
    }

    pub(crate) fn actions(&self) -> Vec<&str> {
        self.calls.iter().map(|(action, _)| action.as_str()).collect()
    }

    pub(crate) fn fault(&mut self, action: &'static str, faults: &[Fault]) {
        self.faults.entry(action).or_default().extend(faults);
    }
}

/// The services; they end with the process.
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    pub(crate) ec2: String,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let key = |secret: &str, token: Option<&str>| Key {
            secret: secret.to_owned(),
            token: token.map(str::to_owned),
            is_expired: false,
            denied: BTreeSet::new(),
        };
        let overlay = |eni: &str| BTreeMap::from([(format!("{OVERLAY}/32"), eni.to_owned())]);
        let subnet = "subnet-0000000000000000a";
        let state = State {
            enis: vec![
                Eni::new(ENI_A, "02:00:00:00:00:0a", 0, subnet, [10, 0, 1, 21]),
                Eni::new(ENI_B, "02:00:00:00:00:0b", 0, subnet, [10, 0, 1, 22]),
                Eni::new(ENI_OTHER, "02:00:00:00:00:0c", 0, subnet, [10, 0, 1, 99]),
            ],
            subnets: BTreeMap::from([(subnet, "10.0.1.0/24".parse().unwrap())]),
            routes: TABLES.into_iter().map(|table| (table, overlay(ENI_B))).collect(),
            keys: BTreeMap::from([
                ("ASIAROLE1".to_owned(), key("role/secret+1", Some("session/token=="))),
                ("ASIAROLE2".to_owned(), key("role/secret+2", Some("another/token=="))),
                ("AKIAUSER".to_owned(), key("user/secret", None)),
            ]),
            faults: BTreeMap::new(),
            lag: Duration::ZERO,
            calls: Vec::new(),
            offences: Vec::new(),
            tokens: BTreeSet::new(),
            role_key: Some("ASIAROLE1".to_owned()),
            next_role_key: None,
            role_expiry: "2999-01-01T00:00:00Z".to_owned(),
            metadata_calls: Vec::new(),
            credentials_take: Duration::ZERO,
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let ec2 = serve("127.0.0.1:0", move |request| ec2::answer(&shared, request));
        Self { state, ec2 }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test holds it while it fails")
    }

    /// The instance metadata of the instance with these interfaces.
    pub(crate) fn imds(&self, enis: &[&'static str]) -> String {
        let (shared, enis) = (Arc::clone(&self.state), enis.to_vec());
        serve("127.0.0.1:0", move |request| imds::answer(&shared, &enis, request))
    }

    /// EC2 once more, at a port that nothing has answered at until now.
    pub(crate) fn ec2_at(&self, address: &str) {
        let shared = Arc::clone(&self.state);
        serve(address, move |request| ec2::answer(&shared, request));
    }

    pub(crate) fn wait(&self, what: &str, is_so: impl Fn(&State) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !is_so(&self.state()) {
            assert!(Instant::now() < end, "not in time: {what}; {:#?}", self.state().calls);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How often an action was called.
    pub(crate) fn called(&self, action: &str) -> usize {
        self.state().called(action)
    }

    pub(crate) fn calls(&self) -> usize {
        self.state().calls.len()
    }

    pub(crate) fn holder(&self, address: Ipv4Addr) -> Option<&'static str> {
        self.state().holder(address)
    }

    /// No request was such that the services would have refused it for its form.
    pub(crate) fn assert_no_offence(&self) {
        assert_eq!(self.state().offences, Vec::<String>::new());
    }
}

/// An address at which nothing answers.
pub(crate) fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").to_string()
}

pub(crate) struct Reply {
    status: u16,
    content_type: &'static str,
    body: String,
}

impl Reply {
    fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain", body: body.into() }
    }

    fn xml(status: u16, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/xml;charset=UTF-8", body: body.into() }
    }
}

/// Answers each request in a thread of its own; returns the origin.
fn serve(address: &str, answer: impl Fn(&mut Request) -> Reply + Send + Sync + 'static) -> String {
    let server = Server::http(address).expect("a port on 127.0.0.1");
    let origin = format!("http://{}", server.server_addr().to_ip().expect("an address"));
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for mut request in server.incoming_requests() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                let Reply { status, content_type, body } = answer(&mut request);
                // In one write: in two, the second waits for the client's delayed acknowledgement of the first, 40 ms.
                let response = format!(
                    "HTTP/1.1 {status} -\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let mut client = request.into_writer();
                // It may have gone.
                let _ = client.write_all(response.as_bytes()).and_then(|()| client.flush());
            });
        }
    });
    origin
}

fn header(request: &Request, name: &str) -> Option<String> {
    let found = request.headers().iter().find(|header| header.field.to_string().eq_ignore_ascii_case(name));
    found.map(|header| header.value.to_string())
}
