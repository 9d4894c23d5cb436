//! What a client of servers is made with: whom it trusts, how it proves itself, and the proxy in front of it.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use reqwest::{Certificate, Client, ClientBuilder, Identity, Proxy};

use super::POOL_IDLE_TIMEOUT;

/// The options of a client.
#[derive(Clone, Debug)]
pub(crate) struct ClientOptions {
    connect_timeout: Duration,
    trust: Trust,
    identity: Option<Identity>,
    proxy: Option<Proxy>,
}

/// The servers whose certificates a client accepts.
#[derive(Clone, Debug)]
enum Trust {
    /// None: it calls servers without TLS.
    Nobody,
    /// Those whose authorities the system trusts.
    System,
    /// Those of these authorities.
    Authorities(Vec<Certificate>),
    /// All, whoever signed their certificates and for which name.
    Anybody,
}

impl ClientOptions {
    /// Creates options without a proxy. The certificates of the system are read only if `tls` requires them.
    pub(crate) fn new(connect_timeout: Duration, tls: bool) -> Self {
        Self {
            connect_timeout,
            trust: if tls { Trust::System } else { Trust::Nobody },
            identity: None,
            proxy: None,
        }
    }

    /// Trusts the authorities in a PEM file instead of those of the system.
    ///
    /// # Errors
    /// Returns an error that names the file if it cannot be used.
    pub(crate) fn trust_file(&mut self, file: &Path) -> Result<(), String> {
        let shown = file.display();
        let read = Certificate::from_pem_bundle(&read(file)?);
        let authorities = read.map_err(|error| format!("`{shown}` is not valid PEM: {error}"))?;
        if authorities.is_empty() {
            return Err(format!("`{shown}` has no certificate in PEM"));
        }
        self.trust = Trust::Authorities(authorities);
        Ok(())
    }

    /// Accepts the certificate of any server. Nothing secret may be sent to it.
    pub(crate) fn trust_anybody(&mut self) {
        self.trust = Trust::Anybody;
    }

    /// Shows servers that ask for it the certificate of a PEM file, with the private key in the same or another one.
    ///
    /// # Errors
    /// Returns an error that names the file if it cannot be used.
    pub(crate) fn identify_by(&mut self, cert: &Path, key: Option<&Path>) -> Result<(), String> {
        let mut pem = read(cert)?;
        if let Some(key) = key {
            pem.push(b'\n');
            pem.extend(read(key)?);
        }
        let identity = Identity::from_pem(&pem);
        let shown = key.unwrap_or(cert).display();
        let wrong = |error| {
            format!(
                "`{shown}` has no private key in PEM for a certificate, or it is not valid: {error}"
            )
        };
        self.identity = Some(identity.map_err(wrong)?);
        Ok(())
    }

    /// Reaches servers through a proxy.
    pub(crate) fn reach_through(&mut self, proxy: Proxy) {
        self.proxy = Some(proxy);
    }

    /// Creates a client that follows no redirects. It reads no variables of the environment.
    ///
    /// # Errors
    /// Returns an error if the options do not fit together.
    pub(crate) fn build(&self) -> Result<Client, reqwest::Error> {
        self.builder().build()
    }

    /// Creates a client that finds a host at these addresses, and no other one by its name.
    pub(super) fn build_to(
        &self,
        (host, addresses): (&str, &[SocketAddr]),
    ) -> Result<Client, reqwest::Error> {
        self.builder().resolve_to_addrs(host, addresses).build()
    }

    fn builder(&self) -> ClientBuilder {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may have installed the provider first; it is the same one.
            let installed = rustls::crypto::ring::default_provider().install_default();
            tracing::trace!(installed = installed.is_ok(), "crypto provider");
        }
        let mut builder = Client::builder()
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy();
        builder = match &self.trust {
            // The system's certificates are not needed, and reading them takes tens of milliseconds.
            Trust::Nobody => builder.tls_certs_only([]),
            Trust::System => builder,
            Trust::Authorities(authorities) => builder.tls_certs_only(authorities.clone()),
            Trust::Anybody => builder
                .tls_certs_only([])
                .tls_danger_accept_invalid_certs(true),
        };
        if let Some(identity) = &self.identity {
            builder = builder.identity(identity.clone());
        }
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(proxy.clone());
        }
        builder
    }
}

/// The largest file that is read; a bundle of all public authorities has 250 KiB.
const SIZE_MAX: u64 = 4 << 20;

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let shown = file.display();
    let cannot = |error: std::io::Error| format!("`{shown}` cannot be read: {error}");
    if fs::metadata(file).map_err(cannot)?.len() > SIZE_MAX {
        return Err(format!("`{shown}` is larger than 4MiB"));
    }
    fs::read(file).map_err(cannot)
}
