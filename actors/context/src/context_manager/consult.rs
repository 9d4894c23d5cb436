//! One question to the store about a session of an owner, under the rules of the context manager.

use std::fmt;

use actix::{Handler, Message, ResponseFuture};
use kebne_actors::Context;

use super::ContextManager;
use crate::{
    health::Effect,
    store::{Owned, PartSize, Quota, SessionStore, StoreError, Stored},
};

/// The rules under which a question is put: the manager fills them in.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The session, as its owner may see it.
    pub(crate) named: Owned,
    pub(crate) quota: Quota,
    /// The present time, in milliseconds of Unix time.
    pub(crate) now: u64,
    /// A page of as many items as its bytes permit.
    pub(crate) page: PartSize,
}

/// The step of the store that answers a question.
pub(crate) type StepOf<T> = Box<dyn FnOnce(&dyn SessionStore, Terms) -> Stored<T> + Send>;

/// Puts one question to the store.
pub(crate) struct Consult<T> {
    pub(crate) owner: String,
    pub(crate) id: String,
    pub(crate) effect: Effect,
    pub(crate) step: StepOf<T>,
}

impl<T: 'static> Message for Consult<T> {
    type Result = Result<T, StoreError>;
}

impl<T: Send + 'static> Handler<Consult<T>> for ContextManager {
    type Result = ResponseFuture<Result<T, StoreError>>;

    fn handle(&mut self, consult: Consult<T>, ctx: &mut Context<Self>) -> Self::Result {
        let Consult {
            owner,
            id,
            effect,
            step,
        } = consult;
        let terms = self.terms(owner.clone(), id);
        let writes = matches!(effect, Effect::Writes(_));
        let can_write = writes.then(|| self.can_write(ctx));
        let answer = self.with_store_of(effect, &owner, ctx, async move |store| {
            step(store, terms).await
        });
        Box::pin(async move {
            if let Some(can_write) = can_write {
                can_write.await?;
            }
            answer.await
        })
    }
}

impl<T> fmt::Debug for Consult<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Consult");
        debug
            .field("id", &self.id)
            .field("effect", &self.effect)
            .finish_non_exhaustive()
    }
}
