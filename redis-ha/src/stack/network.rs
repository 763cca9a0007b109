//! The VPC, its subnets and routes.

use ovs_mesh::Topology;
use serde_json::{Value, json};

use super::hosts::first_holder;
use super::{StackOptions, VipPlacement};

/// The resource of the interface that has the VIP until `redis-ha notify` takes it.
pub(super) const VIP_RESERVE: &str = "VipReserve";

/// A resource's name, after the stack's.
pub(super) fn tags(what: &str) -> Value {
    json!([{ "Key": "Name", "Value": { "Fn::Sub": format!("${{AWS::StackName}}-{what}") } }])
}

pub(super) fn resources(topology: &Topology, options: &StackOptions) -> Vec<(String, Value)> {
    let subnet = |at: usize, name: &str| {
        json!({
            "Type": "AWS::EC2::Subnet",
            "Properties": {
                "VpcId": { "Ref": "Vpc" },
                "CidrBlock": options.subnets[at],
                "AvailabilityZone": { "Fn::Select": [at, { "Fn::GetAZs": "" }] },
                "Tags": tags(name),
            }
        })
    };
    let association = |subnet: &str| {
        json!({
            "Type": "AWS::EC2::SubnetRouteTableAssociation",
            "Properties": { "SubnetId": { "Ref": subnet }, "RouteTableId": { "Ref": "RouteTable" } }
        })
    };
    let mut resources = vec![
        (
            "Vpc",
            json!({
                "Type": "AWS::EC2::VPC",
                "Properties": {
                    "CidrBlock": options.vpc, "EnableDnsSupport": true, "EnableDnsHostnames": true, "Tags": tags("vpc"),
                }
            }),
        ),
        (
            "InternetGateway",
            json!({ "Type": "AWS::EC2::InternetGateway", "Properties": { "Tags": tags("gateway") } }),
        ),
        (
            "GatewayAttachment",
            json!({
                "Type": "AWS::EC2::VPCGatewayAttachment",
                "Properties": { "VpcId": { "Ref": "Vpc" }, "InternetGatewayId": { "Ref": "InternetGateway" } }
            }),
        ),
        ("SubnetA", subnet(0, "a")),
        ("SubnetB", subnet(1, "b")),
        (
            "RouteTable",
            json!({
                "Type": "AWS::EC2::RouteTable",
                "Properties": { "VpcId": { "Ref": "Vpc" }, "Tags": tags("routes") }
            }),
        ),
        (
            "DefaultRoute",
            json!({
                "Type": "AWS::EC2::Route",
                "DependsOn": "GatewayAttachment",
                "Properties": {
                    "RouteTableId": { "Ref": "RouteTable" },
                    "DestinationCidrBlock": "0.0.0.0/0",
                    "GatewayId": { "Ref": "InternetGateway" },
                }
            }),
        ),
        ("AssociationA", association("SubnetA")),
        ("AssociationB", association("SubnetB")),
        // One machine that fails takes one host along.
        ("Spread", json!({ "Type": "AWS::EC2::PlacementGroup", "Properties": { "Strategy": "spread" } })),
        (
            "LaunchTemplate",
            json!({
                "Type": "AWS::EC2::LaunchTemplate",
                "Properties": {
                    "LaunchTemplateData": {
                        // Whoever makes a host's service ask for an address cannot ask for its credentials.
                        "MetadataOptions": { "HttpTokens": "required", "HttpPutResponseHopLimit": 1 },
                    }
                }
            }),
        ),
    ];
    if let (VipPlacement::Route, Some(first)) = (options.placement, first_holder(topology, options)) {
        let route = json!({
            "Type": "AWS::EC2::Route",
            "Properties": {
                "RouteTableId": { "Ref": "RouteTable" },
                "DestinationCidrBlock": format!("{}/32", options.vip),
                // From here on `redis-ha notify` replaces it.
                "NetworkInterfaceId": { "Ref": format!("{first}Interface") },
            }
        });
        resources.push(("VipRoute", route));
    }
    if options.placement == VipPlacement::Address {
        let reserve = json!({
            "Type": "AWS::EC2::NetworkInterface",
            "Properties": {
                // On a proxy's, its cloud-init would make the VIP the machine's own, whoever is master.
                "Description": "keeps the VIP until a proxy takes it",
                "SubnetId": { "Ref": "SubnetA" },
                // Without a primary one among them, EC2 chooses it.
                "PrivateIpAddresses": [{ "PrivateIpAddress": options.vip, "Primary": false }],
                "Tags": tags("vip-reserve"),
            }
        });
        resources.push((VIP_RESERVE, reserve));
    }
    resources.into_iter().map(|(name, resource)| (name.to_owned(), resource)).collect()
}
