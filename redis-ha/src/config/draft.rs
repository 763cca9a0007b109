//! From text to a draft: every value of the right type or a fault, every value with its place.

use std::net::SocketAddr;

use ipnetwork::IpNetwork;
use ovs_mesh::file::{At, Explain, Fault, Fields, Reader};
use ovs_mesh::{Ctid, HostName, TenantName};
use toml::Spanned;
use toml::de::DeValue;

use crate::aws::{InterfaceId, Region, RouteTableId};

use super::{Bytes, Eviction, Persistence, Profile};

type Value<'a> = Spanned<DeValue<'a>>;

const CLUSTERS: &str =
    "a `[[cluster]]` with `tenant`, `listen`, `max_memory` and `password_file` for every tenant with a Redis";

#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) mesh: Option<At<String>>,
    pub(super) secret_file: Option<At<String>>,
    pub(super) proxies: Option<ProxiesDraft>,
    pub(super) clusters: Vec<ClusterDraft>,
    pub(super) host_memory: Vec<(At<HostName>, Bytes)>,
}

#[derive(Debug)]
pub(super) struct ProxiesDraft {
    pub(super) hosts: Option<At<Vec<At<HostName>>>>,
    pub(super) interface: Option<At<String>>,
    pub(super) vips: Option<At<Vec<At<IpNetwork>>>>,
    pub(super) router_id: Option<At<u8>>,
    pub(super) profile: Profile,
    pub(super) aws: Option<AwsDraft>,
}

#[derive(Debug)]
pub(super) struct AwsDraft {
    pub(super) at: At<()>,
    pub(super) is_route: bool,
    pub(super) tables: Option<At<Vec<At<RouteTableId>>>>,
    pub(super) region: Option<At<Region>>,
    pub(super) interfaces: Vec<(At<HostName>, InterfaceId)>,
    pub(super) reserve: Option<At<InterfaceId>>,
}

#[derive(Debug)]
pub(super) struct ClusterDraft {
    pub(super) tenant: Option<At<TenantName>>,
    pub(super) nodes: Option<At<Vec<At<Ctid>>>>,
    pub(super) listen: Option<At<SocketAddr>>,
    pub(super) max_memory: Option<At<Bytes>>,
    pub(super) eviction: Eviction,
    pub(super) persistence: Persistence,
    pub(super) password_file: Option<At<String>>,
    pub(super) profile: Profile,
    pub(super) tls: Option<At<String>>,
}

/// Reads what can be read; the faults are all that could not.
pub(super) fn read(text: &str) -> (Draft, Vec<Fault>) {
    let (draft, faults) = Reader::document(text, "the service's file", service);
    (draft.unwrap_or_default(), faults)
}

fn service(reader: &mut Reader, top: &Fields<'_>) -> Draft {
    reader.known(top, &["mesh", "secret_file", "proxy", "cluster", "host_memory"]);
    let wanted = [
        ("mesh", "mesh", "`mesh = \"mesh.toml\"`, the topology's file"),
        ("secret_file", "secret_file", "`secret_file = \"secrets/service\"`, the operator's secret"),
        ("proxy", "[proxy]", "`[proxy]` with `hosts`, `interface`, `vips` and `router_id`"),
        ("cluster", "[[cluster]]", CLUSTERS),
    ];
    lacking(reader, top, "the service's file", &wanted);
    let proxies = top.get("proxy").and_then(|value| {
        let fields = reader.table(value, "[proxy]")?;
        Some(proxies(reader, &fields))
    });
    if let Some(value) = top.get("cluster")
        && matches!(value.get_ref(), DeValue::Array(array) if array.is_empty())
    {
        let accepted = format!("write {CLUSTERS}");
        reader.faults.push(Fault::new(value.span(), "the service has no cluster", accepted));
    }
    Draft {
        mesh: text_of(reader, top, "mesh"),
        secret_file: text_of(reader, top, "secret_file"),
        proxies,
        clusters: reader.tables(top, "cluster", "a cluster", cluster),
        host_memory: top
            .get("host_memory")
            .map(|value| by_host(reader, value, "host_memory", "a host's memory", Bytes::ACCEPTED))
            .unwrap_or_default(),
    }
}

/// What of these a table lacks is one fault: key, how it is called, and what would do.
fn lacking(reader: &mut Reader, fields: &Fields<'_>, what: &str, wanted: &[(&str, &str, &str)]) {
    let missing: Vec<_> = wanted.iter().filter(|(key, ..)| fields.get(key).is_none()).collect();
    let all = |each: fn(&(&str, &str, &str)) -> String, between: &str| {
        missing.iter().map(|wanted| each(wanted)).collect::<Vec<_>>().join(between)
    };
    if !missing.is_empty() {
        reader.faults.push(Fault::new(
            fields.span(),
            format!("{what} has no {}", all(|(_, name, _)| format!("`{name}`"), ", ")),
            format!("add {}", all(|(_, _, accepted)| (*accepted).to_owned(), "; ")),
        ));
    }
}

