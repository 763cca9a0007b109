//! The Redis service on real daemons: one master, never two, and each tenant alone.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ovs_mesh::isolation::VerifyOptions;
use ovs_mesh::link::Netns;
use ovs_mesh::{Chain, Ctid, HostName};
use ovsmesh_tests::FIVE_HOSTS;
use ovsmesh_tests::service::{SERVICE, TestService, python, redis_ha};
use redis_ha::{Fault, Place, Service as Daemon};

/// What a client of a tenant sees who sends one command with that password.
fn command(netns: &Netns, address: SocketAddr, password: &str, words: &[&str]) -> Result<String, String> {
    netns
        .run(|| {
            let url = format!("redis://:{password}@{address}/");
            let client = redis::Client::open(url).map_err(|error| format!("{error:?}"))?;
            let connection = client.get_connection_with_timeout(Duration::from_secs(2));
            let mut connection = connection.map_err(|error| format!("{error:?}"))?;
            let mut command = redis::cmd(words[0]);
            for word in &words[1..] {
                command.arg(word);
            }
            command
                .query::<redis::Value>(&mut connection)
                .map(|value| format!("{value:?}"))
                .map_err(|error| format!("{error:?}"))
        })
        .expect("the clients' namespace")
}

#[tokio::test]
async fn each_tenant_has_its_own_redis_behind_one_address() {
    let service = TestService::up(SERVICE, FIVE_HOSTS, None).await;
    let lab = &service.lab;
    let status = service.status();
    let text = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success(), "{text}");
    assert!(text.contains("acme: master 101"), "{text}");
    assert_eq!(text.matches("has the VIPs").count(), 1, "{text}");

    let netns = lab.client_netns().unwrap();
    let all: Vec<_> = lab.secrets().of(lab.config()).collect();
    let [(acme, acme_secrets), (globex, globex_secrets)] = all[..] else { panic!("two tenants") };
    let (acme_password, globex_password) = (acme_secrets.client.expose(), globex_secrets.client.expose());
    command(&netns, acme.listen, acme_password, &["SET", "who", "acme"]).unwrap();
    let read = |address, password| command(&netns, address, password, &["GET", "who"]);
    assert!(read(acme.listen, acme_password).unwrap().contains("acme"));
    assert!(read(globex.listen, globex_password).unwrap().contains("nil"), "globex sees acme's data");
    // A password opens one tenant's Redis alone, and nothing is open without.
    let refused = |address, password, word: &str| {
        let error = read(address, password).unwrap_err();
        assert!(error.contains(word), "{error}");
    };
    refused(globex.listen, acme_password, "AuthenticationFailed");
    refused(acme.listen, "", "NOAUTH");
    // What administers the server is not a client's.
    for words in [&["REPLICAOF", "NO", "ONE"][..], &["CONFIG", "GET", "*"], &["SHUTDOWN"], &["ACL", "LIST"]] {
        let refused = command(&netns, acme.listen, acme_password, words).unwrap_err();
        assert!(refused.contains("NoPerm"), "{words:?}: {refused}");
    }
    // What concerns a client's own data is.
    for words in [&["FLUSHALL"][..], &["KEYS", "*"], &["INFO"]] {
        command(&netns, acme.listen, acme_password, words).unwrap();
    }
}

#[tokio::test]
async fn a_dead_master_is_replaced_once_and_an_old_one_takes_no_writes() {
    let service = TestService::up(SERVICE, FIVE_HOSTS, None).await;
    let killed = service.drill("acme", Fault::MasterKilled).await;
    assert_eq!((killed.failovers, &killed.others_disturbed), (1, &Some(Vec::new())), "{killed}");
    let cut = service.drill("acme", Fault::MasterCut).await;
    assert_eq!(cut.failovers, 1, "{cut}");
    let returns = service.drill("acme", Fault::MasterReturns).await;
    assert_eq!((returns.lost, returns.errors), (0, 0), "{returns}");
    let empty = service.drill("acme", Fault::MasterEmpty).await;
    assert_eq!(empty.lost, 0, "{empty}");
    // What is lost depends on whom the Sentinels choose; they choose one.
    let restarted = service.drill("acme", Fault::AllRestarted).await;
    assert!(restarted.failovers == 1 && restarted.outage_ms < 20_000.0, "{restarted}");
    assert!(service.status().status.success());
}

#[tokio::test]
async fn a_stale_master_stops_taking_writes() {
    let service = TestService::up(SERVICE, FIVE_HOSTS, None).await;
    for fault in [Fault::StaleMinority, Fault::StaleReplicas] {
        let report = service.drill("acme", fault).await;
        // The partition lasts 18 s. In the article's way, most of what is written in it is lost: 15,000 and more; the aim is a twentieth.
        assert!(report.lost < 900, "{report}");
        assert!(report.acknowledged > 0, "{report}");
        assert_eq!(report.failovers, 1, "{report}");
    }
}

