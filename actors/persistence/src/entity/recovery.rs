//! The start of an entity: the latest snapshot, and the events behind it.

use std::{sync::Arc, time::Duration};

use super::{EventSourced, Persistence, Snapshotting};
use crate::journal::{JournalError, Recorded, Step};

/// Events that are read in one step.
const PAGE: usize = 256;

/// A state with the number of its last event.
pub(super) struct Recovered<S> {
    pub(super) state: S,
    pub(super) sequence: u64,
}

/// Recovers the state, or returns what failed.
pub(super) async fn recover<S: EventSourced>(
    id: Arc<str>,
    persistence: Persistence<S>,
    empty: Arc<dyn Fn() -> S>,
) -> Result<Recovered<S>, String> {
    let limit = persistence.recovery_timeout;
    let mut recovered = match &persistence.snapshots {
        Some(snapshots) => from_snapshot(&id, snapshots, &*empty, limit).await?,
        None => nothing(&*empty),
    };
    loop {
        let from = recovered.sequence + 1;
        let page = within(limit, persistence.journal.read(&id, from, PAGE)).await;
        let page = page.map_err(|error| format!("its events from {from} on: {error}"))?;
        if page.is_empty() {
            break;
        }
        for event in page {
            replay(&persistence, &mut recovered, &event)?;
        }
        // Others on the thread have their turn, also where the journal is always ready.
        tokio::task::yield_now().await;
    }
    let highest = within(limit, persistence.journal.highest(&id)).await;
    let highest = highest.map_err(|error| format!("its highest number: {error}"))?;
    if highest > recovered.sequence {
        let last = recovered.sequence;
        return Err(format!(
            "event {highest} was written, and the last found is {last}"
        ));
    }
    Ok(recovered)
}

fn nothing<S>(empty: &dyn Fn() -> S) -> Recovered<S> {
    Recovered {
        state: empty(),
        sequence: 0,
    }
}

async fn from_snapshot<S: EventSourced>(
    id: &str,
    snapshots: &Snapshotting<S>,
    empty: &dyn Fn() -> S,
    limit: Duration,
) -> Result<Recovered<S>, String> {
    match latest(id, snapshots, limit).await {
        Ok(recovered) => Ok(recovered.unwrap_or_else(|| nothing(empty))),
        Err(reason) if snapshots.optional => {
            tracing::warn!(id, reason, "recovering from all events");
            Ok(nothing(empty))
        }
        Err(reason) => Err(format!("its snapshot: {reason}")),
    }
}

async fn latest<S: EventSourced>(
    id: &str,
    snapshots: &Snapshotting<S>,
    limit: Duration,
) -> Result<Option<Recovered<S>>, String> {
    let found = within(limit, snapshots.store.latest(id)).await;
    let Some(Recorded { sequence, payload }) = found.map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let states = snapshots.codec.decode(&payload);
    let mut states = states.map_err(|error| error.to_string())?;
    match (states.pop(), states.is_empty()) {
        (Some(state), true) => Ok(Some(Recovered { state, sequence })),
        _ => Err("it is not one state".to_owned()),
    }
}

fn replay<S: EventSourced>(
    persistence: &Persistence<S>,
    recovered: &mut Recovered<S>,
    event: &Recorded,
) -> Result<(), String> {
    let expected = recovered.sequence + 1;
    let number = event.sequence;
    if number != expected {
        return Err(format!("event {expected} is missing; the next is {number}"));
    }
    let events = persistence.events.decode(&event.payload);
    for event in events.map_err(|error| format!("event {number}: {error}"))? {
        recovered.state.apply(&event);
    }
    recovered.sequence = number;
    Ok(())
}

/// Runs a step of the journal, for `limit` at most.
pub(super) async fn within<T>(limit: Duration, step: Step<T>) -> Result<T, JournalError> {
    match tokio::time::timeout(limit, step).await {
        Ok(done) => done,
        Err(_) => Err(JournalError::Failed(format!("took longer than {limit:?}"))),
    }
}