fn proxies(reader: &mut Reader, fields: &Fields<'_>) -> ProxiesDraft {
    reader.known(fields, &["hosts", "interface", "vips", "router_id", "profile", "aws"]);
    let wanted = [
        ("hosts", "hosts", "`hosts = [\"proxy1\", \"proxy2\"]`"),
        ("interface", "interface", "`interface = \"eth0\"`"),
        ("vips", "vips", "`vips = [\"10.0.1.100/24\"]`"),
        ("router_id", "router_id", "`router_id = 51`"),
    ];
    lacking(reader, fields, "[proxy]", &wanted);
    let router_id = fields.get("router_id").and_then(|value| {
        let at = reader.integer(value, "router_id", "51")?;
        let id = u8::try_from(at.value).ok().filter(|id| *id > 0);
        if id.is_none() {
            reader.faults.push(Fault::new(
                at.span.clone(),
                format!("router_id {} is no VRRP router id", at.value),
                "a number from 1 to 255 that no other VRRP router of the underlay has",
            ));
        }
        id.map(|value| At { value, span: at.span })
    });
    ProxiesDraft {
        hosts: fields.get("hosts").and_then(|value| {
            let wanted = "an array of two host names, as [\"proxy1\", \"proxy2\"]";
            list(reader, value, "hosts", wanted, |reader, entry| reader.parsed(entry, "a host"))
        }),
        interface: text_of(reader, fields, "interface"),
        vips: fields.get("vips").and_then(|value| {
            let wanted = "an array of addresses with prefix lengths, as [\"10.0.1.100/24\"]";
            list(reader, value, "vips", wanted, |reader, entry| reader.parsed(entry, "a VIP"))
        }),
        router_id,
        profile: profile(reader, fields),
        aws: fields.get("aws").and_then(|value| {
            let at = At { value: (), span: value.span() };
            let fields = reader.table(value, "[proxy.aws]")?;
            aws(reader, &fields, at)
        }),
    }
}

fn aws(reader: &mut Reader, fields: &Fields<'_>, at: At<()>) -> Option<AwsDraft> {
    reader.known(fields, &["mode", "route_tables", "region", "interfaces", "reserve"]);
    let words = [("address", false), ("route", true)];
    let mode = reader.required(fields, "mode")?;
    let is_route = word(reader, mode, "mode", &words)?;
    let tables = fields.get("route_tables").and_then(|value| {
        let wanted = "an array of route tables' ids, as [\"rtb-0123456789abcdef0\"]";
        list(reader, value, "route_tables", wanted, |reader, entry| {
            explained(reader, entry, "a route table", "an id as \"rtb-0123456789abcdef0\"")
        })
    });
    let region = fields
        .get("region")
        .and_then(|value| explained(reader, value, "region", "a region's name, as \"eu-central-1\""));
    let interfaces = fields.get("interfaces").map(|value| {
        let accepted = "an id as \"eni-0123456789abcdef0\"";
        by_host(reader, value, "interfaces", "a network interface", accepted)
    });
    let reserve = fields.get("reserve").and_then(|value| {
        explained(reader, value, "a network interface", "an id as \"eni-0123456789abcdef0\"")
    });
    if tables.is_none() && fields.get("route_tables").is_some() {
        return None;
    }
    Some(AwsDraft { at, is_route, tables, region, interfaces: interfaces.unwrap_or_default(), reserve })
}

