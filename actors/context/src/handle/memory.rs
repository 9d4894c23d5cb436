//! What is kept beside the turns of a session.

use super::{ContextError, ContextHandle};
use crate::{
    context_manager::{Consult, StepOf},
    health::Effect,
    notes::{Fact, FactContent, Summary, basis_of, written},
    store::{Basis, Note, NoteAuthor, NoteChange, NoteKind, NoteStep, Owned, StoreError, Turn},
};

impl ContextHandle {
    /// Puts one question to the store about a session of an owner.
    pub(super) async fn consult<T: Send + 'static>(
        &self,
        (owner, id): (&str, &str),
        effect: Effect,
        step: StepOf<T>,
    ) -> Result<T, ContextError> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        self.ask(Consult {
            owner,
            id,
            effect,
            step,
        })
        .await
    }

    /// Returns the summaries of a session that are kept, the oldest first.
    ///
    /// # Errors
    /// As [`ContextHandle::read`].
    pub async fn summaries(&self, owner: &str, id: &str) -> Result<Vec<Summary>, ContextError> {
        let notes = self.notes((owner, id), NoteKind::Summary).await?;
        let summaries = notes.iter().map(Summary::of);
        Ok(summaries.collect::<Result<_, _>>()?)
    }

    /// Removes the summaries of a session and returns `true` if there were any.
    ///
    /// # Errors
    /// As [`ContextHandle::read`].
    pub async fn remove_summaries(&self, owner: &str, id: &str) -> Result<bool, ContextError> {
        let summaries = self.summaries(owner, id).await?;
        let kind = NoteKind::Summary;
        let changes = summaries.iter().map(|summary| NoteChange::Remove {
            kind,
            number: summary.through,
        });
        let step = NoteStep {
            author: NoteAuthor::Owner,
            changes: changes.collect(),
            facts_through: None,
            facts_max: 0,
        };
        let removed = self.note((owner, id), step).await?;
        Ok(removed.iter().any(Option::is_some))
    }

    /// Returns the facts of a session, in the order of their numbers.
    ///
    /// # Errors
    /// As [`ContextHandle::read`].
    pub async fn facts(&self, owner: &str, id: &str) -> Result<Vec<Fact>, ContextError> {
        let notes = self.notes((owner, id), NoteKind::Fact).await?;
        let facts = notes.iter().map(Fact::of);
        Ok(facts.collect::<Result<_, _>>()?)
    }

    /// Adds a fact of the owner, and returns it.
    ///
    /// # Errors
    /// As [`ContextHandle::change`]; [`StoreError::FactsFull`] if the session has `facts_max` facts.
    pub async fn add_fact(
        &self,
        owner: &str,
        id: &str,
        content: FactContent,
        facts_max: u64,
    ) -> Result<Fact, ContextError> {
        let change = NoteChange::AddFact {
            is_owners: true,
            basis: Basis::NONE,
            content: written(&content),
        };
        let step = NoteStep {
            author: NoteAuthor::Owner,
            changes: vec![change],
            facts_through: None,
            facts_max,
        };
        let added = self.note((owner, id), step).await?;
        let number = added.into_iter().next().flatten();
        Ok(Fact {
            number: number.ok_or(StoreError::FactsFull { facts_max })?,
            is_owners: true,
            content,
        })
    }

    /// Replaces a fact by its owner's, and returns `true` if there was one with its number.
    ///
    /// # Errors
    /// As [`ContextHandle::change`].
    pub async fn set_fact(&self, owner: &str, id: &str, fact: &Fact) -> Result<bool, ContextError> {
        self.change_fact((owner, id), NoteChange::Set(fact.note()))
            .await
    }

    /// Removes a fact and returns `true` if there was one.
    ///
    /// # Errors
    /// As [`ContextHandle::read`].
    pub async fn remove_fact(
        &self,
        owner: &str,
        id: &str,
        number: u64,
    ) -> Result<bool, ContextError> {
        let kind = NoteKind::Fact;
        self.change_fact((owner, id), NoteChange::Remove { kind, number })
            .await
    }

    async fn change_fact(
        &self,
        of: (&str, &str),
        change: NoteChange,
    ) -> Result<bool, ContextError> {
        let step = NoteStep {
            author: NoteAuthor::Owner,
            changes: vec![change],
            facts_through: None,
            facts_max: u64::MAX,
        };
        let changed = self.note(of, step).await?;
        Ok(changed.iter().any(Option::is_some))
    }

    /// Keeps a summary that a model made when turns had been removed from the session `cuts` times.
    ///
    /// # Errors
    /// As [`ContextHandle::change`]; [`StoreError::Changed`] if turns were removed since.
    pub(crate) async fn keep_summary(
        &self,
        of: (&str, &str),
        summary: &Summary,
        cuts: u64,
    ) -> Result<(), ContextError> {
        let step = NoteStep {
            author: NoteAuthor::Model { cuts },
            changes: vec![NoteChange::Set(summary.note())],
            facts_through: None,
            facts_max: 0,
        };
        self.note(of, step).await.map(drop)
    }

    /// Adds facts that a model extracted from the turns up to `through`, and those that it changed. Returns how many were
    /// kept.
    ///
    /// # Errors
    /// As [`ContextHandle::keep_summary`].
    pub(crate) async fn keep_facts(
        &self,
        of: (&str, &str),
        (added, changed): (Vec<FactContent>, Vec<Fact>),
        (through, cuts): (u64, u64),
        facts_max: u64,
    ) -> Result<usize, ContextError> {
        let changed = changed.iter().map(|fact| NoteChange::Set(fact.note()));
        let added = added.iter().map(|content| NoteChange::AddFact {
            is_owners: false,
            basis: basis_of(&content.turns),
            content: written(content),
        });
        let step = NoteStep {
            author: NoteAuthor::Model { cuts },
            changes: changed.chain(added).collect(),
            facts_through: Some(through),
            facts_max,
        };
        let kept = self.note(of, step).await?;
        Ok(kept.into_iter().flatten().count())
    }

    /// Returns the number of the newest turn that does not fit into `tokens_max` tokens with all newer ones; 0 if all fit.
    ///
    /// # Errors
    /// As [`ContextHandle::read`].
    pub async fn leaving(
        &self,
        owner: &str,
        id: &str,
        tokens_max: u64,
    ) -> Result<u64, ContextError> {
        let step: StepOf<u64> =
            Box::new(move |store, terms| store.leaving(terms.named, tokens_max));
        self.consult((owner, id), Effect::Reads, step).await
    }

    async fn notes(&self, of: (&str, &str), kind: NoteKind) -> Result<Vec<Note>, ContextError> {
        let step: StepOf<Vec<Note>> = Box::new(move |store, terms| store.notes(terms.named, kind));
        self.consult(of, Effect::Reads, step).await
    }

    pub(super) async fn note(
        &self,
        of: (&str, &str),
        note: NoteStep,
    ) -> Result<Vec<Option<u64>>, ContextError> {
        let sizes = note.changes.iter().map(|change| match change {
            NoteChange::AddFact { content, .. } => content.len() as u64,
            NoteChange::Set(note) | NoteChange::Import(note) => note.content.len() as u64,
            NoteChange::Remove { .. } => 0,
        });
        let bytes: u64 = sizes.sum();
        // A removal must be possible in a full store.
        let effect = match bytes {
            0 => Effect::MayWrite,
            bytes => Effect::Writes(bytes),
        };
        let step: StepOf<Vec<Option<u64>>> =
            Box::new(move |store, terms| store.note(terms.named, note, terms.quota));
        self.consult(of, effect, step).await
    }

    pub(super) async fn turns_of(
        &self,
        of: (&str, &str),
        after: u64,
        limit: usize,
    ) -> Result<crate::store::Part<Turn>, ContextError> {
        let step: StepOf<crate::store::Part<Turn>> = Box::new(move |store, terms| {
            let mut page = terms.page;
            page.items_max = limit;
            store.turns(terms.named, after, page)
        });
        self.consult(of, Effect::Reads, step).await
    }

    pub(super) async fn remove_turn_of(
        &self,
        of: (&str, &str),
        number: u64,
    ) -> Result<bool, ContextError> {
        let step: StepOf<bool> = Box::new(move |store, terms| {
            let named: Owned = terms.named;
            store.remove_turn(named, number)
        });
        self.consult(of, Effect::MayWrite, step).await
    }
}
