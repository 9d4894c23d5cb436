//! Searches in the collections of a caller, beside the event loop.

use kebne_collections::{Query, Source};

use crate::{state::State, surface::error::ApiError};

/// Returns the chunks that fit a query best, the best first, and notes that the collections are used.
///
/// # Errors
/// Returns a 404 if the owner has no such collection, and a 503 if the store fails.
pub(crate) async fn find(
    state: &State,
    owner: &str,
    query: Query,
) -> Result<Vec<Source>, ApiError> {
    let (collections, of) = (state.collections.clone(), owner.to_owned());
    let ids = query.collections.clone();
    let search = move || collections.search(&of, &query);
    let sources = state.off_loop.run(search).await??;
    state.collections.touch(owner, &ids).await;
    Ok(sources)
}
