//! Reads the files of a certificate.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::{
    CertificateError, Error, RootCertStore, ServerConfig,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
};

use crate::{settings::tls::TlsSettings, tls::TlsError};

/// The protocols that a caller may choose, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// The largest file that is read; a chain with its key has a few KiB, and a bundle of all public authorities 250.
const SIZE_MAX: u64 = 4 << 20;
/// A time after the end of every certificate: the year 10000 begins before it (RFC 5280 4.1.2.5).
const AFTER_ALL: Duration = Duration::from_hours(24 * 366 * 8030);

/// What shows whether files have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamps([Option<Stamp>; 3]);

/// The device, the inode, the size and the time of the last change of a file.
type Stamp = (u64, u64, u64, (i64, i64));

impl Stamps {
    /// Looks at the files of the settings. A file that is missing has none.
    pub(super) fn of(settings: &TlsSettings) -> Self {
        let files = [&settings.cert, &settings.key, &settings.client_ca];
        Self(files.map(|file| fs::metadata(file).ok().as_ref().map(stamp)))
    }
}

fn stamp(file: &Metadata) -> Stamp {
    let changed = (file.mtime(), file.mtime_nsec());
    (file.dev(), file.ino(), file.size(), changed)
}

/// Reads the files of the settings; returns what connections need, and the end of the certificate's time in seconds since
/// 1970.
pub(super) fn read(settings: &TlsSettings) -> Result<(ServerConfig, u64), TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&settings.cert, "cert")?;
    let expires_at = expires_at(&chain, &provider).map_err(|error| {
        let file = settings.cert.display();
        wrong(
            "cert",
            format!("`{file}` has no valid certificate: {error}"),
        )
    })?;
    let key = private_key(&settings.key)?;
    let verifier = verifier(settings, &provider)?;
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("cert", error.to_string()))?;
    let builder = builder.with_client_cert_verifier(verifier);
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| unusable(settings, &error))?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok((config, expires_at))
}

fn wrong(key: &'static str, reason: String) -> TlsError {
    TlsError { key, reason }
}

/// Returns the error of a key and a certificate that cannot be used together.
fn unusable(settings: &TlsSettings, error: &Error) -> TlsError {
    let (cert, file) = (settings.cert.display(), settings.key.display());
    let reason = match error {
        Error::InconsistentKeys(_) => {
            format!("`{file}` is not the key of the certificate in `{cert}`")
        }
        error => format!("`{file}` cannot be used with `{cert}`: {error}"),
    };
    wrong("key", reason)
}

/// Reads a file of at most `SIZE_MAX`.
fn bytes(file: &Path, key: &'static str) -> Result<Vec<u8>, TlsError> {
    let failed = |reason: String| wrong(key, format!("`{}` {reason}", file.display()));
    let cannot = |error: std::io::Error| failed(format!("cannot be read: {error}"));
    let size = fs::metadata(file).map_err(cannot)?.len();
    if size > SIZE_MAX {
        return Err(failed("is larger than 4MiB".to_owned()));
    }
    fs::read(file).map_err(cannot)
}

/// Reads at least one certificate.
fn certificates(file: &Path, key: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = bytes(file, key)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let shown = file.display();
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err(wrong(key, format!("`{shown}` has no certificate in PEM")))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(wrong(key, format!("`{shown}` is not valid PEM: {error}"))),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = bytes(file, "key")?;
    let read = PrivateKeyDer::from_pem_slice(&text);
    let shown = file.display();
    read.map_err(|error| match error {
        pem::Error::NoItemsFound => wrong("key", format!("`{shown}` has no private key in PEM")),
        error => wrong("key", format!("`{shown}` is not valid PEM: {error}")),
    })
}

/// Returns what checks the certificates of callers.
fn verifier(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if !settings.asks_callers() {
        return Ok(Arc::new(NoClientAuth));
    }
    let shown = settings.client_ca.display();
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&settings.client_ca, "client_ca")? {
        let added = roots.add(certificate);
        added.map_err(|error| {
            let reason = format!("`{shown}` has a certificate that is not valid: {error}");
            wrong("client_ca", reason)
        })?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    let verifier = verifier
        .map_err(|error| wrong("client_ca", format!("`{shown}` cannot be used: {error}")))?;
    Ok(verifier)
}

/// Returns the end of the first certificate's time, in seconds since 1970. The verifier gives it as the reason why the
/// certificate is not valid at a later time.
fn expires_at(
    chain: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<u64, Error> {
    let Some(certificate) = chain.first() else {
        return Err(Error::NoCertificatesPresented);
    };
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
    let name = ServerName::try_from("localhost")
        .map_err(|_| Error::General("no name to check".to_owned()))?;
    let after_all = UnixTime::since_unix_epoch(AFTER_ALL);
    match verifier.verify_server_cert(certificate, &[], &name, &[], after_all) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Ok(not_after.as_secs())
        }
        Err(error) => Err(error),
        Ok(_) => Ok(AFTER_ALL.as_secs()),
    }
}
