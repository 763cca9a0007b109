//! The template as a whole.

use ovs_mesh::Topology;
use serde_json::{Map, Value, json};

use super::hosts::logical_name;
use super::{StackError, StackOptions, VipPlacement, access, hosts, network};

/// Instance types are left to the operator; these have enhanced networking whatever the image (AWS's Nitro system).
const REDIS_TYPE: &str = "r6i.large";
const PROXY_TYPE: &str = "c6i.large";

/// A CloudFormation template of all that the topology's hosts need on AWS.
pub fn template(topology: &Topology, options: &StackOptions) -> Result<Value, StackError> {
    options.check(topology)?;
    let mut resources: Map<String, Value> = Map::new();
    resources.extend(network::resources(topology, options));
    resources.extend(access::resources(topology, options));
    resources.extend(hosts::resources(topology, options)?);
    Ok(json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": format!("ovsmesh {}: {} hosts, {} tenants", topology.name(), topology.hosts().len(), topology.tenants().len()),
        "Parameters": parameters(),
        "Resources": resources,
        "Outputs": outputs(topology, options),
    }))
}

fn parameters() -> Value {
    json!({
        // No name of one, as /aws/service/debian/…/latest/…: each update of the stack would look it up again, and another image is
        // another instance.
        "ImageId": { "Type": "AWS::EC2::Image::Id", "Description": "The machine image: Debian 12 or later" },
        "KeyName": { "Type": "AWS::EC2::KeyPair::KeyName", "Description": "The key pair for logins" },
        "RedisInstanceType": {
            "Type": "String", "Default": REDIS_TYPE, "Description": "The type of the hosts with containers; with enhanced networking",
        },
        "ProxyInstanceType": {
            "Type": "String", "Default": PROXY_TYPE, "Description": "The type of the proxies; with enhanced networking",
        },
        "ProgramsUrl": {
            "Type": "String",
            "AllowedPattern": "^https://[A-Za-z0-9._~:/?&=%+,;@-]+$",
            "Description": "A .tar.gz with the programs ovsmesh and redis-ha at its top",
        },
        "ProgramsSha256": {
            "Type": "String", "AllowedPattern": "^[0-9a-f]{64}$", "Description": "Its SHA-256, in hexadecimal digits",
        },
    })
}

fn outputs(topology: &Topology, options: &StackOptions) -> Value {
    let mut outputs = Map::new();
    let mut output = |name: String, what: String, value: Value| {
        outputs.insert(name, json!({ "Description": what, "Value": value }));
    };
    output("Region".to_owned(), "The stack's region".to_owned(), json!({ "Ref": "AWS::Region" }));
    if options.placement == VipPlacement::Route {
        output(
            "RouteTable".to_owned(),
            "The table with the VIP's route".to_owned(),
            json!({ "Ref": "RouteTable" }),
        );
    }
    if options.placement == VipPlacement::Address {
        output(
            network::VIP_RESERVE.to_owned(),
            "The network interface that has the VIP until a proxy takes it".to_owned(),
            json!({ "Ref": network::VIP_RESERVE }),
        );
    }
    for host in topology.hosts() {
        let name = host.name();
        let logical = logical_name(name);
        let address = json!({ "Fn::GetAtt": [format!("{logical}Interface"), "PrimaryPrivateIpAddress"] });
        output(format!("{logical}Address"), format!("underlay_ip of {name}"), address);
        let public = json!({ "Ref": format!("{logical}PublicAddress") });
        output(format!("{logical}PublicAddress"), format!("Where to log in to {name}"), public);
        if options.proxies.contains(name) {
            let interface = json!({ "Ref": format!("{logical}Interface") });
            output(format!("{logical}Interface"), format!("The network interface of {name}"), interface);
        }
    }
    Value::Object(outputs)
}

#[cfg(test)]
mod tests;
