//! The schedule in virtual time: a world of calls, loads and stops around it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn at(ms: u64) -> Timestamp {
    Timestamp::from_duration(MS * u32::try_from(ms).unwrap())
}

fn terms(name: &str) -> Terms {
    Terms {
        name: name.into(),
        device: "default".into(),
        room: Room {
            memory: 10,
            slots: 1,
        },
        keep_warm: false,
        idle_timeout: None,
        min_loaded: Duration::from_secs(5),
        wait_max: Duration::from_secs(30),
    }
}

/// A server of the world.
struct Server {
    load: u64,
    stop: u64,
    /// It never becomes healthy, and gives up after this time.
    gives_up: Option<u64>,
    is_open: bool,
    is_running: bool,
    running: u32,
    /// Arrival and duration of the calls that wait.
    waiting: Vec<(u64, u64)>,
}

/// What happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrives { server: u64, takes: u64 },
    Ends { server: u64 },
    Event { server: u64, kind: u8 },
    Tick,
}

const READY: u8 = 0;
const ENDED: u8 = 1;

/// Calls, loads and stops around a schedule with a budget for some servers of equal size.
struct World {
    schedule: Schedule,
    now: u64,
    order: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    servers: BTreeMap<u64, Server>,
    budget: u32,
    /// Waits of the calls that were served, by server.
    waits: BTreeMap<u64, Vec<u64>>,
    loads: u64,
}

impl World {
    fn new(budget: u32) -> Self {
        let mut schedule = Schedule::default();
        let room = Room {
            memory: u64::MAX,
            slots: budget,
        };
        schedule.set_devices([("default".to_owned(), room)].into(), at(0));
        Self {
            schedule,
            now: 0,
            order: 0,
            queue: BTreeMap::new(),
            servers: BTreeMap::new(),
            budget,
            waits: BTreeMap::new(),
            loads: 0,
        }
    }

    fn server(&mut self, id: u64, load: u64, stop: u64, terms: Terms) {
        let server = Server {
            load,
            stop,
            gives_up: None,
            is_open: false,
            is_running: false,
            running: 0,
            waiting: Vec::new(),
        };
        self.servers.insert(id, server);
        let effects = self
            .schedule
            .add(ServerId(id), terms, LoadTimes::default(), at(self.now));
        self.carry_out(effects);
    }

    fn plan(&mut self, time: u64, happening: Happening) {
        self.order += 1;
        self.queue.insert((time, self.order), happening);
    }

    fn calls(&mut self, server: u64, times: impl IntoIterator<Item = u64>, takes: u64) {
        for time in times {
            self.plan(time, Happening::Arrives { server, takes });
        }
    }

