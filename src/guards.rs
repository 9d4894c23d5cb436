//! The guards of the settings, compiled, and which of them apply to a call.

mod check;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use kebne_guard::{Guard, Refused, Rules, Side};
use sha2::{Digest, Sha256};

use crate::{
    caller::Caller,
    settings::{Environment, Settings, SettingsError},
    surface::error::ApiError,
};

pub(crate) use check::{Checker, Question};

/// The rule by whose name a check reports. A label of the service follows it after a colon.
pub(crate) const CHECK: &str = "check";

/// All guards.
#[derive(Debug, Default)]
pub struct Guards {
    by_name: BTreeMap<String, Arc<Named>>,
    /// The guards of models, by the models' own names.
    of_models: HashMap<String, Vec<String>>,
}

#[derive(Debug)]
struct Named {
    guard: Guard,
    /// The digest of its settings.
    fingerprint: String,
    checker: Option<Arc<Checker>>,
}

/// The guards that apply to one call.
#[derive(Clone, Debug)]
pub(crate) struct Applied(Vec<Arc<Named>>);

impl Guards {
    /// Compiles the guards. A guard that cannot be compiled was refused with the settings.
    ///
    /// # Errors
    /// Returns the reason why a check cannot be made.
    pub fn new(settings: &Settings, environment: &dyn Environment) -> Result<Self, String> {
        let mut guards = Self::default();
        for each in &settings.guards {
            let guard = Guard::new(each).map_err(|error| format!("`{}`: {error}", each.name))?;
            let checker = Checker::new(&guard, environment)?.map(Arc::new);
            let text = serde_json::to_string(each).map_err(|error| error.to_string())?;
            let named = Arc::new(Named {
                guard,
                fingerprint: hex::encode(Sha256::digest(text)),
                checker,
            });
            guards.by_name.insert(each.name.clone(), named);
        }
        for model in settings
            .models
            .iter()
            .filter(|model| !model.guards.is_empty())
        {
            let names = model.guards.clone();
            guards.of_models.insert(model.name.clone(), names);
        }
        Ok(guards)
    }

    /// Returns `true` if there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Returns `true` if a model has a guard.
    pub fn guards_models(&self) -> bool {
        !self.of_models.is_empty()
    }

    /// Returns `true` if there is a guard of this name.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Returns the guards that apply to a call: those of the key, of its groups and of the model. `None` if there are none.
    ///
    /// # Errors
    /// Returns an error if a guard does not exist any more.
    pub(crate) fn of(&self, caller: &Caller, model: &str) -> Result<Option<Applied>, ApiError> {
        let of_model = self.of_models.get(model);
        if caller.guards.is_empty() && of_model.is_none() {
            return Ok(None);
        }
        let mut seen = BTreeSet::new();
        let mut applied = Vec::new();
        for name in caller.guards.iter().chain(of_model.into_iter().flatten()) {
            if !seen.insert(name) {
                continue;
            }
            let guard = self.by_name.get(name);
            let guard = guard.ok_or_else(|| ApiError::guard_missing(name))?;
            applied.push(Arc::clone(guard));
        }
        Ok(Some(Applied(applied)))
    }
}

/// Finds guards that cannot be made of their settings in this environment.
pub fn check(settings: &Settings, environment: &dyn Environment) -> Vec<SettingsError> {
    let error = Guards::new(settings, environment).err();
    error
        .into_iter()
        .map(|reason| SettingsError::new("guards", reason))
        .collect()
}

impl Applied {
    pub(crate) fn guards(&self) -> impl Iterator<Item = &Guard> {
        self.0.iter().map(|named| &named.guard)
    }

    /// Returns a text that differs if other guards apply, or if one of them has other settings.
    pub(crate) fn fingerprint(&self) -> String {
        let each = self.0.iter().map(|named| named.fingerprint.as_str());
        each.collect::<Vec<_>>().join(",")
    }

    /// Returns the rules for a side, in the order of the guards.
    pub(crate) fn rules(&self, side: Side) -> Rules {
        Rules::new(side, self.guards().flat_map(|guard| guard.rules(side)))
    }

    /// Returns the checks of a side.
    pub(crate) fn checkers(&self, side: Side) -> Vec<Arc<Checker>> {
        let checkers = self.0.iter().filter_map(|named| named.checker.as_ref());
        checkers
            .filter(|checker| checker.covers(side))
            .cloned()
            .collect()
    }
}

/// Returns the error of a rule that refuses a text.
pub(crate) fn refusal(refused: &Refused, side: Side) -> ApiError {
    ApiError::filtered(&refused.guard, &refused.rule, side)
}
