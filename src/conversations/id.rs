//! The ids of responses.

use kebne_wire::responses::{response_id, tree_of};

use super::{ConversationError, not_found};

/// Returns an id for a response that cannot be guessed. It contains the tree of the response that it continues.
///
/// # Errors
/// Returns an error if `previous` is not the id of a response, or if the system has no randomness.
pub fn new_id(previous: Option<&str>) -> Result<String, ConversationError> {
    let tree = match previous {
        Some(previous) => tree_of(previous).ok_or_else(|| not_found(previous))?,
        None => u128::from(random()?) << 64 | u128::from(random()?),
    };
    Ok(response_id(tree, random()?))
}

/// Returns a random number from the system.
fn random() -> Result<u64, ConversationError> {
    let mut bytes = [0; 8];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|_| ConversationError::NotKept("the system has no randomness"))?;
    Ok(u64::from_le_bytes(bytes))
}
