//! The certificates that proxies show to clients, with their keys: read from files that only their owner can read.

use std::fmt;
use std::path::{Path, PathBuf};

use super::secret::private;
use super::{Cluster, Config, SecretError};

/// The longest file of a certificate that is accepted, in bytes; more is a wrong file.
const LONGEST: usize = 256 << 10;

/// A certificate, those of its issuers, and its private key, in PEM (RFC 7468). Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate(String);

impl Certificate {
    /// What the file of that path says, which only names it in errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, CertificateError> {
        let labels: Vec<&str> = text
            .lines()
            .filter_map(|line| line.trim_end().strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
            .collect();
        let wrong = if !labels.contains(&"CERTIFICATE") {
            "there is no certificate in it"
        } else if labels.contains(&"ENCRYPTED PRIVATE KEY") {
            "its key is encrypted, and nobody would be there to give HAProxy the passphrase"
        } else if !labels.iter().any(|label| label.ends_with("PRIVATE KEY")) {
            "there is no private key in it"
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(CertificateError::Content { path: path.to_owned(), wrong })
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate(…)")
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Its file cannot be read, or others can read it.
    #[error(transparent)]
    File(#[from] SecretError),
    /// It is not what HAProxy needs.
    #[error(
        "{} does not hold what HAProxy needs, a certificate, those of its issuers and its key: {wrong}",
        path.display()
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        wrong: &'static str,
    },
}

/// The certificates of all clusters that have one, in the file's order. Proxies alone need them, and of those HAProxy alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates(Vec<Option<Certificate>>);

impl Certificates {
    /// Reads every file that the service's file names.
    pub fn read(config: &Config) -> Result<Self, CertificateError> {
        Self::new(config, |path| {
            let text = private(path, LONGEST)?;
            if text.len() > LONGEST {
                return Err(CertificateError::Content { path: path.to_owned(), wrong: "it is too long" });
            }
            Certificate::parse(&text, path)
        })
    }

    /// The certificate of each file that the service's file names, wherever it is kept.
    pub fn new(
        config: &Config,
        mut of: impl FnMut(&Path) -> Result<Certificate, CertificateError>,
    ) -> Result<Self, CertificateError> {
        let of_each = |cluster: &Cluster| cluster.tls.as_deref().map(&mut of).transpose();
        config.clusters.iter().map(of_each).collect::<Result<_, _>>().map(Self)
    }

    /// Each cluster that has one, with it.
    pub fn of<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = (&'a Cluster, &'a Certificate)> {
        config.clusters.iter().zip(&self.0).filter_map(|(cluster, one)| Some((cluster, one.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_haproxy_can_use() {
        let block = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        let (certificate, key) = (block("CERTIFICATE"), block("PRIVATE KEY"));
        let table = [
            (format!("{certificate}{certificate}{key}"), ""),
            (format!("{}{certificate}", block("EC PRIVATE KEY")), ""),
            (format!("subject=x\r\n{certificate}{key}").replace('\n', "\r\n"), ""),
            (certificate.clone(), "no private key"),
            (key, "no certificate"),
            (block("CERTIFICATE REQUEST"), "no certificate"),
            (format!("{certificate}{}", block("ENCRYPTED PRIVATE KEY")), "encrypted"),
        ];
        for (text, expected) in table {
            match Certificate::parse(&text, Path::new("acme.pem")) {
                Ok(read) => assert_eq!((read.expose(), expected), (text.as_str(), "")),
                Err(error) => {
                    let said = error.to_string();
                    assert!(!expected.is_empty() && said.contains(expected), "{said}");
                    assert!(said.contains("acme.pem"), "{said}");
                }
            }
        }
    }
}