#[tokio::test]
async fn proxies_take_over_and_small_faults_are_none() {
    let service = TestService::up(SERVICE, FIVE_HOSTS, None).await;
    for fault in [Fault::HaproxyKilled, Fault::ProxyCut] {
        let report = service.drill("globex", fault).await;
        assert_eq!((report.lost, report.failovers), (0, 0), "{report}");
        // The article's way takes more than three seconds.
        assert!(report.outage_ms < 2000.0, "{report}");
        // A proxy that was cut off must not come back with the VIPs before it hears Sentinels again.
        let gave_up = report.timeline.iter().any(|moment| moment.what.contains("Entering FAULT STATE"));
        assert!(gave_up, "{report}");
    }
    // An agent that is back before HAProxy misses it moves nothing.
    for fault in [Fault::AgentKilled, Fault::AgentHung] {
        let report = service.drill("globex", fault).await;
        assert_eq!((report.lost, report.failovers), (0, 0), "{report}");
        assert!(report.outage_ms < 1000.0, "{report}");
        let moved = report.timeline.iter().any(|moment| moment.what.contains("Entering"));
        assert!(!moved, "{report}");
    }
    let reloaded = service.drill("globex", Fault::HaproxyReloaded).await;
    assert_eq!((reloaded.lost, reloaded.failovers), (0, 0), "{reloaded}");
    // The old process ends its sessions when it ends, and not sooner.
    assert!(reloaded.errors > 0 && reloaded.outage_ms < 1000.0, "{reloaded}");
    let sentinel = service.drill("globex", Fault::SentinelStopped).await;
    assert_eq!((sentinel.lost, sentinel.errors, sentinel.failovers), (0, 0, 0), "{sentinel}");
}

/// moto is EC2 here; that it takes an address from who had it is the lab's addition.
#[tokio::test]
async fn where_clients_go_ec2_leads_too() {
    let service = TestService::up(SERVICE, FIVE_HOSTS, Some(&python())).await;
    let holder = || service.lab.led().unwrap_or_else(|error| panic!("{}", Chain(&error)));
    // Which proxy is the first is a matter of milliseconds. There, by way of keepalived's FIFO, and back again.
    let first = holder();
    let Some([_]) = first.as_deref() else { panic!("at the start EC2 leads the VIPs to {first:?}") };
    for returns in [false, true] {
        let report = service.drill("acme", Fault::HaproxyKilled).await;
        let now = holder();
        assert_eq!((now.as_ref().map(Vec::len), now == first), (Some(1), returns), "{now:?} {report}");
        let moved =
            |who: &str, what: &str| who.starts_with("notify on") && what.contains("now leads to eni-");
        assert!(report.timeline.iter().any(|moment| moved(&moment.who, &moment.what)), "{report}");
    }
    let status = service.status();
    let text = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && text.contains("EC2 leads the VIPs to proxy"), "{text}");

    // One that is dead is told, and one that was started again learns whose the VIPs are.
    let before = holder();
    let underlay = service.lab.client_netns().unwrap();
    let signal = |signal| {
        let moto = underlay.pids().unwrap();
        assert_eq!(moto.len(), 1, "{moto:?}");
        kill(Pid::from_raw(moto[0].cast_signed()), signal).unwrap();
    };
    let killed = async || {
        signal(Signal::SIGKILL);
        // It is large, and takes its time.
        while !underlay.pids().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let mended = async |expected: &str| {
        let status = service.status();
        let told = String::from_utf8_lossy(&status.stderr);
        let is_told = told.contains(expected) && told.contains("\nhint: make it whole");
        assert!(status.status.code() == Some(3) && is_told, "{told}");
        let done = service.lab.mend(&redis_ha()).await.unwrap_or_else(|error| panic!("{}", Chain(&error)));
        assert_eq!(done, ["moto is started"]);
        service.lab.whole(Duration::from_secs(60)).await.unwrap_or_else(|error| panic!("{}", Chain(&error)));
        assert_eq!(holder(), before);
    };
    killed().await;
    mended("moto does not run").await;
    // One that hangs is replaced, and one whose start was cut short.
    signal(Signal::SIGSTOP);
    mended("moto does not answer").await;
    killed().await;
    let name = service.lab.mesh().name().as_str();
    let mut mend =
        std::process::Command::new(redis_ha()).args(["lab", "mend", "--name", name]).spawn().unwrap();
    while underlay.pids().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    mend.kill().unwrap();
    mend.wait().unwrap();
    let at = SocketAddr::new(service.lab.client_address().unwrap().ip(), 5000);
    while underlay.run(|| std::net::TcpStream::connect(at).is_err()).unwrap() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    mended("moto is not the lab's EC2: EC2 knows no eni-").await;
}

