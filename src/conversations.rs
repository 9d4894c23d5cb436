//! Kept responses, which can be retrieved, continued and deleted.
//!
//! The responses that continue one another form a tree. Each tree is a session of the context manager, in a separate
//! space: it is not listed among its owner's sessions and does not count as one. A turn of such a session contains one
//! response and its request (`kebne_wire::responses::Kept`).

mod history;
mod id;

use bytes::Bytes;
use kebne_context::{
    ContextError, ContextHandle, ContextSettings,
    erasure::USER,
    store::{Details, Fit, StoreError, Turn, TurnContent},
    tokens::Tokenizer,
};
use kebne_wire::responses::{Kept, KeptView, line_of, tree_of};
use serde_json::Value;

use crate::memory::{NoMemory, Share};

pub use history::History;
pub use id::new_id;

/// The number of turns that are read from the store in one step.
const PAGE: usize = 64;
/// The largest number of bytes of one tree that are read to continue it.
const TREE_SIZE_MAX: usize = 64 << 20;

/// The room for a response that an owner must have before the model is called, in bytes: about 1000 tokens.
const RESPONSE_ROOM: usize = 4 << 10;

/// The reason why a response cannot be found, continued or kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConversationError {
    /// There is no such response, or it belongs to another owner.
    #[error("there is no response `{0}`")]
    NotFound(String),
    /// The conversation is too long to be continued.
    #[error("the conversation holds more than {TREE_SIZE_MAX} bytes")]
    TooLong,
    /// There is no memory to read the conversation now.
    #[error("the memory for conversations is used up")]
    NoMemory,
    /// The request is too large to be kept with its response.
    #[error(
        "the request is too large to be kept with its response (`context.turn_size_max`); send it with `store: false`"
    )]
    TooLarge,
    /// The response cannot be kept.
    #[error("the response cannot be kept: {0}")]
    NotKept(&'static str),
    /// The store of sessions refused the request or failed.
    #[error(transparent)]
    Context(#[from] ContextError),
}

/// All kept responses.
#[derive(Clone, Debug)]
pub struct Conversations {
    context: ContextHandle,
    tokenizer: Tokenizer,
    tokens_max: u64,
    size_max: usize,
    page_bytes_max: usize,
}

/// The place where a response in progress will be kept.
///
/// A tree created for it is removed again if the place is dropped without a response.
#[derive(Debug)]
pub struct Place {
    conversations: Conversations,
    owner: String,
    session: String,
    is_new: bool,
    is_used: bool,
}

impl Conversations {
    /// Creates the conversations, which are kept with the sessions and within the bounds of their settings.
    pub fn new(context: ContextHandle, settings: &ContextSettings) -> Self {
        Self {
            context,
            tokenizer: settings.tokenizer,
            tokens_max: settings.tokens_max,
            size_max: settings.turn_size_max.as_usize(),
            page_bytes_max: settings.page_bytes_max.as_usize(),
        }
    }

    /// Returns a response and those that it continues. If `truncates` is `true`, the oldest ones that exceed the token
    /// budget of sessions are left out. What is read is charged to `room`.
    ///
    /// # Errors
    /// Returns an error if there is no such response, if there is no memory to read it, or if the store fails.
    pub async fn history(
        &self,
        owner: &str,
        id: &str,
        truncates: bool,
        room: &mut Share,
    ) -> Result<History, ConversationError> {
        let turns = self.turns(owner, id, room).await?;
        let (turns, kept): (Vec<&Turn>, Vec<KeptView<'_>>) = turns
            .iter()
            .filter_map(|turn| Some((turn, KeptView::read(&turn.content.messages)?)))
            .unzip();
        let line = line_of(&kept, id).ok_or_else(|| not_found(id))?;
        let tokens_max = if truncates { self.tokens_max } else { u64::MAX };
        // The bytes were bounded when the tree was read.
        let mut fit = Fit::new(tokens_max, u64::MAX);
        for place in line.iter().rev() {
            let content = &turns[*place].content;
            if !fit.takes(content.tokens, content.messages.len() as u64) {
                break;
            }
            fit.take(turns[*place].clone());
        }
        let chosen = fit.finish();
        Ok(History {
            left_out: line.len() - chosen.len(),
            turns: chosen,
        })
    }

    /// Returns a response as JSON, as its caller received it.
    ///
    /// # Errors
    /// Returns an error if there is no such response, or the store fails.
    pub async fn read(
        &self,
        owner: &str,
        id: &str,
        room: &mut Share,
    ) -> Result<Bytes, ConversationError> {
        let (turn, _) = self.find(owner, id, room).await?;
        let kept = KeptView::read(&turn.content.messages).ok_or_else(|| not_found(id))?;
        Ok(Bytes::copy_from_slice(kept.response.get().as_bytes()))
    }

    /// Removes a response. Responses that continue it remain.
    ///
    /// # Errors
    /// Returns an error if there is no such response, or the store fails.
    pub async fn remove(
        &self,
        owner: &str,
        id: &str,
        room: &mut Share,
    ) -> Result<(), ConversationError> {
        let (turn, others) = self.find(owner, id, room).await?;
        let (owner, session) = (space_of(owner), session_of(id)?);
        if others == 0 {
            self.context.remove(&owner, &session).await?;
        } else {
            self.context
                .remove_turn(&owner, &session, turn.number)
                .await?;
        }
        Ok(())
    }

    /// Reserves a place for a response with an id from [`new_id`] to a request of `size` bytes: in the tree of the
    /// response that it continues, or in a new tree, which belongs to `user`.
    ///
    /// # Errors
    /// Returns an error if the response that it continues does not exist, if the request is too large to be kept, or if
    /// its owner or the tree has reached the limit.
    pub async fn place(
        &self,
        owner: &str,
        id: &str,
        previous: Option<&str>,
        (user, size): (Option<String>, usize),
    ) -> Result<Place, ConversationError> {
        // Half a turn is left for the response.
        if size > self.size_max.saturating_mul(3) / 2 {
            return Err(ConversationError::TooLarge);
        }
        let (space, session) = (space_of(owner), session_of(id)?);
        let least = size.saturating_add(RESPONSE_ROOM) as u64;
        if let Some(previous) = previous {
            let opened = self.context.open_for(&space, &session, least).await;
            opened.map_err(|error| missing(error, previous))?;
        } else {
            // By it, what is kept of a user is found again.
            let user = user.map(|user| (USER.to_owned(), user));
            let details = Details {
                metadata: user.into_iter().collect(),
                ..Details::default()
            };
            let created = self
                .context
                .create_for(&space, session.clone(), details, least);
            created.await?;
        }
        Ok(Place {
            conversations: self.clone(),
            owner: space,
            session,
            is_new: previous.is_none(),
            is_used: false,
        })
    }

    /// Returns the turn of a response, and the number of other turns in its tree.
    async fn find(
        &self,
        owner: &str,
        id: &str,
        room: &mut Share,
    ) -> Result<(Turn, usize), ConversationError> {
        let turns = self.turns(owner, id, room).await?;
        let others = turns.len() - 1;
        let is_it = |turn: &Turn| {
            let kept = KeptView::read(&turn.content.messages);
            kept.is_some_and(|kept| kept.id == id)
        };
        let found = turns.into_iter().find(is_it);
        Ok((found.ok_or_else(|| not_found(id))?, others))
    }

    /// Returns all turns of the tree of a response; there is at least one. Each page is charged to `room` before it is
    /// read.
    async fn turns(
        &self,
        owner: &str,
        id: &str,
        room: &mut Share,
    ) -> Result<Vec<Turn>, ConversationError> {
        let (space, session) = (space_of(owner), session_of(id)?);
        let mut turns: Vec<Turn> = Vec::new();
        let mut size = 0;
        loop {
            let after = turns.last().map_or(0, |turn| turn.number);
            let granted = room.reserve(size + self.page_bytes_max);
            granted.map_err(|NoMemory| ConversationError::NoMemory)?;
            let page = self.context.turns(&space, &session, after, PAGE).await;
            let page = page.map_err(|error| missing(error, id))?;
            size += page
                .items
                .iter()
                .map(|turn| turn.content.messages.len())
                .sum::<usize>();
            if size > TREE_SIZE_MAX {
                return Err(ConversationError::TooLong);
            }
            turns.extend(page.items);
            if !page.has_more {
                break;
            }
        }
        room.shrink_to(size);
        if turns.is_empty() {
            return Err(not_found(id));
        }
        Ok(turns)
    }
}

impl Place {
    /// Keeps the response to a request.
    ///
    /// # Errors
    /// Returns an error if it is too large, or the store fails.
    pub async fn keep(mut self, response: Value, request: Bytes) -> Result<(), ConversationError> {
        let tokenizer = self.conversations.tokenizer;
        // The request and the response may each be as large as a turn.
        let size_max = self.conversations.size_max.saturating_mul(2);
        let count = move || turn_of(&response, &request, tokenizer, size_max);
        let counted = tokio::task::spawn_blocking(count).await;
        let turn = counted
            .map_err(|_| ConversationError::NotKept("its tokens could not be counted"))??;
        self.conversations
            .context
            .append(&self.session, turn)
            .await?;
        self.is_used = true;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_new || self.is_used {
            return;
        }
        let context = self.conversations.context.clone();
        let (owner, session) = (self.owner.clone(), self.session.clone());
        actix_rt::spawn(async move {
            // A tree that remains is empty and expires.
            if let Err(error) = context.remove(&owner, &session).await {
                tracing::debug!(%error, "an empty conversation was not removed");
            }
        });
    }
}

/// Returns the turn that contains a response and its request.
fn turn_of(
    response: &Value,
    request: &[u8],
    tokenizer: Tokenizer,
    size_max: usize,
) -> Result<TurnContent, ConversationError> {
    let unreadable = ConversationError::NotKept("it cannot be read");
    let kept = Kept::new(response, request).and_then(|kept| serde_json::to_vec(&kept).ok());
    let kept = kept.ok_or_else(|| unreadable.clone())?;
    // Counting the tokens of a large response takes seconds.
    if kept.len() > size_max {
        return Err(ConversationError::NotKept("it is too large"));
    }
    let view = KeptView::read(&kept).ok_or(unreadable)?;
    let (tokens, leads) = match (view.messages(), view.items()) {
        (Some(messages), _) => {
            let tokens = messages.iter();
            let tokens = tokens.map(|message| tokenizer.count_message(message)).sum();
            let is_result = messages
                .first()
                .is_some_and(|first| first["role"] == "tool");
            (tokens, !is_result)
        }
        (None, items) => {
            let items = items.unwrap_or_default();
            let tokens = items.iter();
            let tokens = tokens.map(|item| tokenizer.count(&item.to_string())).sum();
            let is_result = items
                .first()
                .is_some_and(|first| first["type"] == "function_call_output");
            (tokens, !is_result)
        }
    };
    Ok(TurnContent {
        tokens,
        leads,
        messages: kept.into(),
    })
}

/// Returns the owner under which the trees of an owner are kept. No owner's name contains this character.
fn space_of(owner: &str) -> String {
    format!("{owner}\u{1f}responses")
}

fn session_of(id: &str) -> Result<String, ConversationError> {
    let tree = tree_of(id).ok_or_else(|| not_found(id))?;
    Ok(format!("tree_{tree:032x}"))
}

fn not_found(id: &str) -> ConversationError {
    ConversationError::NotFound(id.to_owned())
}

/// Converts the error of a missing tree to that of a missing response.
fn missing(error: ContextError, id: &str) -> ConversationError {
    match error {
        ContextError::Store(StoreError::NoSuchSession) => not_found(id),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests;
