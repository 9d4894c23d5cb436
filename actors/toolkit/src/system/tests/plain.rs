//! An actor that notes numbers and does as it is told.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, Handler, Message};

use crate::system::*;

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) type Log = Arc<Mutex<Vec<u32>>>;
pub(super) type Act = Box<dyn FnOnce(&mut Context<Plain>) + Send>;

#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Note(pub(super) u32);
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Do(pub(super) Act);

pub(super) struct Plain(pub(super) Log);

impl Actor for Plain {
    type Context = Context<Self>;
}
impl Handler<Note> for Plain {
    type Result = ();
    fn handle(&mut self, Note(n): Note, _: &mut Context<Self>) {
        self.0.lock().unwrap().push(n);
    }
}
impl Handler<Do> for Plain {
    type Result = ();
    fn handle(&mut self, Do(act): Do, ctx: &mut Context<Self>) {
        act(ctx);
    }
}

pub(super) fn plain(log: &Log) -> Props<Plain> {
    let log = Arc::clone(log);
    Props::new(move || Plain(Arc::clone(&log)))
}

pub(super) fn act(actor: &ActorRef<Plain>, act: impl FnOnce(&mut Context<Plain>) + Send + 'static) {
    assert!(actor.tell(Do(Box::new(act))).is_enqueued());
}

pub(super) fn taken(log: &Log) -> Vec<u32> {
    std::mem::take(&mut *log.lock().unwrap())
}

pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
