//! The settings with the replicas that were found in the place of the backends that are patterns for them.

use std::collections::BTreeMap;

use crate::{
    discovery::{Address, Addresses},
    settings::{BackendSettings, BaseUrl, ModelSettings, Replicas, Settings},
};

/// Returns the settings in which each backend that discovers its replicas is replaced by those that were found. A replica is
/// called `NAME@HOST:PORT`.
pub fn expand(settings: &Settings, found: &Addresses) -> Settings {
    let mut expanded = settings.clone();
    if !settings.backends.iter().any(|one| one.discovery.is_on()) {
        return expanded;
    }
    let mut names = BTreeMap::new();
    expanded.backends = Vec::new();
    for backend in &settings.backends {
        if !backend.discovery.is_on() {
            expanded.backends.push(backend.clone());
            continue;
        }
        let addresses = found.get(&backend.name).map(Vec::as_slice);
        let addresses = addresses.unwrap_or_default();
        let replicas: Vec<_> = addresses
            .iter()
            .map(|address| replica(backend, &address.url))
            .collect();
        let called = replicas.iter().map(|replica| replica.name.clone());
        let called = called.zip(addresses).zip(shares(addresses));
        let called = called.map(|((name, address), share)| Called {
            name,
            priority: address.priority,
            share,
        });
        names.insert(backend.name.clone(), called.collect::<Vec<_>>());
        expanded.backends.extend(replicas);
    }
    if expanded.models.is_empty() {
        expanded.models = offered(settings);
    }
    for model in &mut expanded.models {
        replace(model, &names);
    }
    expanded
}

/// A replica by its name.
struct Called {
    name: String,
    priority: u16,
    /// Its share relative to the others of its priority; `None` if all have the same.
    share: Option<f64>,
}

/// The smallest share of a model's settings; a record with the weight 0 has it.
const SHARE_MIN: f64 = 0.001;

/// Returns the shares of addresses, relative to the largest of their priority.
fn shares(addresses: &[Address]) -> Vec<Option<f64>> {
    let first = addresses.first().map_or(0, |address| address.weight);
    if addresses.iter().all(|address| address.weight == first) {
        return vec![None; addresses.len()];
    }
    let largest = |priority: u16| {
        let own = addresses.iter().filter(|one| one.priority == priority);
        own.map(|one| one.weight).max().unwrap_or(0).max(1)
    };
    let share = |address: &Address| {
        (f64::from(address.weight) / f64::from(largest(address.priority))).max(SHARE_MIN)
    };
    addresses.iter().map(|one| Some(share(one))).collect()
}

/// Returns the models of settings without any: each backend under its own name.
fn offered(settings: &Settings) -> Vec<ModelSettings> {
    let backends = settings.backends.iter();
    let models = backends.map(|backend| ModelSettings {
        name: backend.name.clone(),
        backends: vec![Replicas::from(backend.name.as_str())],
        ..ModelSettings::default()
    });
    models.collect()
}

fn replica(backend: &BackendSettings, url: &BaseUrl) -> BackendSettings {
    let parsed = url.expose().parse::<http::Uri>().ok();
    let authority = parsed.as_ref().and_then(|url| {
        let host = url.host()?;
        let default = if url.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        Some(format!("{host}:{}", url.port_u16().unwrap_or(default)))
    });
    let mut replica = backend.clone();
    replica.name = format!("{}@{}", backend.name, authority.unwrap_or_default());
    replica.base_url = Some(url.clone());
    replica
}

