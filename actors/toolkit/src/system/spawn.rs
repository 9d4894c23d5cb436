//! The spawn protocol: a message by which an actor spawns a child for another.
//!
//! It exists so that a library can start its actors below a parent whose type it does not know. After Akka's
//! `SpawnProtocol`.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use actix::{Actor, Handler, Message};
use tokio::sync::oneshot;

use super::{
    ActorSystem, Context,
    actor_ref::ActorRef,
    ask::AskError,
    core::{AnyCell, Parent},
    props::{Props, launch},
};

/// Time within which the parent must have spawned the child. A parent that answers later is blocked.
const SPAWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The command to spawn a child. A parent handles it by calling [`Spawn::perform`].
///
/// ```
/// use actix::{Actor, Handler};
/// use kebne_actors::{Context, Spawn};
///
/// struct Guardian;
///
/// impl Actor for Guardian {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<Spawn> for Guardian {
///     type Result = ();
///
///     fn handle(&mut self, spawn: Spawn, ctx: &mut Context<Self>) {
///         spawn.perform(ctx);
///     }
/// }
/// ```
#[derive(Message)]
#[rtype(result = "()")]
pub struct Spawn(Box<dyn FnOnce(&mut Children<'_>) + Send>);

/// The children of an actor, without the actor's type.
pub(crate) struct Children<'a> {
    pub(crate) system: &'a ActorSystem,
    pub(crate) parent: Arc<dyn Parent>,
    pub(crate) parent_path: &'a str,
    /// Where a child is entered; `None` while the parent ends, which starts no child any more.
    pub(crate) living: Option<&'a mut BTreeMap<u64, Arc<dyn AnyCell>>>,
}

impl Children<'_> {
    pub(crate) fn spawn<C>(&mut self, props: Props<C>, name: &str) -> ActorRef<C>
    where
        C: Actor<Context = Context<C>>,
    {
        let path = self.system.new_path(self.parent_path, name);
        let child = launch(self.system, Arc::clone(&self.parent), path, props);
        if let Some(living) = &mut self.living {
            living.insert(child.core.id, Arc::clone(&child.core) as Arc<dyn AnyCell>);
        }
        child
    }
}

impl Spawn {
    /// Makes the command from the child's props and name.
    pub fn new<C>(props: Props<C>, name: impl Into<String>) -> Self
    where
        C: Actor<Context = Context<C>>,
    {
        let name = name.into();
        Self(Box::new(move |children| {
            children.spawn(props, &name);
        }))
    }

    /// Asks `parent` to spawn a child and returns the reference to the child. A parent that does not answer within 5
    /// seconds counts as gone.
    ///
    /// # Errors
    /// When `parent` has stopped, refuses the message, or does not answer in time.
    pub async fn ask<P, C>(
        parent: &ActorRef<P>,
        props: Props<C>,
        name: impl Into<String>,
    ) -> Result<ActorRef<C>, AskError>
    where
        P: Actor<Context = Context<P>> + Handler<Self>,
        C: Actor<Context = Context<C>>,
    {
        let name = name.into();
        let (answer, child) = oneshot::channel();
        let spawn = Self(Box::new(move |children| {
            // The sender may have given up; the child is supervised all the same.
            answer.send(children.spawn(props, &name)).ok();
        }));
        parent.ask_control(spawn, SPAWN_TIMEOUT).await?;
        child.await.map_err(|_| AskError::Failed)
    }

    /// Spawns the child below the actor of `ctx`.
    pub fn perform<A>(self, ctx: &mut Context<A>)
    where
        A: Actor<Context = Context<A>>,
    {
        (self.0)(&mut ctx.children_mut());
    }
}

impl fmt::Debug for Spawn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Spawn").finish_non_exhaustive()
    }
}
