//! Chooses the model of a call whose model name is a route.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::web::Data;
use kebne_context::store::Session;
use kebne_routing::{Facts, InputKind, Look, Noted, SessionFacts, SessionMemory, identity};
use kebne_wire::{inputs::Input, splice::with_model};

use crate::{
    record::RouteNote,
    routes::{Finding, Outcome, Question, Route},
    stages::{
        Stage,
        route::{ask, shadow::Shadow},
        shape::Shaped,
    },
    state::State,
    surface::error::ApiError,
    unix_time,
};

/// Chooses the model of a call whose model name is a route, by its rules and what is known of the call.
///
/// It runs before documents are searched for, so that the question is the caller's own, and the stages after it see the chosen model.
pub(in crate::stages) struct Choose<'a> {
    state: &'a Data<State>,
}

/// What routes and functions need of a call that later stages do not keep.
#[derive(Debug, Default)]
pub(in crate::stages) struct Circumstances {
    /// The headers that conditions name.
    pub(in crate::stages) headers: Vec<(String, String)>,
    /// The session.
    pub(in crate::stages) session: Option<OfSession>,
}

/// What a route needs of a session.
#[derive(Debug)]
pub(in crate::stages) struct OfSession {
    id: String,
    turns: u64,
    variables: BTreeMap<String, String>,
    /// What routes remember.
    document: Option<String>,
}

/// What a session is to remember, and the document that it had.
#[derive(Debug)]
pub(in crate::stages) struct Remembered {
    pub(in crate::stages) document: Option<String>,
    pub(in crate::stages) noted: Noted,
}

/// A decision on a call.
pub(in crate::stages) struct Chosen {
    pub(in crate::stages) note: RouteNote,
    pub(in crate::stages) kind: &'static str,
    /// The model without the canary.
    pub(in crate::stages) target: String,
    pub(in crate::stages) is_canary: bool,
    pub(in crate::stages) is_stay: bool,
    pub(in crate::stages) shadow: Option<Shadow>,
    pub(in crate::stages) noted: Noted,
    pub(in crate::stages) finding: Finding,
    /// The rules that were looked at; empty unless the decision is to be explained.
    pub(in crate::stages) looks: Vec<(String, Look)>,
    pub(in crate::stages) took: Duration,
    /// The time of the embedder and of the model that was asked, which is a part of `took`.
    pub(in crate::stages) waited: Duration,
}

impl Circumstances {
    /// Keeps what routes and functions need of a call; nothing if there are none.
    pub(in crate::stages) fn of(
        state: &State,
        headers: Vec<(String, String)>,
        session: Option<&Session>,
    ) -> Self {
        if state.routes.is_empty() && !state.gateway.has_functions() {
            return Self::default();
        }
        let session = session.map(|session| OfSession {
            id: session.id.clone(),
            turns: session.turns,
            variables: session.details.metadata.clone(),
            document: session.details.routing.clone(),
        });
        Self { headers, session }
    }
}

impl<'a> Choose<'a> {
    pub(in crate::stages) fn new(state: &'a Data<State>) -> Self {
        Self { state }
    }

    /// Decides on a call. `explains` keeps what was found of each rule, and asks no model.
    pub(in crate::stages) async fn decide(
        &self,
        route: &Route,
        shaped: &Shaped,
        explains: bool,
    ) -> Result<Chosen, ApiError> {
        let began = Instant::now();
        let question = self.question(shaped).await?;
        let memory = shaped.circumstances.memory(route.name());
        let inputs = inputs_of(shaped);
        let facts = self.facts(route, shaped, &question, (&memory, &inputs));
        let before = Instant::now();
        let finding = if route.router().needs_intent(&facts) {
            let embedder = self.state.gateway.embedder_for(&shaped.behalf());
            let patience = shaped.patience();
            let found = route.find(&*embedder, &question.text, patience).await;
            // A call that is only shown asks no model either.
            let asks = !explains && !shaped.call.notes.is_dry_run();
            match &route.settings().ask_model {
                Some(model) if found.is_unclear() && asks => {
                    let asked = ask::ask(self.state, (route, model), shaped, &question.text, found);
                    Box::pin(asked).await
                }
                _ => found,
            }
        } else {
            Finding::without(Outcome::NotNeeded, None)
        };
        let waited = before.elapsed();
        let mut looks = Vec::new();
        let mut look = |rule: &str, look: Look| {
            if explains {
                looks.push((rule.to_owned(), look));
            }
        };
        let decision = route.router().decide(&facts, &finding.intent, &mut look);
        Ok(Chosen {
            note: RouteNote {
                route: route.name().to_owned(),
                rule: decision.rule.to_owned(),
                target: decision.model.to_owned(),
            },
            kind: decision.target.kind(),
            target: decision.target.model().to_owned(),
            is_canary: decision.is_canary,
            is_stay: decision.is_stay,
            shadow: decision.shadow.map(|copy| Shadow {
                route: route.name().to_owned(),
                model: copy.model.to_owned(),
                counts: copy.counts,
            }),
            noted: route.router().noted(&facts, &decision, &finding.intent),
            finding,
            looks,
            took: began.elapsed(),
            waited,
        })
    }

    /// Reads the question, beside the event loop if the body is large.
    async fn question(&self, shaped: &Shaped) -> Result<Question, ApiError> {
        let request = &shaped.request;
        if request.form.is_some() {
            return Ok(Question::default());
        }
        let (endpoint, body) = (request.endpoint, request.body.clone());
        let size = body.len();
        let read = move || Question::of(endpoint, &body);
        self.state.off_loop.read(size, read).await
    }

