//! Exercise 11. Visits of one user must all be counted by the same of three counters.

use std::{collections::BTreeMap, time::Duration};

use actix::{Actor, Handler, Message};
use kebne_actors::{
    ActorSystem, Context, Props,
    router::{Router, Routing},
};

/// Counts a visit; the answer is how many this user has made.
#[derive(Message)]
#[rtype(result = "u32")]
struct Visit {
    user: &'static str,
}

#[derive(Default)]
struct Counter {
    visits: BTreeMap<&'static str, u32>,
}

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Visit> for Counter {
    type Result = u32;

    fn handle(&mut self, visit: Visit, _: &mut Context<Self>) -> u32 {
        let visits = self.visits.entry(visit.user).or_default();
        *visits += 1;
        *visits
    }
}

fn counters(system: &ActorSystem) -> Router<Visit> {
    let pool = Router::pool(3, |_| Props::new(Counter::default));
    let by_user = Routing::consistent_hash(100, |visit: &Visit| visit.user);
    pool.routing(by_user).spawn(system, "counters")
}

// The check: leave it as it is.

pub(crate) async fn check() {
    let system = ActorSystem::new("exercise", 1);
    let counters = counters(&system);
    let mut used = 0;
    for user in ["ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"] {
        for nth in 1..=4 {
            let answer = counters.ask(Visit { user }, Duration::from_secs(1)).await;
            assert_eq!(answer, Ok(nth), "exercise 11: visit {nth} of {user}");
        }
    }
    for routee in counters.routees() {
        let visited = routee.ask(Visit { user: "ann" }, Duration::from_secs(1));
        used += u32::from(visited.await == Ok(5));
    }
    assert_eq!(used, 1, "exercise 11: one of three counters has ann");
}
