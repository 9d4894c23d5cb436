//! The actor of a router: the parent of a pool's routees, or the subscriber to a group's key.

use std::{fmt, sync::Arc};

use actix::{Actor, Handler, Message};

use super::table::Table;
use crate::system::{Context, Listing, MessageRef, Props, ServiceKey};

/// Sent when a routee of a pool stopped.
#[derive(Message)]
#[rtype(result = "()")]
struct RouteeGone(u64);

/// Starts or finds the first routees of a router.
pub(super) type Source<M> =
    Box<dyn FnOnce(&Table<M>, &mut Context<RouterActor<M>>) + Send + 'static>;

/// The actor of a router. Messages for routees do not pass through it. It can be watched and stopped.
pub struct RouterActor<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    table: Arc<Table<M>>,
    source: Option<Source<M>>,
}

impl<M> RouterActor<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    pub(super) fn props(table: Arc<Table<M>>, source: Source<M>) -> Props<Self> {
        let mut source = Some(source);
        Props::new(move || Self {
            table: Arc::clone(&table),
            source: source.take(),
        })
    }
}

/// Returns the source of a pool: `size` children.
pub(super) fn pool<A, M>(
    size: usize,
    mut props: impl FnMut(usize) -> Props<A> + Send + 'static,
) -> Source<M>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    Box::new(move |table, ctx| {
        let routees: Vec<MessageRef<M>> = (1..=size)
            .map(|number| {
                let routee = ctx.spawn_child(props(number - 1), &format!("routee-{number}"));
                let narrow = routee.narrow();
                ctx.watch_narrow(&narrow, RouteeGone(narrow.id()));
                narrow
            })
            .collect();
        table.update(routees, ctx.path());
    })
}

/// Returns the source of a group: the actors listed under `key`.
pub(super) fn group<M>(key: ServiceKey<M>) -> Source<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    Box::new(move |_, ctx| {
        let listings = ctx.self_ref().control_recipient();
        ctx.system().receptionist().subscribe(&key, listings);
    })
}

impl<M> Actor for RouterActor<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if let Some(source) = self.source.take() {
            source(&self.table, ctx);
        }
    }

    fn stopped(&mut self, ctx: &mut Context<Self>) {
        self.table.close(ctx.path());
    }
}

impl<M> Handler<RouteeGone> for RouterActor<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    type Result = ();

    fn handle(&mut self, RouteeGone(id): RouteeGone, ctx: &mut Context<Self>) {
        if self.table.remove(id) == 0 {
            tracing::info!(router = ctx.path(), "the last routee has stopped");
            ctx.stop();
        }
    }
}

impl<M> Handler<Listing<M>> for RouterActor<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    type Result = ();

    fn handle(&mut self, Listing(services): Listing<M>, ctx: &mut Context<Self>) {
        let routees = services.into_iter().map(|service| service.actor);
        self.table.update(routees.collect(), ctx.path());
    }
}

impl<M> fmt::Debug for RouterActor<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RouterActor")
            .finish_non_exhaustive()
    }
}
