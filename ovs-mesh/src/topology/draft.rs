//! From text to a draft: every value of the right type or a fault, every value with its place.

use std::ops::Range;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use std::net::IpAddr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Datapath;
use super::fault::Fault;
use crate::names::{BridgeName, Ctid, HostName, MeshName, NameError, TenantName, TunnelKey};

/// A value and where it stood.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

#[derive(Debug)]
pub(super) struct HostDraft {
    pub(super) name: Option<At<HostName>>,
    pub(super) underlay_ip: Option<At<IpAddr>>,
}

#[derive(Debug)]
pub(super) struct ContainerDraft {
    pub(super) ctid: Option<At<Ctid>>,
    pub(super) host: Option<At<HostName>>,
    pub(super) ip: Option<At<IpAddr>>,
}

#[derive(Debug)]
pub(super) struct TenantDraft {
    pub(super) name: Option<At<TenantName>>,
    pub(super) key: Option<At<TunnelKey>>,
    pub(super) subnet: Option<At<IpNetwork>>,
    pub(super) bridge: Option<At<BridgeName>>,
    /// None: every host. Hosts that could not be read are left out; their faults are already noted.
    pub(super) hosts: Option<Vec<At<HostName>>>,
    pub(super) gateways: Vec<(At<HostName>, At<IpAddr>)>,
    pub(super) containers: Vec<ContainerDraft>,
}

#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) name: Option<MeshName>,
    pub(super) underlay_mtu: Option<At<i64>>,
    pub(super) datapath: Datapath,
    pub(super) hosts: Vec<HostDraft>,
    pub(super) tenants: Vec<TenantDraft>,
    pub(super) conf_dir: Option<String>,
    pub(super) default_bridge: Option<At<BridgeName>>,
}

/// Reads what can be read; the faults are all that could not.
pub(super) fn read(text: &str) -> (Draft, Vec<Fault>) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { faults: Vec::new() };
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        reader.faults.push(Fault::new(
            span,
            format!("not TOML: {}", error.message()),
            "see https://toml.io/en/v1.0.0",
        ));
    }
    // What a recovering parser makes of broken text is a guess: faults found in it would mislead.
    let draft = if errors.is_empty() { reader.document(document.get_ref()) } else { Draft::default() };
    (draft, reader.faults)
}

struct Reader {
    faults: Vec<Fault>,
}

/// A table with its place and the keys it may have.
struct Fields<'a> {
    table: &'a DeTable<'a>,
    span: Range<usize>,
    what: &'static str,
}

impl<'a> Fields<'a> {
    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }
}

impl Reader {
    fn document(&mut self, table: &DeTable<'_>) -> Draft {
        let top = Fields { table, span: 0..0, what: "the topology" };
        self.known(&top, &["mesh", "host", "tenant", "openvz"]);
        let mut draft = Draft::default();
        match top.get("mesh") {
            Some(value) => self.mesh(value, &mut draft),
            None => self.faults.push(Fault::new(
                0..0,
                "the topology has no [mesh]",
                "add `[mesh]` with `name` and `underlay_mtu`",
            )),
        }
        draft.hosts = self.tables(&top, "host", "a host", Self::host);
        draft.tenants = self.tables(&top, "tenant", "a tenant", Self::tenant);
        if top.get("host").is_none() {
            self.faults.push(Fault::new(
                0..0,
                "the topology has no [[host]]",
                "add a `[[host]]` with `name` and `underlay_ip` for every machine of the mesh",
            ));
        }
        if let Some(fields) = top.get("openvz").and_then(|value| self.table(value, "[openvz]")) {
            self.openvz(&fields, &mut draft);
        }
        draft
    }

    fn openvz(&mut self, fields: &Fields<'_>, draft: &mut Draft) {
        self.known(fields, &["conf_dir", "default_bridge"]);
        draft.conf_dir =
            fields.get("conf_dir").and_then(|value| self.string(value, "conf_dir")).and_then(|dir| {
                if dir.value.starts_with('/') {
                    return Some(dir.value.to_owned());
                }
                self.faults.push(Fault::new(
                    dir.span,
                    format!("conf_dir `{}` is not an absolute path", dir.value),
                    "a path from the root, as \"/etc/vz/conf\"",
                ));
                None
            });
        draft.default_bridge =
            fields.get("default_bridge").and_then(|value| self.parsed(value, "default_bridge"));
    }

