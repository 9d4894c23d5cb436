//! How the replicas of a backend are found while the service runs.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::settings::{BaseUrl, HumanDuration, SettingsError, Validate, join};

/// The default of `every`.
const EVERY: HumanDuration = HumanDuration::from_secs(10);

/// Where the addresses of replicas come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiscoveryKind {
    /// The backend is one server.
    #[default]
    None,
    /// The list `urls`.
    List,
    /// The lines of a file.
    File,
    /// The addresses of the host in `base_url`.
    Dns,
    /// The hosts and ports in the SRV records of the host in `base_url`.
    Srv,
}

/// How the replicas of a backend are found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiscoverySettings {
    /// Where the addresses come from: `none`, `list`, `file`, `dns` or `srv`. Default `none`: the backend is one server.
    pub by: DiscoveryKind,
    /// Only `list`: the base URLs of the replicas. Default none.
    pub urls: Vec<BaseUrl>,
    /// Only `file`: the file with one base URL per line, relative to the working directory; `#` begins a comment. Default
    /// none.
    pub path: PathBuf,
    /// Only `srv`: the address of the DNS server that is asked, such as `127.0.0.1:8600`. Default: those of `/etc/resolv.conf`.
    pub resolver: Option<SocketAddr>,
    /// Only `file`, `dns` and `srv`: the time between two looks, from 100 ms to 1 h. Default `10s`.
    pub every: HumanDuration,
}

impl Default for DiscoverySettings {
    fn default() -> Self {
        Self {
            by: DiscoveryKind::default(),
            urls: Vec::new(),
            path: PathBuf::new(),
            resolver: None,
            every: EVERY,
        }
    }
}

impl DiscoverySettings {
    /// Returns `true` if the backend is a pattern for replicas.
    pub fn is_on(&self) -> bool {
        self.by != DiscoveryKind::None
    }

    /// Returns `true` if the replicas have base URLs of their own.
    pub fn names_urls(&self) -> bool {
        matches!(self.by, DiscoveryKind::List | DiscoveryKind::File)
    }

    /// Returns `true` if replicas can appear and leave while the service runs.
    pub fn changes(&self) -> bool {
        matches!(
            self.by,
            DiscoveryKind::File | DiscoveryKind::Dns | DiscoveryKind::Srv
        )
    }
}

impl Validate for DiscoverySettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut refuse = |key: &str, message: &str| {
            errors.push(SettingsError::new(join(path, key), message));
        };
        let is_list = self.by == DiscoveryKind::List;
        if is_list == self.urls.is_empty() {
            let message = if is_list {
                "at least one URL is needed"
            } else {
                "needs `by = \"list\"`"
            };
            refuse("urls", message);
        }
        for (index, url) in self.urls.iter().enumerate() {
            let parsed = url.expose().parse::<http::Uri>();
            let is_url = parsed.is_ok_and(|url| {
                matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some()
            });
            if !is_url {
                let message = "is not an `http://` or `https://` URL with a host";
                refuse(&format!("urls[{index}]"), message);
            }
        }
        let is_file = self.by == DiscoveryKind::File;
        if is_file == self.path.as_os_str().is_empty() {
            let message = if is_file {
                "a file is needed"
            } else {
                "needs `by = \"file\"`"
            };
            refuse("path", message);
        }
        if self.resolver.is_some() && self.by != DiscoveryKind::Srv {
            refuse("resolver", "needs `by = \"srv\"`");
        }
        let every = self.every.get().as_secs_f64();
        if !(0.1..=3600.0).contains(&every) {
            refuse("every", "must be from 100ms to 1h");
        }
        errors
    }
}
