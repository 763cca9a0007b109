//! From a topology back to a file's text.

use toml::{Table, Value};

use super::{Container, Gateway, Host, Tenant, Topology};

pub(super) fn to_toml(topology: &Topology) -> String {
    let Topology { name, underlay_mtu, datapath, kind: _, hosts, tenants, conf_dir, default_bridge } =
        topology;
    let mesh = table([
        ("name", name.as_str().into()),
        ("underlay_mtu", i64::from(*underlay_mtu).into()),
        ("datapath", datapath.as_str().into()),
    ]);
    let host = |Host { name, underlay_ip }: &Host| {
        table([("name", name.as_str().into()), ("underlay_ip", underlay_ip.to_string().into())])
    };
    let tenant = |tenant: &Tenant| {
        let Tenant { name, key, subnet, bridge, members, gateways, containers } = tenant;
        let members = members.iter().map(|&at| Value::from(hosts[at].name.as_str())).collect::<Vec<_>>();
        let gateways = gateways
            .iter()
            .map(|Gateway { host, ip }| (host.to_string(), Value::from(ip.to_string())))
            .collect();
        let container = |Container { ctid, host, ip }: &Container| {
            table([
                ("ctid", ctid.as_str().into()),
                ("host", host.as_str().into()),
                ("ip", ip.to_string().into()),
            ])
        };
        table([
            ("name", name.as_str().into()),
            ("key", i64::from(key.get()).into()),
            ("subnet", subnet.to_string().into()),
            ("bridge", bridge.as_str().into()),
            ("hosts", members.into()),
            ("gateways", Value::Table(gateways)),
            ("containers", containers.iter().map(container).collect::<Vec<_>>().into()),
        ])
    };
    let openvz = [("conf_dir", conf_dir.to_string_lossy().into_owned())];
    let openvz =
        openvz.into_iter().chain(default_bridge.iter().map(|name| ("default_bridge", name.to_string())));
    let openvz = openvz.map(|(key, value)| (key.to_owned(), Value::from(value))).collect();
    let Value::Table(file) = table([
        ("mesh", mesh),
        ("openvz", Value::Table(openvz)),
        ("host", hosts.iter().map(host).collect::<Vec<_>>().into()),
        ("tenant", tenants.iter().map(tenant).collect::<Vec<_>>().into()),
    ]) else {
        return String::new();
    };
    file.to_string()
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Table(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Table>())
}