    fn mesh(&mut self, value: &Spanned<DeValue<'_>>, draft: &mut Draft) {
        let Some(fields) = self.table(value, "[mesh]") else { return };
        self.known(&fields, &["name", "underlay_mtu", "datapath"]);
        draft.name =
            self.required(&fields, "name").and_then(|value| self.parsed(value, "name")).map(|at| at.value);
        draft.underlay_mtu = self
            .required(&fields, "underlay_mtu")
            .and_then(|value| self.integer(value, "underlay_mtu", "1500"));
        let datapath = fields.get("datapath").and_then(|value| self.string(value, "datapath"));
        if let Some(at) = datapath {
            match at.value {
                "system" => draft.datapath = Datapath::System,
                "netdev" => draft.datapath = Datapath::Netdev,
                other => self.faults.push(Fault::new(
                    at.span,
                    format!("`{other}` is not a datapath type"),
                    "\"system\" (the kernel's datapath) or \"netdev\" (the userspace datapath)",
                )),
            }
        }
    }

    fn host(&mut self, fields: &Fields<'_>) -> HostDraft {
        self.known(fields, &["name", "underlay_ip"]);
        HostDraft {
            name: self.required(fields, "name").and_then(|value| self.parsed(value, "name")),
            underlay_ip: self
                .required(fields, "underlay_ip")
                .and_then(|value| self.parsed(value, "underlay_ip")),
        }
    }

    fn tenant(&mut self, fields: &Fields<'_>) -> TenantDraft {
        self.known(fields, &["name", "key", "subnet", "bridge", "hosts", "gateways", "containers"]);
        let key =
            self.required(fields, "key").and_then(|value| self.integer(value, "key", "101")).and_then(|at| {
                TunnelKey::try_from(at.value)
                    .map_err(|error| self.faults.push(error.fault("", at.span.clone())))
                    .ok()
                    .map(|value| At { value, span: at.span })
            });
        TenantDraft {
            name: self.required(fields, "name").and_then(|value| self.parsed(value, "name")),
            key,
            subnet: self.required(fields, "subnet").and_then(|value| self.parsed(value, "subnet")),
            bridge: fields.get("bridge").and_then(|value| self.parsed(value, "bridge")),
            hosts: fields.get("hosts").and_then(|value| self.host_names(value)),
            gateways: fields.get("gateways").map(|value| self.gateways(value)).unwrap_or_default(),
            containers: self.tables(fields, "containers", "a container", Self::container),
        }
    }

    fn container(&mut self, fields: &Fields<'_>) -> ContainerDraft {
        self.known(fields, &["ctid", "host", "ip"]);
        ContainerDraft {
            ctid: self.required(fields, "ctid").and_then(|value| self.parsed(value, "ctid")),
            host: self.required(fields, "host").and_then(|value| self.parsed(value, "host")),
            ip: self.required(fields, "ip").and_then(|value| self.parsed(value, "ip")),
        }
    }

    fn host_names(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Vec<At<HostName>>> {
        let DeValue::Array(array) = value.get_ref() else {
            self.mistyped(value, "hosts", "an array of host names, as [\"redis1\", \"redis2\"]");
            return None;
        };
        Some(array.iter().filter_map(|entry| self.parsed(entry, "a host")).collect())
    }

    fn gateways(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<(At<HostName>, At<IpAddr>)> {
        let DeValue::Table(table) = value.get_ref() else {
            self.mistyped(
                value,
                "gateways",
                "a table of host names and addresses, as { proxy1 = \"192.168.10.4\" }",
            );
            return Vec::new();
        };
        let mut gateways = Vec::new();
        for (key, value) in table {
            let host = match key.get_ref().parse::<HostName>() {
                Ok(value) => Some(At { value, span: key.span() }),
                Err(error) => {
                    self.faults.push(error.fault(key.get_ref(), key.span()));
                    None
                }
            };
            let ip = self.parsed(value, "a gateway's address");
            gateways.extend(host.zip(ip));
        }
        gateways
    }

    /// The tables of an array of tables; a fault where there is anything else.
    fn tables<T>(
        &mut self,
        fields: &Fields<'_>,
        key: &'static str,
        what: &'static str,
        read: fn(&mut Self, &Fields<'_>) -> T,
    ) -> Vec<T> {
        let Some(value) = fields.get(key) else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            self.mistyped(
                value,
                key,
                "an array of tables, each opened by its [[…]] line or written as { … }",
            );
            return Vec::new();
        };
        let mut read_all = Vec::with_capacity(array.len());
        for entry in array {
            if let Some(fields) = self.table(entry, what) {
                read_all.push(read(self, &fields));
            }
        }
        read_all
    }

    fn table<'a>(&mut self, value: &'a Spanned<DeValue<'a>>, what: &'static str) -> Option<Fields<'a>> {
        if let DeValue::Table(table) = value.get_ref() {
            return Some(Fields { table, span: value.span(), what });
        }
        self.mistyped(value, what, "a table");
        None
    }

