//! An actor that adds, notes, fails and does as it is told.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, Handler, Message};

use crate::system::*;

#[derive(Clone, Default)]
pub(super) struct Log(pub(super) Arc<Mutex<Vec<String>>>);

impl Log {
    pub(super) fn note(&self, entry: impl Into<String>) {
        self.0.lock().unwrap().push(entry.into());
    }
    pub(super) fn entries(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[derive(Message)]
#[rtype(result = "u32")]
pub(super) struct Add(pub(super) u32);
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Note(pub(super) &'static str);
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Panic;
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Fail;
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Do(pub(super) Act);
pub(super) type Act = Box<dyn FnOnce(&mut Counter, &mut Context<Counter>) + Send>;

pub(super) struct Counter {
    pub(super) sum: u32,
    pub(super) log: Log,
}

impl Actor for Counter {
    type Context = Context<Self>;
    fn started(&mut self, _: &mut Context<Self>) {
        self.log.note("started");
    }
    fn stopped(&mut self, _: &mut Context<Self>) {
        self.log.note("stopped");
    }
}

impl Handler<Add> for Counter {
    type Result = u32;
    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u32 {
        self.sum += n;
        self.sum
    }
}
impl Handler<Note> for Counter {
    type Result = ();
    fn handle(&mut self, Note(text): Note, _: &mut Context<Self>) {
        self.log.note(text);
    }
}
impl Handler<Panic> for Counter {
    type Result = ();
    fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
        panic!("on purpose");
    }
}
impl Handler<Fail> for Counter {
    type Result = ();
    fn handle(&mut self, _: Fail, ctx: &mut Context<Self>) {
        ctx.fail("on purpose");
    }
}
impl Handler<Do> for Counter {
    type Result = ();
    fn handle(&mut self, Do(act): Do, ctx: &mut Context<Self>) {
        act(self, ctx);
    }
}
impl Handler<Terminated> for Counter {
    type Result = ();
    fn handle(&mut self, terminated: Terminated, _: &mut Context<Self>) {
        self.log
            .note(format!("{} {}", terminated.path, terminated.cause));
    }
}

pub(super) fn counter(log: &Log) -> Props<Counter> {
    let log = log.clone();
    Props::new(move || Counter {
        sum: 0,
        log: log.clone(),
    })
}

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn act(
    actor: &ActorRef<Counter>,
    act: impl FnOnce(&mut Counter, &mut Context<Counter>) + Send + 'static,
) {
    assert!(actor.tell(Do(Box::new(act))).is_enqueued());
}

/// Tells itself to go on, for ever.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Spin;
impl Handler<Spin> for Counter {
    type Result = ();
    fn handle(&mut self, _: Spin, ctx: &mut Context<Self>) {
        self.sum += 1;
        assert!(ctx.self_ref().tell(Spin).is_enqueued());
    }
}
