use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use ovs_mesh::HostName;

use super::*;
use crate::stack::RangeOption;

fn topology() -> Topology {
    include_str!("../../../../examples/ha-redis.toml").parse().unwrap()
}

fn options(placement: VipPlacement) -> StackOptions {
    StackOptions {
        vpc: "10.0.0.0/16".parse().unwrap(),
        subnets: ["10.0.1.0/24", "10.0.2.0/24"].map(|subnet| subnet.parse().unwrap()),
        proxies: StackOptions::gateway_hosts(&topology()),
        instance: "VI_1".to_owned(),
        vip: match placement {
            VipPlacement::Address => Ipv4Addr::new(10, 0, 1, 100),
            VipPlacement::Route => Ipv4Addr::new(172, 30, 0, 1),
        },
        placement,
        clients: vec!["10.0.0.0/16".parse().unwrap(), "192.0.2.0/24".parse().unwrap()],
        client_ports: vec![6379, 6380],
        ssh: "198.51.100.7/32".parse().unwrap(),
    }
}

fn resource(template: &Value, name: &str) -> Value {
    template["Resources"][name]["Properties"].clone()
}

#[test]
fn the_seeds_five_hosts() {
    insta::assert_json_snapshot!("address", template(&topology(), &options(VipPlacement::Address)).unwrap());
    insta::assert_json_snapshot!("route", template(&topology(), &options(VipPlacement::Route)).unwrap());
}

/// What an update of the stack does not name stays as it is, only if it stands in the template or was given: a name is looked up again.
#[test]
fn an_update_finds_the_same_image() {
    let template = template(&topology(), &options(VipPlacement::Address)).unwrap();
    for (name, parameter) in template["Parameters"].as_object().unwrap() {
        assert!(!parameter["Type"].as_str().unwrap().starts_with("AWS::SSM::"), "{name}");
    }
    assert_eq!(template["Parameters"]["ImageId"]["Default"], Value::Null);
    assert_eq!(resource(&template, "Redis1Instance")["ImageId"]["Ref"], "ImageId");
}

#[test]
fn the_proxies_share_a_zone_or_do_not() {
    let subnet = |placement, host: &str| {
        let template = template(&topology(), &options(placement)).unwrap();
        resource(&template, &format!("{host}Interface"))["SubnetId"]["Ref"].clone()
    };
    assert_eq!(["Proxy1", "Proxy2"].map(|host| subnet(VipPlacement::Address, host)), ["SubnetA", "SubnetA"]);
    assert_eq!(["Proxy1", "Proxy2"].map(|host| subnet(VipPlacement::Route, host)), ["SubnetA", "SubnetB"]);
    let redis = ["Redis1", "Redis2", "Redis3"].map(|host| subnet(VipPlacement::Address, host));
    assert_eq!(redis, ["SubnetA", "SubnetB", "SubnetA"]);
}

/// A machine's cloud-init would make it that machine's own.
#[test]
fn no_machine_is_given_the_vip() {
    let template = template(&topology(), &options(VipPlacement::Address)).unwrap();
    let resources = template["Resources"].as_object().unwrap();
    let holders: Vec<&str> = resources
        .iter()
        .filter(|(_, resource)| resource["Properties"].get("PrivateIpAddresses").is_some())
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(holders, ["VipReserve"]);
    for (name, resource) in resources {
        assert!(!resource["Properties"]["NetworkInterfaces"].to_string().contains("VipReserve"), "{name}");
        // The VPC gives them addresses of their own only when this one is taken.
        if resource["Type"] == "AWS::EC2::NetworkInterface" && name != "VipReserve" {
            assert_eq!(resource["DependsOn"], "VipReserve", "{name}");
        }
    }
    let script = |host: &str| resources[host]["Properties"]["UserData"].to_string();
    assert!(script("Proxy1Instance").contains("apply_full_imds_network_config: false"));
    assert!(script("Proxy1Instance").contains("--peer ${VipReserve}"));
    assert!(!script("Redis1Instance").contains("apply_full_imds_network_config"));
}