fn cluster(reader: &mut Reader, fields: &Fields<'_>) -> ClusterDraft {
    let known = [
        "tenant",
        "nodes",
        "listen",
        "max_memory",
        "eviction",
        "persistence",
        "password_file",
        "profile",
        "tls",
    ];
    reader.known(fields, &known);
    let wanted = [
        ("tenant", "tenant", "`tenant = \"acme\"`"),
        ("listen", "listen", "`listen = \"10.0.1.100:6379\"`"),
        ("max_memory", "max_memory", "`max_memory = \"512MiB\"`"),
        ("password_file", "password_file", "`password_file = \"secrets/acme\"`"),
    ];
    lacking(reader, fields, "a cluster", &wanted);
    let evictions = Eviction::ALL.map(|eviction| (eviction.as_str(), eviction));
    let persistences = [("none", Persistence::None), ("rdb", Persistence::Rdb), ("aof", Persistence::Aof)];
    let optional = |reader: &mut Reader, key| {
        let text = fields.get(key).and_then(|value| reader.string(value, key))?;
        Some(At { value: text.value.to_owned(), span: text.span })
    };
    ClusterDraft {
        tenant: fields.get("tenant").and_then(|value| reader.parsed(value, "tenant")),
        nodes: fields.get("nodes").and_then(|value| {
            let wanted = "an array of containers' ids, as [\"101\", \"102\", \"103\"]";
            list(reader, value, "nodes", wanted, |reader, entry| reader.parsed(entry, "a node"))
        }),
        listen: fields
            .get("listen")
            .and_then(|value| explained(reader, value, "listen", "a VIP and a port, as \"10.0.1.100:6379\"")),
        max_memory: fields
            .get("max_memory")
            .and_then(|value| explained(reader, value, "max_memory", Bytes::ACCEPTED)),
        eviction: fields
            .get("eviction")
            .and_then(|value| word(reader, value, "eviction", &evictions))
            .unwrap_or(Eviction::ALL[0]),
        persistence: fields
            .get("persistence")
            .and_then(|value| word(reader, value, "persistence", &persistences))
            .unwrap_or(Persistence::Aof),
        password_file: text_of(reader, fields, "password_file"),
        profile: profile(reader, fields),
        tls: optional(reader, "tls"),
    }
}

/// A table of hosts and what each has.
fn by_host<T: std::str::FromStr>(
    reader: &mut Reader,
    value: &Value<'_>,
    key: &str,
    what: &str,
    accepted: &str,
) -> Vec<(At<HostName>, T)> {
    let DeValue::Table(table) = value.get_ref() else {
        reader.mistyped(value, key, &format!("a table of host names, each with {accepted}"));
        return Vec::new();
    };
    let mut all = Vec::new();
    for (key, value) in table {
        match key.get_ref().parse::<HostName>() {
            Ok(host) => {
                let found = explained::<T>(reader, value, what, accepted);
                all.extend(found.map(|found| (At { value: host, span: key.span() }, found.value)));
            }
            Err(error) => reader.faults.push(error.fault(key.get_ref(), key.span())),
        }
    }
    all
}

fn profile(reader: &mut Reader, fields: &Fields<'_>) -> Profile {
    let words = Profile::ALL.map(|profile| (profile.as_str(), profile));
    fields.get("profile").and_then(|value| word(reader, value, "profile", &words)).unwrap_or(Profile::ALL[0])
}

fn text_of(reader: &mut Reader, fields: &Fields<'_>, key: &'static str) -> Option<At<String>> {
    let text = reader.string(fields.get(key)?, key)?;
    if text.value.is_empty() {
        reader.faults.push(Fault::new(text.span, format!("{key} is empty"), "a text that is not"));
        return None;
    }
    Some(At { value: text.value.to_owned(), span: text.span })
}

/// One of some words.
fn word<T: Copy>(reader: &mut Reader, value: &Value<'_>, key: &str, words: &[(&str, T)]) -> Option<T> {
    let text = reader.string(value, key)?;
    let found = words.iter().find(|(word, _)| *word == text.value);
    if found.is_none() {
        let quoted: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        reader.faults.push(Fault::new(
            text.span,
            format!("{key} cannot be `{}`", text.value.escape_debug()),
            format!("accepted are {}", quoted.join(", ")),
        ));
    }
    found.map(|(_, value)| *value)
}

fn explained<T: std::str::FromStr>(
    reader: &mut Reader,
    value: &Value<'_>,
    key: &str,
    accepted: &str,
) -> Option<At<T>> {
    let text = reader.string(value, key)?;
    if let Ok(parsed) = text.value.parse() {
        return Some(At { value: parsed, span: text.span });
    }
    let message = format!("{key} cannot be `{}`", text.value.escape_debug());
    reader.faults.push(Fault::new(text.span, message, accepted));
    None
}

fn list<T>(
    reader: &mut Reader,
    value: &Value<'_>,
    key: &str,
    wanted: &str,
    mut read: impl FnMut(&mut Reader, &Value<'_>) -> Option<At<T>>,
) -> Option<At<Vec<At<T>>>> {
    let DeValue::Array(array) = value.get_ref() else {
        reader.mistyped(value, key, wanted);
        return None;
    };
    // All are looked at, but of less than the whole nothing more is to be said.
    let all: Vec<_> = array.iter().filter_map(|entry| read(reader, entry)).collect();
    (all.len() == array.len()).then(|| At { value: all, span: value.span() })
}
