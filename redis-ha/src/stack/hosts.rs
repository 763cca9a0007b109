//! A host's interface, public address and instance.

use ovs_mesh::{HostName, Topology};
use serde_json::{Value, json};

use super::network::{VIP_RESERVE, tags};
use super::{StackError, StackOptions, VipPlacement, access, user_data};

/// A host's name as a resource's: letters and digits alone.
pub(super) fn logical_name(host: &HostName) -> String {
    let mut name = String::new();
    let mut is_start = true;
    for c in host.as_str().chars() {
        if c.is_ascii_alphanumeric() {
            name.push(if is_start { c.to_ascii_uppercase() } else { c });
        }
        is_start = !c.is_ascii_alphanumeric();
    }
    name
}

/// The subnet's resource for each host, in the topology's order: each kind of host is spread over both, but for proxies
/// whose VIP cannot leave its own.
pub(super) fn subnets(topology: &Topology, options: &StackOptions) -> Vec<&'static str> {
    let mut counts = [0_usize; 2];
    let place = |host: &ovs_mesh::Host| {
        let is_proxy = options.proxies.contains(host.name());
        let count = &mut counts[usize::from(is_proxy)];
        let at = if is_proxy && options.placement == VipPlacement::Address { 0 } else { *count % 2 };
        *count += 1;
        ["SubnetA", "SubnetB"][at]
    };
    topology.hosts().iter().map(place).collect()
}

/// All hosts' resources.
pub(super) fn resources(
    topology: &Topology,
    options: &StackOptions,
) -> Result<Vec<(String, Value)>, StackError> {
    let subnets = subnets(topology, options);
    let mut resources = Vec::new();
    for (host, subnet) in topology.hosts().iter().zip(subnets) {
        let name = host.name();
        let logical = logical_name(name);
        let is_proxy = options.proxies.contains(name);
        let groups = if is_proxy { vec!["MemberGroup", "ProxyGroup"] } else { vec!["MemberGroup"] };
        let groups: Vec<Value> = groups.into_iter().map(access::by_id).collect();
        let tags = tags(name.as_str());
        let mut interface = json!({
            "Type": "AWS::EC2::NetworkInterface",
            "Properties": {
                "Description": format!("underlay of {name}"),
                "SubnetId": { "Ref": subnet },
                "GroupSet": groups,
                // What a route leads here is not for the interface's own address.
                "SourceDestCheck": !(is_proxy && options.placement == VipPlacement::Route),
                "Tags": tags.clone(),
            }
        });
        if options.placement == VipPlacement::Address {
            // Before the VPC may give this one the VIP as its own.
            interface["DependsOn"] = json!(VIP_RESERVE);
        }
        let mut properties = json!({
            "LaunchTemplate": {
                "LaunchTemplateId": { "Ref": "LaunchTemplate" },
                "Version": { "Fn::GetAtt": ["LaunchTemplate", "LatestVersionNumber"] },
            },
            "ImageId": { "Ref": "ImageId" },
            "KeyName": { "Ref": "KeyName" },
            "InstanceType": { "Ref": if is_proxy { "ProxyInstanceType" } else { "RedisInstanceType" } },
            "NetworkInterfaces": [{ "DeviceIndex": "0", "NetworkInterfaceId": { "Ref": format!("{logical}Interface") } }],
            "PlacementGroupName": { "Ref": "Spread" },
            "UserData": user_data::user_data(topology, options, name)?,
            "Tags": tags.clone(),
        });
        if is_proxy {
            properties["IamInstanceProfile"] = json!({ "Ref": "NotifyProfile" });
        }
        resources.push((format!("{logical}Interface"), interface));
        resources.push((
            format!("{logical}PublicAddress"),
            json!({ "Type": "AWS::EC2::EIP", "DependsOn": "DefaultRoute", "Properties": { "Domain": "vpc", "Tags": tags } }),
        ));
        resources.push((
            format!("{logical}PublicAssociation"),
            json!({
                "Type": "AWS::EC2::EIPAssociation",
                "Properties": {
                    "AllocationId": { "Fn::GetAtt": [format!("{logical}PublicAddress"), "AllocationId"] },
                    "NetworkInterfaceId": { "Ref": format!("{logical}Interface") },
                }
            }),
        ));
        let mut instance = json!({
            "Type": "AWS::EC2::Instance",
            // Its first act is to install packages.
            "DependsOn": format!("{logical}PublicAssociation"),
            "Properties": properties,
        });
        if !is_proxy {
            // The containers' data are on its own disk, which goes with it. One that was never finished has none.
            instance["DeletionPolicy"] = json!("RetainExceptOnCreate");
            instance["UpdateReplacePolicy"] = json!("Retain");
        }
        resources.push((format!("{logical}Instance"), instance));
    }
    Ok(resources)
}

/// The first proxy's logical name.
pub(super) fn first_holder(topology: &Topology, options: &StackOptions) -> Option<String> {
    let mut hosts = topology.hosts().iter().map(ovs_mesh::Host::name);
    hosts.find(|name| options.proxies.contains(name)).map(logical_name)
}
