//! Chapter 15.

use std::time::Duration;

use actix::{Actor, Handler, Message};
use futures_util::StreamExt;
use kebne_actors::{
    ActorSystem, Context, Offer, Props, Recipient,
    testkit::{BehaviourKit, Effect, Probe},
};
use kebne_streams::testkit::{SinkProbe, source_probe};

use crate::{Part, say, settle};

#[derive(Debug, PartialEq, Message)]
#[rtype(result = "()")]
enum Alarm {
    High(u32),
    Silence,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Reading(u32);

#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Quiet;

struct Sensor(Recipient<Alarm>);

impl Actor for Sensor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_receive_timeout(Duration::from_hours(1), Quiet);
    }
}

impl Handler<Reading> for Sensor {
    type Result = ();

    fn handle(&mut self, Reading(value): Reading, ctx: &mut Context<Self>) {
        if value > 90 {
            let _gone = self.0.tell(Alarm::High(value));
        }
        if value == 0 {
            ctx.stop();
        }
    }
}

impl Handler<Quiet> for Sensor {
    type Result = ();

    fn handle(&mut self, _: Quiet, _: &mut Context<Self>) {
        let _gone = self.0.tell(Alarm::Silence);
    }
}

pub(crate) async fn run() -> Part {
    let system = ActorSystem::new("testing", 1);
    let mut alarms = Probe::<Alarm>::new(&system, "alarms");
    let recipient = alarms.recipient();
    let sensor = system.spawn(Props::new(move || Sensor(recipient.clone())), "sensor");
    let _enqueued = sensor.tell(Reading(100));
    let alarm = alarms.expect_message(Duration::from_secs(1)).await;
    say(&format!("15 the probe gets: {alarm:?}"))?;
    tokio::time::sleep(Duration::from_mins(59)).await;
    let quiet = alarms.try_receive().is_none();
    let alarm = alarms.expect_message(Duration::from_mins(2)).await;
    say(&format!(
        "15 nothing for 59 minutes: {quiet}, then: {alarm:?}"
    ))?;

    let nobody = Recipient::new(|_| Offer::Closed);
    let mut by_hand = BehaviourKit::new("sensor", || Sensor(nobody));
    by_hand.take_effects();
    let effects = by_hand.run(Reading(50));
    let alive = |effects: &[Effect]| !effects.contains(&Effect::Stopped);
    let stopped = by_hand.run(Reading(0));
    say(&format!(
        "15 by hand: {} effects, alive: {}; after 0: alive: {}",
        effects.len(),
        alive(&effects),
        alive(&stopped)
    ))?;

    let (source, mut feed) = source_probe();
    let mut sink = SinkProbe::new(source.map(|number: u32| number * 2));
    feed.send(21);
    let seen = sink.next().await.unwrap_or_default();
    say(&format!("15 through the stream: {seen}"))?;
    sink.cancel();
    settle().await;
    let cancelled = tokio::time::timeout(Duration::from_secs(1), feed.expect_cancelled());
    let cancelled = cancelled.await.is_ok();
    say(&format!(
        "15 a sink that cancels cancels the source: {cancelled}"
    ))?;
    system.terminate().await;
    Ok(())
}