/// Every rule of every group, as one line each: there is none beside them.
#[test]
fn nothing_else_passes() {
    let template = template(&topology(), &options(VipPlacement::Address)).unwrap();
    let mut rules = Vec::new();
    let mut rule = |group: &str, way: &str, rule: &Value| {
        let text = |key: &str| rule[key].as_str().map(str::to_owned);
        let other = text("CidrIp")
            .or_else(|| rule["SourceSecurityGroupId"]["Ref"].as_str().map(str::to_owned))
            .or_else(|| rule["DestinationSecurityGroupId"]["Ref"].as_str().map(str::to_owned));
        let ports =
            rule["FromPort"].as_u64().map_or_else(String::new, |from| format!(" {from}-{}", rule["ToPort"]));
        rules.push(format!("{group} {way} {}{ports} {}", text("IpProtocol").unwrap(), other.unwrap()));
    };
    for (name, resource) in template["Resources"].as_object().unwrap() {
        let properties = &resource["Properties"];
        match resource["Type"].as_str().unwrap() {
            "AWS::EC2::SecurityGroup" => {
                for (way, key) in [("in", "SecurityGroupIngress"), ("out", "SecurityGroupEgress")] {
                    properties[key].as_array().unwrap().iter().for_each(|one| rule(name, way, one));
                }
            }
            "AWS::EC2::SecurityGroupIngress" => {
                rule(properties["GroupId"]["Ref"].as_str().unwrap(), "in", properties);
            }
            "AWS::EC2::SecurityGroupEgress" => {
                rule(properties["GroupId"]["Ref"].as_str().unwrap(), "out", properties);
            }
            _ => {}
        }
    }
    rules.sort();
    assert_eq!(
        rules,
        [
            "MemberGroup in 47 MemberGroup",
            "MemberGroup in tcp 22-22 198.51.100.7/32",
            "MemberGroup out 47 MemberGroup",
            "MemberGroup out tcp 443-443 0.0.0.0/0",
            "ProxyGroup in 112 ProxyGroup",
            "ProxyGroup in tcp 6379-6379 10.0.0.0/16",
            "ProxyGroup in tcp 6379-6379 192.0.2.0/24",
            "ProxyGroup in tcp 6379-6379 ProxyGroup",
            "ProxyGroup in tcp 6380-6380 10.0.0.0/16",
            "ProxyGroup in tcp 6380-6380 192.0.2.0/24",
            "ProxyGroup in tcp 6380-6380 ProxyGroup",
            "ProxyGroup out 112 ProxyGroup",
            "ProxyGroup out tcp 443-443 0.0.0.0/0",
            "ProxyGroup out tcp 6379-6379 10.0.1.100/32",
            "ProxyGroup out tcp 6380-6380 10.0.1.100/32",
        ]
    );
    let groups =
        |host: &str| resource(&template, &format!("{host}Interface"))["GroupSet"].as_array().unwrap().len();
    assert_eq!((groups("Redis1"), groups("Proxy1")), (1, 2));
}

/// Neither a host that is missing in the next topology nor the stack's deletion takes data along.
#[test]
fn a_host_with_containers_outlives_its_stack() {
    let template = template(&topology(), &options(VipPlacement::Route)).unwrap();
    let kept: Vec<(&str, &Value, &Value)> = template["Resources"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, resource)| resource["DeletionPolicy"] != Value::Null)
        .map(|(name, resource)| {
            (name.as_str(), &resource["DeletionPolicy"], &resource["UpdateReplacePolicy"])
        })
        .collect();
    let (deleted, replaced) = ("RetainExceptOnCreate".into(), "Retain".into());
    let hosts = ["Redis1Instance", "Redis2Instance", "Redis3Instance"];
    assert_eq!(kept, hosts.map(|host| (host, &deleted, &replaced)));
}

