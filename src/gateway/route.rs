//! From a model's name to the groups of lanes that serve it.

use std::{collections::BTreeMap, sync::Arc};

use kebne_control::{FallbackRules, LaneState};
use kebne_lane::Service;
use kebne_wire::{NativeApi, inputs::Input};

use crate::{
    gateway::{Gateway, GatewayError, balancer::Balancer, lane::Lane},
    llm::ModelRequest,
    settings::{Api, FallbackSettings, ModelSettings, Settings},
};

/// Where a model's calls go.
pub(super) struct Route {
    pub(super) model: String,
    /// Groups of replicas, in order of preference.
    pub(super) groups: Vec<Vec<Target>>,
    /// How a replica of a group is chosen.
    pub(super) balancer: Balancer,
    /// When calls leave a backend for the next one.
    pub(super) rules: FallbackRules,
    /// The bounds of this.
    pub(super) fallback: FallbackSettings,
}

pub(super) struct Target {
    pub(super) lane: Arc<Lane>,
    /// What the backend calls the model, where that differs.
    pub(super) upstream: Option<String>,
    /// Its share relative to the other replicas of its group.
    pub(super) weight: f64,
}

impl Target {
    /// Returns the name by which the backend is asked for the model.
    pub(super) fn model(&self, route: &Route) -> String {
        let own = self.lane.settings.model.as_ref();
        let name = own.or(self.upstream.as_ref()).unwrap_or(&route.model);
        name.clone()
    }
}

impl Route {
    fn targets(&self) -> impl Iterator<Item = &Target> {
        self.groups.iter().flatten()
    }

    /// Returns the groups, each with the targets whose backends take the dialect and the inputs of a request; groups without
    /// such a target are left out.
    pub(super) fn taking(&self, request: &ModelRequest) -> Result<Vec<Vec<&Target>>, GatewayError> {
        let mut refused = None;
        let mut groups = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let taking = taking_of(group, request, &mut refused);
            if !taking.is_empty() {
                groups.push(taking);
            }
        }
        match refused {
            Some(input) if groups.is_empty() => Err(GatewayError::UnsupportedInput {
                model: self.model.clone(),
                input,
            }),
            _ => Ok(groups),
        }
    }
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
        let speaks = |target: &Target| target.lane.settings.speaks(api);
        let route = self.inner.routes.get(model);
        route.is_some_and(|route| route.targets().any(speaks))
    }

    /// Returns `true` if a backend has models, and each of them has another backend that serves now.
    pub fn has_alternative(&self, backend: &str) -> bool {
        let is_it = |target: &Target| target.lane.name() == backend;
        let serves = |target: &Target| {
            let handle = &target.lane.handle;
            let is_up = matches!(handle.state(), LaneState::Ramp | LaneState::Steady);
            is_up && handle.service() == Service::Open
        };
        let routes = self.inner.routes.values();
        let mut of_it = routes.filter(|route| route.targets().any(is_it)).peekable();
        of_it.peek().is_some()
            && of_it.all(|route| {
                let mut others = route.targets().filter(|target| !is_it(target));
                others.any(serves)
            })
    }

    /// Returns the first backend that has an API.
    pub fn backend_with(&self, api: Api) -> Option<&str> {
        let mut lanes = self.inner.lanes.iter();
        let lane = lanes.find(|lane| lane.settings.apis.contains(&api))?;
        Some(lane.name())
    }

    /// Returns `true` if a backend has an API.
    pub fn has(&self, backend: &str, api: Api) -> bool {
        let lane = self.lane(backend);
        lane.is_ok_and(|lane| lane.settings.apis.contains(&api))
    }
}

/// Returns the targets of a group that take a request; `refused` becomes the input that a target does not take.
fn taking_of<'r>(
    group: &'r [Target],
    request: &ModelRequest,
    refused: &mut Option<Input>,
) -> Vec<&'r Target> {
    let mut taking = Vec::with_capacity(group.len());
    for target in group {
        let settings = &target.lane.settings;
        let native = request.native.as_ref().filter(|native| native.is_required);
        if native.is_some_and(|native| !settings.speaks(native.api)) {
            continue;
        }
        match request.inputs.beyond(&settings.inputs) {
            Some(input) => *refused = Some(input),
            None => taking.push(target),
        }
    }
    taking
}

/// Returns the routes by name and alias, and the names in order.
pub(super) fn routes(
    settings: &Settings,
    lanes: &[Arc<Lane>],
) -> (BTreeMap<String, Arc<Route>>, Vec<String>) {
    let named = |name: &String| lanes.iter().find(|lane| lane.name() == name).cloned();
    let mut routes = BTreeMap::new();
    let mut models = Vec::new();
    for model in &settings.models {
        let target = |backend: &String| {
            Some(Target {
                lane: named(backend)?,
                upstream: model.upstream.get(backend).cloned(),
                weight: model.weights.get(backend).copied().unwrap_or(1.0),
            })
        };
        let groups = model.backends.iter();
        let groups = groups.map(|group| group.names().filter_map(target).collect());
        let route = Arc::new(Route {
            model: model.name.clone(),
            groups: groups.collect(),
            balancer: Balancer::new(model),
            rules: model.fallback.rules(),
            fallback: model.fallback.clone(),
        });
        models.push(model.name.clone());
        for name in std::iter::once(&model.name).chain(&model.aliases) {
            routes.insert(name.clone(), Arc::clone(&route));
        }
    }
    if settings.models.is_empty() {
        let model = ModelSettings::default();
        for lane in lanes {
            let target = Target {
                lane: Arc::clone(lane),
                upstream: None,
                weight: 1.0,
            };
            let route = Route {
                model: lane.name().to_owned(),
                groups: vec![vec![target]],
                balancer: Balancer::new(&model),
                rules: model.fallback.rules(),
                fallback: model.fallback.clone(),
            };
            models.push(lane.name().to_owned());
            routes.insert(lane.name().to_owned(), Arc::new(route));
        }
    }
    (routes, models)
}
