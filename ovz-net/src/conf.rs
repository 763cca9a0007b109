//! Reads OpenVZ's configurations, which are shell fragments, without ever running them.
//!
//! A shell and OpenVZ's programs do not read such a file alike, and the two generations of programs differ as well.
//! What counts is what the program makes of the file that made the devices:
//!
//! | | vzctl (OpenVZ 6) | libvzctl (OpenVZ 7) | a shell |
//! | --- | --- | --- | --- |
//! | of two `NETIF` lines | the first that has an interface | the last | the last |
//! | `NETIF = x` | is no `NETIF` | is no `NETIF` | runs `NETIF` |
//! | `"` | ends at the line's last `"` | goes from either end | pairs up |
//! | `'` | is part of the value | goes from either end | pairs up |
//! | `#` | is a comment at the line's start | and at a word's start | and at a word's start |
//! | after an interface that is not valid | the rest is dropped | the rest is read | |
//! | `NETIF=""` | leaves `vz.conf`'s in force | has no interface | has no interface |

mod keys;
mod line;
mod netif;
mod warning;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use ovs_mesh::Ctid;

pub(crate) use keys::{kind, vport};
pub use netif::{Netif, NetifError, NetifKind, Vport};
pub use warning::{Problem, Warning};

use line::Line;

/// The program that reads a host's configurations and calls its hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Generation {
    /// vzctl 3 and 4, of OpenVZ 6 and of upstream kernels; it calls `init veth DEV`.
    Vzctl,
    /// libvzctl, of OpenVZ 7 and later; it calls `addif DEV NETWORK` and `delif DEV`.
    Libvzctl,
}

impl Generation {
    /// The program whose container this is, where no call tells: libvzctl alone has UUIDs, as the CTID or, for a
    /// container with a number, as `UUID=` in its configuration.
    pub fn of(ctid: &Ctid, configuration: &[u8]) -> Self {
        let mut buffer = Vec::new();
        let mut has_uuid = || {
            line::pieces(configuration, Self::Libvzctl).any(|(_, piece)| {
                matches!(line::read(piece, Self::Libvzctl, &mut buffer),
                    Line::Assignment { name: b"UUID", value } if !value.is_empty())
            })
        };
        if ctid.as_str().contains('-') || has_uuid() { Self::Libvzctl } else { Self::Vzctl }
    }
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

/// What a container's configuration, or the host's `vz.conf`, says about network interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    path: PathBuf,
    generation: Generation,
    netifs: Vec<Netif>,
    /// Whether there is a `NETIF` at all, be it an empty one.
    assigned: bool,
    warnings: Vec<Warning>,
}

impl Configuration {
    /// Reads a configuration's text as `generation` does; `path` only names the file in messages.
    ///
    /// There is no text that cannot be read: lines that OpenVZ skips are skipped, with a warning where they concern
    /// network interfaces.
    ///
    /// ```
    /// use ovz_net::{Configuration, Generation};
    ///
    /// let text = br#"NETIF="ifname=eth0,bridge=br-acme,mac=00:18:51:AB:CD:EF;ifname=eth1,bridge=vmbr0""#;
    /// let conf = Configuration::read("/etc/vz/conf/101.conf".as_ref(), text, Generation::Vzctl);
    /// let names: Vec<String> = conf.devices(&"101".parse()?).map(|(device, _)| device).collect();
    /// assert_eq!(names, ["veth101.0", "veth101.1"]);
    /// assert_eq!(conf.netifs()[1].bridge.as_deref(), Some("vmbr0"));
    /// # Ok::<(), ovs_mesh::NameError>(())
    /// ```
    pub fn read(path: &Path, text: &[u8], generation: Generation) -> Self {
        let mut reader = Reader {
            conf: Self {
                path: path.to_owned(),
                generation,
                netifs: Vec::new(),
                assigned: false,
                warnings: Vec::new(),
            },
            held: None,
        };
        let mut buffer = Vec::new();
        for (number, piece) in line::pieces(text, generation) {
            reader.line(number, line::read(piece, generation, &mut buffer));
        }
        if let Some((number, value)) = reader.held.take() {
            reader.netifs(number, &value);
        }
        reader.conf
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The program as which it was read.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The interfaces, in the file's order; no two have the same `ifname`.
    pub fn netifs(&self) -> &[Netif] {
        &self.netifs
    }

    /// What OpenVZ skips or reads otherwise than it looks, in the file's order.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Where an interface of this configuration is.
    pub fn place(&self, netif: &Netif) -> Place {
        Place { path: self.path.clone(), line: netif.line }
    }

    /// The configuration whose interfaces a container has: its own, else `vz.conf`.
    pub fn in_force<'a>(own: Option<&'a Self>, global: Option<&'a Self>) -> Option<&'a Self> {
        own.filter(|own| match own.generation {
            Generation::Vzctl => !own.netifs.is_empty(),
            Generation::Libvzctl => own.assigned,
        })
        .or(global)
    }

    /// The interfaces with their host-side devices, those aside whose name only libvzctl knows ([`Netif::device`]).
    pub fn devices(&self, ctid: &Ctid) -> impl Iterator<Item = (String, &Netif)> {
        self.netifs.iter().filter_map(|netif| Some((netif.device(ctid, self.generation)?, netif)))
    }
}

struct Reader {
    conf: Configuration,
    /// libvzctl's `NETIF` so far, that a later one replaces.
    held: Option<(usize, Vec<u8>)>,
}

impl Reader {
    fn warn(&mut self, line: usize, problem: Problem) {
        let place = Place { path: self.conf.path.clone(), line };
        self.conf.warnings.push(Warning { place, problem });
    }

