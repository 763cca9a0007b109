//! From text to a draft: every value of the right type or a fault, every value with its place.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use toml::Spanned;
use toml::de::DeValue;

use super::Datapath;
use crate::file::{At, Explain, Fault, Fields, Reader};
use crate::names::{BridgeName, Ctid, HostName, MeshName, TenantName, TunnelKey};

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
    let (draft, faults) = Reader::document(text, "the topology", Reader::topology);
    (draft.unwrap_or_default(), faults)
}

impl Reader {
    fn topology(&mut self, top: &Fields<'_>) -> Draft {
        self.known(top, &["mesh", "host", "tenant", "openvz"]);
        let mut draft = Draft::default();
        match top.get("mesh") {
            Some(value) => self.mesh(value, &mut draft),
            None => self.faults.push(Fault::new(
                0..0,
                "the topology has no [mesh]",
                "add `[mesh]` with `name` and `underlay_mtu`",
            )),
        }
        draft.hosts = self.tables(top, "host", "a host", Self::host);
        draft.tenants = self.tables(top, "tenant", "a tenant", Self::tenant);
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
}