/// Returns the groups of a group of a model: the first one has its backends and the replicas with the lowest priority, and each
/// further priority is a group of its own.
fn ranked(group: &Replicas, names: &BTreeMap<String, Vec<Called>>) -> Vec<Replicas> {
    let mut ranks: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for name in group.names() {
        let Some(replicas) = names.get(name) else {
            ranks.entry(0).or_default().push(name.clone());
            continue;
        };
        let mut priorities: Vec<u16> = replicas.iter().map(|one| one.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        for replica in replicas {
            let rank = priorities.binary_search(&replica.priority).unwrap_or(0);
            let rank = u16::try_from(rank).unwrap_or(u16::MAX);
            ranks.entry(rank).or_default().push(replica.name.clone());
        }
    }
    if ranks.is_empty() {
        // No replica is known: the group stays, without members.
        return vec![Vec::new().into()];
    }
    ranks.into_values().map(Replicas::from).collect()
}

/// Replaces the names of patterns in a model by those of their replicas.
fn replace(model: &mut ModelSettings, names: &BTreeMap<String, Vec<Called>>) {
    let groups = model.backends.iter();
    model.backends = groups.flat_map(|group| ranked(group, names)).collect();
    for (name, replicas) in names {
        if let Some(upstream) = model.upstream.remove(name) {
            let pairs = replicas
                .iter()
                .map(|one| (one.name.clone(), upstream.clone()));
            model.upstream.extend(pairs);
        }
        let weight = model.weights.remove(name);
        let weighted = replicas.iter().filter_map(|one| {
            let share = weight.or(one.share.map(|_| 1.0))? * one.share.unwrap_or(1.0);
            Some((one.name.clone(), share.max(SHARE_MIN)))
        });
        model.weights.extend(weighted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str, found: &[&str]) -> Settings {
        let settings: Settings = toml::from_str(text).unwrap();
        let urls = found.iter().map(|url| BaseUrl::new(*url));
        let addresses = urls.map(Address::from).collect();
        expand(&settings, &Addresses::from([("gpu".to_owned(), addresses)]))
    }

    const BACKENDS: &str = "[[backends]]\nname = 'gpu'\nkind = 'openai'\n[backends.discovery]\nby = 'file'\npath = 'x'\n[[backends]]\nname = 'hosted'\n";

    #[test]
    fn replicas_take_the_place_of_their_pattern() {
        let models = "[[models]]\nname = 'm'\nbackends = ['gpu', 'hosted']\nupstream = {gpu = 'u'}\nweights = {gpu = 2.0}\n";
        let settings = expanded(
            &format!("{BACKENDS}{models}"),
            &["http://a:1/v1", "https://b/v1"],
        );
        let names: Vec<_> = settings.backends.iter().map(|one| &one.name).collect();
        assert_eq!(names, ["gpu@a:1", "gpu@b:443", "hosted"]);
        let model = &settings.models[0];
        let groups: Vec<Vec<_>> = model
            .backends
            .iter()
            .map(|group| group.names().collect())
            .collect();
        assert_eq!(groups, [vec!["gpu@a:1", "gpu@b:443"], vec!["hosted"]]);
        assert_eq!(model.upstream["gpu@a:1"], "u");
        assert!((model.weights["gpu@b:443"] - 2.0).abs() < f64::EPSILON);
        assert!(!model.upstream.contains_key("gpu"));
    }

    #[test]
    fn priorities_are_groups_and_weights_are_shares() {
        let models = "[[models]]\nname = 'm'\nbackends = ['gpu', 'hosted']\nweights = {gpu = 2.0}\n[[models]]\nname = 'n'\nbackends = ['gpu']\n";
        let settings: Settings = toml::from_str(&format!("{BACKENDS}{models}")).unwrap();
        let address = |url: &str, priority, weight| Address {
            url: BaseUrl::new(url),
            priority,
            weight,
        };
        let addresses = vec![
            address("http://a:1/v1", 10, 60),
            address("http://b:1/v1", 10, 30),
            address("http://c:1/v1", 20, 0),
        ];
        let settings = expand(&settings, &Addresses::from([("gpu".to_owned(), addresses)]));
        let model = &settings.models[0];
        let groups = model.backends.iter();
        let groups: Vec<Vec<_>> = groups.map(|group| group.names().collect()).collect();
        let expected = [vec!["gpu@a:1", "gpu@b:1"], vec!["gpu@c:1"], vec!["hosted"]];
        assert_eq!(groups, expected);
        let shares = |model: &ModelSettings| {
            ["gpu@a:1", "gpu@b:1", "gpu@c:1"].map(|name| (model.weights[name] * 1e3).round())
        };
        assert_eq!(
            shares(model).map(f64::to_bits),
            [2000.0, 1000.0, 2.0].map(f64::to_bits)
        );
        let other = shares(&settings.models[1]);
        assert_eq!(
            other.map(f64::to_bits),
            [1000.0, 500.0, 1.0].map(f64::to_bits)
        );
    }

    #[test]
    fn a_backend_is_offered_by_its_own_name_whatever_its_replicas() {
        let text = format!("models = []\n{BACKENDS}");
        let settings = expanded(&text, &["http://a:1/v1"]);
        let models: Vec<_> = settings.models.iter().map(|model| &model.name).collect();
        assert_eq!(models, ["gpu", "hosted"]);
        let settings = expanded(&text, &[]);
        assert_eq!(settings.models[0].backends[0].names().len(), 0);
    }
}
