//! Against moto's server, an emulator of EC2 and CloudFormation that others wrote: what we send it understands, what it
//! answers we understand, and our template becomes a stack. It does not do what EC2 does with an address that has another
//! holder; that is tested against a fake of our own (`notify`).
//!
//! `scripts/venv` installs it, awscli and cfn-lint.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ovs_mesh::Topology;
use serde_json::Value;

const REGION: &str = "eu-central-1";

/// A program of the Python environment.
fn program(name: &str) -> Command {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("venv/bin").join(name);
    assert!(path.exists(), "{} is not there: run scripts/venv", path.display());
    let mut command = Command::new(path);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
    credentials(&mut command);
    command
}

fn credentials(command: &mut Command) -> &mut Command {
    command.envs([
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", REGION),
    ])
}

/// Runs it to its end; returns what it printed.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{command:?} exited with {}: {stdout}{stderr}", output.status);
    stdout
}

struct Moto {
    server: Child,
    endpoint: String,
    directory: tempfile::TempDir,
}

impl Moto {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = program("moto_server");
        command
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = command.spawn().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let moto = Self { server, endpoint: format!("http://127.0.0.1:{port}"), directory };
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "moto does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        moto
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn aws(&self, arguments: &[&str]) -> Value {
        let mut command = program("aws");
        command.args(["--endpoint-url", &self.endpoint, "--output", "json"]).args(arguments);
        serde_json::from_str(&output(&mut command)).unwrap_or_default()
    }

    /// A stack from our template; returns its outputs, which are also in a file.
    fn create(&self, placement: &str, vip: &str) -> (Value, PathBuf) {
        let template = self.file("stack.json");
        std::fs::write(&template, for_moto(&stack_template(placement, vip))).unwrap();
        self.aws(&["ec2", "create-key-pair", "--key-name", "login"]);
        let image = self.aws(&["ec2", "describe-images", "--query", "Images[0].ImageId"]);
        self.aws(&[
            "cloudformation",
            "create-stack",
            "--stack-name",
            "mesh",
            "--capabilities",
            "CAPABILITY_IAM",
            "--template-body",
            &format!("file://{}", template.display()),
            "--parameters",
            &format!("ParameterKey=ImageId,ParameterValue={}", image.as_str().unwrap()),
            "ParameterKey=KeyName,ParameterValue=login",
            "ParameterKey=ProgramsUrl,ParameterValue=https://downloads.example/ovsmesh.tar.gz",
            &format!("ParameterKey=ProgramsSha256,ParameterValue={}", "0".repeat(64)),
        ]);
        let stacks = self.aws(&["cloudformation", "describe-stacks", "--stack-name", "mesh"]);
        assert_eq!(stacks["Stacks"][0]["StackStatus"], "CREATE_COMPLETE", "{stacks:#}");
        let outputs = self.file("outputs.json");
        std::fs::write(&outputs, stacks.to_string()).unwrap();
        (stacks["Stacks"][0]["Outputs"].clone(), outputs)
    }

    fn interface(&self, id: &str) -> Value {
        let mut found = self.aws(&["ec2", "describe-network-interfaces", "--network-interface-ids", id]);
        found["NetworkInterfaces"][0].take()
    }

    /// `redis-ha notify once`, as the instance with that interface.
    fn once(&self, interface: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redis-ha"));
        command.env_clear().args(["notify", "--ec2-endpoint", &self.endpoint, "--region", REGION]);
        command.args(["--no-local-check", "--interface", interface]).args(arguments);
        command.args(["once", "INSTANCE", "VI_1", "MASTER", "100"]);
        output(credentials(&mut command))
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn topology_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/ha-redis.toml")
}

fn stack_template(placement: &str, vip: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-ha"));
    command.env_clear().args(["stack", "template", "--placement", placement, "--vip", vip]).arg("--topology");
    command.arg(topology_file()).args([
        "--client",
        "10.0.0.0/16",
        "--client-port",
        "6379",
        "--ssh",
        "198.51.100.7/32",
    ]);
    output(&mut command)
}

/// Our template as moto can take it: it wants ports for protocols that have none.
fn for_moto(template: &str) -> String {
    let mut template: Value = serde_json::from_str(template).unwrap();
    for resource in template["Resources"].as_object_mut().unwrap().values_mut() {
        let kind = resource["Type"].as_str().unwrap();
        if ["AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress"].contains(&kind) {
            for port in ["FromPort", "ToPort"] {
                resource["Properties"][port] = (-1).into();
            }
        }
    }
    template.to_string()
}

fn value(outputs: &Value, key: &str) -> String {
    let found = outputs.as_array().unwrap().iter().find(|output| output["OutputKey"] == key);
    found.unwrap_or_else(|| panic!("no output {key}"))["OutputValue"].as_str().unwrap().to_owned()
}

#[test]
fn the_linter_finds_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for (placement, vip) in [("address", "10.0.1.100"), ("route", "172.30.0.1")] {
        let path = directory.path().join("stack.json");
        std::fs::write(&path, stack_template(placement, vip)).unwrap();
        // Everything that it has, down to what it calls informational.
        assert_eq!(
            output(program("cfn-lint").arg("--template").arg(&path).args(["--include-checks", "I"])),
            ""
        );
    }
}

