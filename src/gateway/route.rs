//! From a model's name to the lanes that serve it.

use std::{collections::BTreeMap, sync::Arc};

use kebne_wire::NativeApi;

use crate::{
    gateway::{Gateway, GatewayError},
    llm::ModelRequest,
    settings::{Api, Settings},
};

/// Where a model's calls go, in order of preference.
pub(super) struct Route {
    pub(super) model: String,
    pub(super) targets: Vec<Target>,
}

pub(super) struct Target {
    pub(super) lane: usize,
    /// What the backend calls the model, where that differs.
    pub(super) upstream: Option<String>,
}

impl Gateway {
    /// Returns the names of the models, in the order of the settings.
    pub fn models(&self) -> &[String] {
        &self.inner.models
    }

    /// Returns the model's own name for a name or an alias.
    pub fn canonical(&self, name: &str) -> Option<&str> {
        self.inner
            .routes
            .get(name)
            .map(|route| route.model.as_str())
    }

    /// Returns `true` if a backend of a model speaks a dialect itself.
    pub fn speaks(&self, model: &str, api: NativeApi) -> bool {
        let speaks = |target: &Target| {
            let lane = self.inner.lanes.get(target.lane);
            lane.is_some_and(|lane| lane.settings.speaks(api))
        };
        let route = self.inner.routes.get(model);
        route.is_some_and(|route| route.targets.iter().any(speaks))
    }

    /// Returns the first backend that has an API.
    pub fn backend_with(&self, api: Api) -> Option<&str> {
        let mut lanes = self.inner.lanes.iter();
        let lane = lanes.find(|lane| lane.settings.apis.contains(&api))?;
        Some(lane.handle.name())
    }

    /// Returns `true` if a backend has an API.
    pub fn has(&self, backend: &str, api: Api) -> bool {
        let lane = self.lane(backend);
        lane.is_ok_and(|lane| lane.settings.apis.contains(&api))
    }

    /// Returns the targets of a route whose backends take the dialect and the inputs of a request.
    pub(super) fn taking<'r>(
        &self,
        route: &'r Route,
        request: &ModelRequest,
    ) -> Result<Vec<&'r Target>, GatewayError> {
        let mut refused = None;
        let mut taking = Vec::with_capacity(route.targets.len());
        for target in &route.targets {
            let lane = self.inner.lanes.get(target.lane);
            let native = request.native.as_ref().filter(|native| native.is_required);
            let required = native.map(|native| native.api);
            if required.is_some_and(|api| !lane.is_some_and(|lane| lane.settings.speaks(api))) {
                continue;
            }
            match lane.and_then(|lane| request.inputs.beyond(&lane.settings.inputs)) {
                Some(input) => refused = Some(input),
                None => taking.push(target),
            }
        }
        match refused {
            Some(input) if taking.is_empty() => Err(GatewayError::UnsupportedInput {
                model: route.model.clone(),
                input,
            }),
            _ => Ok(taking),
        }
    }
}

/// Returns the routes by name and alias, and the names in order.
pub(super) fn routes(settings: &Settings) -> (BTreeMap<String, Arc<Route>>, Vec<String>) {
    let position = |name: &String| settings.backends.iter().position(|b| b.name == *name);
    let mut routes = BTreeMap::new();
    let mut models = Vec::new();
    for model in &settings.models {
        let targets = model.backends.iter().filter_map(|backend| {
            Some(Target {
                lane: position(backend)?,
                upstream: model.upstream.get(backend).cloned(),
            })
        });
        let route = Arc::new(Route {
            model: model.name.clone(),
            targets: targets.collect(),
        });
        models.push(model.name.clone());
        for name in std::iter::once(&model.name).chain(&model.aliases) {
            routes.insert(name.clone(), Arc::clone(&route));
        }
    }
    if settings.models.is_empty() {
        for (lane, backend) in settings.backends.iter().enumerate() {
            let target = Target {
                lane,
                upstream: None,
            };
            let route = Route {
                model: backend.name.clone(),
                targets: vec![target],
            };
            models.push(backend.name.clone());
            routes.insert(backend.name.clone(), Arc::new(route));
        }
    }
    (routes, models)
}