    fn facts<'f>(
        &self,
        route: &Route,
        shaped: &'f Shaped,
        question: &'f Question,
        (memory, inputs): (&'f kebne_routing::RouteMemory, &'f [InputKind]),
    ) -> Facts<'f> {
        let caller = &shaped.caller;
        let session = shaped.circumstances.session.as_ref();
        let options = &shaped.options;
        let budget_left = if route.router().reads_budgets() {
            let used = self.state.gateway.accounts().fullest(&caller.accounts);
            used.map(|permille| 1.0 - f64::from(u32::try_from(permille).unwrap_or(1000)) / 1000.0)
        } else {
            None
        };
        Facts {
            headers: &shaped.circumstances.headers,
            key: &caller.name,
            tenant: &caller.tenant,
            groups: &caller.groups,
            unix_seconds: unix_time::seconds(),
            tokens: options.cost.saturating_sub(options.cost_uncertain).into(),
            question: &question.text,
            is_repeated: question.is_repeated,
            has_tools: question.has_tools,
            inputs,
            is_streamed: shaped.request.stream,
            session: session.map(|session| SessionFacts {
                turns: session.turns,
                variables: &session.variables,
                memory,
            }),
            budget_left: budget_left.map(|left| left.clamp(0.0, 1.0)),
            identity: match session {
                Some(session) => identity(&["session", &session.id]),
                None => identity(&["call", &caller.name, &question.text]),
            },
        }
    }

    /// Replaces the name of the route by the model everywhere.
    fn apply(&self, shaped: &mut Shaped, chosen: Chosen) -> Result<(), ApiError> {
        let note = chosen.note;
        if !shaped.call.notes.is_dry_run() {
            self.state.routes.counts().decided(
                &note.route,
                &note.rule,
                &note.target,
                chosen.finding.outcome,
            );
        }
        shaped.request = with_model(&shaped.request, &note.target);
        shaped.request.body = self.state.bodies.hold(shaped.request.body.clone())?;
        shaped.model.clone_from(&note.target);
        shaped.shadow = chosen.shadow;
        if let Some(session) = &mut shaped.circumstances.session
            && let Some(follow) = &mut shaped.follow
        {
            let remembered = Remembered {
                document: session.document.take(),
                noted: chosen.noted,
            };
            follow.remember(remembered);
        }
        shaped.call.notes.set_route(note);
        Ok(())
    }
}

impl Stage for Choose<'_> {
    type In = Shaped;
    type Out = Shaped;

    async fn run(&self, mut shaped: Shaped) -> Result<Shaped, ApiError> {
        let route = self.state.routes.of(&shaped.model);
        // A route is no function.
        let route = route.filter(|_| !shaped.call.surface.calls_functions());
        let Some(route) = route else {
            return Ok(shaped);
        };
        require_some(&route, &shaped)?;
        // On the heap, so that calls of models are no larger because of it.
        let chosen = Box::pin(self.decide(&route, &shaped, false)).await?;
        require(&route, &shaped, &chosen)?;
        self.apply(&mut shaped, chosen)?;
        shaped.call.notes.passed("choose");
        Ok(shaped)
    }
}

/// Checks that the caller may use a route at all, before anything is done for it.
///
/// # Errors
/// Returns a 403 if it may call neither the route nor any of its models.
pub(in crate::stages) fn require_some(route: &Arc<Route>, shaped: &Shaped) -> Result<(), ApiError> {
    let caller = &shaped.caller;
    let mut models = route.router().models();
    if caller.may_call(route.name()) || models.any(|model| caller.may_call(model)) {
        return Ok(());
    }
    Err(ApiError::model_not_allowed(route.name()))
}

/// Checks that the caller may call the chosen model: its key names the route, which grants its models, or the model.
///
/// # Errors
/// Returns a 403 that names both.
pub(in crate::stages) fn require(
    route: &Route,
    shaped: &Shaped,
    chosen: &Chosen,
) -> Result<(), ApiError> {
    let (caller, model) = (&shaped.caller, &chosen.note.target);
    if caller.may_call(route.name()) || caller.may_call(model) {
        return Ok(());
    }
    Err(ApiError::route_not_allowed(route.name(), model))
}

impl Chosen {
    /// Returns what the route remembers of the session, before this call.
    pub(in crate::stages) fn memory_of(
        &self,
        shaped: &Shaped,
    ) -> Option<kebne_routing::RouteMemory> {
        let circumstances = &shaped.circumstances;
        circumstances.session.as_ref()?;
        Some(circumstances.memory(&self.note.route))
    }
}

impl Circumstances {
    /// Returns the session and its number of turns, and the session's variables.
    pub(in crate::stages) fn session(&self) -> Option<(&str, u64, &BTreeMap<String, String>)> {
        let session = self.session.as_ref()?;
        Some((&session.id, session.turns, &session.variables))
    }

    /// Returns what a route remembers of the session.
    fn memory(&self, route: &str) -> kebne_routing::RouteMemory {
        let document = self.session.as_ref();
        let document = document.and_then(|session| session.document.as_deref());
        SessionMemory::read(document).of(route)
    }
}

fn inputs_of(shaped: &Shaped) -> Vec<InputKind> {
    let kinds = Input::ALL.into_iter().zip(InputKind::ALL);
    let there = kinds.filter(|(input, _)| shaped.request.inputs.has(*input));
    there.map(|(_, kind)| kind).collect()
}
