//! The certificates that a receiver's is checked against.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::error::SettingsError;

/// The variable of the file with certificates.
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";

/// The configuration of TLS: with the certificates of a file if there is one, else with those of the machine, else, as in an
/// image that has none, with Mozilla's.
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
