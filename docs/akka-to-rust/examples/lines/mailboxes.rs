//! Chapter 18.

use actix::{Actor, AtomicResponse, Handler, Message, fut::wrap_future};
use kebne_actors::{ActorRef, ActorSystem, Context, DeadLetter, PRIORITY_NORMAL, Props, Recipient};
use tokio::{sync::watch, time::sleep};

use crate::{Part, SECOND, drain, probe, say, settle, words};

#[derive(Message)]
#[rtype(result = "()")]
struct Work(u32);

/// Holds the first message until the gate is open.
struct Slow {
    gate: watch::Receiver<bool>,
    done: Recipient<u32>,
}

impl Actor for Slow {
    type Context = Context<Self>;
}

impl Handler<Work> for Slow {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, Work(number): Work, _: &mut Context<Self>) -> Self::Result {
        let (mut gate, done) = (self.gate.clone(), self.done.clone());
        AtomicResponse::new(Box::pin(wrap_future(async move {
            let _opened = gate.wait_for(|open| *open).await;
            let _gone = done.tell(number);
        })))
    }
}

/// Has an actor begin message 0, tells it more, and returns what it did in the end.
async fn lab(
    system: &ActorSystem,
    mailbox: Option<usize>,
    tell: impl FnOnce(&ActorRef<Slow>),
) -> Vec<u32> {
    let (open, gate) = watch::channel(false);
    let (done, mut handled) = probe();
    let props = Props::once(Slow { gate, done });
    let props = match mailbox {
        Some(messages) => props.mailbox(messages),
        None => props,
    };
    let worker = system.spawn(props, "worker");
    let _enqueued = worker.tell(Work(0));
    settle().await;
    tell(&worker);
    let _open = open.send(true);
    sleep(SECOND).await;
    drain(&mut handled)
}

pub(crate) async fn run() -> Part {
    let system = ActorSystem::new("lab", 1);
    let (listen, mut dead) = probe::<DeadLetter>();
    system.events().subscribe(listen);
    let mut result = String::new();
    let kept = lab(&system, Some(3), |worker| {
        for number in 1..=5 {
            result = format!("{:?}", worker.tell(Work(number)));
        }
    });
    let kept = words(kept.await);
    say(&format!(
        "18 five more for a mailbox of three, handled: {kept}"
    ))?;
    say(&format!("18 dead letters: {}", drain(&mut dead).len()))?;
    say(&format!("differs: 18 the last tell returned: {result}"))?;

    let ordered = lab(&system, None, |worker| {
        let _enqueued = worker.tell(Work(1));
        let _enqueued = worker.tell_with_priority(Work(2), PRIORITY_NORMAL + 1);
        let _enqueued = worker.tell_with_priority(Work(3), PRIORITY_NORMAL - 1);
    });
    say(&format!("18 by priority: {}", words(ordered.await)))?;
    let controlled = lab(&system, None, |worker| {
        for number in 1..=2 {
            let _enqueued = worker.tell(Work(number));
        }
        let _enqueued = worker.control(Work(3));
    });
    say(&format!(
        "18 a control message: {}",
        words(controlled.await)
    ))?;

    let all = lab(&system, None, |worker| {
        for number in 1..=5000 {
            let _offer = worker.tell(Work(number));
        }
    });
    say(&format!(
        "differs: 18 of 5000 tells while it is busy the default mailbox takes: {}",
        all.await.len() - 1
    ))?;
    system.terminate().await;
    Ok(())
}