    fn step(&mut self, event: Event) {
        let effects = self.schedule.step(event, at(self.now));
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Start(ServerId(id)) => {
                    let server = self.servers.get_mut(&id).unwrap();
                    assert!(!server.is_running, "{id} was started twice");
                    server.is_running = true;
                    self.loads += 1;
                    let (kind, after) = match server.gives_up {
                        Some(after) => (ENDED, after),
                        None => (READY, server.load),
                    };
                    let time = self.now + after;
                    self.plan(time, Happening::Event { server: id, kind });
                    let running = self.servers.values().filter(|one| one.is_running).count();
                    assert!(running <= self.budget as usize, "{running} at once");
                }
                Effect::Close(ServerId(id)) => {
                    let server = self.servers.get_mut(&id).unwrap();
                    server.is_open = false;
                    if server.running == 0 {
                        self.step(Event::Drained(ServerId(id)));
                    }
                }
                Effect::Open(ServerId(id)) => {
                    self.servers.get_mut(&id).unwrap().is_open = true;
                    self.serve(id);
                }
                Effect::Stop(ServerId(id)) => {
                    let server = self.servers.get_mut(&id).unwrap();
                    assert_eq!(server.running, 0, "{id} was stopped under a call");
                    let time = self.now + server.stop;
                    // What was planned for its start does not happen.
                    self.queue.retain(
                        |_, what| !matches!(what, Happening::Event { server, .. } if *server == id),
                    );
                    let (server, kind) = (id, ENDED);
                    self.plan(time, Happening::Event { server, kind });
                }
                Effect::Forget(_) => {}
            }
        }
    }

    fn usage(&mut self, id: u64) {
        let usage = Usage {
            busy: self.servers[&id].running > 0,
            waiting: !self.servers[&id].waiting.is_empty(),
            last_used: at(self.now),
        };
        self.schedule.observe(ServerId(id), usage, at(self.now));
        self.step(Event::Used(ServerId(id)));
    }

    /// Begins the calls that wait for an open server.
    fn serve(&mut self, id: u64) {
        let server = self.servers.get_mut(&id).unwrap();
        if !server.is_open || server.waiting.is_empty() {
            return;
        }
        let calls = std::mem::take(&mut server.waiting);
        server.running += u32::try_from(calls.len()).unwrap();
        for (arrived, takes) in calls {
            self.waits.entry(id).or_default().push(self.now - arrived);
            self.plan(self.now + takes, Happening::Ends { server: id });
        }
        self.usage(id);
        self.step(Event::Unwanted(ServerId(id)));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives { server: id, takes } => {
                let server = self.servers.get_mut(&id).unwrap();
                server.waiting.push((self.now, takes));
                if server.is_open {
                    self.serve(id);
                } else {
                    self.step(Event::Wanted(ServerId(id)));
                }
            }
            Happening::Ends { server: id } => {
                let server = self.servers.get_mut(&id).unwrap();
                server.running -= 1;
                let is_drained = !server.is_open && server.running == 0;
                self.usage(id);
                if is_drained {
                    self.step(Event::Drained(ServerId(id)));
                }
            }
            Happening::Event { server: id, kind } => {
                let server = self.servers.get_mut(&id).unwrap();
                if kind == READY {
                    server.is_open = true;
                    self.step(Event::Ready(ServerId(id)));
                    self.serve(id);
                } else {
                    server.is_open = false;
                    server.is_running = false;
                    self.step(Event::Ended(ServerId(id)));
                    if !self.servers[&id].waiting.is_empty() {
                        self.step(Event::Wanted(ServerId(id)));
                    }
                }
            }
            Happening::Tick => self.step(Event::Tick),
        }
    }

    /// Runs until nothing more happens, or this time.
    fn run(&mut self, until: u64) {
        for _ in 0..1_000_000 {
            let next = self.queue.first_key_value().map(|(key, _)| *key);
            let tick = self.schedule.next_wakeup(at(self.now));
            let tick = tick.map(|at| at.as_nanos().div_ceil(1_000_000));
            let time = next.map(|(time, _)| time).into_iter().chain(tick).min();
            let Some(time) = time.filter(|time| *time <= until) else {
                self.now = until;
                return;
            };
            assert!(time >= self.now);
            self.now = time;
            match next.filter(|(at, _)| *at == time) {
                Some(key) => {
                    let happening = self.queue.remove(&key).unwrap();
                    self.happen(happening);
                }
                None => self.happen(Happening::Tick),
            }
        }
        panic!("the schedule does not come to rest");
    }

    fn served(&self, id: u64) -> usize {
        self.waits.get(&id).map_or(0, Vec::len)
    }

    fn longest_wait(&self, id: u64) -> u64 {
        self.waits[&id].iter().copied().max().unwrap()
    }

    fn phase(&self, id: u64) -> Phase {
        let view = self.schedule.view(ServerId(id), at(self.now));
        view.unwrap().phase
    }
}

fn world_of(budget: u32, servers: u64) -> World {
    let mut world = World::new(budget);
    for id in 0..servers {
        world.server(id, 2_000, 300, terms(&format!("m{id}")));
    }
    world
}

#[test]
fn calls_of_one_server_are_served_together() {
    let mut world = world_of(1, 3);
    // A B A A C A B, one each 100 ms, 400 ms each.
    for (index, server) in [0, 1, 0, 0, 2, 0, 1].into_iter().enumerate() {
        world.calls(server, [index as u64 * 100], 400);
    }
    world.run(600_000);
    let served: Vec<_> = (0..3).map(|id| world.served(id)).collect();
    assert_eq!(served, [4, 2, 1]);
    assert_eq!(world.loads, 3, "each is loaded once");
}

#[test]
fn neither_of_two_busy_servers_starves_or_thrashes() {
    let mut world = world_of(1, 2);
    for id in 0..2 {
        world.calls(id, (0..3_000).map(|n| n * 200), 1_000);
    }
    world.run(700_000);
    assert_eq!((world.served(0), world.served(1)), (3_000, 3_000));
    // A turn lasts for the longest wait of the other one at most, with the swap: 600 s in turns of 30 s and more.
    assert!((10..=22).contains(&world.loads), "{} loads", world.loads);
    for id in 0..2 {
        assert!(
            world.longest_wait(id) <= 40_000,
            "{}",
            world.longest_wait(id)
        );
    }
}

#[test]
fn a_server_without_calls_makes_room_after_its_least_time() {
    let mut world = world_of(1, 2);
    world.calls(0, [0], 100);
    world.calls(1, [2_200], 100);
    world.run(60_000);
    // Loaded at 2 s, at least until 7 s; then 300 ms to stop and 2 s to load.
    assert_eq!(world.waits[&1], [7_300 + 2_000 - 2_200]);
    world.calls(0, [70_000], 100);
    world.run(120_000);
    assert_eq!(world.waits[&0], [2_000, 2_300], "nobody used the other one");
}

