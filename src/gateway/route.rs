//! From a model's name to the groups of lanes that serve it.

use std::sync::Arc;

use kebne_control::{FallbackRules, LaneState};
use kebne_lane::Service;
use kebne_wire::{NativeApi, inputs::Input};

use crate::{
    backend::Function,
    gateway::{Gateway, GatewayError, balancer::Balancer, lane::Lane, unfit::Unfit},
    llm::ModelRequest,
    settings::{Api, BackendKind, FallbackSettings},
};

/// Where a model's calls go.
pub(super) struct Route {
    pub(super) model: String,
    /// Groups of replicas, in order of preference.
    pub(super) groups: Vec<Vec<Arc<Target>>>,
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
    /// Its failures that no wait changes.
    pub(super) unfit: Unfit,
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
    fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.groups.iter().flatten()
    }

    /// Returns the groups, each with the targets whose backends take the dialect and the inputs of a request; groups without
    /// such a target are left out.
    pub(super) fn taking(
        &self,
        request: &ModelRequest,
    ) -> Result<Vec<Vec<Arc<Target>>>, GatewayError> {
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
    pub fn models(&self) -> Vec<String> {
        self.table().models.clone()
    }

    /// Returns `true` if an MCP server stands behind the name of a model.
    pub fn is_mcp(&self, model: &str) -> bool {
        let table = self.table();
        let lane = table.lane(model);
        lane.is_some_and(|lane| lane.settings.mcp.is_some())
    }

    /// Returns the route of a model, by its name or an alias.
    pub(super) fn route(&self, name: &str) -> Option<Arc<Route>> {
        self.table().routes.get(name).cloned()
    }

    /// Returns the model's own name for a name or an alias.
    pub fn canonical(&self, name: &str) -> Option<String> {
        Some(self.route(name)?.model.clone())
    }

    /// Returns the function that stands behind the name of a model; `None` for models.
    pub fn function(&self, model: &str) -> Option<Arc<Function>> {
        let route = self.route(model)?;
        let mut targets = route.targets();
        targets.find_map(|target| target.lane.backend.function().map(Arc::clone))
    }

    /// Returns the functions, in the order of the settings.
    pub fn functions(&self) -> Vec<Arc<Function>> {
        let table = self.table();
        let functions = table
            .lanes
            .iter()
            .filter_map(|lane| lane.backend.function());
        functions.map(Arc::clone).collect()
    }

    /// Returns `true` if there are functions.
    pub fn has_functions(&self) -> bool {
        let table = self.table();
        table
            .lanes
            .iter()
            .any(|lane| lane.settings.function.is_some())
    }

    /// Returns `true` if a backend of a model speaks a dialect itself.
    pub fn speaks(&self, model: &str, api: NativeApi) -> bool {
        let speaks = |target: &Target| target.lane.settings.speaks(api);
        let route = self.route(model);
        route.is_some_and(|route| route.targets().any(|target| speaks(target)))
    }

    /// Returns `true` if a backend of a model is an agent.
    pub fn runs_agent(&self, model: &str) -> bool {
        let is_agent = |target: &Target| target.lane.settings.kind == BackendKind::Agent;
        let route = self.route(model);
        route.is_some_and(|route| route.targets().any(|target| is_agent(target)))
    }

    /// Returns `true` if a copy of a call to a model may be sent to another model: the two share no backend, or one that they share has more
    /// than half of its places free.
    pub fn takes_copy(&self, of: &str, to: &str) -> bool {
        let (Some(of), Some(to)) = (self.route(of), self.route(to)) else {
            return true;
        };
        let numbers: Vec<usize> = of.targets().map(|target| target.lane.number).collect();
        let shares = |target: &&Arc<Target>| numbers.contains(&target.lane.number);
        let mut shared = to.targets().filter(shares).peekable();
        if shared.peek().is_none() {
            return true;
        }
        shared.any(|target| {
            let load = target.lane.handle.load();
            load.has_room() && load.live.saturating_add(1).saturating_mul(2) <= load.limit
        })
    }

    /// Returns `true` if a backend has models, and each of them has another backend that serves now.
    pub fn has_alternative(&self, backend: &str) -> bool {
        let is_it = |target: &Arc<Target>| target.lane.name() == backend;
        let serves = |target: &Arc<Target>| {
            let handle = &target.lane.handle;
            let is_up = matches!(handle.state(), LaneState::Ramp | LaneState::Steady);
            is_up && handle.service() == Service::Open
        };
        let table = self.table();
        let routes = table.routes.values();
        let mut of_it = routes.filter(|route| route.targets().any(is_it)).peekable();
        of_it.peek().is_some()
            && of_it.all(|route| {
                let mut others = route.targets().filter(|target| !is_it(target));
                others.any(serves)
            })
    }

    /// Returns the first backend that has an API.
    pub fn backend_with(&self, api: Api) -> Option<String> {
        let table = self.table();
        let mut lanes = table.lanes.iter();
        let lane = lanes.find(|lane| lane.settings.apis.contains(&api))?;
        Some(lane.name().to_owned())
    }

    /// Returns `true` if a backend has an API.
    pub fn has(&self, backend: &str, api: Api) -> bool {
        let lane = self.lane(backend);
        lane.is_ok_and(|lane| lane.settings.apis.contains(&api))
    }
}

/// Returns the targets of a group that take a request; `refused` becomes the input that a target does not take.
fn taking_of(
    group: &[Arc<Target>],
    request: &ModelRequest,
    refused: &mut Option<Input>,
) -> Vec<Arc<Target>> {
    let mut taking = Vec::with_capacity(group.len());
    for target in group {
        let settings = &target.lane.settings;
        let native = request.native.as_ref().filter(|native| native.is_required);
        if native.is_some_and(|native| !settings.speaks(native.api)) {
            continue;
        }
        match request.inputs.beyond(&settings.inputs) {
            Some(input) => *refused = Some(input),
            None => taking.push(Arc::clone(target)),
        }
    }
    taking
}
