//! EC2's answers: XML, read into what we ask for; what else they say is skipped.

use std::net::Ipv4Addr;

use roxmltree::{Document, Node};

use super::{InterfaceId, RouteTableId, SubnetId};

/// An answer that is not what its action answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is no XML (a proxy's or a load balancer's page, say).
    #[error("it is no XML")]
    Xml(#[from] roxmltree::Error),
    /// An element that the API's reference has is not there, or not of its form.
    #[error("it has no `{0}`, or none of its form")]
    Element(&'static str),
    /// The action was not carried out, without an error.
    #[error("it says that nothing was done")]
    NotDone,
}

/// One private address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrivateAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// Whether it is the interface's own, which no call can move.
    pub is_primary: bool,
}

/// What `DescribeNetworkInterfaces` says of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkInterface {
    /// Its identifier.
    pub id: InterfaceId,
    /// The subnet it is in.
    pub subnet: SubnetId,
    /// All its IPv4 addresses.
    pub addresses: Vec<PrivateAddress>,
    /// Whether packets to or from other addresses are dropped.
    pub source_dest_check: bool,
}

impl NetworkInterface {
    /// Whether an address is one of its own.
    pub fn holds(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|held| held.address == address)
    }
}

/// A route to a destination in IPv4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destination, as EC2 writes it.
    pub destination: String,
    /// The interface that it leads to, where it leads to one.
    pub interface: Option<InterfaceId>,
    /// Whether it leads anywhere (`active`, not `blackhole`).
    pub is_active: bool,
}

/// What `DescribeRouteTables` says of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTable {
    /// Its identifier.
    pub id: RouteTableId,
    /// Its routes in IPv4.
    pub routes: Vec<Route>,
}

/// An error as EC2 answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) message: String,
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.tag_name().name() == name)
}

fn items<'a, 'input>(node: Node<'a, 'input>, name: &str) -> impl Iterator<Item = Node<'a, 'input>> {
    let list = child(node, name);
    list.into_iter().flat_map(|list| list.children()).filter(|item| item.tag_name().name() == "item")
}

fn text<T: std::str::FromStr>(node: Node<'_, '_>, name: &'static str) -> Result<T, AnswerError> {
    let text = child(node, name).and_then(|child| child.text()).unwrap_or_default();
    text.trim().parse().map_err(|_| AnswerError::Element(name))
}

/// The error in an answer, where it is one; a gateway's own page is none.
pub(crate) fn refusal(body: &str) -> Option<Refusal> {
    let document = Document::parse(body).ok()?;
    let error = document.descendants().find(|node| node.tag_name().name() == "Error")?;
    let code = text(error, "Code").ok().filter(|code: &String| !code.is_empty())?;
    Some(Refusal { code, message: text(error, "Message").unwrap_or_default() })
}

pub(crate) fn network_interfaces(body: &str) -> Result<Vec<NetworkInterface>, AnswerError> {
    let document = Document::parse(body)?;
    let root = document.root_element();
    child(root, "networkInterfaceSet").ok_or(AnswerError::Element("networkInterfaceSet"))?;
    items(root, "networkInterfaceSet").map(network_interface).collect()
}

fn network_interface(item: Node<'_, '_>) -> Result<NetworkInterface, AnswerError> {
    let address = |item| {
        let address = text(item, "privateIpAddress")?;
        Ok(PrivateAddress { address, is_primary: text(item, "primary").unwrap_or(false) })
    };
    Ok(NetworkInterface {
        id: text(item, "networkInterfaceId")?,
        subnet: text(item, "subnetId")?,
        addresses: items(item, "privateIpAddressesSet").map(address).collect::<Result<_, AnswerError>>()?,
        source_dest_check: text(item, "sourceDestCheck")?,
    })
}

pub(crate) fn route_tables(body: &str) -> Result<Vec<RouteTable>, AnswerError> {
    let document = Document::parse(body)?;
    let root = document.root_element();
    child(root, "routeTableSet").ok_or(AnswerError::Element("routeTableSet"))?;
    let route = |item: Node<'_, '_>| {
        // A route to an IPv6 destination or a prefix list is none of ours.
        let destination =
            text::<String>(item, "destinationCidrBlock").ok().filter(|text| !text.is_empty())?;
        Some(Route {
            destination,
            interface: text(item, "networkInterfaceId").ok(),
            is_active: text::<String>(item, "state").is_ok_and(|state| state == "active"),
        })
    };
    let table = |item| {
        Ok(RouteTable {
            id: text(item, "routeTableId")?,
            routes: items(item, "routeSet").filter_map(route).collect(),
        })
    };
    items(root, "routeTableSet").map(table).collect()
}

