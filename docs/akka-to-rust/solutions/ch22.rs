//! Exercise 22. A group counts its devices. One that has stopped must not count any more.

use std::{collections::BTreeSet, time::Duration};

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorRef, ActorSystem, Context, Props, Terminated};

struct Device;

impl Actor for Device {
    type Context = Context<Self>;
}

/// Adds a device.
#[derive(Message)]
#[rtype(result = "ActorRef<Device>")]
struct Add(&'static str);

/// Counts the devices that are there.
#[derive(Message)]
#[rtype(result = "usize")]
struct Count;

#[derive(Default)]
struct Group {
    paths: BTreeSet<String>,
}

impl Actor for Group {
    type Context = Context<Self>;
}

impl Handler<Add> for Group {
    type Result = actix::MessageResult<Add>;

    fn handle(&mut self, Add(name): Add, ctx: &mut Context<Self>) -> Self::Result {
        let device = ctx.spawn_child(Props::new(|| Device), name);
        ctx.watch(&device);
        self.paths.insert(device.path().to_owned());
        actix::MessageResult(device)
    }
}

impl Handler<Terminated> for Group {
    type Result = ();

    fn handle(&mut self, terminated: Terminated, _: &mut Context<Self>) {
        self.paths.remove(&*terminated.path);
    }
}

impl Handler<Count> for Group {
    type Result = usize;

    fn handle(&mut self, _: Count, _: &mut Context<Self>) -> usize {
        self.paths.len()
    }
}

// The check: leave it as it is.

pub(crate) async fn check() {
    tokio::time::pause();
    let second = Duration::from_secs(1);
    let system = ActorSystem::new("exercise", 1);
    let group = system.spawn(Props::new(Group::default), "group");
    let mut devices = Vec::new();
    for name in ["a", "b", "c"] {
        devices.push(group.ask(Add(name), second).await.unwrap());
    }
    assert_eq!(group.ask(Count, second).await, Ok(3));
    devices[1].stop();
    devices[1].when_stopped().await;
    tokio::time::sleep(second).await;
    assert_eq!(
        group.ask(Count, second).await,
        Ok(2),
        "exercise 22: a device that has stopped does not count"
    );
    assert!(group.is_alive(), "exercise 22: the group goes on");
}
