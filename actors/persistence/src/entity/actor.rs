//! The actor: one command at a time, its events, then its answer.

use std::{fmt, sync::Arc};

use actix::{
    Actor, ActorFutureExt, AsyncContext as _, Handler, Message, WrapFuture,
    dev::{MessageResponse, OneshotSender},
};
use kebne_actors::Context;

use super::{
    CommandHandler, EventSourced, Persistence, PersistenceError,
    effect::{Effect, Kind, MakeAnswer},
    recovery::{recover, within},
    snapshots::Saving,
};
use crate::journal::Payload;

/// The actor of an event-sourced state.
pub struct Entity<S: EventSourced> {
    pub(super) id: Arc<str>,
    pub(super) persistence: Persistence<S>,
    empty: Arc<dyn Fn() -> S>,
    pub(super) state: S,
    /// The number of the last event.
    pub(super) sequence: u64,
    pub(super) saving: Saving,
}

impl<S: EventSourced> Entity<S> {
    pub(super) fn new(
        id: Arc<str>,
        persistence: Persistence<S>,
        empty: Arc<dyn Fn() -> S>,
    ) -> Self {
        Self {
            id,
            persistence,
            state: empty(),
            empty,
            sequence: 0,
            saving: Saving::default(),
        }
    }

    fn encode(&self, events: &[S::Event]) -> Result<Vec<Payload>, PersistenceError> {
        let numbered = (self.sequence + 1..).zip(events);
        let encoded = numbered.map(|(sequence, event)| {
            let payload = self.persistence.events.encode(event);
            payload.map_err(|source| PersistenceError::Rejected {
                id: self.id.to_string(),
                sequence,
                source,
            })
        });
        encoded.collect()
    }

    /// Applies what was written.
    fn written(&mut self, events: &[S::Event], ctx: &mut Context<Self>) {
        let before = self.sequence;
        for event in events {
            self.sequence += 1;
            self.state.apply(event);
        }
        self.save_snapshot(before, ctx);
    }

    /// Does what follows the events, and returns the answer.
    fn finish<M: Message>(
        &self,
        effect: Effect<S>,
        answer: MakeAnswer<S, M>,
        ctx: &mut Context<Self>,
    ) -> M::Result {
        for then in effect.then {
            then(&self.state, ctx);
        }
        if effect.unstash {
            ctx.unstash_all();
        }
        if effect.stop {
            ctx.stop();
        }
        answer(&self.state)
    }
}

impl<S: EventSourced> Actor for Entity<S> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let id = Arc::clone(&self.id);
        let recovery = recover(id, self.persistence.clone(), Arc::clone(&self.empty));
        let recovery = recovery.into_actor(self);
        ctx.wait(
            recovery.map(|recovered, entity: &mut Self, ctx| match recovered {
                Ok(recovered) => {
                    entity.state = recovered.state;
                    entity.sequence = recovered.sequence;
                    entity.state.recovered(ctx);
                }
                Err(reason) => {
                    let id = entity.id.to_string();
                    ctx.fail(PersistenceError::Recovery { id, reason });
                }
            }),
        );
    }
}

impl<S, M> Handler<M> for Entity<S>
where
    S: CommandHandler<M>,
    M: Message + Send + 'static,
    M::Result: Send + 'static,
{
    type Result = Answer<S, M>;

    fn handle(&mut self, command: M, ctx: &mut Context<Self>) -> Answer<S, M> {
        let (mut effect, answer) = match self.state.handle(command, ctx).0 {
            Kind::Stash(command) => return Answer(Next::Stash(command)),
            Kind::Act(effect, answer) => (effect, answer),
        };
        if effect.events.is_empty() {
            return Answer(Next::Ready(self.finish::<M>(effect, answer, ctx)));
        }
        let events = std::mem::take(&mut effect.events);
        match self.encode(&events) {
            Ok(payloads) => Answer(Next::Write(Write {
                payloads,
                events,
                effect,
                answer,
            })),
            Err(rejected) => {
                ctx.fail(rejected);
                Answer(Next::Failed)
            }
        }
    }
}

/// What follows a command; passes its answer on when its events are written.
pub struct Answer<S: EventSourced, M: Message>(Next<S, M>);

enum Next<S: EventSourced, M: Message> {
    Ready(M::Result),
    Write(Write<S, M>),
    Stash(M),
    Failed,
}

struct Write<S: EventSourced, M: Message> {
    payloads: Vec<Payload>,
    events: Vec<S::Event>,
    effect: Effect<S>,
    answer: MakeAnswer<S, M>,
}

impl<S, M> MessageResponse<Entity<S>, M> for Answer<S, M>
where
    S: CommandHandler<M>,
    M: Message + Send + 'static,
    M::Result: Send + 'static,
{
    fn handle(self, ctx: &mut Context<Entity<S>>, answer: Option<OneshotSender<M::Result>>) {
        match self.0 {
            Next::Ready(value) => send(answer, value),
            Next::Write(write) => ctx.wait(Begin { write, answer }.begin()),
            Next::Stash(command) => {
                if ctx.stash_asked(command, answer).is_err() {
                    let id = ctx.path().to_owned();
                    ctx.fail(PersistenceError::StashFull { id });
                }
            }
            Next::Failed => {}
        }
    }
}

/// Events on their way into the journal.
struct Begin<S: EventSourced, M: Message> {
    write: Write<S, M>,
    answer: Option<OneshotSender<M::Result>>,
}

impl<S, M> Begin<S, M>
where
    S: CommandHandler<M>,
    M: Message + Send + 'static,
    M::Result: Send + 'static,
{
    fn begin(self) -> impl actix::ActorFuture<Entity<S>, Output = ()> + 'static {
        let Self { write, answer } = self;
        let Write {
            payloads,
            events,
            effect,
            answer: make_answer,
        } = write;
        // Begun with the actor at hand, which knows the journal.
        actix::fut::ready::<()>(())
            .then(move |(), entity: &mut Entity<S>, _| {
                let first = entity.sequence + 1;
                let step = entity
                    .persistence
                    .journal
                    .append(&entity.id, first, payloads);
                within(entity.persistence.persist_timeout, step).into_actor(entity)
            })
            .map(move |written, entity, ctx| match written {
                Ok(()) => {
                    entity.written(&events, ctx);
                    send(answer, entity.finish::<M>(effect, make_answer, ctx));
                }
                Err(source) => {
                    // Reported before the asker finds its answer dropped.
                    ctx.fail(PersistenceError::Persist {
                        id: entity.id.to_string(),
                        sequence: entity.sequence + 1,
                        source,
                    });
                    drop(answer);
                }
            })
    }
}

fn send<T>(answer: Option<OneshotSender<T>>, value: T) {
    if let Some(answer) = answer {
        // The asker may have left.
        answer.send(value).ok();
    }
}

impl<S: EventSourced> fmt::Debug for Entity<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Entity")
            .field("id", &self.id)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

impl<S: EventSourced, M: Message> fmt::Debug for Answer<S, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Answer").finish_non_exhaustive()
    }
}
