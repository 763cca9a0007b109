//! TLS as OVS has it: a certificate on both sides, both signed by the CAs that the other side knows.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// This end's keys for an `ssl:` endpoint: the three files of ovs-vsctl's `--private-key`, `--certificate` and
/// `--ca-cert`, each in PEM form, as ovs-pki(8) makes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// This end's private key.
    pub private_key: PathBuf,
    /// The certificate that this end shows, with the intermediate ones after it, if any.
    pub certificate: PathBuf,
    /// The CA, or several, that must have signed the server's certificate.
    pub ca_certificate: PathBuf,
}

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file does not have in it what it should have, in PEM form.
    #[error("{} has no {what} in PEM form", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// A file has no certificate in it.
    #[error("{} has no certificate in PEM form", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// No certificate of the CA file can be trusted.
    #[error("{} has no CA certificate that can be used", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The key and the certificate are of kinds that are not known, or do not belong together.
    #[error("the private key and the certificate cannot be used together")]
    Pair {
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

impl TlsConfig {
    pub(super) async fn load(&self) -> Result<ClientConfig, TlsError> {
        let key = PrivateKeyDer::from_pem_slice(&read(&self.private_key).await?).map_err(|source| {
            TlsError::Pem { path: self.private_key.clone(), what: "private key", source }
        })?;
        let chain = certificates(&self.certificate).await?;
        let mut roots = RootCertStore::empty();
        for ca in certificates(&self.ca_certificate).await? {
            roots.add(ca).map_err(|source| TlsError::Ca { path: self.ca_certificate.clone(), source })?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain_only = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| TlsError::Ca {
                path: self.ca_certificate.clone(),
                source: rustls::Error::General(error.to_string()),
            })?;
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Pair { source })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ChainOnly(chain_only)))
            .with_client_auth_cert(chain, key)
            .map_err(|source| TlsError::Pair { source })
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    tokio::fs::read(path).await.map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

async fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path).await?;
    let found = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem { path: path.to_owned(), what: "certificate", source })?;
    if found.is_empty() { Err(TlsError::NoCertificate { path: path.to_owned() }) } else { Ok(found) }
}

/// Verifies that the CA signed the server's certificate, and not which host it names.
///
/// That is what ovs-vsctl and ovs-vswitchd verify: an `ssl:` endpoint is an address, and the certificates that ovs-pki(8)
/// makes name no address (their `subjectAltName`, if any, is the word that the request was given). The CA is one that
/// exists for this OVS installation alone; whom it signs, it trusts. Every other check, of chain, dates, purpose and
/// signatures, stands:
/// webpki makes them all before it looks at the name.
#[derive(Debug)]
struct ChainOnly(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
