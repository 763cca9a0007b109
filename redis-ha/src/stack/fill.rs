//! What a stack has come to be, put into the files that the operator keeps.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ovs_mesh::{HostName, Topology};
use serde_json::Value;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, value};

use super::hosts::logical_name;
use super::network::VIP_RESERVE;
use crate::aws::{InterfaceId, Region, RouteTableId};

/// The outputs are not this topology's stack's, or a file cannot be edited.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// No JSON.
    #[error("the outputs are no JSON")]
    Json(#[from] serde_json::Error),
    /// JSON, but not what `aws cloudformation describe-stacks` prints.
    #[error("the JSON has no list of outputs")]
    Form,
    /// Not there.
    #[error("the stack has no output {name}")]
    Missing {
        /// The output.
        name: String,
    },
    /// Not of its form.
    #[error("the output {name} is `{text}`, which is no {what}")]
    Value {
        /// The output.
        name: String,
        /// What it is.
        text: String,
        /// What it should be.
        what: &'static str,
    },
    /// The file is no TOML.
    #[error("the file is no TOML")]
    Toml(#[from] toml_edit::TomlError),
    /// A host that the topology has is not in the file's text as a table of its own.
    #[error("the file has no [[host]] `{host}`")]
    Host {
        /// The host.
        host: HostName,
    },
    /// It is the topology's file, not the service's.
    #[error("the file is a topology, and no service's file")]
    Topology,
    /// What should be a table is something else.
    #[error("`{key}` is no table in the file")]
    NoTable {
        /// Its key.
        key: &'static str,
    },
}

/// A stack's outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outputs(BTreeMap<String, String>);

impl Outputs {
    /// Reads what `aws cloudformation describe-stacks` prints of one stack, or its list of outputs alone.
    pub fn parse(text: &str) -> Result<Self, FillError> {
        let json: Value = serde_json::from_str(text)?;
        let list = [json.pointer("/Stacks/0/Outputs"), json.get("Outputs"), Some(&json)];
        let list = list.into_iter().flatten().find_map(Value::as_array).ok_or(FillError::Form)?;
        let output = |item: &Value| {
            let text = |key: &str| item.get(key)?.as_str().map(str::to_owned);
            text("OutputKey").zip(text("OutputValue")).ok_or(FillError::Form)
        };
        Ok(Self(list.iter().map(output).collect::<Result<_, _>>()?))
    }

    fn get<T: std::str::FromStr>(&self, name: String, what: &'static str) -> Result<T, FillError> {
        let Some(text) = self.0.get(&name) else { return Err(FillError::Missing { name }) };
        text.parse().map_err(|_| FillError::Value { name, text: text.clone(), what })
    }

    fn address(&self, host: &HostName) -> Result<Ipv4Addr, FillError> {
        self.get(format!("{}Address", logical_name(host)), "IPv4 address")
    }
}

/// A topology file's text with the hosts' addresses in the stack; comments and order stay.
pub fn fill_topology(text: &str, topology: &Topology, outputs: &Outputs) -> Result<String, FillError> {
    let mut addresses = BTreeMap::new();
    for host in topology.hosts() {
        addresses.insert(host.name().clone(), outputs.address(host.name())?.to_string());
    }
    let (filled, found) = set_addresses(text, |host| addresses.get(host).cloned())?;
    match addresses.into_keys().find(|host| !found.contains(host)) {
        Some(host) => Err(FillError::Host { host }),
        None => Ok(filled),
    }
}

/// A topology's text with other addresses of its hosts, and which hosts it has.
fn set_addresses(
    text: &str,
    address: impl Fn(&HostName) -> Option<String>,
) -> Result<(String, Vec<HostName>), FillError> {
    let mut document: DocumentMut = text.parse()?;
    let mut found = Vec::new();
    let mut set = |table: &mut dyn toml_edit::TableLike| {
        let name = table.get("name").and_then(Item::as_str).and_then(|name| name.parse::<HostName>().ok());
        if let Some((name, address)) = name.and_then(|name| address(&name).map(|address| (name, address))) {
            let mut new = toml_edit::Value::from(address);
            if let Some(old) = table.get("underlay_ip").and_then(Item::as_value) {
                *new.decor_mut() = old.decor().clone();
            }
            table.insert("underlay_ip", Item::Value(new));
            found.push(name);
        }
    };
    match document.get_mut("host") {
        Some(Item::ArrayOfTables(hosts)) => hosts.iter_mut().for_each(|host| set(host)),
        Some(Item::Value(toml_edit::Value::Array(hosts))) => {
            hosts.iter_mut().filter_map(toml_edit::Value::as_inline_table_mut).for_each(|host| set(host));
        }
        _ => {}
    }
    Ok((document.to_string(), found))
}

/// The service's file with what `redis-ha notify` needs to know of the stack, in `[proxy.aws]`; the rest stays.
pub fn fill_service(text: &str, topology: &Topology, outputs: &Outputs) -> Result<String, FillError> {
    let mut document: DocumentMut = text.parse()?;
    if document.contains_key("host") || document.contains_key("tenant") {
        return Err(FillError::Topology);
    }
    let aws = proxy_aws(&mut document).ok_or(FillError::NoTable { key: "proxy.aws" })?;
    let region: Region = outputs.get("Region".to_owned(), "region")?;
    aws["region"] = value(region.as_str());
    let table = outputs.get::<RouteTableId>("RouteTable".to_owned(), "route table");
    match table {
        Ok(table) => {
            aws["mode"] = value("route");
            aws["route_tables"] = value(Array::from_iter([table.as_str()]));
        }
        Err(FillError::Missing { .. }) => {
            aws["mode"] = value("address");
            aws.remove("route_tables");
        }
        Err(error) => return Err(error),
    }
    let mut interfaces = InlineTable::new();
    for host in topology.hosts() {
        let name = format!("{}Interface", logical_name(host.name()));
        if outputs.0.contains_key(&name) {
            let interface: InterfaceId = outputs.get(name, "network interface")?;
            interfaces.insert(host.name().as_str(), interface.as_str().into());
        }
    }
    aws["interfaces"] = value(interfaces);
    match outputs.get::<InterfaceId>(VIP_RESERVE.to_owned(), "network interface") {
        Ok(reserve) => aws["reserve"] = value(reserve.as_str()),
        Err(FillError::Missing { .. }) => _ = aws.remove("reserve"),
        Err(error) => return Err(error),
    }
    Ok(document.to_string())
}

fn proxy_aws(document: &mut DocumentMut) -> Option<&mut Table> {
    // `[proxy]` need not be written where only `[proxy.aws]` is.
    let mut proxy = Table::new();
    proxy.set_implicit(true);
    let proxy = document.entry("proxy").or_insert(Item::Table(proxy)).as_table_mut()?;
    proxy.entry("aws").or_insert(Item::Table(Table::new())).as_table_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESH: &str = r#"
# who is where
mesh = { name = "prod", underlay_mtu = 9001 }

[[host]]
underlay_ip = "10.9.9.9" # redis
name = "redis1"

[[host]]
name = "proxy-1"
underlay_ip = "10.9.9.8"
"#;

    fn outputs(text: &str) -> Outputs {
        Outputs::parse(text).unwrap()
    }

    fn two() -> Outputs {
        outputs(
            r#"{"Stacks": [{"StackName": "s", "Outputs": [
                {"OutputKey": "Redis1Address", "OutputValue": "10.0.1.5", "Description": "x"},
                {"OutputKey": "Proxy1Address", "OutputValue": "10.0.1.6"},
                {"OutputKey": "Proxy1Interface", "OutputValue": "eni-0123abcd"},
                {"OutputKey": "Region", "OutputValue": "eu-central-1"}]}]}"#,
        )
    }

    #[test]
    fn addresses_go_into_the_file_and_the_rest_stays() {
        let topology: Topology = MESH.parse().unwrap();
        let filled = fill_topology(MESH, &topology, &two()).unwrap();
        assert_eq!(filled, MESH.replace("10.9.9.9", "10.0.1.5").replace("10.9.9.8", "10.0.1.6"));
        let inline = "mesh = { name = \"prod\", underlay_mtu = 9001 }\n\
            host = [{ name = \"redis1\", underlay_ip = \"10.9.9.9\" }, # one\n\
            { name = \"proxy-1\", underlay_ip = \"10.9.9.8\" }]\n";
        let filled = fill_topology(inline, &inline.parse().unwrap(), &two()).unwrap();
        assert_eq!(filled, inline.replace("10.9.9.9", "10.0.1.5").replace("10.9.9.8", "10.0.1.6"));
    }

    #[test]
    fn the_service_learns_of_the_stack() {
        let topology: Topology = MESH.parse().unwrap();
        let filled = fill_service("# mine\n[proxy]\nvip = 1\n", &topology, &two()).unwrap();
        assert_eq!(
            filled,
            "# mine\n[proxy]\nvip = 1\n\n[proxy.aws]\nregion = \"eu-central-1\"\nmode = \"address\"\n\
             interfaces = { proxy-1 = \"eni-0123abcd\" }\n"
        );
        assert_eq!(fill_service(&filled, &topology, &two()).unwrap(), filled, "twice is as once");
        let mut reserved = two();
        reserved.0.insert("VipReserve".to_owned(), "eni-0123abce".to_owned());
        let with_reserve = fill_service(&filled, &topology, &reserved).unwrap();
        assert_eq!(with_reserve, format!("{filled}reserve = \"eni-0123abce\"\n"));
        assert_eq!(fill_service(&with_reserve, &topology, &two()).unwrap(), filled);
        let mut route = two();
        route.0.insert("RouteTable".to_owned(), "rtb-0123abcd".to_owned());
        let filled = fill_service(&filled, &topology, &route).unwrap();
        assert!(
            filled.contains("mode = \"route\"") && filled.contains("route_tables = [\"rtb-0123abcd\"]"),
            "{filled}"
        );
        assert!(!fill_service(&filled, &topology, &two()).unwrap().contains("route_tables"));
        let odd = fill_service("proxy = 1\n", &topology, &two());
        assert_eq!(odd.unwrap_err().to_string(), "`proxy.aws` is no table in the file");
        assert!(matches!(fill_service(MESH, &topology, &two()), Err(FillError::Topology)));
    }

    #[test]
    fn outputs_of_another_stack_are_told() {
        let topology: Topology = MESH.parse().unwrap();
        let error = |text: &str| fill_topology(MESH, &topology, &outputs(text)).unwrap_err().to_string();
        assert_eq!(error("[]"), "the stack has no output Redis1Address");
        assert_eq!(
            error(r#"{"Outputs": [{"OutputKey": "Redis1Address", "OutputValue": "pending"}]}"#),
            "the output Redis1Address is `pending`, which is no IPv4 address"
        );
        assert!(matches!(Outputs::parse("{}"), Err(FillError::Form)));
        assert!(matches!(Outputs::parse(r#"{"Stacks": [{"Outputs": [{}]}]}"#), Err(FillError::Form)));
        assert!(matches!(Outputs::parse("Stacks"), Err(FillError::Json(_))));
    }
}
