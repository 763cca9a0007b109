//! Who may reach what: security groups, and the role of `redis-ha notify`.

use ovs_mesh::Topology;
use serde_json::{Value, json};

use super::hosts::logical_name;
use super::network::tags;
use super::{StackOptions, VipPlacement};

/// IP protocols (IANA's numbers).
const GRE: &str = "47";
const VRRP: &str = "112";

pub(super) fn resources(topology: &Topology, options: &StackOptions) -> Vec<(String, Value)> {
    // All that may leave, beside the mesh: packages and EC2's API. Name and time service of the VPC pass no security group.
    let egress = json!([{
        "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIp": "0.0.0.0/0", "Description": "packages, EC2's API",
    }]);
    let group = |what: &str, name: &str, ingress: Vec<Value>| {
        json!({
            "Type": "AWS::EC2::SecurityGroup",
            "Properties": {
                "GroupDescription": what,
                "VpcId": { "Ref": "Vpc" },
                "SecurityGroupIngress": ingress,
                // Without one of its own, a group has a rule that lets everything leave.
                "SecurityGroupEgress": egress,
                "Tags": tags(name),
            }
        })
    };
    let ssh = json!({
        "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": options.ssh, "Description": "login",
    });
    let client = |port: u16| {
        options.clients.iter().map(move |range| {
            json!({
                "IpProtocol": "tcp", "FromPort": port, "ToPort": port, "CidrIp": range, "Description": "tenants' clients",
            })
        })
    };
    let clients = options.client_ports.iter().flat_map(|port| client(*port)).collect();
    let mut resources = vec![
        ("MemberGroup".to_owned(), group("All hosts of the mesh", "members", vec![ssh])),
        ("ProxyGroup".to_owned(), group("The hosts in front of the tenants", "proxies", clients)),
    ];
    for (name, group, protocol, what) in
        [("Gre", "MemberGroup", GRE, "the mesh's tunnels"), ("Vrrp", "ProxyGroup", VRRP, "who has the VIP")]
    {
        for (way, other) in [("Ingress", "SourceSecurityGroupId"), ("Egress", "DestinationSecurityGroupId")] {
            let own = by_id(group);
            let mut properties = json!({ "GroupId": own, "IpProtocol": protocol, "Description": what });
            properties[other] = own;
            let rule = json!({ "Type": format!("AWS::EC2::SecurityGroup{way}"), "Properties": properties });
            resources.push((format!("{name}{way}"), rule));
        }
    }
    // `redis-ha status` on a proxy asks whether the VIP answers on the other. That is no address of an interface's where it is a route, so
    // what leaves is allowed to it and not to the group.
    for port in &options.client_ports {
        let own = by_id("ProxyGroup");
        for (way, (key, other)) in [
            ("Ingress", ("SourceSecurityGroupId", own.clone())),
            ("Egress", ("CidrIp", json!(format!("{}/32", options.vip)))),
        ] {
            let mut properties = json!({
                "GroupId": own, "IpProtocol": "tcp", "FromPort": port, "ToPort": port, "Description": "whether the VIP answers",
            });
            properties[key] = other;
            let rule = json!({ "Type": format!("AWS::EC2::SecurityGroup{way}"), "Properties": properties });
            resources.push((format!("Vip{port}{way}"), rule));
        }
    }
    resources.push(("NotifyRole".to_owned(), role(topology, options)));
    let profile =
        json!({ "Type": "AWS::IAM::InstanceProfile", "Properties": { "Roles": [{ "Ref": "NotifyRole" }] } });
    resources.push(("NotifyProfile".to_owned(), profile));
    resources
}

/// A group, for who refers to it. By `Ref`, which stays as it is when the group's rules change; what has an attribute (`Fn::GetAtt`,
/// as its `GroupId`) CloudFormation takes for changed along with the group: interfaces, and with them instances.
pub(super) fn by_id(group: &str) -> Value {
    json!({ "Ref": group })
}

/// What `redis-ha notify` must be allowed, and no more: to see (which cannot be limited to some interfaces or tables), and
/// to lead the VIP to one of the proxies.
fn role(topology: &Topology, options: &StackOptions) -> Value {
    let arn = |resource: String| json!({ "Fn::Sub": format!("arn:${{AWS::Partition}}:ec2:${{AWS::Region}}:${{AWS::AccountId}}:{resource}") });
    let proxies = topology.hosts().iter().filter(|host| options.proxies.contains(host.name()));
    let interfaces =
        proxies.map(|host| format!("network-interface/${{{}Interface}}", logical_name(host.name())));
    let (see, act, on): (_, _, Vec<Value>) = match options.placement {
        VipPlacement::Address => (
            vec!["ec2:DescribeNetworkInterfaces"],
            "ec2:AssignPrivateIpAddresses",
            interfaces.map(arn).collect(),
        ),
        VipPlacement::Route => (
            vec!["ec2:DescribeNetworkInterfaces", "ec2:DescribeRouteTables"],
            "ec2:ReplaceRoute",
            vec![arn("route-table/${RouteTable}".to_owned())],
        ),
    };
    json!({
        "Type": "AWS::IAM::Role",
        "Properties": {
            "Description": "redis-ha notify: leads the VIP to the proxy that keepalived has made master",
            "AssumeRolePolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [{
                    "Effect": "Allow",
                    "Principal": { "Service": { "Fn::Sub": "ec2.${AWS::URLSuffix}" } },
                    "Action": "sts:AssumeRole",
                }],
            },
            "Policies": [{
                "PolicyName": "vip",
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Effect": "Allow",
                            "Action": see,
                            "Resource": "*",
                            "Condition": { "StringEquals": { "aws:RequestedRegion": { "Ref": "AWS::Region" } } },
                        },
                        { "Effect": "Allow", "Action": [act], "Resource": on },
                    ],
                },
            }],
            "Tags": tags("notify"),
        }
    })
}