#[test]
fn several_servers_stay_loaded_if_the_budget_has_room() {
    let mut world = world_of(2, 2);
    for id in 0..2 {
        world.calls(id, (0..100).map(|n| n * 300), 200);
    }
    world.run(600_000);
    assert_eq!(world.loads, 2);
    assert!(world.longest_wait(1) <= 2_000);
}

#[test]
fn a_large_server_waits_for_the_room_of_two_and_is_not_passed_by_small_ones() {
    let mut world = world_of(2, 2);
    let large = Terms {
        room: Room {
            memory: 10,
            slots: 2,
        },
        ..terms("large")
    };
    world.server(9, 2_000, 300, large);
    world.budget = 3;
    for id in 0..2 {
        world.calls(id, (0..1_000).map(|n| n * 100), 500);
    }
    world.calls(9, [10_000], 500);
    world.run(100_000);
    assert_eq!(world.served(9), 1);
    assert!(world.longest_wait(9) <= 33_000, "{}", world.longest_wait(9));
}

#[test]
fn a_server_that_is_kept_warm_is_started_without_a_call_and_comes_back() {
    let mut world = World::new(1);
    let warm = Terms {
        keep_warm: true,
        idle_timeout: Some(Duration::from_secs(1)),
        ..terms("warm")
    };
    world.server(0, 2_000, 300, warm);
    let idle = Some(Duration::from_secs(10));
    let other = Terms {
        idle_timeout: idle,
        ..terms("other")
    };
    world.server(1, 2_000, 300, other);
    world.run(60_000);
    assert_eq!(
        world.phase(0),
        Phase::Ready,
        "its idle timeout does not apply"
    );
    world.calls(1, [60_000], 100);
    world.run(80_000);
    assert_eq!(world.served(1), 0, "it does not make room at once");
    world.run(200_000);
    assert_eq!(world.waits[&1], [32_300]);
    assert_eq!(
        world.phase(0),
        Phase::Ready,
        "it is loaded again when the other one was idle"
    );
    world.step(Event::Unload(ServerId(0)));
    world.run(300_000);
    assert_eq!(world.phase(0), Phase::Stopped, "an operator has stopped it");
    world.calls(0, [300_000], 100);
    world.run(400_000);
    assert_eq!(world.phase(0), Phase::Ready);
}

#[test]
fn the_last_word_of_an_operator_counts() {
    let mut world = World::new(1);
    world.server(0, 2_000, 8_000, terms("a"));
    world.step(Event::Load(ServerId(0)));
    world.step(Event::Unload(ServerId(0)));
    world.run(20_000);
    assert_eq!(world.phase(0), Phase::Stopped, "no earlier wish starts it");
    assert_eq!(world.loads, 1);
    world.step(Event::Load(ServerId(0)));
    world.run(24_000);
    assert_eq!(world.phase(0), Phase::Ready);
    world.step(Event::Unload(ServerId(0)));
    world.step(Event::Load(ServerId(0)));
    world.run(40_000);
    assert_eq!(
        world.phase(0),
        Phase::Ready,
        "it is loaded again after a stop that takes long"
    );
}

#[test]
fn an_operators_load_waits_for_room_and_is_not_repeated_after_a_failure() {
    let mut world = World::new(1);
    world.server(0, 1_000, 100, terms("a"));
    world.server(1, 1_000, 100, terms("b"));
    world.calls(0, (0..200).map(|number| number * 100), 90);
    world.run(5_000);
    world.step(Event::Load(ServerId(1)));
    world.run(40_000);
    assert_eq!(world.phase(1), Phase::Ready);
    let mut world = World::new(1);
    world.server(0, 1_000, 100, terms("a"));
    world.servers.get_mut(&0).unwrap().gives_up = Some(500);
    world.step(Event::Load(ServerId(0)));
    world.run(100_000);
    assert!(world.loads <= 3, "{} starts", world.loads);
}

#[test]
fn an_idle_server_is_stopped_after_its_timeout() {
    let mut world = World::new(1);
    let idle = Some(Duration::from_secs(10));
    let terms = Terms {
        idle_timeout: idle,
        ..terms("a")
    };
    world.server(0, 2_000, 300, terms);
    world.calls(0, [0, 9_000], 5_000);
    world.run(23_900);
    assert_eq!(world.phase(0), Phase::Ready);
    world.run(24_100);
    assert_eq!(world.phase(0), Phase::Stopping);
    world.run(30_000);
    assert_eq!(world.phase(0), Phase::Stopped);
}

