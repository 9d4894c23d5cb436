//! For whom a run makes its calls, and with which headers.

use std::{collections::BTreeMap, sync::Arc};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use kebne_agents::{Awaited, RunContext};

use crate::{caller::Caller, state::State, via};

/// The header with the priority of a call.
const PRIORITY: &str = "x-kebne-priority";

/// For whom a run makes its calls.
#[derive(Clone, Debug)]
pub(super) struct RunCaller {
    key: String,
    owner: Arc<str>,
    origin: BTreeMap<String, String>,
    awaited: Option<Awaited>,
}

impl RunCaller {
    pub(super) fn new(of: &RunContext) -> Self {
        Self {
            key: of.began.caller.clone(),
            owner: Arc::clone(&of.owner),
            origin: of.began.origin.clone(),
            awaited: of.began.awaited.clone(),
        }
    }

    /// Returns the key that has started the run; `None` if it was revoked or given to another tenant.
    pub(super) fn of(&self, state: &State) -> Option<Arc<Caller>> {
        let caller = state.callers.of_id(&self.key);
        caller.filter(|caller| *caller.owner == *self.owner)
    }

    /// Returns `true` if the run may make calls now. While the service stops only the runs may that callers wait for.
    pub(super) fn may_call(&self, state: &State) -> bool {
        let is_attended = |awaited: &Awaited| state.agents.is_awaited(&awaited.run);
        !state.is_draining() || self.awaited.as_ref().is_some_and(is_attended)
    }

    /// Returns the gateways that the call has come through which has started the run, this one included; `None` if there are none but this one.
    pub(super) fn gateways(&self) -> Option<Arc<http::HeaderMap>> {
        let before = http::HeaderValue::from_str(self.origin.get("via")?).ok()?;
        let mut gateways = http::HeaderMap::from_iter([(http::header::VIA, before)]);
        via::extend(&mut gateways);
        Some(Arc::new(gateways))
    }

    /// Returns the headers of a call: those of the call that has started the run, within what its key may have now.
    pub(super) fn headers(&self, caller: &Caller) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.origin {
            let value = match name.as_str() {
                PRIORITY => {
                    let priority = value.parse().unwrap_or(caller.priority);
                    priority.max(caller.priority).to_string()
                }
                _ => value.clone(),
            };
            let name = HeaderName::try_from(name.as_str());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
        headers
    }
}
