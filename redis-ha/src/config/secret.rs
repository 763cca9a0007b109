//! Passwords: read from files that only their owner can read, and never shown.

use std::fmt::{self, Write};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use ovs_mesh::TenantName;
use sha2::Sha256;

use super::{Cluster, Config};

/// The shortest secret that is accepted, in bytes: Redis checks a million passwords a second.
const SHORTEST: usize = 16;
/// The longest, in bytes; more is a wrong file.
const LONGEST: usize = 512;

/// A password. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The password itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Why a text is no password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; accepted are {SHORTEST} to {LONGEST} printable ASCII characters without spaces, quotes and backslashes, on one line"
)]
pub struct PasswordError(&'static str);

impl FromStr for Secret {
    type Err = PasswordError;

    /// Out of a file's text, whose last line may end.
    fn from_str(text: &str) -> Result<Self, PasswordError> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        if text.contains('\n') {
            return Err(PasswordError("there is more than one line"));
        }
        if text.len() < SHORTEST {
            return Err(PasswordError("it is too short"));
        }
        if text.len() > LONGEST {
            return Err(PasswordError("it is too long"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\')) {
            return Err(PasswordError("it has characters that configuration files would need to quote"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a secret's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("cannot read the secret in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Others can read it.
    #[error(
        "{} can be read by others than its owner (mode {mode:04o}); run: chmod 600 {}",
        path.display(),
        path.display()
    )]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is no password.
    #[error("{} does not hold a password", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: PasswordError,
    },
    /// Two clusters have one password.
    #[error("tenants `{first}` and `{second}` have the same password; each needs one of its own")]
    Shared {
        /// The one.
        first: TenantName,
        /// The other.
        second: TenantName,
    },
}

/// All passwords of one tenant's Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The tenant's clients': all commands but those that administer the server.
    pub client: Secret,
    /// Replicas', Sentinels' and the agent's, who may do everything.
    pub operator: Secret,
    /// The Sentinels' own.
    pub sentinel: Secret,
}

/// The operator's secret, and the passwords of all clusters, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    service: Secret,
    clusters: Vec<Credentials>,
}

impl Secrets {
    /// Reads every file that the service's file names.
    pub fn read(config: &Config) -> Result<Self, SecretError> {
        Self::new(config, &read(&config.secret_file)?, |cluster| read(&cluster.password_file))
    }

    /// The operator's secret, and the password of each cluster's clients, wherever they are kept.
    pub fn new(
        config: &Config,
        master: &Secret,
        mut client: impl FnMut(&Cluster) -> Result<Secret, SecretError>,
    ) -> Result<Self, SecretError> {
        let mut all: Vec<Credentials> = Vec::new();
        for cluster in &config.clusters {
            let client = client(cluster)?;
            if let Some(at) = all.iter().position(|other| other.client == client) {
                let first = config.clusters[at].tenant.clone();
                return Err(SecretError::Shared { first, second: cluster.tenant.clone() });
            }
            all.push(Credentials::derive(master, &cluster.tenant, client));
        }
        Ok(Self { service: master.clone(), clusters: all })
    }

    /// The operator's secret.
    pub fn service(&self) -> &Secret {
        &self.service
    }

    /// Each cluster with its passwords.
    pub fn of<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = (&'a Cluster, &'a Credentials)> {
        config.clusters.iter().zip(&self.clusters)
    }
}

impl Credentials {
    /// A tenant's passwords from the operator's secret and the clients' password: HMAC-SHA-256 (RFC 2104), so that no tenant
    /// can compute its own or another's.
    pub fn derive(master: &Secret, tenant: &TenantName, client: Secret) -> Self {
        let derived = |what: &str| {
            // A key of any length is accepted.
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(master.0.as_bytes()) else {
                unreachable!("HMAC takes a key of any length")
            };
            mac.update(format!("redis-ha {what} {tenant}").as_bytes());
            Secret(hex(&mac.finalize().into_bytes()))
        };
        Self { client, operator: derived("operator"), sentinel: derived("sentinel") }
    }
}

/// Two lower-case digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn read(path: &Path) -> Result<Secret, SecretError> {
    let text = private(path, LONGEST + 1)?;
    text.parse().map_err(|source| SecretError::Content { path: path.to_owned(), source })
}

/// What a file says that only its owner can read; of more than `longest` bytes, one more than that.
pub(super) fn private(path: &Path, longest: usize) -> Result<String, SecretError> {
    let failed = |source| SecretError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Readable { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.by_ref().take(longest as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_password() {
        let long = "x".repeat(LONGEST + 1);
        let table = [
            ("0123456789abcdef\n", Ok("0123456789abcdef".to_owned())),
            ("0123456789abcdef", Ok("0123456789abcdef".to_owned())),
            ("0123456789abcde\n", Err("it is too short")),
            ("0123456789abcdef\nmore\n", Err("there is more than one line")),
            ("0123456789 abcdef\n", Err("it has characters that configuration files would need to quote")),
            ("0123456789\"abcdef\n", Err("it has characters that configuration files would need to quote")),
            (long.as_str(), Err("it is too long")),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse().map_err(|PasswordError(why)| why), expected.map(Secret), "{text:?}");
        }
    }

    #[test]
    fn no_two_derived_passwords_are_equal_and_none_is_shown() {
        let master = Secret("a-secret-of-the-operator".to_owned());
        let of = |tenant: &str| {
            Credentials::derive(&master, &tenant.parse().unwrap(), Secret("clients-of-tenant".to_owned()))
        };
        let (acme, globex) = (of("acme"), of("globex"));
        let mut all =
            [&acme.operator, &acme.sentinel, &globex.operator, &globex.sentinel].map(Secret::expose).to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
        assert_eq!(acme.operator.expose().len(), 64);
        assert!(!format!("{acme:?}").contains("clients"));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        for (mode, fine) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).is_ok(), fine, "{mode:o}");
        }
    }
}
