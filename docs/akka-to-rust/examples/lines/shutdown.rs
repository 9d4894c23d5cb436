//! Chapter 16.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
};

use actix::{Actor, Handler, Message, ResponseFuture};
use kebne_actors::{
    ActorRef, ActorSystem, Context, Props,
    shutdown::{
        BEFORE_ACTOR_SYSTEM_TERMINATE, CoordinatedShutdown, Phases, Reason, SERVICE_REQUESTS_DONE,
        SERVICE_STOP, SERVICE_UNBIND,
    },
    work_pulling::permits::Permits,
};
use tokio::time::sleep;

use crate::{MS, Part, SECOND, say};

#[derive(Message)]
#[rtype(result = "()")]
struct Order;

struct Orders;

impl Actor for Orders {
    type Context = Context<Self>;
}

impl Handler<Order> for Orders {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Order, _: &mut Context<Self>) -> Self::Result {
        Box::pin(sleep(200 * MS))
    }
}

/// Accepts orders while its door is open, and knows which are under way.
#[derive(Clone)]
struct Shop {
    orders: ActorRef<Orders>,
    open: Arc<AtomicBool>,
    under_way: Permits,
    done: Arc<AtomicU32>,
}

impl Shop {
    fn order(&self) -> bool {
        let permit = self.under_way.take().filter(|_| self.open.load(SeqCst));
        let Some(permit) = permit else {
            return false;
        };
        let (orders, done) = (self.orders.clone(), Arc::clone(&self.done));
        actix::spawn(async move {
            if orders.ask(Order, 10 * SECOND).await.is_ok() {
                done.fetch_add(1, SeqCst);
            }
            drop(permit);
        });
        true
    }
}

pub(crate) async fn run() -> Part {
    let system = ActorSystem::new("shop", 1);
    let shop = Shop {
        orders: system.spawn(Props::new(|| Orders), "orders"),
        open: Arc::new(AtomicBool::new(true)),
        under_way: Permits::new(100),
        done: Arc::default(),
    };
    let shutdown = CoordinatedShutdown::new(Phases::default())?;
    let events = Arc::new(Mutex::new(Vec::new()));
    let ran_on = Arc::new(AtomicBool::new(false));
    let note = |phase: &str, event: &'static str| {
        let events = Arc::clone(&events);
        shutdown.add_task(phase, "note", move || async move {
            let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
            events.push(event);
            Ok(())
        })
    };
    let door = Arc::clone(&shop.open);
    shutdown.add_task(SERVICE_UNBIND, "close the door", move || async move {
        door.store(false, SeqCst);
        Ok(())
    })?;
    let under_way = shop.under_way.clone();
    shutdown.add_task(SERVICE_REQUESTS_DONE, "drain", move || async move {
        under_way.when_none_taken().await;
        Ok(())
    })?;
    let ran = Arc::clone(&ran_on);
    shutdown.add_task(SERVICE_STOP, "a part that hangs", move || async move {
        sleep(60 * SECOND).await;
        ran.store(true, SeqCst);
        Ok(())
    })?;
    note(BEFORE_ACTOR_SYSTEM_TERMINATE, "before-terminate")?;
    note(SERVICE_STOP, "stop")?;
    note(SERVICE_UNBIND, "unbind")?;
    shutdown.add_system(&system)?;

    let accepted = (0..10).filter(|_| shop.order()).count();
    let reason = || Reason::Other("an update".into());
    shutdown.run(reason()).await;
    let done = shop.done.load(SeqCst);
    say(&format!("16 orders accepted: {accepted}, done: {done}"))?;
    say(&format!("16 one more order is accepted: {}", shop.order()))?;
    let noted = || {
        events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    };
    say(&format!("16 phases: {}", noted().join(" ")))?;
    shutdown.run(reason()).await;
    say(&format!(
        "16 tasks noted after a second run: {}",
        noted().len()
    ))?;
    sleep(120 * SECOND).await;
    say(&format!(
        "differs: 16 a task that was past its time is completed: {}",
        ran_on.load(SeqCst)
    ))?;
    Ok(())
}
