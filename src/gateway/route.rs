//! From a model's name to the groups of lanes that serve it.

use std::{collections::BTreeMap, sync::Arc};

use kebne_control::LaneState;
use kebne_wire::{NativeApi, inputs::Input};

use crate::{
    gateway::{Gateway, GatewayError, balancer::Balancer},
    llm::ModelRequest,
    settings::{Api, ModelSettings, Settings},
};

/// Where a model's calls go.
pub(super) struct Route {
    pub(super) model: String,
    /// Groups of replicas, in order of preference.
    pub(super) groups: Vec<Vec<Target>>,
    /// How a replica of a group is chosen.
    pub(super) balancer: Balancer,
}

pub(super) struct Target {
    pub(super) lane: usize,
    /// What the backend calls the model, where that differs.
    pub(super) upstream: Option<String>,
    /// Its share relative to the other replicas of its group.
    pub(super) weight: f64,
}

impl Route {
    fn targets(&self) -> impl Iterator<Item = &Target> {
        self.groups.iter().flatten()
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
        let speaks = |target: &Target| {
            let lane = self.inner.lanes.get(target.lane);
            lane.is_some_and(|lane| lane.settings.speaks(api))
        };
        let route = self.inner.routes.get(model);
        route.is_some_and(|route| route.targets().any(speaks))
    }

    /// Returns `true` if a backend has models, and each of them has another backend that serves now.
    pub fn has_alternative(&self, backend: &str) -> bool {
        let is_it = |target: &Target| {
            let lane = self.inner.lanes.get(target.lane);
            lane.is_some_and(|lane| lane.handle.name() == backend)
        };
        let serves = |target: &Target| {
            let lane = self.inner.lanes.get(target.lane);
            lane.is_some_and(|lane| {
                let is_up = matches!(lane.handle.state(), LaneState::Ramp | LaneState::Steady);
                is_up && lane.handle.closed().is_none()
            })
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
        Some(lane.handle.name())
    }

    /// Returns `true` if a backend has an API.
    pub fn has(&self, backend: &str, api: Api) -> bool {
        let lane = self.lane(backend);
        lane.is_ok_and(|lane| lane.settings.apis.contains(&api))
    }

    /// Returns the groups of a route, each with the targets whose backends take the dialect and the inputs of a request;
    /// groups without such a target are left out.
    pub(super) fn taking<'r>(
        &self,
        route: &'r Route,
        request: &ModelRequest,
    ) -> Result<Vec<Vec<&'r Target>>, GatewayError> {
        let mut refused = None;
        let mut groups = Vec::with_capacity(route.groups.len());
        for group in &route.groups {
            let taking = self.taking_of(group, request, &mut refused);
            if !taking.is_empty() {
                groups.push(taking);
            }
        }
        match refused {
            Some(input) if groups.is_empty() => Err(GatewayError::UnsupportedInput {
                model: route.model.clone(),
                input,
            }),
            _ => Ok(groups),
        }
    }

    /// Returns the targets of a group that take a request; `refused` becomes the input that a target does not take.
    fn taking_of<'r>(
        &self,
        group: &'r [Target],
        request: &ModelRequest,
        refused: &mut Option<Input>,
    ) -> Vec<&'r Target> {
        let mut taking = Vec::with_capacity(group.len());
        for target in group {
            let lane = self.inner.lanes.get(target.lane);
            let native = request.native.as_ref().filter(|native| native.is_required);
            let required = native.map(|native| native.api);
            if required.is_some_and(|api| !lane.is_some_and(|lane| lane.settings.speaks(api))) {
                continue;
            }
            match lane.and_then(|lane| request.inputs.beyond(&lane.settings.inputs)) {
                Some(input) => *refused = Some(input),
                None => taking.push(target),
            }
        }
        taking
    }
}

/// Returns the routes by name and alias, and the names in order.
pub(super) fn routes(settings: &Settings) -> (BTreeMap<String, Arc<Route>>, Vec<String>) {
    let position = |name: &String| settings.backends.iter().position(|b| b.name == *name);
    let mut routes = BTreeMap::new();
    let mut models = Vec::new();
    for model in &settings.models {
        let target = |backend: &String| {
            Some(Target {
                lane: position(backend)?,
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
                weight: 1.0,
            };
            let route = Route {
                model: backend.name.clone(),
                groups: vec![vec![target]],
                balancer: Balancer::new(&ModelSettings::default()),
            };
            models.push(backend.name.clone());
            routes.insert(backend.name.clone(), Arc::new(route));
        }
    }
    (routes, models)
}
