//! Chapter 10.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::{Actor, Handler, Message};
use kebne_actors::{
    ActorRef, ActorSystem, Context, Props, Recipient,
    fsm::{Fsm, Machine},
};
use tokio::time::{Instant, sleep};

use crate::{MS, Part, SECOND, drain, probe, say};

#[derive(Message)]
#[rtype(result = "()")]
struct Take(usize, Recipient<Answer>);

#[derive(Message)]
#[rtype(result = "()")]
struct Put(usize);

#[derive(Message)]
#[rtype(result = "()")]
enum Answer {
    Taken(usize),
    Busy,
}

struct Chopstick {
    number: usize,
    owner: Option<usize>,
}

impl Actor for Chopstick {
    type Context = Context<Self>;
}

impl Handler<Take> for Chopstick {
    type Result = ();

    fn handle(&mut self, Take(hakker, reply_to): Take, _: &mut Context<Self>) {
        let answer = match self.owner {
            None => Answer::Taken(self.number),
            Some(_) => Answer::Busy,
        };
        self.owner.get_or_insert(hakker);
        let _gone = reply_to.tell(answer);
    }
}

impl Handler<Put> for Chopstick {
    type Result = ();

    fn handle(&mut self, Put(hakker): Put, _: &mut Context<Self>) {
        self.owner = self.owner.filter(|owner| *owner != hakker);
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Mood {
    Thinking,
    Hungry,
    FirstDenied,
    Holding(usize),
    Eating,
}

/// Who eats, and how often each has eaten.
#[derive(Default)]
struct Table {
    eating: [bool; 5],
    meals: [u32; 5],
    clash: bool,
}

struct Hakker {
    number: usize,
    chopsticks: Vec<ActorRef<Chopstick>>,
    mood: Fsm<Mood>,
    table: Arc<Mutex<Table>>,
}

impl Hakker {
    fn put(&self, chopstick: usize) {
        let _enqueued = self.chopsticks[chopstick].tell(Put(self.number));
    }

    fn mine(&self) -> [usize; 2] {
        [self.number, (self.number + 1) % 5]
    }
}

impl Actor for Hakker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.goto_for(Mood::Thinking, 5 * SECOND, ctx);
    }
}

impl Machine for Hakker {
    type State = Mood;

    fn fsm(&mut self) -> &mut Fsm<Mood> {
        &mut self.mood
    }

    fn state_timeout(&self, mood: &Mood) -> Option<Duration> {
        (*mood == Mood::Eating).then_some(5 * SECOND)
    }

    fn transition(&mut self, from: &Mood, to: &Mood, _: &mut Context<Self>) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if *to == Mood::Eating {
            table.clash |=
                table.eating[(self.number + 1) % 5] || table.eating[(self.number + 4) % 5];
            table.meals[self.number] += 1;
        }
        table.eating[self.number] = *to == Mood::Eating;
        drop(table);
        if *from == Mood::Eating {
            for chopstick in self.mine() {
                self.put(chopstick);
            }
        }
    }

    fn timed_out(&mut self, ctx: &mut Context<Self>) {
        if *self.mood.state() == Mood::Eating {
            self.goto_for(Mood::Thinking, 5 * SECOND, ctx);
        } else {
            for chopstick in self.mine() {
                let take = Take(self.number, ctx.self_ref().recipient());
                let _enqueued = self.chopsticks[chopstick].tell(take);
            }
            self.goto(Mood::Hungry, ctx);
        }
    }
}

impl Handler<Answer> for Hakker {
    type Result = ();

    fn handle(&mut self, answer: Answer, ctx: &mut Context<Self>) {
        match (self.mood.state().clone(), answer) {
            (Mood::Hungry, Answer::Taken(one)) => self.goto(Mood::Holding(one), ctx),
            (Mood::Hungry, Answer::Busy) => self.goto(Mood::FirstDenied, ctx),
            (Mood::Holding(_), Answer::Taken(_)) => self.goto(Mood::Eating, ctx),
            (Mood::Holding(one), Answer::Busy) | (Mood::FirstDenied, Answer::Taken(one)) => {
                self.put(one);
                self.goto_for(Mood::Thinking, 10 * MS, ctx);
            }
            (Mood::FirstDenied, Answer::Busy) => self.goto_for(Mood::Thinking, 10 * MS, ctx),
            (Mood::Thinking | Mood::Eating, _) => {}
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Noise;

/// Has a timeout of its own in the state `Eating`; in `Thinking` only the one that it starts with.
struct Timed {
    first: Mood,
    mood: Fsm<Mood>,
    ends: Recipient<Instant>,
}

impl Actor for Timed {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        match self.first {
            Mood::Thinking => self.goto_for(Mood::Thinking, 5 * SECOND, ctx),
            _ => self.goto(Mood::Eating, ctx),
        }
    }
}

impl Machine for Timed {
    type State = Mood;

    fn fsm(&mut self) -> &mut Fsm<Mood> {
        &mut self.mood
    }

    fn state_timeout(&self, mood: &Mood) -> Option<Duration> {
        (*mood == Mood::Eating).then_some(5 * SECOND)
    }

    fn timed_out(&mut self, _: &mut Context<Self>) {
        let _gone = self.ends.tell(Instant::now());
    }
}

impl Handler<Noise> for Timed {
    type Result = ();

    fn handle(&mut self, _: Noise, _: &mut Context<Self>) {}
}

pub(crate) async fn run() -> Part {
    let system = ActorSystem::new("hakkers", 1);
    let chopstick = |number| {
        let props = Props::new(move || Chopstick {
            number,
            owner: None,
        });
        system.spawn(props, "chopstick")
    };
    let chopsticks: Vec<_> = (0..5).map(chopstick).collect();
    let table = Arc::new(Mutex::new(Table::default()));
    for number in 0..5 {
        let (chopsticks, table) = (chopsticks.clone(), Arc::clone(&table));
        let props = Props::new(move || Hakker {
            number,
            chopsticks: chopsticks.clone(),
            mood: Fsm::new(Mood::Thinking),
            table: Arc::clone(&table),
        });
        system.spawn(props, "hakker");
    }
    sleep(600 * SECOND).await;
    let (fed, clash) = {
        let table = table.lock().unwrap_or_else(PoisonError::into_inner);
        (table.meals.iter().all(|&meals| meals > 0), table.clash)
    };
    say(&format!("10 every hakker has eaten: {fed}"))?;
    say(&format!("10 neighbours ate at the same time: {clash}"))?;
    let eating = seconds_until_timeout(&system, Mood::Eating).await;
    say(&format!(
        "10 noise after 3 s in a state with a timeout of 5 s: it ends after {} s",
        eating.unwrap_or(0)
    ))?;
    let thinking = seconds_until_timeout(&system, Mood::Thinking).await;
    let bounded = thinking.map_or("never".to_owned(), |after| format!("after {after} s"));
    say(&format!(
        "differs: 10 noise after 3 s in a state entered for 5 s: it ends {bounded}"
    ))?;
    system.terminate().await;
    Ok(())
}

async fn seconds_until_timeout(system: &ActorSystem, first: Mood) -> Option<u64> {
    let (ends, mut timeouts) = probe();
    let props = Props::new(move || Timed {
        first: first.clone(),
        mood: Fsm::new(Mood::Hungry),
        ends: ends.clone(),
    });
    let start = Instant::now();
    let machine = system.spawn(props, "timed");
    sleep(3 * SECOND).await;
    let _enqueued = machine.tell(Noise);
    sleep(9 * SECOND).await;
    machine.stop();
    let first = drain(&mut timeouts).into_iter().next();
    first.map(|at| (at - start).as_secs())
}
