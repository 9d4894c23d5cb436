//! Chapter 20.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use actix::{Actor, Handler, Message, ResponseFuture};
use kebne_actors::{ActorSystem, Context, Props};
use tokio::time::sleep;

use crate::{MS, Part, SECOND, say};

#[derive(Message)]
#[rtype(result = "usize")]
struct Search(Vec<u32>);

struct Index(Arc<AtomicU32>);

impl Actor for Index {
    type Context = Context<Self>;
}

impl Handler<Search> for Index {
    type Result = ResponseFuture<usize>;

    fn handle(&mut self, Search(pages): Search, ctx: &mut Context<Self>) -> Self::Result {
        let (asker, read) = (ctx.asker(), Arc::clone(&self.0));
        Box::pin(async move {
            for _ in &pages {
                tokio::select! {
                    () = asker.cancelled() => break,
                    () = sleep(SECOND) => read.fetch_add(1, SeqCst),
                };
            }
            pages.len()
        })
    }
}

#[derive(Message)]
#[rtype(result = "usize")]
struct Batch(Vec<u32>);

impl Handler<Batch> for Index {
    type Result = usize;

    fn handle(&mut self, Batch(items): Batch, _: &mut Context<Self>) -> usize {
        items.len()
    }
}

/// Holds a seat from its creation until it is dropped.
struct Owner(Arc<AtomicU32>);

impl Owner {
    fn new(seats: &Arc<AtomicU32>) -> Self {
        seats.fetch_add(1, SeqCst);
        Self(Arc::clone(seats))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Actor for Owner {
    type Context = Context<Self>;
}

impl Handler<Batch> for Owner {
    type Result = usize;

    fn handle(&mut self, _: Batch, ctx: &mut Context<Self>) -> usize {
        ctx.fail("a bug");
        0
    }
}

pub(crate) async fn run() -> Part {
    let system = ActorSystem::new("search", 1);
    let pages_read = Arc::new(AtomicU32::new(0));
    let read = Arc::clone(&pages_read);
    let index = system.spawn(Props::new(move || Index(Arc::clone(&read))), "index");
    let asked = index.ask(Search((1..=10).collect()), 3500 * MS).await;
    let failed = asked.is_err();
    sleep(10 * SECOND).await;
    say(&format!(
        "20 an ask of 3.5 s for ten pages of 1 s each has failed: {failed}"
    ))?;
    let read = pages_read.load(SeqCst);
    say(&format!("differs: 20 pages that were read for it: {read}"))?;

    let mut items = vec![1, 2, 3];
    // A message owns what is in it: what the sender clears is its own.
    let asked = index.ask(Batch(items.clone()), SECOND);
    items.clear();
    let size = asked.await?;
    say(&format!(
        "differs: 20 items of a batch that its sender clears after sending: {size}"
    ))?;

    let seats = Arc::new(AtomicU32::new(0));
    let taken = Arc::clone(&seats);
    let failing = system.spawn(Props::new(move || Owner::new(&taken)), "failing");
    let _enqueued = failing.tell(Batch(items));
    failing.when_stopped().await;
    let in_use = seats.load(SeqCst);
    say(&format!(
        "20 seats in use after their owner failed: {in_use}"
    ))?;
    system.terminate().await;
    Ok(())
}
