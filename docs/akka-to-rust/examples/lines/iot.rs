//! Chapter 22.

use std::{collections::BTreeMap, time::Duration};

use actix::{
    Actor, AtomicResponse, Handler, Message, MessageResult, ResponseFuture, fut::wrap_future,
};
use futures_util::future::join_all;
use kebne_actors::{ActorRef, ActorSystem, AskError, Context, Props, Terminated};
use tokio::time::sleep;

use crate::{Part, SECOND, say};

#[derive(Message)]
#[rtype(result = "()")]
struct Record(f64);

#[derive(Message)]
#[rtype(result = "Option<f64>")]
struct Read;

#[derive(Message)]
#[rtype(result = "()")]
struct Hang;

#[derive(Default)]
struct Device(Option<f64>);

impl Actor for Device {
    type Context = Context<Self>;
}

impl Handler<Record> for Device {
    type Result = ();

    fn handle(&mut self, Record(value): Record, _: &mut Context<Self>) {
        self.0 = Some(value);
    }
}

impl Handler<Read> for Device {
    type Result = Option<f64>;

    fn handle(&mut self, _: Read, _: &mut Context<Self>) -> Option<f64> {
        self.0
    }
}

impl Handler<Hang> for Device {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, _: Hang, _: &mut Context<Self>) -> Self::Result {
        AtomicResponse::new(Box::pin(wrap_future(sleep(600 * SECOND))))
    }
}

#[derive(Message)]
#[rtype(result = "ActorRef<Device>")]
struct Track(&'static str);

#[derive(Message)]
#[rtype(result = "BTreeMap<&'static str, Reading>")]
struct ReadAll(Duration);

#[derive(Debug)]
enum Reading {
    #[expect(dead_code, reason = "it is shown")]
    Temperature(f64),
    NotAvailable,
    DeviceNotAvailable,
    TimedOut,
}

#[derive(Default)]
struct Group {
    devices: BTreeMap<&'static str, ActorRef<Device>>,
}

impl Actor for Group {
    type Context = Context<Self>;
}

impl Handler<Track> for Group {
    type Result = MessageResult<Track>;

    fn handle(&mut self, Track(id): Track, ctx: &mut Context<Self>) -> Self::Result {
        let device = self.devices.entry(id).or_insert_with(|| {
            let device = ctx.spawn_child(Props::new(Device::default), id);
            ctx.watch(&device);
            device
        });
        MessageResult(device.clone())
    }
}

impl Handler<Terminated> for Group {
    type Result = ();

    fn handle(&mut self, terminated: Terminated, _: &mut Context<Self>) {
        self.devices
            .retain(|_, device| *device.path() != *terminated.path);
    }
}

impl Handler<ReadAll> for Group {
    type Result = ResponseFuture<BTreeMap<&'static str, Reading>>;

    fn handle(&mut self, ReadAll(limit): ReadAll, _: &mut Context<Self>) -> Self::Result {
        let asks = self
            .devices
            .clone()
            .into_iter()
            .map(move |(id, device)| async move {
                let reading = match device.ask(Read, limit).await {
                    Ok(Some(value)) => Reading::Temperature(value),
                    Ok(None) => Reading::NotAvailable,
                    Err(AskError::TimedOut) => Reading::TimedOut,
                    Err(_) => Reading::DeviceNotAvailable,
                };
                (id, reading)
            });
        Box::pin(async move { join_all(asks).await.into_iter().collect() })
    }
}

pub(crate) async fn run() -> Part {
    let system = ActorSystem::new("iot", 1);
    let group = system.spawn(Props::new(Group::default), "kitchen");
    let mut devices = BTreeMap::new();
    for id in ["fridge", "gone", "kettle", "oven"] {
        devices.insert(id, group.ask(Track(id), SECOND).await?);
    }
    let path = devices["oven"].path().replace("/user/", "");
    say(&format!("22 the path of a device: {path}"))?;
    let same = group.ask(Track("oven"), SECOND).await? == devices["oven"];
    say(&format!("22 tracked twice it is the same: {same}"))?;
    let _enqueued = devices["fridge"].tell(Record(4.0));
    let _enqueued = devices["kettle"].tell(Hang);
    let _enqueued = devices["gone"].tell(Hang);
    let stop = async {
        sleep(SECOND).await;
        devices["gone"].stop();
    };
    let (readings, ()) = tokio::join!(group.ask(ReadAll(3 * SECOND), 10 * SECOND), stop);
    for (id, reading) in readings? {
        say(&format!("22 {id}: {reading:?}"))?;
    }
    let readings = group.ask(ReadAll(SECOND), 10 * SECOND).await?;
    say(&format!(
        "22 devices that the next query asks: {}",
        readings.len()
    ))?;
    system.terminate().await;
    Ok(())
}
