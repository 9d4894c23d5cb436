//! The data of each event. The structs and their schemas are made of the same lines.

use serde::{Deserialize, Serialize};

use crate::{
    cloud_event::{CloudEvent, WriteError},
    schema::{EventData, Field, Shown, schema_id, type_name},
};

/// Declares the data of an event: the struct, and the fields of its schema.
macro_rules! event_data {
    (#[doc = $about:literal] $name:ident is $kind:literal version $version:literal {
        $(#[doc = $doc:literal] $field:ident: $type:ty,)*
    }) => {
        #[doc = $about]
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub struct $name {
            $(#[doc = $doc] pub $field: $type,)*
        }

        impl EventData for $name {
            const KIND: &'static str = $kind;
            const VERSION: u32 = $version;
            const ABOUT: &'static str = $about;

            fn fields() -> Vec<Field> {
                vec![$(Field::new::<$type>(stringify!($field), $doc),)*]
            }
        }
    };
}

event_data! {
    /// A call to a model has ended, in whatever way.
    CallEnded is "call.ended" version 1 {
        /// The id of the request.
        request: String,
        /// The name of the caller's key; empty without keys.
        key: String,
        /// The caller's dialect and operation, such as `openai.chat`.
        surface: String,
        /// The operation, such as `chat`; empty before the body was read.
        operation: String,
        /// The model by its own name; empty if it is not known.
        model: String,
        /// The lane that answered, or else the last one that was tried; empty if none was.
        lane: String,
        /// `true` if a stream was requested.
        streamed: bool,
        /// How the call ended: `success`, `error`, `timeout`, `shed`, `cancelled`, `panic`, `drained`, `rejected` or `withdrawn`.
        ending: String,
        /// The reason code of an ending other than a success; it may be empty.
        reason: String,
        /// The HTTP status of the answer; null if the caller left before.
        status: Option<u64>,
        /// The number of attempts at backends.
        attempts: u64,
        /// The time from the arrival to the end.
        duration_ms: f64,
        /// The time in queues.
        queued_ms: f64,
        /// The time in which the backend was cold.
        cold_ms: f64,
        /// The time from the arrival to the first part of a streamed answer.
        first_token_ms: Option<f64>,
        /// The tokens of the input that the backend reported.
        input_tokens: Option<u64>,
        /// The tokens of the input that the backend had cached.
        cached_tokens: Option<u64>,
        /// The tokens of the output that the backend reported.
        output_tokens: Option<u64>,
        /// What the cache of answers did, such as `hit`; null without a cache.
        cache: Option<String>,
    }
}

event_data! {
    /// The cost of an ended call is known. There is no such event for a model without a price.
    CallCost is "call.cost" version 1 {
        /// The id of the request.
        request: String,
        /// The name of the caller's key; empty without keys.
        key: String,
        /// The model.
        model: String,
        /// The lane.
        lane: String,
        /// The tokens of input and output.
        tokens: u64,
        /// The cost in billionths of the currency.
        cost_nano: u64,
        /// The currency of the settings.
        currency: String,
        /// `true` if the backend did not report all tokens.
        estimated: bool,
    }
}

event_data! {
    /// A rule of a guard has matched in a call.
    GuardVerdict is "guard.verdict" version 1 {
        /// The id of the request.
        request: String,
        /// The model; empty if it is not known.
        model: String,
        /// The side: `input` or `output`.
        side: String,
        /// The name of the guard.
        guard: String,
        /// The name of the rule.
        rule: String,
        /// What was done: `tag`, `mask` or `refuse`.
        action: String,
    }
}

event_data! {
    /// A route has chosen the model of a call.
    RouteDecided is "route.decided" version 1 {
        /// The id of the request.
        request: String,
        /// The route.
        route: String,
        /// The rule that decided; `default` if none matched.
        rule: String,
        /// The model.
        model: String,
    }
}

event_data! {
    /// A session was changed by a caller.
    SessionChanged is "session.changed" version 1 {
        /// The id of the session.
        session: String,
        /// What happened to it.
        change: SessionChange,
        /// The number of the turn that was added, or of the last one that is left; null if the change is not about turns.
        turn: Option<u64>,
    }
}

event_data! {
    /// A step of a run of an agent was confirmed.
    AgentStep is "agent.step" version 1 {
        /// The id of the run.
        run: String,
        /// The agent that has the conversation.
        agent: String,
        /// The number of the step in its run, from 1.
        number: u64,
        /// What was confirmed: `began`, `answered`, `calling`, `returned`, `held`, `handed_off`, `decided` or `cancel_asked`.
        step: String,
    }
}

event_data! {
    /// A run of an agent has ended.
    AgentRunEnded is "agent.run.ended" version 1 {
        /// The id of the run.
        run: String,
        /// The agent that had the conversation last.
        agent: String,
        /// How it ended: `completed`, `failed`, `cancelled`, `steps_used`, `tokens_used`, `cost_used`, `time_used`, `looping`, `stalled` or `crashed`.
        ending: String,
        /// The answers of models.
        steps: u64,
        /// The tokens of input, those of agents that it gave tasks to included.
        input_tokens: u64,
        /// The tokens of output, those of agents that it gave tasks to included.
        output_tokens: u64,
        /// The time from its begin to its end, in milliseconds.
        duration_ms: u64,
    }
}

event_data! {
    /// An alert was opened.
    AlertOpened is "alert.opened" version 1 {
        /// The number of the alert.
        alert: u64,
        /// The rule that raised it.
        rule: String,
        /// How soon somebody must act: `warning` or `critical`.
        severity: String,
        /// What the alert is about, such as the name of a lane.
        about: String,
        /// When it was opened, in seconds since 1970.
        since: u64,
        /// What is seen, in plain sentences.
        sentence: String,
        /// What to do, in plain sentences.
        action: String,
    }
}

event_data! {
    /// An alert was closed: what it reported is over.
    AlertClosed is "alert.closed" version 1 {
        /// The number of the alert.
        alert: u64,
        /// The rule that raised it.
        rule: String,
        /// How soon somebody had to act: `warning` or `critical`.
        severity: String,
        /// What the alert was about.
        about: String,
        /// When it was opened, in seconds since 1970.
        since: u64,
        /// When it was closed, in seconds since 1970.
        until: Option<u64>,
        /// What was seen last, in plain sentences.
        sentence: String,
    }
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionChange {
    /// It was created.
    Created,
    /// It was made of another one.
    Forked,
    /// It was imported.
    Imported,
    /// Its fields were changed.
    Changed,
    /// A turn was added.
    TurnAdded,
    /// Its last turns were removed.
    Rewound,
    /// It was removed.
    Removed,
}

impl Shown for SessionChange {
    fn shown() -> serde_json::Value {
        let names = [
            "created",
            "forked",
            "imported",
            "changed",
            "turn_added",
            "rewound",
            "removed",
        ];
        serde_json::json!({"type": "string", "enum": names})
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// A call has ended.
    CallEnded(Box<CallEnded>),
    /// The cost of a call is known.
    CallCost(CallCost),
    /// A guard has found something.
    GuardVerdict(GuardVerdict),
    /// A route has decided.
    RouteDecided(RouteDecided),
    /// A session was changed.
    SessionChanged(SessionChanged),
    /// A step of a run of an agent was confirmed.
    AgentStep(AgentStep),
    /// A run of an agent has ended.
    AgentRunEnded(AgentRunEnded),
    /// An alert was opened.
    AlertOpened(AlertOpened),
    /// An alert was closed.
    AlertClosed(AlertClosed),
}

impl Data {
    /// Returns the name of the type, such as `call.ended`.
    pub fn kind(&self) -> &'static str {
        self.names().0
    }

    /// Returns the type in the envelope, such as `kebne.call.ended.v1`.
    pub fn type_name(&self) -> String {
        let (kind, version) = self.names();
        type_name(kind, version)
    }

    /// Returns the id of the schema.
    pub fn schema_id(&self) -> String {
        let (kind, version) = self.names();
        schema_id(kind, version)
    }

    /// Returns what the event is about: a request, a session, a run, or the subject of an alert.
    pub fn subject(&self) -> &str {
        match self {
            Self::CallEnded(data) => &data.request,
            Self::CallCost(data) => &data.request,
            Self::GuardVerdict(data) => &data.request,
            Self::RouteDecided(data) => &data.request,
            Self::SessionChanged(data) => &data.session,
            Self::AgentStep(data) => &data.run,
            Self::AgentRunEnded(data) => &data.run,
            Self::AlertOpened(data) => &data.about,
            Self::AlertClosed(data) => &data.about,
        }
    }

    pub(crate) fn put_into(&self, event: CloudEvent) -> Result<CloudEvent, WriteError> {
        match self {
            Self::CallEnded(data) => event.with_data(data),
            Self::CallCost(data) => event.with_data(data),
            Self::GuardVerdict(data) => event.with_data(data),
            Self::RouteDecided(data) => event.with_data(data),
            Self::SessionChanged(data) => event.with_data(data),
            Self::AgentStep(data) => event.with_data(data),
            Self::AgentRunEnded(data) => event.with_data(data),
            Self::AlertOpened(data) => event.with_data(data),
            Self::AlertClosed(data) => event.with_data(data),
        }
    }

    fn names(&self) -> (&'static str, u32) {
        fn of<T: EventData>(_: &T) -> (&'static str, u32) {
            (T::KIND, T::VERSION)
        }
        match self {
            Self::CallEnded(data) => of(&**data),
            Self::CallCost(data) => of(data),
            Self::GuardVerdict(data) => of(data),
            Self::RouteDecided(data) => of(data),
            Self::SessionChanged(data) => of(data),
            Self::AgentStep(data) => of(data),
            Self::AgentRunEnded(data) => of(data),
            Self::AlertOpened(data) => of(data),
            Self::AlertClosed(data) => of(data),
        }
    }
}
