//! EC2's Query API, of the actions that move an address.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tiny_http::{Method, Request};

use super::signature::Authorization;
use super::{Fault, Key, REGION, Reply, State, header};

type Parameters = BTreeMap<String, String>;

struct Refusal(u16, &'static str, String);

fn refuse<T>(code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(400, code, message.into()))
}

pub(super) fn answer(state: &Arc<Mutex<State>>, request: &mut Request) -> Reply {
    let mut body = Vec::new();
    request.as_reader().read_to_end(&mut body).expect("the request's body");
    let lock = || state.lock().expect("no test holds it while it fails");
    let (action, parameters) = match admitted(&mut lock(), request, &body) {
        Ok(admitted) => admitted,
        Err(refusal) => return refused(refusal),
    };
    let fault = lock()
        .faults
        .iter_mut()
        .find(|(name, _)| **name == action)
        .and_then(|(_, faults)| faults.pop_front());
    match fault {
        None => {}
        Some(Fault::Slow(time)) => thread::sleep(time),
        Some(Fault::Gateway) => return Reply::text(502, "<html><body>Bad Gateway"),
        Some(Fault::Internal) => {
            return refused(Refusal(500, "InternalError", "An internal error has occurred".to_owned()));
        }
        Some(Fault::Throttle) => {
            return refused(Refusal(503, "RequestLimitExceeded", "Request limit exceeded.".to_owned()));
        }
    }
    let mut state = lock();
    let mut left = parameters.clone();
    let done = match action.as_str() {
        "DescribeNetworkInterfaces" => describe_interfaces(&state, &mut left),
        "AssignPrivateIpAddresses" => assign(&mut state, &mut left),
        "DescribeRouteTables" => describe_tables(&state, &mut left),
        "ReplaceRoute" => replace_route(&mut state, &mut left),
        _ => refuse("InvalidAction", format!("The action {action} is not valid for this web service.")),
    };
    if !left.is_empty() && done.is_ok() {
        state.offences.push(format!("{action} with unknown {left:?}"));
        return refused(Refusal(400, "UnknownParameter", format!("{left:?}")));
    }
    match done {
        Ok(inner) => Reply::xml(
            200,
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{action}Response \
                 xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\n<requestId>59dbff89-35bd-4eac-99ed-be587EXAMPLE\
                 </requestId>{inner}</{action}Response>"
            ),
        ),
        Err(refusal) => refused(refusal),
    }
}

fn refused(Refusal(status, code, message): Refusal) -> Reply {
    Reply::xml(
        status,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code><Message>{message}\
             </Message></Error></Errors><RequestID>0f7b5a8e-EXAMPLE</RequestID></Response>"
        ),
    )
}

/// Who asks and what for; refused for its form, its signature or its permissions.
fn admitted(state: &mut State, request: &Request, body: &[u8]) -> Result<(String, Parameters), Refusal> {
    let mut offence = |text: String| {
        state.offences.push(text.clone());
        Refusal(403, "AuthFailure", text)
    };
    let given = |name: &str| header(request, name);
    let form =
        given("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if *request.method() != Method::Post || request.url() != "/" || !form {
        return Err(offence(format!("{} {}", request.method(), request.url())));
    }
    let text = given("authorization").unwrap_or_default();
    let Some(authorization) = Authorization::parse(&text) else {
        return Err(offence(format!("authorization: {text}")));
    };
    let amz_date = given("x-amz-date").unwrap_or_default();
    let Some(key) = state.keys.get(authorization.key).cloned() else {
        return Err(Refusal(
            401,
            "AuthFailure",
            "AWS was not able to validate the provided access credentials".into(),
        ));
    };
    let Key { secret, token, is_expired, denied } = key;
    let mut wanted = vec!["host", "x-amz-date"];
    if token.is_some() {
        wanted.push("x-amz-security-token");
    }
    let is_whole = wanted.iter().all(|name| authorization.signed.contains(name))
        && given("x-amz-security-token") == token
        && (authorization.region, authorization.service) == (REGION, "ec2")
        && amz_date.starts_with(authorization.date);
    if !is_whole || !authorization.is_right(&secret, &amz_date, body, given) {
        let mut offence = |text: String| {
            state.offences.push(text.clone());
            Refusal(403, "SignatureDoesNotMatch", text)
        };
        return Err(offence(format!("signature: {text}")));
    }
    if !is_recent(&amz_date) {
        return Err(Refusal(400, "RequestExpired", "Request has expired.".to_owned()));
    }
    if is_expired {
        return Err(Refusal(
            400,
            "ExpiredToken",
            "The security token included in the request is expired".into(),
        ));
    }
    let body = String::from_utf8_lossy(body);
    let mut parameters: Parameters = body
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect();
    let action = parameters.remove("Action").unwrap_or_default();
    state.calls.push((action.clone(), parameters.clone()));
    if parameters.remove("Version").as_deref() != Some("2016-11-15") {
        return refuse("NoSuchVersion", "The requested version does not exist");
    }
    if denied.contains(action.as_str()) {
        let message = "You are not authorized to perform this operation.".to_owned();
        return Err(Refusal(403, "UnauthorizedOperation", message));
    }
    Ok((action, parameters))
}

