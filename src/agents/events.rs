//! The events of runs.

use kebne_agents::{Event, Run, RunEvent};
use kebne_events::{AgentRunEnded, AgentStep, Data};

use crate::events::{Events, Happened};

/// Emits the event of a step, or of the end of a run. They hold names and numbers, no texts.
pub(super) fn emit(events: &Events, of: &Run, event: &Event) {
    if !events.are_enabled() {
        return;
    }
    let (run, agent) = (of.id.to_string(), of.spec.name.clone());
    let data = match &event.what {
        RunEvent::Ended { ending, .. } => Data::AgentRunEnded(AgentRunEnded {
            run,
            agent,
            ending: ending.name().to_owned(),
            steps: of.steps.into(),
            input_tokens: of.usage.input_tokens,
            output_tokens: of.usage.output_tokens,
            duration_ms: event.at.saturating_sub(of.began_at),
        }),
        what => Data::AgentStep(AgentStep {
            run,
            agent,
            number: event.seq,
            step: what.kind().to_owned(),
        }),
    };
    let happened = Happened {
        tenant: of.owner.to_string(),
        session: of.began.session.clone(),
        at_ms: event.at,
        data,
    };
    // A loss is counted.
    let _counted = events.emit(happened);
}
