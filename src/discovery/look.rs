//! One look at the addresses of the replicas of a backend.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
};

use crate::{
    discovery::{Address, srv},
    settings::{BackendSettings, BaseUrl, discovery::DiscoveryKind},
};

/// The largest number of replicas of one backend; further addresses are ignored.
const REPLICAS_MAX: usize = 256;
/// The largest file of addresses that is read.
const FILE_SIZE_MAX: u64 = 1 << 20;

/// Returns the addresses in a fixed order, each once.
///
/// # Errors
/// Returns what went wrong, for the log.
pub(super) async fn look(backend: &BackendSettings) -> Result<Vec<Address>, String> {
    let discovery = &backend.discovery;
    if discovery.by == DiscoveryKind::Srv {
        return Box::pin(of_service(backend.base_url.as_ref(), discovery.resolver)).await;
    }
    let found: Vec<String> = match discovery.by {
        DiscoveryKind::None | DiscoveryKind::Srv => Vec::new(),
        DiscoveryKind::List => {
            let urls = discovery.urls.iter();
            urls.map(|url| url.expose().to_owned()).collect()
        }
        DiscoveryKind::File => of_file(&discovery.path).await?,
        DiscoveryKind::Dns => of_host(backend.base_url.as_ref()).await?,
    };
    let found: BTreeSet<String> = found.into_iter().take(REPLICAS_MAX).collect();
    let urls = found.into_iter().map(BaseUrl::new);
    Ok(urls.map(Address::from).collect())
}

/// Reads the lines of a file. A line that is not a URL makes the whole file unusable: it may be half written.
async fn of_file(path: &Path) -> Result<Vec<String>, String> {
    let shown = path.display();
    let cannot = |error: std::io::Error| format!("`{shown}` cannot be read: {error}");
    let size = tokio::fs::metadata(path).await.map_err(cannot)?.len();
    if size > FILE_SIZE_MAX {
        return Err(format!("`{shown}` is larger than {FILE_SIZE_MAX} bytes"));
    }
    let text = tokio::fs::read_to_string(path).await.map_err(cannot)?;
    let lines = text.lines().map(|line| {
        let line = line.split_once('#').map_or(line, |(before, _)| before);
        line.trim().to_owned()
    });
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    match lines.iter().position(|line| !is_url(line)) {
        Some(place) => Err(format!(
            "entry {} of `{shown}` is not an `http://` or `https://` URL with a host",
            place + 1
        )),
        None => Ok(lines),
    }
}

fn is_url(text: &str) -> bool {
    let parsed = text.parse::<http::Uri>();
    parsed
        .is_ok_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some())
}

/// Returns the base URL with each address of its host in the place of the host.
async fn of_host(base_url: Option<&BaseUrl>) -> Result<Vec<String>, String> {
    let given = base_url.map_or("", BaseUrl::expose);
    let url = reqwest::Url::parse(given).map_err(|error| error.to_string())?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let port = url.port_or_known_default().unwrap_or(80);
    let addresses = tokio::net::lookup_host((host.as_str(), port)).await;
    let addresses = addresses.map_err(|error| format!("`{host}` cannot be resolved: {error}"))?;
    let urls = addresses.filter_map(|address| {
        let mut url = url.clone();
        url.set_ip_host(address.ip()).ok()?;
        Some(url.to_string())
    });
    Ok(urls.collect())
}

/// Returns the base URL with the host and port of each SRV record of its host.
async fn of_service(
    base_url: Option<&BaseUrl>,
    resolver: Option<SocketAddr>,
) -> Result<Vec<Address>, String> {
    let given = base_url.map_or("", BaseUrl::expose);
    let url = reqwest::Url::parse(given).map_err(|error| error.to_string())?;
    let name = url.host_str().unwrap_or_default();
    let targets = srv::targets(name, resolver).await?;
    // Each address once, by its most preferred record.
    let mut found: BTreeMap<String, srv::Target> = BTreeMap::new();
    for target in targets {
        let mut url = url.clone();
        if url.set_host(Some(&target.host)).is_err() || url.set_port(Some(target.port)).is_err() {
            continue;
        }
        let known = found.get(url.as_str()).map(|known| known.priority);
        if known.is_none_or(|known| target.priority < known) {
            found.insert(url.to_string(), target);
        }
    }
    let mut addresses: Vec<_> = found
        .into_iter()
        .map(|(url, target)| Address {
            url: BaseUrl::new(url),
            priority: target.priority,
            weight: target.weight,
        })
        .collect();
    addresses.sort_by_key(|address| address.priority);
    addresses.truncate(REPLICAS_MAX);
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn the_host_of_a_url_becomes_its_addresses() {
        let url = BaseUrl::new("http://127.0.0.1:8000/v1?a=b");
        let found = of_host(Some(&url)).await.unwrap();
        assert_eq!(found, ["http://127.0.0.1:8000/v1?a=b"]);
        let found = of_host(Some(&BaseUrl::new("http://localhost:9/v1"))).await;
        let found = found.unwrap();
        assert!(
            found.contains(&"http://127.0.0.1:9/v1".to_owned()),
            "{found:?}"
        );
        let url = BaseUrl::new("http://no-such-host.invalid/v1");
        let error = of_host(Some(&url)).await.unwrap_err();
        assert!(error.contains("no-such-host.invalid"), "{error}");
    }

    #[actix::test]
    async fn a_file_has_one_url_per_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("replicas");
        let text = "# replicas\nhttp://a:1/v1\n\n http://b:2/v1  # the second\n";
        std::fs::write(&path, text).unwrap();
        let found = of_file(&path).await.unwrap();
        assert_eq!(found, ["http://a:1/v1", "http://b:2/v1"]);
        std::fs::write(&path, "http://a:1/v1\nhttp").unwrap();
        let error = of_file(&path).await.unwrap_err();
        assert!(error.contains("entry 2"), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert!(of_file(&path).await.is_err());
    }
}