/// Within five minutes of now.
fn is_recent(amz_date: &str) -> bool {
    let part = |from, to| amz_date.get(from..to).unwrap_or_default();
    let (year, month, day) = (part(0, 4), part(4, 6), part(6, 8));
    let text = format!("{year}-{month}-{day}T{}:{}:{}Z", part(9, 11), part(11, 13), part(13, 15));
    let Ok(then) = humantime::parse_rfc3339(&text) else { return false };
    let now = SystemTime::now();
    let apart = now.duration_since(then).or_else(|_| then.duration_since(now));
    apart.is_ok_and(|apart| apart < Duration::from_secs(300))
}

fn decode(text: &str) -> String {
    let (mut decoded, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next(), bytes.next()].map(|digit| char::from(digit.unwrap_or(b'0')));
            let digits: String = digits.into_iter().collect();
            decoded.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// `Name.1`, `Name.2` and so on.
fn list(parameters: &mut Parameters, name: &str) -> Vec<String> {
    (1..).map_while(|number| parameters.remove(&format!("{name}.{number}"))).collect()
}

fn address(text: &str) -> Result<Ipv4Addr, Refusal> {
    text.parse().or_else(|_| refuse("InvalidParameterValue", format!("Value ({text}) is invalid")))
}

fn describe_interfaces(state: &State, parameters: &mut Parameters) -> Result<String, Refusal> {
    let ids = list(parameters, "NetworkInterfaceId");
    if let Some(unknown) = ids.iter().find(|id| !state.enis.iter().any(|eni| eni.id == **id)) {
        let message = format!("The networkInterface ID '{unknown}' does not exist");
        return refuse("InvalidNetworkInterfaceID.NotFound", message);
    }
    let mut found: Vec<_> =
        state.enis.iter().filter(|eni| ids.is_empty() || ids.iter().any(|id| id == eni.id)).collect();
    for number in 1.. {
        let Some(name) = parameters.remove(&format!("Filter.{number}.Name")) else { break };
        let values = list(parameters, &format!("Filter.{number}.Value"));
        match name.as_str() {
            "network-interface-id" => found.retain(|eni| values.iter().any(|value| value == eni.id)),
            "subnet-id" => found.retain(|eni| values.iter().any(|value| value == eni.subnet)),
            "addresses.private-ip-address" => found.retain(|eni| {
                let held = eni.secondary.keys().chain([&eni.primary]);
                held.into_iter().any(|address| values.contains(&address.to_string()))
            }),
            _ => return refuse("InvalidParameterValue", format!("The filter '{name}' is invalid")),
        }
    }
    let mut items = String::new();
    for eni in found {
        let item = |address: &Ipv4Addr, is_primary| {
            format!(
                "<item><privateIpAddress>{address}</privateIpAddress><primary>{is_primary}</primary></item>"
            )
        };
        let addresses: String = eni.secondary.keys().map(|address| item(address, false)).collect();
        items.push_str(&format!(
            "<item><networkInterfaceId>{}</networkInterfaceId><subnetId>{}</subnetId><macAddress>{}</macAddress>\
             <privateIpAddress>{}</privateIpAddress><sourceDestCheck>{}</sourceDestCheck><groupSet><item><groupId>sg-1\
             </groupId></item></groupSet><privateIpAddressesSet>{}{addresses}</privateIpAddressesSet></item>",
            eni.id,
            eni.subnet,
            eni.mac,
            eni.primary,
            eni.source_dest_check,
            item(&eni.primary, true)
        ));
    }
    Ok(format!("<networkInterfaceSet>{items}</networkInterfaceSet>"))
}

fn assign(state: &mut State, parameters: &mut Parameters) -> Result<String, Refusal> {
    let id = parameters.remove("NetworkInterfaceId").unwrap_or_default();
    let may_reassign = parameters.remove("AllowReassignment").as_deref() == Some("true");
    let addresses = list(parameters, "PrivateIpAddress");
    let Some(eni) = state.enis.iter().find(|eni| eni.id == id) else {
        return refuse(
            "InvalidNetworkInterfaceID.NotFound",
            format!("The networkInterface ID '{id}' does not exist"),
        );
    };
    let subnet = state.subnets[eni.subnet];
    let addresses = addresses.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
    for address in &addresses {
        if !subnet.contains(*address) {
            let message = format!("Address {address} does not fall within the subnet's address range");
            return refuse("InvalidParameterValue", message);
        }
        if state.enis.iter().any(|eni| eni.primary == *address) {
            return refuse(
                "InvalidParameterValue",
                format!("[{address}] is the primary address of an interface"),
            );
        }
        if !may_reassign && state.holder(*address).is_some_and(|holder| holder != id) {
            return refuse(
                "InvalidParameterValue",
                format!("[{address}] is already assigned to another interface"),
            );
        }
    }
    let visible = Instant::now() + state.lag;
    let mut items = String::new();
    for address in addresses {
        for other in state.enis.iter_mut().filter(|other| other.id != id) {
            other.secondary.remove(&address);
        }
        state.eni(&id).secondary.entry(address).or_insert(visible);
        items.push_str(&format!("<item><privateIpAddress>{address}</privateIpAddress></item>"));
    }
    Ok(format!(
        "<networkInterfaceId>{id}</networkInterfaceId><assignedPrivateIpAddressesSet>{items}\
         </assignedPrivateIpAddressesSet><return>true</return>"
    ))
}

fn describe_tables(state: &State, parameters: &mut Parameters) -> Result<String, Refusal> {
    let mut items = String::new();
    for id in list(parameters, "RouteTableId") {
        let Some(routes) = state.routes.get(id.as_str()) else {
            return refuse(
                "InvalidRouteTableID.NotFound",
                format!("The routeTable ID '{id}' does not exist"),
            );
        };
        let local = "<item><destinationCidrBlock>10.0.0.0/16</destinationCidrBlock><gatewayId>local</gatewayId>\
             <state>active</state></item>";
        let route = |(destination, eni): (&String, &String)| {
            format!(
                "<item><destinationCidrBlock>{destination}</destinationCidrBlock><networkInterfaceId>{eni}\
                 </networkInterfaceId><state>active</state><origin>CreateRoute</origin></item>"
            )
        };
        let routes: String = routes.iter().map(route).collect();
        items.push_str(&format!(
            "<item><routeTableId>{id}</routeTableId><routeSet>{local}{routes}</routeSet></item>"
        ));
    }
    Ok(format!("<routeTableSet>{items}</routeTableSet>"))
}

fn replace_route(state: &mut State, parameters: &mut Parameters) -> Result<String, Refusal> {
    let mut value = |name| parameters.remove(name).unwrap_or_default();
    let (id, destination, eni) =
        (value("RouteTableId"), value("DestinationCidrBlock"), value("NetworkInterfaceId"));
    if !state.enis.iter().any(|known| known.id == eni) {
        return refuse(
            "InvalidNetworkInterfaceID.NotFound",
            format!("The networkInterface ID '{eni}' does not exist"),
        );
    }
    let Some(routes) = state.routes.get_mut(id.as_str()) else {
        return refuse("InvalidRouteTableID.NotFound", format!("The routeTable ID '{id}' does not exist"));
    };
    let Some(route) = routes.get_mut(&destination) else {
        let message = format!("no route with destination-cidr-block {destination} in route table {id}");
        return refuse("InvalidRoute.NotFound", message);
    };
    *route = eni;
    Ok("<return>true</return>".to_owned())
}
