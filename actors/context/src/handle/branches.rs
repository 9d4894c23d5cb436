//! The branches of a session: rewound, forked and imported ones.

use super::{ContextError, ContextHandle};
use crate::{
    context_manager::StepOf,
    health::Effect,
    messages::Create,
    store::{
        Change, Copying, Details, Note, NoteAuthor, NoteChange, NoteStep, Progress, RoutingChange,
        Session, Turn,
    },
};

/// The document of routes that remembers nothing.
const NO_ROUTING: &str = "{}";

impl ContextHandle {
    /// Removes the turns after `to`, the summaries and facts that rest on them, and what routes remember. Calls that run meanwhile are not kept
    /// ([`ContextHandle::append_if`]). Returns the session.
    ///
    /// # Errors
    /// As [`ContextHandle::read`].
    pub async fn rewind(&self, owner: &str, id: &str, to: u64) -> Result<Session, ContextError> {
        loop {
            let step: StepOf<Progress> =
                Box::new(move |store, terms| store.rewind(terms.named, to, terms.now));
            let of = (owner, id);
            if !self.consult(of, Effect::MayWrite, step).await?.has_more {
                return self.routed_anew(owner, id).await;
            }
        }
    }

    /// Has a session forget what routes remember of it, because some of that is of turns that are gone.
    async fn routed_anew(&self, owner: &str, id: &str) -> Result<Session, ContextError> {
        let session = self.read(owner, id).await?;
        let Some(before) = session.details.routing.clone() else {
            return Ok(session);
        };
        let routing = RoutingChange {
            cuts: None,
            before: Some(before),
            after: NO_ROUTING.to_owned(),
        };
        let change = Change {
            routing: Some(routing),
            ..Change::default()
        };
        self.change(owner, id, change).await
    }

    /// Creates the session `new` with the turns of another one up to `through`, and with the summaries and facts that rest
    /// on no later turn; what routes remember goes along if no turn is left out.
    ///
    /// # Errors
    /// As [`ContextHandle::create`] and [`ContextHandle::read`]; [`Changed`](crate::store::StoreError::Changed) if turns were removed from the
    /// session meanwhile.
    pub async fn fork(
        &self,
        owner: &str,
        id: &str,
        new: &str,
        through: u64,
    ) -> Result<Session, ContextError> {
        let from = self.read(owner, id).await?;
        let mut details = from.details;
        if through < from.turns {
            details.routing = None;
        }
        self.begin(owner, new, details).await?;
        let mut copying = Copying {
            to: new.to_owned(),
            after: 0,
            through,
            cuts: from.marks.cuts,
        };
        let done = loop {
            let part = copying.clone();
            let step: StepOf<Progress> =
                Box::new(move |store, terms| store.copy(terms.named, part, terms.quota));
            match self.consult((owner, id), Effect::Writes(0), step).await {
                Ok(Progress { turn, has_more }) if has_more => copying.after = turn,
                Ok(_) => break self.finish(owner, new).await,
                Err(error) => break Err(error),
            }
        };
        self.or_undo((owner, new), done).await
    }

    /// Creates an empty session into which turns are then copied. It is not listed, and is removed after an hour unless
    /// [`ContextHandle::finish`] ends that.
    ///
    /// # Errors
    /// As [`ContextHandle::create`].
    pub async fn begin(
        &self,
        owner: &str,
        id: &str,
        details: Details,
    ) -> Result<Session, ContextError> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        self.ask(Create {
            id,
            owner,
            details,
            bytes: 0,
            is_partial: true,
        })
        .await
    }

    /// Puts turns into a session that was begun. Their numbers increase.
    ///
    /// # Errors
    /// As [`ContextHandle::append`].
    pub async fn put_turns(
        &self,
        owner: &str,
        id: &str,
        turns: Vec<Turn>,
    ) -> Result<(), ContextError> {
        let sizes = turns.iter().map(|turn| turn.content.messages.len() as u64);
        let effect = Effect::Writes(sizes.sum());
        let step: StepOf<()> =
            Box::new(move |store, terms| store.put_turns(terms.named, turns, terms.quota));
        self.consult((owner, id), effect, step).await
    }

    /// Puts summaries and facts into a session that was begun. Facts count as extracted up to its last turn.
    ///
    /// # Errors
    /// As [`ContextHandle::add_fact`].
    pub async fn put_notes(
        &self,
        owner: &str,
        id: &str,
        notes: Vec<Note>,
        facts_max: u64,
    ) -> Result<(), ContextError> {
        let session = self.read(owner, id).await?;
        let step = NoteStep {
            author: NoteAuthor::Owner,
            changes: notes.into_iter().map(NoteChange::Import).collect(),
            facts_through: Some(session.turns),
            facts_max,
        };
        self.note((owner, id), step).await.map(drop)
    }

    /// Ends the making of a session that was begun, and returns it.
    ///
    /// # Errors
    /// As [`ContextHandle::read`].
    pub async fn finish(&self, owner: &str, id: &str) -> Result<Session, ContextError> {
        let step: StepOf<Session> = Box::new(|store, terms| store.finish(terms.named, terms.now));
        self.consult((owner, id), Effect::Writes(0), step).await
    }

    /// Removes a session that was begun if it could not be made.
    ///
    /// # Errors
    /// Returns the error of `done`.
    pub async fn or_undo<T>(
        &self,
        (owner, id): (&str, &str),
        done: Result<T, ContextError>,
    ) -> Result<T, ContextError> {
        if done.is_err()
            && let Err(error) = self.remove(owner, id).await
        {
            // It is removed with the expired ones.
            tracing::debug!(%error, "a session that could not be made was not removed");
        }
        done
    }
}
