//! The certificate authorities that the receiver's certificate is checked against.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::error::SettingsError;

/// Environment variable with the path of a file of certificates.
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";

/// Returns the TLS configuration. Its certificate authorities come from `file` if there is one; else from the machine; else,
/// if the machine (such as a minimal image) has none, from Mozilla's list.
pub(crate) fn config(file: Option<&Path>) -> Result<ClientConfig, SettingsError> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(path) => add_file(&mut roots, path)?,
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
        }
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|fault| error(Path::new(""), &fault.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), SettingsError> {
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|fault| error(path, &fault.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|fault| error(path, &fault.to_string()))?;
        roots.add(certificate).map_err(|fault| error(path, &fault.to_string()))?;
    }
    if roots.is_empty() { Err(error(path, "there is none in it")) } else { Ok(()) }
}

fn error(path: &Path, cause: &str) -> SettingsError {
    SettingsError::Certificate { variable: CERTIFICATE.into(), path: path.into(), cause: cause.into() }
}