#[test]
fn a_server_that_never_serves_does_not_hold_the_others() {
    let mut world = world_of(1, 2);
    world.servers.get_mut(&0).unwrap().gives_up = Some(20_000);
    world.calls(0, (0..600).map(|n| n * 1_000), 100);
    world.calls(1, (0..6_000).map(|n| n * 100), 200);
    world.run(700_000);
    assert_eq!((world.served(0), world.served(1)), (0, 6_000));
    let mut waits = world.waits[&1].clone();
    waits.sort_unstable();
    assert_eq!(waits.last(), Some(&22_000), "the first start that fails");
    let late = world.waits[&1].iter().rev();
    assert_eq!(late.take(3_000).max(), Some(&0), "and no other one");
}

#[test]
fn a_failed_server_is_started_again_after_a_growing_wait() {
    let mut world = world_of(1, 1);
    world.servers.get_mut(&0).unwrap().gives_up = Some(1_000);
    world.calls(0, (0..60).map(|n| n * 1_000), 100);
    world.run(62_000);
    // 1 s each, and waits of 1, 2, 4, 8, 16 and 32 s.
    assert_eq!(world.loads, 6);
    world.servers.get_mut(&0).unwrap().gives_up = None;
    world.run(80_000);
    assert_eq!(world.served(0), 60);
}

#[test]
fn a_call_that_leaves_gives_the_room_back() {
    let mut world = world_of(1, 2);
    world.calls(0, [0], 60_000);
    world.run(5_000);
    world.step(Event::Wanted(ServerId(1)));
    world.run(40_000);
    assert_eq!(world.phase(0), Phase::Closing, "it waits for its last call");
    world.step(Event::Unwanted(ServerId(1)));
    world.run(46_000);
    assert_eq!(world.phase(0), Phase::Ready);
    world.run(100_000);
    assert_eq!(world.loads, 1);
}

#[test]
fn two_servers_of_one_name_do_not_run_together() {
    let mut world = world_of(2, 1);
    world.calls(0, [0], 10_000);
    world.run(3_000);
    world.server(7, 2_000, 300, terms("m0"));
    world.calls(7, [4_000], 100);
    world.run(5_000);
    assert_eq!(world.phase(7), Phase::Stopped);
    world.step(Event::Remove(ServerId(0)));
    world.run(60_000);
    assert_eq!(world.waits[&7], [12_300 + 2_000 - 4_000]);
    assert!(world.schedule.view(ServerId(0), at(60_000)).is_none());
}

#[test]
fn the_time_until_a_server_serves_is_learned() {
    let mut world = world_of(1, 2);
    let eta = |world: &World, id| {
        world
            .schedule
            .view(ServerId(id), at(world.now))
            .unwrap()
            .eta
    };
    world.calls(0, [0], 100);
    world.run(1_000);
    assert_eq!(eta(&world, 0), None);
    world.run(3_000);
    assert_eq!(eta(&world, 0), Some(Duration::ZERO));
    world.step(Event::Unload(ServerId(0)));
    world.run(9_000);
    assert_eq!(eta(&world, 0), Some(Duration::from_secs(2)));
    world.calls(0, [10_000], 100);
    world.run(10_500);
    assert_eq!(eta(&world, 0), Some(Duration::from_millis(1_500)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the calls, the loads and the stops: the budget holds, no server is stopped under a call and none is started
    /// twice (the world checks these), and every call is served after a bounded wait.
    #[test]
    fn every_call_is_served(
        budget in 1_u32..4,
        servers in prop::collection::vec((100_u64..5_000, 0_u64..2_000, 0_u64..6_000, any::<bool>()), 1..6),
        calls in prop::collection::vec((0_u64..6, 0_u64..120_000, 1_u64..3_000), 1..200),
    ) {
        let mut world = World::new(budget);
        let count = servers.len() as u64;
        for (id, (load, stop, min_loaded, keep_warm)) in servers.into_iter().enumerate() {
            let min_loaded = Duration::from_millis(min_loaded);
            let terms = Terms { keep_warm, min_loaded, ..terms(&format!("m{id}")) };
            world.server(id as u64, load, stop, terms);
        }
        let mut sent = 0;
        for (server, time, takes) in calls {
            world.calls(server % count, [time], takes);
            sent += 1;
        }
        world.run(1_000_000);
        let served: usize = (0..count).map(|id| world.served(id)).sum();
        prop_assert_eq!(served, sent);
        // Each of the others may have its turn first: its own longest wait, a stop, a load, and its last calls.
        let bound = count * (30_000 + 6_000 + 2_000 + 5_000 + 3_000);
        for waits in world.waits.values() {
            prop_assert!(waits.iter().all(|wait| *wait <= bound));
        }
    }
}
