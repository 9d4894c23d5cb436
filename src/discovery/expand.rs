//! The settings with the replicas that were found in the place of the backends that are patterns for them.

use std::collections::BTreeMap;

use crate::{
    discovery::Addresses,
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
        let urls = found.get(&backend.name).into_iter().flatten();
        let replicas: Vec<_> = urls.map(|url| replica(backend, url)).collect();
        let called = replicas.iter().map(|replica| replica.name.clone());
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

/// Replaces the names of patterns in a model by those of their replicas.
fn replace(model: &mut ModelSettings, names: &BTreeMap<String, Vec<String>>) {
    let groups = model.backends.iter().map(|group| {
        let replicas = group.names().flat_map(|name| match names.get(name) {
            Some(replicas) => replicas.clone(),
            None => vec![name.clone()],
        });
        replicas.collect::<Vec<_>>().into()
    });
    model.backends = groups.collect();
    for (name, replicas) in names {
        if let Some(upstream) = model.upstream.remove(name) {
            let pairs = replicas.iter().map(|one| (one.clone(), upstream.clone()));
            model.upstream.extend(pairs);
        }
        if let Some(weight) = model.weights.remove(name) {
            let pairs = replicas.iter().map(|one| (one.clone(), weight));
            model.weights.extend(pairs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str, found: &[&str]) -> Settings {
        let settings: Settings = toml::from_str(text).unwrap();
        let urls = found.iter().map(|url| BaseUrl::new(*url)).collect();
        expand(&settings, &Addresses::from([("gpu".to_owned(), urls)]))
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
    fn a_backend_is_offered_by_its_own_name_whatever_its_replicas() {
        let text = format!("models = []\n{BACKENDS}");
        let settings = expanded(&text, &["http://a:1/v1"]);
        let models: Vec<_> = settings.models.iter().map(|model| &model.name).collect();
        assert_eq!(models, ["gpu", "hosted"]);
        let settings = expanded(&text, &[]);
        assert_eq!(settings.models[0].backends[0].names().len(), 0);
    }
}