/// The identifier of what was made: in an element of the answer, an element of its own.
pub(crate) fn identifier(body: &str, names: [&'static str; 2]) -> Result<String, AnswerError> {
    let document = Document::parse(body)?;
    let made = child(document.root_element(), names[0]).ok_or(AnswerError::Element(names[0]))?;
    text(made, names[1])
}

/// `AssignPrivateIpAddresses`, `ReplaceRoute`: done, unless it says otherwise.
pub(crate) fn done(body: &str) -> Result<(), AnswerError> {
    let document = Document::parse(body)?;
    match text::<bool>(document.root_element(), "return") {
        Ok(false) => Err(AnswerError::NotDone),
        // Not every action and not every emulator has the element.
        Ok(true) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read() {
        let body = r#"<?xml version="1.0" encoding="UTF-8"?>
            <DescribeNetworkInterfacesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
              <requestId>1</requestId>
              <networkInterfaceSet><item>
                <networkInterfaceId>eni-0123abcd</networkInterfaceId><subnetId>subnet-0123abcd</subnetId>
                <privateIpAddress>10.0.1.21</privateIpAddress><sourceDestCheck>false</sourceDestCheck>
                <groupSet><item><groupId>sg-1</groupId></item></groupSet>
                <privateIpAddressesSet>
                  <item><privateIpAddress>10.0.1.21</privateIpAddress><primary>true</primary></item>
                  <item><privateIpAddress>10.0.1.100</privateIpAddress><primary>false</primary></item>
                </privateIpAddressesSet>
              </item></networkInterfaceSet>
            </DescribeNetworkInterfacesResponse>"#;
        let interfaces = network_interfaces(body).unwrap();
        let address = |address: [u8; 4], is_primary| PrivateAddress { address: address.into(), is_primary };
        assert_eq!(
            interfaces,
            [NetworkInterface {
                id: "eni-0123abcd".parse().unwrap(),
                subnet: "subnet-0123abcd".parse().unwrap(),
                addresses: vec![address([10, 0, 1, 21], true), address([10, 0, 1, 100], false)],
                source_dest_check: false,
            }]
        );
        assert!(interfaces[0].holds([10, 0, 1, 100].into()) && !interfaces[0].holds([10, 0, 1, 22].into()));
        assert_eq!(network_interfaces("<a><networkInterfaceSet/></a>"), Ok(vec![]));
        assert_eq!(network_interfaces("<a/>"), Err(AnswerError::Element("networkInterfaceSet")));
        assert_eq!(
            network_interfaces(&body.replace("subnet-0123abcd", "here")),
            Err(AnswerError::Element("subnetId"))
        );
        assert!(matches!(network_interfaces("<html>504"), Err(AnswerError::Xml(_))));
    }

    #[test]
    fn routes_are_read() {
        let body =
            "<DescribeRouteTablesResponse><routeTableSet><item><routeTableId>rtb-0123abcd</routeTableId>
            <routeSet>
              <item><destinationCidrBlock>10.0.0.0/16</destinationCidrBlock><gatewayId>local</gatewayId>
                <state>active</state></item>
              <item><destinationIpv6CidrBlock>::/0</destinationIpv6CidrBlock><state>active</state></item>
              <item><destinationCidrBlock>172.30.0.1/32</destinationCidrBlock>
                <networkInterfaceId>eni-0123abcd</networkInterfaceId><state>blackhole</state></item>
            </routeSet></item></routeTableSet></DescribeRouteTablesResponse>";
        let tables = route_tables(body).unwrap();
        assert_eq!(tables.len(), 1);
        let [local, overlay] = &tables[0].routes[..] else { panic!("{tables:?}") };
        assert_eq!((local.interface.as_ref(), local.is_active), (None, true));
        assert_eq!(overlay.destination, "172.30.0.1/32");
        assert_eq!(overlay.interface, Some("eni-0123abcd".parse().unwrap()));
        assert!(!overlay.is_active);
    }

    #[test]
    fn an_error_is_told_from_an_answer() {
        let body = "<?xml version='1.0'?><Response><Errors><Error><Code>RequestLimitExceeded</Code>
            <Message>Request limit exceeded.</Message></Error></Errors><RequestID>1</RequestID></Response>";
        let message = "Request limit exceeded.".to_owned();
        assert_eq!(refusal(body), Some(Refusal { code: "RequestLimitExceeded".to_owned(), message }));
        assert_eq!(refusal("<a><return>true</return></a>"), None);
        assert_eq!(refusal("<html><body>502</body>"), None);
        assert_eq!(done("<a><return>true</return></a>"), Ok(()));
        assert_eq!(done("<a><return>false</return></a>"), Err(AnswerError::NotDone));
    }
}
