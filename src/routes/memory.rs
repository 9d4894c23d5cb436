//! Keeps what routes remember of a session.

use kebne_context::{
    ContextError, ContextHandle,
    store::{Change, RoutingChange},
};
use kebne_routing::{Noted, SessionMemory};

/// How often a change is tried that another call of the session has overtaken.
const TRIES: usize = 4;

/// Adds what is to be remembered of a decision to the document of a session. `document` is the one that the call has read. Calls of one
/// session at the same time are all counted; those from before a rewind (`cuts`) are not.
///
/// # Errors
/// Returns an error if the session is gone, or the store fails.
pub async fn remember(
    context: &ContextHandle,
    (owner, session, cuts): (&str, &str, u64),
    mut document: Option<String>,
    noted: &Noted,
) -> Result<(), ContextError> {
    for _ in 0..TRIES {
        let mut memory = SessionMemory::read(document.as_deref());
        if !memory.note(noted) {
            return Ok(());
        }
        let after = memory.write();
        let change = Change {
            routing: Some(RoutingChange {
                cuts: Some(cuts),
                before: document,
                after: after.clone(),
            }),
            ..Change::default()
        };
        let changed = context.change(owner, session, change).await?;
        if changed.marks.cuts != cuts {
            return Ok(());
        }
        if changed.details.routing.as_ref() == Some(&after) {
            return Ok(());
        }
        document = changed.details.routing;
    }
    tracing::debug!(
        session,
        "calls of one session overtake each other; one is not remembered"
    );
    Ok(())
}
