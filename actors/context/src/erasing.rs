//! The questions that count and erase what is held of someone.

use actix::{Handler, Message, ResponseFuture};
use kebne_actors::Context;

use crate::{
    context_manager::ContextManager,
    handle::{ContextError, ContextHandle},
    health::Effect,
    store::{
        StoreError,
        erasure::{Erased, Holdings, Looked, Next, Whose},
    },
};

/// Looks through some sessions.
#[derive(Debug, Message)]
#[rtype(result = "Result<Looked, StoreError>")]
pub(crate) struct Look {
    whose: Whose,
    from: Next,
    erases: bool,
}

/// Takes removed data out of the log of the file.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<bool, StoreError>")]
pub(crate) struct EmptyLog;

impl Handler<Look> for ContextManager {
    type Result = ResponseFuture<Result<Looked, StoreError>>;

    fn handle(&mut self, look: Look, ctx: &mut Context<Self>) -> Self::Result {
        let Look {
            whose,
            from,
            erases,
        } = look;
        let effect = if erases {
            Effect::MayWrite
        } else {
            Effect::Reads
        };
        self.with_store_of(effect, &whose.tenant.clone(), ctx, async move |store| {
            if erases {
                store.erase(whose, from).await
            } else {
                store.held(whose, from).await
            }
        })
    }
}

impl Handler<EmptyLog> for ContextManager {
    type Result = ResponseFuture<Result<bool, StoreError>>;

    fn handle(&mut self, _: EmptyLog, ctx: &mut Context<Self>) -> Self::Result {
        self.with_store_of(Effect::MayWrite, "", ctx, async move |store| {
            store.empty_log().await
        })
    }
}

impl ContextHandle {
    /// Returns what is held of someone, also what has expired and is not removed yet.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    pub async fn held(&self, whose: &Whose) -> Result<Holdings, ContextError> {
        Ok(self.look_through(whose, false).await?.removed)
    }

    /// Erases what is held of someone: sessions, their turns, and what is kept in the tenant's spaces; of a whole tenant also its key.
    /// What calls that run meanwhile create may stay, and keeps a key.
    ///
    /// # Errors
    /// Returns an error if the store fails. A part may be erased then.
    pub async fn erase(&self, whose: &Whose) -> Result<Erased, ContextError> {
        let mut erased = self.look_through(whose, true).await?;
        erased.log_emptied = self.ask(EmptyLog).await?;
        Ok(erased)
    }

    async fn look_through(&self, whose: &Whose, erases: bool) -> Result<Erased, ContextError> {
        let mut all = Erased::default();
        let mut from = Some(Next::Sessions(None));
        while let Some(next) = from {
            let look = Look {
                whose: whose.clone(),
                from: next,
                erases,
            };
            let looked = self.ask(look).await?;
            all.removed.join(looked.found);
            all.key_erased |= looked.key_erased;
            from = looked.next;
        }
        Ok(all)
    }
}
