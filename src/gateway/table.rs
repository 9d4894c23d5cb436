//! The lanes and the models of a gateway, as they are at one moment. A change makes a new table; calls keep the one that they
//! began with.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    gateway::{
        balancer::Balancer,
        lane::Lane,
        route::{Route, Target},
        unfit::Unfit,
    },
    settings::{ModelSettings, Settings},
};

/// The lanes and the models.
#[derive(Default)]
pub(super) struct Table {
    /// In the order of the settings.
    pub(super) lanes: Vec<Arc<Lane>>,
    /// By model name and by alias.
    pub(super) routes: BTreeMap<String, Arc<Route>>,
    /// Names in the order of the settings, aliases left out.
    pub(super) models: Vec<String>,
}

impl Table {
    /// Creates the table of settings whose backends have these lanes. Models that were in the table before keep what they know
    /// of the beginnings of prompts.
    pub(super) fn new(settings: &Settings, lanes: Vec<Arc<Lane>>, before: &Self) -> Self {
        let mut table = Self {
            lanes,
            ..Self::default()
        };
        for model in &settings.models {
            let groups = model.backends.iter().map(|group| {
                let targets = group.names().filter_map(|name| table.target(model, name));
                targets.map(Arc::new).collect()
            });
            let route = Route {
                model: model.name.clone(),
                groups: groups.collect(),
                balancer: before.balancer(model),
                rules: model.fallback.rules(),
                fallback: model.fallback.clone(),
            };
            table.add(route, &model.aliases);
        }
        if settings.models.is_empty() {
            table.offer_each_backend();
        }
        table
    }

    /// Offers each backend under its own name.
    fn offer_each_backend(&mut self) {
        let model = ModelSettings::default();
        for lane in self.lanes.clone() {
            let name = lane.name().to_owned();
            let target = Target {
                lane,
                upstream: None,
                weight: 1.0,
                unfit: Unfit::default(),
            };
            let route = Route {
                model: name,
                groups: vec![vec![Arc::new(target)]],
                balancer: Balancer::new(&model),
                rules: model.fallback.rules(),
                fallback: model.fallback.clone(),
            };
            self.add(route, &[]);
        }
    }

    fn add(&mut self, route: Route, aliases: &[String]) {
        let route = Arc::new(route);
        self.models.push(route.model.clone());
        for name in std::iter::once(&route.model).chain(aliases) {
            self.routes.insert(name.clone(), Arc::clone(&route));
        }
    }

    fn target(&self, model: &ModelSettings, backend: &String) -> Option<Target> {
        let mut lanes = self.lanes.iter();
        let lane = lanes.find(|lane| lane.name() == backend)?;
        Some(Target {
            lane: Arc::clone(lane),
            upstream: model.upstream.get(backend).cloned(),
            weight: model.weights.get(backend).copied().unwrap_or(1.0),
            unfit: Unfit::default(),
        })
    }

    fn balancer(&self, model: &ModelSettings) -> Balancer {
        let before = self.routes.get(&model.name);
        match before {
            Some(before) => before.balancer.changed(model),
            None => Balancer::new(model),
        }
    }

    /// Returns the lane of a backend.
    pub(super) fn lane(&self, backend: &str) -> Option<&Arc<Lane>> {
        self.lanes.iter().find(|lane| lane.name() == backend)
    }
}