/// So that an update with other clients leaves the hosts alone.
#[test]
fn other_clients_change_a_group_alone() {
    let before = template(&topology(), &options(VipPlacement::Address)).unwrap();
    // By then it has the addresses that the hosts have.
    let filled = include_str!("../../../../examples/ha-redis.toml").replace("\"10.0.1.", "\"10.0.2.");
    let changed = |change: &dyn Fn(&mut StackOptions)| {
        let mut options = options(VipPlacement::Address);
        change(&mut options);
        let mut after = template(&filled.parse().unwrap(), &options).unwrap();
        let all = [&before, &after].into_iter().flat_map(|one| one["Resources"].as_object().unwrap().keys());
        let all: BTreeSet<String> = all.cloned().collect();
        let is_other = |name: &String| after["Resources"].get(name) != before["Resources"].get(name);
        let names: Vec<String> = all.into_iter().filter(is_other).collect();
        after["Resources"] = before["Resources"].clone();
        assert_eq!(after, before);
        names
    };
    assert_eq!(changed(&|_| {}), Vec::<String>::new());
    let rules = ["ProxyGroup", "Vip6381Egress", "Vip6381Ingress"];
    assert_eq!(changed(&|options| options.client_ports.push(6381)), rules);
    assert_eq!(changed(&|options| options.clients.truncate(1)), ["ProxyGroup"]);
    assert_eq!(changed(&|options| options.ssh = "192.0.2.0/24".parse().unwrap()), ["MemberGroup"]);
    let attributes = before.to_string().matches("[\"ProxyGroup\",").count();
    assert_eq!(attributes, 0, "what depends on a group by Fn::GetAtt is taken for changed as well");
}

#[test]
fn the_topology_in_the_user_data_is_the_topology() {
    let topology = topology();
    let template = template(&topology, &options(VipPlacement::Route)).unwrap();
    let script = resource(&template, "Redis2Instance")["UserData"]["Fn::Base64"]["Fn::Sub"].clone();
    let script = script.as_str().unwrap();
    let (_, rest) = script.split_once("mesh.toml << 'END-OF-FILE'\n").unwrap();
    let (mesh, _) = rest.split_once("\nEND-OF-FILE\n").unwrap();
    // As CloudFormation does.
    let mut filled = mesh.to_owned();
    for host in topology.hosts() {
        let reference = format!("${{{}Interface.PrimaryPrivateIpAddress}}", logical_name(host.name()));
        assert_eq!(filled.matches(&reference).count(), 1);
        filled = filled.replace(&reference, &host.underlay_ip().to_string());
    }
    assert_eq!(filled.parse::<Topology>().unwrap(), topology);
}

/// Each variable of a script is one that CloudFormation has; a shell's own are written without braces.
#[test]
fn scripts_refer_to_what_is_there() {
    for placement in [VipPlacement::Address, VipPlacement::Route] {
        let template = template(&topology(), &options(placement)).unwrap();
        let names = |key: &str| template[key].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let known = [names("Parameters"), names("Resources")].concat();
        for host in ["Redis1", "Proxy2"] {
            let script =
                resource(&template, &format!("{host}Instance"))["UserData"]["Fn::Base64"]["Fn::Sub"].clone();
            let script = script.as_str().unwrap().to_owned();
            for reference in script.split("${").skip(1) {
                let name = reference.split(['}', '.']).next().unwrap();
                assert!(known.iter().any(|known| known == name), "{name}");
            }
            assert_eq!(script.contains("redis-ha notify"), host == "Proxy2");
        }
    }
}

/// Where an option's range is.
type Place = fn(&mut StackOptions) -> &mut Ipv4Network;

