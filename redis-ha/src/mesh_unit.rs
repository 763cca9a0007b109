//! The systemd unit that makes a host's share of the mesh at boot, and keeps it.

use ovs_mesh::HostName;

/// The same file that others install by hand.
const UNIT: &str = include_str!("../../examples/systemd/ovsmesh.service");
/// Its line of the host's name, which is none until it is known.
const HOST: &str = "#Environment=OVSMESH_HOST=redis1\n";

/// The unit of a host, which may have another name than its machine.
pub(crate) fn mesh_unit(host: &HostName) -> String {
    UNIT.replace(HOST, &format!("Environment=OVSMESH_HOST={host}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_unit_has_its_name() {
        let unit = mesh_unit(&"proxy-1.x".parse().unwrap());
        let names: Vec<&str> = unit.lines().filter(|line| line.contains("OVSMESH_HOST")).collect();
        assert_eq!(names, ["Environment=OVSMESH_HOST=proxy-1.x"]);
    }

    /// What is ordered after it starts when the last of these has ended, and the mesh is kept from then on.
    #[test]
    fn the_mesh_is_made_before_it_is_kept() {
        let commands: Vec<&str> = UNIT.lines().filter(|line| line.starts_with("Exec")).collect();
        let program = "/usr/local/bin/ovsmesh sync";
        let [made, kept] =
            [format!("ExecStartPre=-{program} --timeout 60s"), format!("ExecStart={program} --watch")];
        assert_eq!(commands, [made, kept]);
    }
}