/// Whatever a drill that was interrupted has left, and whatever of it cannot be mended.
#[tokio::test]
async fn mend_goes_through_all_of_it() {
    let service = TestService::up(SERVICE, FIVE_HOSTS, None).await;
    let lab = &service.lab;
    let whole = lab.mend(&redis_ha()).await.unwrap();
    assert_eq!(whole, Vec::<String>::new(), "a whole lab is not touched");

    let ctid = |text: &str| text.parse::<Ctid>().unwrap();
    let host = |text: &str| text.parse::<HostName>().unwrap();
    let killed = [Daemon::Redis(ctid("102")), Daemon::Sentinel(ctid("103")), Daemon::Haproxy(host("proxy2"))];
    let stopped = [Daemon::Sentinel(ctid("202")), Daemon::Agent(host("proxy1"))];
    for daemon in &killed {
        lab.signal(daemon, Signal::SIGKILL).unwrap();
    }
    for daemon in &stopped {
        lab.signal(daemon, Signal::SIGSTOP).unwrap();
    }
    lab.plug(&host("redis3"), false).await.unwrap();
    let plan = lab.mesh().lab().plan();
    let bridge = format!("unix:{}", plan.host(&host("redis1")).unwrap().dir.join("br-phy.mgmt").display());
    let ofctl = |words: &[&str]| {
        let output = std::process::Command::new("ovs-ofctl").args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    ofctl(&["add-flow", &bridge, "cookie=0x7265646973,priority=60000,ip,nw_src=10.0.1.12,actions=drop"]);
    // Two that cannot be started: their files are away.
    let away: Vec<PathBuf> = ["201", "203"]
        .iter()
        .map(|node| {
            lab.signal(&Daemon::Sentinel(ctid(node)), Signal::SIGKILL).unwrap();
            let layout = lab.layout(&Place::Node(ctid(node)));
            std::fs::remove_file(layout.state.join("sentinel").join("sentinel.conf")).unwrap();
            let conf = layout.conf.join("sentinel.conf");
            std::fs::rename(&conf, conf.with_extension("away")).unwrap();
            conf
        })
        .collect();

    let error = lab.mend(&redis_ha()).await.unwrap_err();
    let text = Chain(&error).to_string();
    assert!(away.iter().all(|conf| text.contains(conf.parent().unwrap().to_str().unwrap())), "{text}");
    assert!(killed.iter().all(|daemon| lab.pid(daemon).is_some()), "all the rest runs");
    assert!(!ofctl(&["dump-flows", &bridge, "cookie=0x7265646973/-1"]).contains("actions="));
    for conf in &away {
        std::fs::rename(conf.with_extension("away"), conf).unwrap();
    }
    let mut done = lab.mend(&redis_ha()).await.unwrap_or_else(|error| panic!("{}", Chain(&error)));
    done.sort();
    assert_eq!(done, ["sentinel of node 201 is started", "sentinel of node 203 is started"]);
    lab.whole(Duration::from_secs(60)).await.unwrap_or_else(|error| panic!("{}", Chain(&error)));
}

#[tokio::test]
async fn ten_tenants_fail_over_alone() {
    let (mesh, config) = tenants(10);
    // Sixty-two daemons on what may be two cores: the profile for busy hosts.
    let config = config.replace("persistence = \"none\"", "persistence = \"none\"\nprofile = \"calm\"");
    let config = config.replace("router_id = 51", "router_id = 51\nprofile = \"calm\"");
    let service = TestService::up(&config, &mesh, None).await;
    for number in 0..10 {
        let report = service.drill(&format!("tenant{number}"), Fault::MasterKilled).await;
        assert_eq!(report.others_disturbed, Some(Vec::new()), "{report}");
        assert_eq!(report.failovers, 1, "{report}");
    }
}

/// A mesh of the example's hosts, and a service, of that many tenants with the same addresses.
fn tenants(number: usize) -> (String, String) {
    let (mut mesh, _) = FIVE_HOSTS
        .split_once("[[tenant]]")
        .map(|(hosts, rest)| (hosts.to_owned(), rest))
        .expect("the example");
    let (mut config, _) =
        SERVICE.split_once("[[cluster]]").map(|(head, rest)| (head.to_owned(), rest)).expect("the example");
    for tenant in 0..number {
        let container = |node: usize| {
            format!(
                "{{ ctid = \"{}\", host = \"redis{node}\", ip = \"192.168.10.1{node}\" }}",
                1000 + tenant * 10 + node
            )
        };
        let containers = (1..=3).map(container).collect::<Vec<_>>().join(", ");
        writeln!(
            mesh,
            "[[tenant]]\nname = \"tenant{tenant}\"\nkey = {}\nsubnet = \"192.168.10.0/24\"\ngateways = {{ proxy1 = \
             \"192.168.10.4\", proxy2 = \"192.168.10.5\" }}\ncontainers = [{containers}]",
            tenant + 1
        )
        .expect("a string");
        writeln!(
            config,
            "[[cluster]]\ntenant = \"tenant{tenant}\"\nlisten = \"10.0.1.100:{}\"\nmax_memory = \"16MiB\"\npersistence = \
             \"none\"\npassword_file = \"x{tenant}\"",
            7000 + tenant
        )
        .expect("a string");
    }
    (mesh, config)
}

/// Ports at which something of this, or of any, host might listen.
const KNOWN: [u16; 11] = [22, 53, 80, 443, 6379, 6380, 6640, 7000, 9378, 9379, 26379];

/// From inside a container, as root and with any route it likes.
#[tokio::test]
async fn a_container_reaches_its_own_tenant_and_nothing_else() {
    let service = TestService::up(SERVICE, FIVE_HOSTS, None).await;
    let lab = &service.lab;
    let (report, _) = lab
        .mesh()
        .verify(VerifyOptions::new(0x7265), &())
        .await
        .unwrap_or_else(|error| panic!("{}", Chain(&error)));
    assert_eq!(report.findings(), [], "verify is not green");

    let mut outside: Vec<IpAddr> =
        lab.config().topology.hosts().iter().map(ovs_mesh::Host::underlay_ip).collect();
    outside.extend(lab.config().proxies.vips.iter().map(ipnetwork::IpNetwork::ip));
    outside.push(lab.client_address().unwrap().ip());
    for cluster in &lab.config().clusters {
        for (share, ctid) in cluster.nodes.iter().enumerate() {
            let netns = lab.node_netns(ctid).unwrap();
            let gateways = ["192.168.10.4", "192.168.10.5"];
            // With no route there is nothing to be seen; so it gets one, by each gateway in turn.
            for gateway in gateways {
                let route = |verb: &str| {
                    let args = ["-n", netns.name().as_str(), "route", verb, "default", "via", gateway];
                    assert!(std::process::Command::new("ip").args(args).status().unwrap().success());
                };
                route("add");
                let open = scan(&netns, &outside, &KNOWN);
                assert_eq!(open, [], "{ctid} reaches the underlay by {gateway}");
                route("del");
            }
            // All ports of its gateways, a third of them from each node: HAProxy is there to connect, and nobody to be connected to.
            let every: Vec<u16> = (1..=u16::MAX)
                .filter(|port| usize::from(*port) % 3 == share || KNOWN.contains(port))
                .collect();
            let gateways: Vec<IpAddr> = gateways.map(|ip| ip.parse().unwrap()).to_vec();
            let open = scan(&netns, &gateways, &every);
            assert_eq!(open, [], "{ctid} reaches something in a gateway's namespace");
            // Its own nodes it does reach.
            let own: Vec<SocketAddr> = scan(&netns, &["192.168.10.12".parse().unwrap()], &[6379, 26379]);
            assert_eq!(own.len(), 2, "{ctid} does not reach its own tenant");
        }
    }
}

/// The addresses and ports that take a connection; a packet that is dropped is given half a second.
fn scan(netns: &Netns, hosts: &[IpAddr], ports: &[u16]) -> Vec<SocketAddr> {
    let targets: Vec<SocketAddr> =
        hosts.iter().flat_map(|host| ports.iter().map(|port| SocketAddr::new(*host, *port))).collect();
    netns
        .run(|| {
            std::thread::scope(|threads| {
                let scans: Vec<_> = targets
                    .chunks(targets.len().div_ceil(8).max(1))
                    .map(|part| {
                        // A thread begins in the namespace of the one that starts it.
                        threads.spawn(move || {
                            part.iter().copied().filter(|at| connects(*at)).collect::<Vec<_>>()
                        })
                    })
                    .collect();
                scans.into_iter().flat_map(|scan| scan.join().expect("a scan")).collect()
            })
        })
        .expect("the container's namespace")
}

fn connects(at: SocketAddr) -> bool {
    match std::net::TcpStream::connect_timeout(&at, Duration::from_millis(500)) {
        Ok(_) => true,
        Err(error) => {
            let expected = [
                ErrorKind::ConnectionRefused,
                ErrorKind::TimedOut,
                ErrorKind::NetworkUnreachable,
                ErrorKind::HostUnreachable,
            ];
            assert!(expected.contains(&error.kind()), "{at}: {error}");
            false
        }
    }
}
