//! OpenVZ 7's networks: names for bridges, kept by libvirt as `<name>.xml` (`virsh net-dumpxml`).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use ovs_mesh::BridgeName;

/// libvirt's directory of networks, beside OpenVZ's of containers: `/etc/libvirt/qemu/networks` for `/etc/vz/conf`.
pub(crate) fn directory(conf_dir: &Path) -> PathBuf {
    let etc = conf_dir.parent().and_then(Path::parent).unwrap_or(conf_dir);
    etc.join("libvirt").join("qemu").join("networks")
}

/// The bridges of the networks in a directory, by the networks' names; those without a bridge are left out. A host
/// without libvirt has none.
pub(crate) fn read(directory: &Path, warnings: &mut Vec<String>) -> BTreeMap<String, BridgeName> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return BTreeMap::new(),
        Err(error) => {
            warnings.push(format!("cannot read {}: {error}", directory.display()));
            return BTreeMap::new();
        }
    };
    let files = entries.flatten().map(|entry| entry.path());
    let mut networks = BTreeMap::new();
    for path in files.filter(|path| path.extension().is_some_and(|ending| ending == "xml")) {
        let text = std::fs::read_to_string(&path);
        match text.map_err(|error| error.to_string()).and_then(|text| network(&text)) {
            Ok(found) => networks.extend(found),
            Err(error) => warnings.push(format!("{} is not read: {error}", path.display())),
        }
    }
    networks
}

/// A network's name and bridge: `<network><name>Bridged</name><bridge name='br0'/></network>`
/// (<https://libvirt.org/formatnetwork.html>).
fn network(text: &str) -> Result<Option<(String, BridgeName)>, String> {
    let document = roxmltree::Document::parse(text).map_err(|error| error.to_string())?;
    let root = document.root_element();
    let child = |name: &str| root.children().find(|node| node.has_tag_name(name));
    let name = child("name").and_then(|node| node.text()).map(str::trim).filter(|name| !name.is_empty());
    let bridge = child("bridge").and_then(|node| node.attribute("name"));
    let (Some(name), Some(bridge)) = (name, bridge) else { return Ok(None) };
    let bridge = bridge.parse().map_err(|error| format!("{error}"))?;
    Ok(Some((name.to_owned(), bridge)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_those_that_have_a_bridge() {
        let place = tempfile::tempdir().unwrap();
        let conf_dir = place.path().join("vz").join("conf");
        let directory = directory(&conf_dir);
        std::fs::create_dir_all(directory.join("autostart")).unwrap();
        for (file, text) in [
            (
                "Bridged.xml",
                "<!-- by virsh -->\n<network>\n <name>Bridged</name>\n <forward mode='bridge'/>\n <bridge name='br0'/>\n</network>",
            ),
            ("Host-Only.xml", "<network><name>Host-Only</name></network>"),
            ("broken.xml", "<network><name>x"),
            ("notes.txt", "<network><name>no</name><bridge name='br9'/></network>"),
        ] {
            std::fs::write(directory.join(file), text).unwrap();
        }
        let mut warnings = Vec::new();
        let found = read(&directory, &mut warnings);
        assert_eq!(found, BTreeMap::from([("Bridged".to_owned(), "br0".parse().unwrap())]));
        assert!(warnings.len() == 1 && warnings[0].contains("broken.xml is not read"), "{warnings:?}");
        assert!(read(&place.path().join("none"), &mut warnings).is_empty() && warnings.len() == 1);
    }
}
