//! Exercise 15. A calendar reminds its owner at each midnight. One late reminder must not make all later ones late.

use std::time::Duration;

use actix::{Actor, Handler, Message};
use kebne_actors::{
    ActorSystem, Context, Props, Recipient,
    testkit::{ManualClock, Probe},
};

#[derive(Debug, PartialEq, Message)]
#[rtype(result = "()")]
struct Reminder(u32);

#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Tick;

/// Keeps the actor busy, as a slow handler does.
#[derive(Message)]
#[rtype(result = "()")]
struct Work(Duration);

struct Calendar {
    owner: Recipient<Reminder>,
    day: u32,
}

impl Handler<Tick> for Calendar {
    type Result = ();

    fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        self.day += 1;
        let _gone = self.owner.tell(Reminder(self.day));
    }
}

impl Handler<Work> for Calendar {
    type Result = actix::AtomicResponse<Self, ()>;

    fn handle(&mut self, Work(time): Work, _: &mut Context<Self>) -> Self::Result {
        let work = actix::fut::wrap_future(tokio::time::sleep(time));
        actix::AtomicResponse::new(Box::pin(work))
    }
}

impl Actor for Calendar {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let day = Duration::from_hours(24);
        ctx.start_timer_with_fixed_delay("day", Tick, day);
    }
}

// The check: leave it as it is.

pub(crate) async fn check() {
    let thread = std::thread::spawn(|| {
        ManualClock::run(1, async |clock| {
            let system = ActorSystem::new("exercise", 1);
            let mut owner = Probe::<Reminder>::new(&system, "owner");
            let recipient = owner.recipient();
            let props = Props::new(move || Calendar {
                owner: recipient.clone(),
                day: 0,
            });
            let calendar = system.spawn(props.on_arbiter(clock.arbiter()), "calendar");
            let hours = Duration::from_hours;
            clock.time_passes(hours(23)).await;
            // Busy at the first midnight, for two hours.
            assert!(calendar.tell(Work(hours(2))).is_enqueued());
            clock.time_passes(hours(2)).await;
            owner.expect_eq(&Reminder(1), Duration::ZERO).await;
            clock
                .expect_no_message_for(hours(22), &mut [&mut owner])
                .await;
            clock.time_passes(hours(1)).await;
            let second = owner.try_receive();
            assert_eq!(
                second,
                Some(Reminder(2)),
                "exercise 15: the second reminder is at midnight"
            );
        });
    });
    let ended = tokio::task::spawn_blocking(|| thread.join()).await;
    assert!(
        matches!(ended, Ok(Ok(()))),
        "exercise 15: see the message above"
    );
}