#[test]
fn what_would_not_work_is_no_template() {
    let error = |change: &dyn Fn(&mut StackOptions)| {
        let mut options = options(VipPlacement::Address);
        change(&mut options);
        template(&topology(), &options).unwrap_err().to_string()
    };
    let host = |name: &str| name.parse::<HostName>().unwrap();
    assert_eq!(error(&|options| options.proxies.truncate(1)), "there are 1 proxies; two are needed at least");
    assert_eq!(
        error(&|options| options.proxies.push(host("proxy3"))),
        "the proxy `proxy3` is no host of the topology"
    );
    assert_eq!(
        error(&|options| options.proxies.extend(["redis1", "redis2", "redis3"].map(host))),
        "all hosts are proxies: none is left to run containers"
    );
    for vip in [[10, 0, 2, 100], [10, 0, 1, 3], [10, 0, 1, 255], [172, 30, 0, 1]] {
        let text = error(&|options| options.vip = vip.into());
        assert!(text.ends_with("is no address that the subnet 10.0.1.0/24 can give"), "{text}");
    }
    assert_eq!(
        error(&|options| options.placement = VipPlacement::Route),
        "10.0.1.100 is within the VPC's 10.0.0.0/16, where no route can lead elsewhere"
    );
    assert_eq!(
        error(&|options| options.subnets[1] = "10.1.2.0/24".parse().unwrap()),
        "the subnet 10.1.2.0/24 is not within the VPC's 10.0.0.0/16"
    );
    assert_eq!(
        error(&|options| options.subnets[1] = "10.0.1.128/25".parse().unwrap()),
        "the subnets 10.0.1.0/24 and 10.0.1.128/25 overlap"
    );
    let with_host = "10.0.1.7/24".parse().unwrap();
    let (network, either) =
        ("write 10.0.1.0/24", "write 10.0.1.0/24 for the network, 10.0.1.7/32 for the address");
    let places: [(&str, RangeOption, Place, &str); 5] = [
        ("--vpc", RangeOption::Vpc, |options| &mut options.vpc, network),
        ("--subnet-a", RangeOption::SubnetA, |options| &mut options.subnets[0], network),
        ("--subnet-b", RangeOption::SubnetB, |options| &mut options.subnets[1], network),
        ("--client", RangeOption::Client, |options| &mut options.clients[1], either),
        ("--ssh", RangeOption::Ssh, |options| &mut options.ssh, either),
    ];
    for (name, option, place, hint) in places {
        let says = format!("{name} 10.0.1.7/24 is an address in a network");
        assert_eq!(error(&|options| *place(options) = with_host), says);
        assert_eq!(StackError::HostBits { option, range: with_host }.hint().unwrap(), hint);
    }
    for ((name, _, place, _), range) in [(places[0], "10.0.0.0/8"), (places[2], "10.0.2.0/29")] {
        let text = error(&|options| *place(options) = range.parse().unwrap());
        let says = "a VPC and a subnet have 16 to 28";
        assert!(text.starts_with(&format!("{name} {range} has")) && text.ends_with(says), "{text}");
    }
    assert_eq!(error(&|options| options.clients.clear()), "there is no range of clients");
    assert_eq!(error(&|options| options.client_ports.clear()), "there is no port for clients");
    assert_eq!(
        error(&|options| options.instance = "VI 1; reboot".to_owned()),
        "the VRRP instance's name `VI 1; reboot` has other than letters, digits, `_`, `-` and `.`"
    );
}

#[test]
fn more_hosts_than_a_spread_group_holds_are_refused() {
    let made = |redis: usize, placement| {
        let mut text = include_str!("../../../../examples/ha-redis.toml").to_owned();
        for at in 4..=redis {
            let host = format!("name = \"redis{at}\"\nunderlay_ip = \"10.0.1.{}\"\n", at + 50);
            text.extend(["[[host]]\n", &host]);
        }
        template(&text.parse().unwrap(), &options(placement)).map(|_| ())
    };
    // Both proxies are in the first zone, or one in each.
    assert_eq!(made(11, VipPlacement::Address), Err(StackError::Spread { hosts: 8 }));
    assert_eq!(made(10, VipPlacement::Address), Ok(()));
    assert_eq!(made(13, VipPlacement::Route), Err(StackError::Spread { hosts: 8 }));
    assert_eq!(made(12, VipPlacement::Route), Ok(()));
}

#[test]
fn a_topology_that_no_user_data_holds_is_refused() {
    let mut text = include_str!("../../../../examples/ha-redis.toml").to_owned();
    for tenant in 0..150 {
        let tenant = format!("name = \"t{tenant}\"\nkey = {}\nsubnet = \"10.1.0.0/16\"\n", tenant + 1000);
        text.extend(["[[tenant]]\n", &tenant]);
    }
    let error = template(&text.parse().unwrap(), &options(VipPlacement::Address)).unwrap_err();
    assert!(matches!(error, StackError::UserData { max: 16384, .. }), "{error}");
    let text = include_str!("../../../../examples/ha-redis.toml").replace("\"system\"", "\"netdev\"");
    let error = template(&text.parse().unwrap(), &options(VipPlacement::Address)).unwrap_err();
    assert_eq!(error, StackError::Datapath);
    let text = include_str!("../../../../examples/ha-redis.toml").replace("\"redis2\"", "\"redis-1\"");
    let error = template(&text.parse().unwrap(), &options(VipPlacement::Address)).unwrap_err();
    assert_eq!(error.to_string(), "hosts `redis1` and `redis-1` differ in neither letters nor digits");
}
