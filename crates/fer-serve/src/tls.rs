//! HTTPS with the operator's certificate, or with a certificate made at the start for trying things out.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Loads a certificate chain and its private key from PEM files.
pub(crate) fn from_files(certificate: &Path, key: &Path) -> Result<ServerConfig> {
    let read = |path: &Path| CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let chain = read(certificate).with_context(|| {
        format!("--tls-cert: cannot read a PEM certificate from {}", certificate.display())
    })?;
    anyhow::ensure!(!chain.is_empty(), "--tls-cert: {} contains no certificate", certificate.display());
    let secret = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("--tls-key: cannot read a PEM private key from {}", key.display()))?;
    config(chain, secret).with_context(|| {
        format!("--tls-key {} does not match --tls-cert {}", key.display(), certificate.display())
    })
}

/// Makes a self-signed certificate for localhost and the addresses that the server is bound to. Browsers show a warning about it.
pub(crate) fn self_signed(addresses: &[SocketAddr]) -> Result<ServerConfig> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(addresses.iter().map(|address| address.ip().to_string()));
    names.dedup();
    let made = rcgen::generate_simple_self_signed(names).context("--tls-self-signed")?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    config(vec![made.cert.der().clone()], key.into())
}

fn config(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_no_client_auth().with_single_cert(chain, key)?)
}