    fn line(&mut self, number: usize, line: Line<'_>) {
        match line {
            Line::Assignment { name: b"NETIF", value } => self.netif(number, value),
            Line::Assignment { name: b"VETH", .. } => self.warn(number, Problem::Veth),
            Line::Assignment { name, .. } | Line::Unassigned(name) if means_netif(name) => {
                self.warn(number, Problem::NotAssigned);
            }
            Line::Unterminated { name: b"NETIF" } => self.warn(number, Problem::Unterminated),
            Line::Blank | Line::Assignment { .. } | Line::Unassigned(_) | Line::Unterminated { .. } => {}
        }
    }

    fn netif(&mut self, number: usize, value: &[u8]) {
        self.conf.assigned = true;
        match self.conf.generation {
            Generation::Vzctl => match self.conf.netifs.first() {
                Some(Netif { line, .. }) => {
                    let taken = *line;
                    self.warn(number, Problem::Repeated { taken });
                }
                None => self.netifs(number, value),
            },
            Generation::Libvzctl => {
                if let Some((earlier, _)) = self.held.replace((number, value.to_owned())) {
                    self.warn(earlier, Problem::Repeated { taken: number });
                }
            }
        }
    }

    fn netifs(&mut self, number: usize, value: &[u8]) {
        let mut names = HashSet::new();
        let mut parts = value.split(|byte| *byte == b';').filter(|part| !part.is_empty()).peekable();
        if self.conf.generation == Generation::Vzctl && value.starts_with(b"'") {
            self.warn(number, Problem::SingleQuoted);
        }
        while let Some(part) = parts.next() {
            let keys::Reading { netif, spaced } = keys::read(part, number, self.conf.generation);
            for key in spaced {
                self.warn(number, Problem::SpacedKey { key });
            }
            match netif {
                Ok(netif) if names.insert(netif.ifname.clone()) => self.conf.netifs.push(netif),
                Ok(netif) => self.warn(number, Problem::SameIfname { ifname: netif.ifname }),
                Err(error) => {
                    let netif = String::from_utf8_lossy(part).into_owned();
                    self.warn(number, Problem::Skipped { netif, error });
                    if self.conf.generation == Generation::Vzctl {
                        if parts.peek().is_some() {
                            let count = parts.by_ref().count();
                            self.warn(number, Problem::Dropped { count });
                        }
                        return;
                    }
                }
            }
        }
    }
}

/// Whether a text that is no `NETIF` was meant as one: `NETIF = …`, `export NETIF=…`.
fn means_netif(name: &[u8]) -> bool {
    name.split(u8::is_ascii_whitespace).any(|word| word == b"NETIF")
}

#[cfg(test)]
mod tests;