#[test]
fn shellcheck_finds_nothing_in_user_data() {
    let directory = tempfile::tempdir().unwrap();
    for (placement, vip) in [("address", "10.0.1.100"), ("route", "172.30.0.1")] {
        let template: Value = serde_json::from_str(&stack_template(placement, vip)).unwrap();
        for host in ["Redis1", "Proxy1"] {
            let instance = &template["Resources"][format!("{host}Instance")]["Properties"];
            let script = instance["UserData"]["Fn::Base64"]["Fn::Sub"].as_str().unwrap();
            // As CloudFormation does, with some text for each value.
            let mut parts = script.split("${");
            let mut filled = parts.next().unwrap().to_owned();
            for part in parts {
                filled.push_str(&part.replacen('}', "", 1));
            }
            let path = directory.path().join("script");
            std::fs::write(&path, filled).unwrap();
            assert_eq!(output(Command::new("shellcheck").arg(&path)), "");
        }
    }
}

#[test]
fn a_stack_fills_the_files_and_its_address_moves() {
    let moto = Moto::start();
    let (outputs, file) = moto.create("address", "10.0.1.100");
    let (mesh, service) = (moto.file("mesh.toml"), moto.file("redis-ha.toml"));
    std::fs::copy(topology_file(), &mesh).unwrap();
    std::fs::write(&service, "# ours\n[proxy]\n").unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_redis-ha"));
    program.env_clear().args(["stack", "fill", "--outputs"]).arg(&file).arg("--topology").arg(&mesh);
    assert_eq!(output(program.arg("--service").arg(&service)), "");
    let topology: Topology = std::fs::read_to_string(&mesh).unwrap().parse().unwrap();
    for host in topology.hosts() {
        let mut logical = host.name().to_string();
        logical[..1].make_ascii_uppercase();
        assert_eq!(host.underlay_ip().to_string(), value(&outputs, &format!("{logical}Address")));
        let Ok(address) = host.underlay_ip().to_string().parse::<Ipv4Addr>() else { panic!("{host:?}") };
        // moto gives also those that EC2 keeps for itself.
        assert!(matches!(address.octets(), [10, 0, 1 | 2, _]), "{address}");
    }
    let (first, second) = (value(&outputs, "Proxy1Interface"), value(&outputs, "Proxy2Interface"));
    let service = std::fs::read_to_string(&service).unwrap();
    let interfaces = format!("interfaces = {{ proxy1 = \"{first}\", proxy2 = \"{second}\" }}\n");
    assert!(service.starts_with("# ours\n[proxy]\n") && service.contains(&interfaces), "{service}");
    assert!(service.contains(&format!("region = \"{REGION}\"\nmode = \"address\"\n")), "{service}");

    let instances = moto.aws(&["ec2", "describe-instances", "--query", "Reservations[].Instances[]"]);
    assert_eq!(instances.as_array().unwrap().len(), 5);
    // moto gives any address as an interface's own, this stack's VIP too.
    let own = moto.aws(&["ec2", "describe-network-interfaces"]).to_string();
    let mut free = (100..200).map(|last| format!("10.0.1.{last}"));
    let vip = free.find(|address| !own.contains(&format!("\"{address}\""))).unwrap();
    let has = |interface: &str| {
        let found = moto.interface(interface);
        found["PrivateIpAddresses"]
            .as_array()
            .unwrap()
            .iter()
            .any(|at| at["PrivateIpAddress"] == vip.as_str())
    };
    let reserve = value(&outputs, "VipReserve");
    assert!(service.ends_with(&format!("reserve = \"{reserve}\"\n")), "{service}");
    // moto's stacks give it none but its own.
    moto.aws(&[
        "ec2",
        "assign-private-ip-addresses",
        "--network-interface-id",
        &reserve,
        "--private-ip-addresses",
        &vip,
    ]);
    assert!(has(&reserve) && !has(&first) && !has(&second));
    let of_vip = format!("VI_1={vip}");
    let arguments = ["--vip", &of_vip, "--peer", &first, "--peer", &reserve];
    let said = moto.once(&second, &arguments);
    assert!(said.starts_with(&format!("{vip} now leads to {second} (")), "{said}");
    assert!(has(&second));
    let said = moto.once(&second, &arguments);
    assert!(said.starts_with(&format!("{vip} leads to {second} (")), "{said}");
}

#[test]
fn a_stacks_route_moves() {
    let moto = Moto::start();
    let (outputs, _) = moto.create("route", "172.30.0.1");
    let (table, second) = (value(&outputs, "RouteTable"), value(&outputs, "Proxy2Interface"));
    let led = || {
        let tables = moto.aws(&["ec2", "describe-route-tables", "--route-table-ids", &table]);
        let routes = tables["RouteTables"][0]["Routes"].as_array().unwrap().clone();
        let route =
            routes.into_iter().find(|route| route["DestinationCidrBlock"] == "172.30.0.1/32").unwrap();
        route["NetworkInterfaceId"].as_str().unwrap().to_owned()
    };
    assert_eq!(led(), value(&outputs, "Proxy1Interface"));
    // moto's stacks do not carry it over.
    moto.aws(&[
        "ec2",
        "modify-network-interface-attribute",
        "--network-interface-id",
        &second,
        "--no-source-dest-check",
    ]);
    let said = moto.once(&second, &["--vip", "VI_1=172.30.0.1", "--route-table", &table]);
    assert!(said.starts_with(&format!("172.30.0.1 now leads to {second} (")), "{said}");
    assert_eq!(led(), second);
}