    fn known(&mut self, fields: &Fields<'_>, known: &[&str]) {
        for (key, _) in fields.table {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let quoted: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
                self.faults.push(Fault::new(
                    key.span(),
                    format!("{} has no key `{name}`", fields.what),
                    format!("accepted are {}", quoted.join(", ")),
                ));
            }
        }
    }

    fn required<'a>(&mut self, fields: &Fields<'a>, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        let found = fields.get(key);
        if found.is_none() {
            self.faults.push(Fault::new(
                fields.span.clone(),
                format!("{} has no `{key}`", fields.what),
                format!("add `{key} = …`"),
            ));
        }
        found
    }

    fn string<'a>(&mut self, value: &'a Spanned<DeValue<'_>>, key: &str) -> Option<At<&'a str>> {
        if let DeValue::String(text) = value.get_ref() {
            return Some(At { value: text, span: value.span() });
        }
        self.mistyped(value, key, "a string in quotes");
        None
    }

    fn integer(&mut self, value: &Spanned<DeValue<'_>>, key: &str, example: &str) -> Option<At<i64>> {
        let DeValue::Integer(number) = value.get_ref() else {
            self.mistyped(value, key, &format!("a whole number without quotes, as {example}"));
            return None;
        };
        let parsed = i64::from_str_radix(number.as_str(), number.radix());
        if parsed.is_err() {
            self.faults.push(Fault::new(
                value.span(),
                format!("{key} is too large a number"),
                format!("a number as {example}"),
            ));
        }
        parsed.ok().map(|number| At { value: number, span: value.span() })
    }

    fn parsed<T: FromStr>(&mut self, value: &Spanned<DeValue<'_>>, key: &str) -> Option<At<T>>
    where
        T::Err: Explain,
    {
        let text = self.string(value, key)?;
        match text.value.parse() {
            Ok(parsed) => Some(At { value: parsed, span: text.span }),
            Err(error) => {
                self.faults.push(error.fault(text.value, text.span));
                None
            }
        }
    }

    fn mistyped(&mut self, value: &Spanned<DeValue<'_>>, key: &str, accepted: &str) {
        let found = value.get_ref().type_str();
        self.faults.push(Fault::new(value.span(), format!("{key} cannot be of type {found}"), accepted));
    }
}

/// A parse error that can say what would have been accepted.
trait Explain {
    fn fault(&self, text: &str, span: Range<usize>) -> Fault;
}

impl Explain for NameError {
    fn fault(&self, _text: &str, span: Range<usize>) -> Fault {
        Fault::new(span, self.problem(), self.accepted())
    }
}

impl Explain for std::net::AddrParseError {
    fn fault(&self, text: &str, span: Range<usize>) -> Fault {
        Fault::new(
            span,
            format!("`{}` is not an IP address", text.escape_debug()),
            "an IPv4 or IPv6 address without a prefix length, as \"10.0.1.11\" or \"fd00::11\"",
        )
    }
}

impl Explain for ipnetwork::IpNetworkError {
    fn fault(&self, text: &str, span: Range<usize>) -> Fault {
        Fault::new(
            span,
            format!("`{}` is not a subnet", text.escape_debug()),
            "a network address with its prefix length, as \"192.168.10.0/24\" or \"fd00:10::/64\"",
        )
    }
}
