//! Prepares a call that goes to a function.

use std::sync::Arc;

use actix_web::web::Data;
use kebne_lane::Repeats;
use kebne_wire::about::About;
use serde_json::Value;

use crate::{backend::Function, stages::shape::Shaped, state::State, surface::error::ApiError};

/// Checks the input of a direct call, has only calls repeated that the function permits, and adds to a chat call what is known of it besides
/// its body.
///
/// # Errors
/// Returns a 400 that names the member of an input that is not as its schema has it.
pub(super) async fn prepare(
    state: &Data<State>,
    function: &Arc<Function>,
    shaped: &mut Shaped,
) -> Result<(), ApiError> {
    let settings = &function.settings;
    let options = &mut shaped.options;
    if !settings.is_repeatable() {
        options.repeats = Repeats::Undone;
    }
    options.hedge &= settings.read_only;
    if shaped.call.surface.calls_functions() {
        return check(state, function, shaped).await;
    }
    let (caller, known) = (&shaped.caller, shaped.circumstances.session());
    let mut about = About::default();
    about.tenant.clone_from(&caller.tenant);
    about.key.clone_from(&caller.name);
    about.route = shaped.call.notes.route();
    if let Some((id, turns, variables)) = known {
        about.session = Some((id.to_owned(), turns));
        about.variables.clone_from(variables);
    }
    let about = Arc::new(about);
    if let Some(follow) = &mut shaped.follow {
        follow.set_about(Arc::clone(&about));
    }
    shaped.request.about = Some(about);
    Ok(())
}

/// Checks an input against the schema of its function, beside the event loop if it is large.
async fn check(
    state: &Data<State>,
    function: &Arc<Function>,
    shaped: &Shaped,
) -> Result<(), ApiError> {
    if function.schema.is_none() {
        return Ok(());
    }
    let (body, function) = (shaped.request.body.clone(), Arc::clone(function));
    let (size, check) = (body.len(), move || {
        let input: Value = serde_json::from_slice(&body).map_err(|error| {
            ApiError::bad_request(None, format!("the body is not valid JSON: {error}"))
        })?;
        let checked = function
            .schema
            .as_ref()
            .map_or(Ok(()), |schema| schema.check(&input));
        checked.map_err(|error| ApiError::bad_request(Some(&error.place), error.to_string()))
    });
    state.off_loop.read(size, check).await?
}
