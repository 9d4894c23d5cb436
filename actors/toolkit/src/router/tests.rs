use std::sync::Mutex;

use actix::ResponseFuture;
use proptest::prelude::*;
use tokio::time::sleep;

use super::*;
use crate::system::{Strategy, Terminated};

const SECOND: Duration = Duration::from_secs(1);

/// Is answered with the routee's name; what it is to do, by its number.
#[derive(Clone, Debug, Message)]
#[rtype(result = "String")]
struct Job(u32);

/// Fails the routee, or stops it.
const FAIL: u32 = 100;
const STOP: u32 = 101;
/// Is answered after a second by routee 1, two by 2, and so on.
const SLOW: u32 = 102;
/// Is never answered by routee 1.
const HANG_AT_1: u32 = 103;
/// Goes to all where the router says so.
const ALL: u32 = 104;

type Log = Arc<Mutex<Vec<(String, u32)>>>;

struct Routee(Log);

impl Actor for Routee {
    type Context = Context<Self>;
}

impl Handler<Job> for Routee {
    type Result = ResponseFuture<String>;

    fn handle(&mut self, Job(job): Job, ctx: &mut Context<Self>) -> Self::Result {
        let name = ctx.path().rsplit('/').next().unwrap().to_owned();
        self.0.lock().unwrap().push((name.clone(), job));
        let number: u32 = name.trim_start_matches("routee-").parse().unwrap_or(0);
        match job {
            FAIL => ctx.fail("on purpose"),
            STOP => ctx.stop(),
            _ => {}
        }
        Box::pin(async move {
            match job {
                SLOW => sleep(number * SECOND).await,
                HANG_AT_1 if number == 1 => std::future::pending().await,
                _ => {}
            }
            name
        })
    }
}

struct Bench {
    system: ActorSystem,
    log: Log,
}

impl Bench {
    fn new() -> Self {
        tokio::time::pause();
        Self {
            system: ActorSystem::new("test", 1),
            log: Log::default(),
        }
    }

    fn pool(&self, size: usize) -> RouterBuilder<Job> {
        let log = Arc::clone(&self.log);
        Router::pool(size, move |_| {
            let log = Arc::clone(&log);
            let strategy = Strategy::restart().with_limit(1, SECOND);
            Props::new(move || Routee(Arc::clone(&log)))
                .mailbox(2)
                .supervise(strategy)
        })
    }

    fn member(&self, key: &ServiceKey<Job>, name: &str) -> ActorRef<Routee> {
        let log = Arc::clone(&self.log);
        let props = Props::new(move || Routee(Arc::clone(&log)));
        let member = self.system.spawn(props, name);
        self.system.receptionist().register(key, &member);
        member
    }

    /// What was handled, by whom, since the last look.
    async fn handled(&self) -> Vec<(String, u32)> {
        settle().await;
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    async fn names(&self) -> Vec<String> {
        let handled = self.handled().await;
        handled.into_iter().map(|(name, _)| name).collect()
    }
}

async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

fn names(router: &Router<Job>) -> Vec<String> {
    let paths = router.routees().into_iter();
    let name = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    paths.map(|routee| name(routee.path())).collect()
}

#[actix::test]
async fn a_pools_routees_are_children_and_have_their_turns() {
    let bench = Bench::new();
    let router = bench.pool(3).spawn(&bench.system, "router");
    for job in 0..6 {
        assert!(router.tell(Job(job)).is_enqueued());
    }
    let mut handled = bench.handled().await;
    handled.sort_by_key(|(_, job)| *job);
    let by: Vec<_> = handled.iter().map(|(name, _)| name.as_str()).collect();
    let turn = ["routee-1", "routee-2", "routee-3"];
    assert_eq!(by, [turn, turn].concat());
    let paths: Vec<_> = bench
        .system
        .tree()
        .iter()
        .map(|actor| actor.path.to_string())
        .collect();
    assert_eq!(
        paths,
        [
            "/user/router",
            "/user/router/routee-1",
            "/user/router/routee-2",
            "/user/router/routee-3"
        ]
    );
}

#[actix::test]
async fn the_routees_offer_is_the_routers_and_no_queue_is_added() {
    let bench = Bench::new();
    let router = bench.pool(2).spawn(&bench.system, "router");
    settle().await;
    let offers: Vec<_> = (0..6)
        .map(|job| router.clone().tell(Job(job)).is_enqueued())
        .collect();
    // Two mailboxes of two.
    assert_eq!(offers, [true, true, true, true, false, false]);
    assert_eq!(bench.system.dead_letters(), 2);
    let full = router.ask(Job(0), SECOND).await;
    assert_eq!(full, Err(AskError::MailboxFull));
    assert_eq!(bench.handled().await.len(), 4);
}

#[actix::test]
async fn what_is_told_before_the_start_is_held_in_order_up_to_a_bound() {
    let bench = Bench::new();
    let router = bench.pool(1).hold(2).spawn(&bench.system, "router");
    let offers: Vec<_> = (0..3)
        .map(|job| router.tell(Job(job)).is_enqueued())
        .collect();
    assert_eq!(offers, [true, true, false]);
    let routee = || "routee-1".to_owned();
    let asked = router.ask(Job(7), SECOND).await;
    assert_eq!(asked.as_deref(), Ok("routee-1"), "it waits for the start");
    let handled = [0, 1, 7].map(|job| (routee(), job));
    assert_eq!(bench.handled().await, handled);
}

#[actix::test]
async fn a_restarted_routee_stays_and_a_stopped_one_leaves_the_pool() {
    let bench = Bench::new();
    let router = bench.pool(3).spawn(&bench.system, "router");
    settle().await;
    assert_eq!(names(&router), ["routee-1", "routee-2", "routee-3"]);
    assert!(router.tell(Job(FAIL)).is_enqueued());
    settle().await;
    assert_eq!(names(&router).len(), 3);
    assert!(router.tell(Job(STOP)).is_enqueued());
    settle().await;
    assert_eq!(names(&router), ["routee-1", "routee-3"]);
    bench.handled().await;
    for _ in 0..2 {
        assert!(router.tell(Job(0)).is_enqueued());
    }
    assert_eq!(bench.names().await, ["routee-3", "routee-1"]);
}

struct Watcher(Log);
impl Actor for Watcher {
    type Context = Context<Self>;
}
impl Handler<Terminated> for Watcher {
    type Result = ();
    fn handle(&mut self, terminated: Terminated, _: &mut Context<Self>) {
        let path = terminated.path.to_string();
        self.0.lock().unwrap().push((path, 0));
    }
}
#[derive(Message)]
#[rtype(result = "()")]
struct Watch(ActorRef<RouterActor<Job>>);
impl Handler<Watch> for Watcher {
    type Result = ();
    fn handle(&mut self, Watch(router): Watch, ctx: &mut Context<Self>) {
        ctx.watch(&router);
    }
}

#[actix::test]
async fn with_its_last_routee_a_pool_stops_and_says_so() {
    let bench = Bench::new();
    let router = bench.pool(2).spawn(&bench.system, "router");
    let log = Arc::clone(&bench.log);
    let watcher = bench
        .system
        .spawn(Props::new(move || Watcher(Arc::clone(&log))), "watcher");
    let watch = Watch(router.actor().clone());
    assert_eq!(watcher.ask(watch, SECOND).await, Ok(()));
    for _ in 0..2 {
        assert!(router.tell(Job(STOP)).is_enqueued());
    }
    router.when_stopped().await;
    assert_eq!(bench.names().await.last().unwrap(), "/user/router");
    let before = bench.system.dead_letters();
    assert_eq!(router.tell(Job(0)), Offer::Closed);
    assert_eq!(bench.system.dead_letters(), before + 1);
    assert_eq!(router.ask(Job(0), SECOND).await, Err(AskError::Stopped));
    assert!(!router.is_alive());
}

#[actix::test]
async fn a_router_that_is_stopped_stops_its_pool() {
    let bench = Bench::new();
    let router = bench.pool(2).spawn(&bench.system, "router");
    assert!(router.tell(Job(0)).is_enqueued());
    router.stop();
    router.when_stopped().await;
    settle().await;
    assert_eq!(bench.system.tree().len(), 0);
    assert_eq!(router.routees(), []);
}

#[actix::test]
async fn what_is_held_when_a_router_stops_before_it_starts_is_a_dead_letter() {
    let bench = Bench::new();
    let key = ServiceKey::new("jobs");
    let router = Router::<Job>::group(&key).spawn(&bench.system, "router");
    assert!(router.tell(Job(0)).is_enqueued());
    let asked = router.ask(Job(1), SECOND);
    router.stop();
    assert_eq!(asked.await, Err(AskError::Stopped));
    // Of these one is the listing, which came too late too.
    assert_eq!(bench.system.dead_letters(), 3);
}

#[actix::test]
async fn messages_that_match_go_to_all() {
    let bench = Bench::new();
    let builder = bench.pool(3).broadcast_when(|Job(job)| *job == ALL);
    let router = builder.spawn(&bench.system, "router");
    assert!(router.tell(Job(ALL)).is_enqueued(), "held, then to all");
    assert_eq!(bench.handled().await.len(), 3);
    assert!(router.tell(Job(ALL)).is_enqueued());
    assert!(router.offer(Job(ALL)).await.is_enqueued());
    assert_eq!(bench.handled().await.len(), 6);
    assert!(router.ask(Job(ALL), SECOND).await.is_ok());
    assert!(router.tell(Job(0)).is_enqueued());
    assert_eq!(bench.handled().await.len(), 4);
    assert_eq!(router.broadcast(&Job(0)), 3);
    // Only what no routee takes is dropped.
    for _ in 0..5 {
        router.broadcast(&Job(0));
    }
    assert_eq!(router.tell(Job(ALL)), Offer::Dropped);
}

#[actix::test]
async fn a_group_follows_its_listing_and_lives_without_routees() {
    let bench = Bench::new();
    let key = ServiceKey::new("jobs");
    let first = bench.member(&key, "a");
    let builder = Router::group(&key).routing(Routing::round_robin());
    let router = builder.spawn(&bench.system, "router");
    assert!(router.tell(Job(0)).is_enqueued(), "held until the listing");
    assert_eq!(bench.names().await, ["a"]);
    bench.member(&key, "b");
    settle().await;
    assert_eq!(names(&router), ["a", "b"]);
    first.stop();
    first.when_stopped().await;
    // The router has not heard yet, and still sends it nothing.
    assert!(router.tell(Job(1)).is_enqueued());
    assert_eq!(bench.names().await, ["b"]);
    let second = router.routees().remove(0);
    second.stop();
    second.when_stopped().await;
    settle().await;
    assert!(router.is_alive());
    let before = bench.system.dead_letters();
    assert_eq!(router.tell(Job(2)), Offer::Dropped);
    assert_eq!(router.offer(Job(2)).await, Offer::Dropped);
    assert_eq!(router.broadcast(&Job(2)), 0);
    assert_eq!(bench.system.dead_letters(), before + 3);
    assert_eq!(router.ask(Job(2), SECOND).await, Err(AskError::Stopped));
    bench.member(&key, "c");
    settle().await;
    assert!(router.tell(Job(3)).is_enqueued());
    assert_eq!(bench.names().await, ["c"]);
}

#[actix::test]
async fn a_member_that_is_deregistered_gets_nothing_more() {
    let bench = Bench::new();
    let key = ServiceKey::new("jobs");
    let (first, _second) = (bench.member(&key, "a"), bench.member(&key, "b"));
    let router = Router::group(&key).spawn(&bench.system, "router");
    settle().await;
    bench.system.receptionist().deregister(&key, &first);
    settle().await;
    for _ in 0..20 {
        assert!(router.tell(Job(0)).is_enqueued());
    }
    let handled = bench.names().await;
    assert!(handled.len() == 20 && handled.iter().all(|name| name == "b"));
}

#[actix::test]
async fn the_same_key_goes_to_the_same_routee_and_moves_only_when_that_one_leaves() {
    let bench = Bench::new();
    let key = ServiceKey::new("jobs");
    let members: Vec<_> = ["a", "b", "c"].map(|name| bench.member(&key, name)).into();
    let by_number = Routing::consistent_hash(100, |Job(job): &Job| *job);
    let router = Router::group(&key)
        .routing(by_number)
        .spawn(&bench.system, "router");
    let places = async || {
        for job in 0..60 {
            assert!(router.tell(Job(job)).is_enqueued());
        }
        let mut handled = bench.handled().await;
        handled.sort_by_key(|(_, job)| *job);
        handled
    };
    let before = places().await;
    assert_eq!(places().await, before);
    members[1].stop();
    members[1].when_stopped().await;
    for (old, new) in before.iter().zip(places().await) {
        assert!(new.0 != "b" && (old.0 == "b" || *old == new));
    }
}

#[actix::test]
async fn the_less_loaded_of_two_gets_the_message() {
    let bench = Bench::new();
    let builder = bench.pool(2).routing(Routing::least_loaded(1));
    let router = builder.spawn(&bench.system, "router");
    settle().await;
    let busy = actix_rt::spawn({
        let router = router.clone();
        async move { router.ask(Job(SLOW), 9 * SECOND).await }
    });
    let at = bench.names().await.remove(0);
    for _ in 0..8 {
        assert!(router.ask(Job(0), SECOND).await.is_ok());
    }
    let others = bench.names().await;
    assert!(others.iter().all(|name| *name != at), "{at}: {others:?}");
    assert_eq!(busy.await.unwrap(), Ok(at));
}

#[actix::test]
async fn of_many_asks_the_first_answer_counts_and_the_others_are_given_up() {
    let bench = Bench::new();
    let router = bench.pool(3).spawn(&bench.system, "router");
    let first = router.ask_first(Job(SLOW), 9 * SECOND).await;
    assert_eq!(first.as_deref(), Ok("routee-1"));
    assert_eq!(bench.handled().await.len(), 3);
    assert!(router.routees().iter().all(|routee| routee.load() == 0));
    let other = router.ask_first(Job(HANG_AT_1), SECOND).await;
    assert_ne!(other.as_deref(), Ok("routee-1"));
    assert!(other.is_ok());
}

#[actix::test]
async fn asks_fail_only_when_all_have_failed() {
    let bench = Bench::new();
    let router = bench.pool(2).spawn(&bench.system, "router");
    settle().await;
    for job in [0, 0, 0, 0] {
        assert!(router.tell(Job(job)).is_enqueued());
    }
    let full = router.ask_first(Job(0), SECOND).await;
    assert_eq!(full, Err(AskError::MailboxFull));
    let full = router.ask_tail_chopping(Job(0), SECOND, 9 * SECOND).await;
    assert_eq!(
        full,
        Err(AskError::MailboxFull),
        "at once, not after a wait"
    );
    router.stop();
    router.when_stopped().await;
    let stopped = router.ask_first(Job(0), SECOND).await;
    assert_eq!(stopped, Err(AskError::Stopped));
    let stopped = router.ask_tail_chopping(Job(0), SECOND, SECOND).await;
    assert_eq!(stopped, Err(AskError::Stopped));
}

#[actix::test]
async fn a_slow_answer_has_its_tail_chopped() {
    let bench = Bench::new();
    let router = bench.pool(2).spawn(&bench.system, "router");
    // By chance it begins with the one that hangs, in some of these.
    let mut chopped = 0;
    for _ in 0..8 {
        let start = Instant::now();
        let answer = router
            .ask_tail_chopping(Job(HANG_AT_1), SECOND, 9 * SECOND)
            .await;
        assert_eq!(answer.as_deref(), Ok("routee-2"));
        let asked = bench.handled().await.len();
        let waited = start.elapsed() >= SECOND;
        assert_eq!(asked, if waited { 2 } else { 1 });
        chopped += usize::from(waited);
    }
    assert!((1..8).contains(&chopped), "{chopped}");
}

#[actix::test]
async fn a_tail_ends_with_the_timeout() {
    let bench = Bench::new();
    let router = bench.pool(1).spawn(&bench.system, "router");
    let start = Instant::now();
    let answer = router
        .ask_tail_chopping(Job(HANG_AT_1), SECOND, 3 * SECOND)
        .await;
    assert_eq!(answer, Err(AskError::TimedOut));
    assert_eq!(start.elapsed().as_secs(), 3);
}

proptest! {
    /// Whatever comes and goes, a message reaches exactly one living routee, or is a dead letter.
    #[test]
    fn a_message_reaches_one_living_routee(events in prop::collection::vec(0..8_u8, 1..60)) {
        let runner = actix::System::new();
        runner.block_on(async {
            let bench = Bench::new();
            let key = ServiceKey::new("jobs");
            let router = Router::group(&key).spawn(&bench.system, "router");
            let (mut members, mut next) = (Vec::new(), 0);
            for event in events {
                match event {
                    0 | 1 => {
                        members.push(bench.member(&key, &format!("member-{next}")));
                        next += 1;
                        settle().await;
                    }
                    2 => if let Some(member) = members.pop() {
                        member.stop();
                        member.when_stopped().await;
                    },
                    _ => {
                        let before = bench.system.dead_letters();
                        let taken = router.tell(Job(0)).is_enqueued();
                        let handled = bench.handled().await.len();
                        let dead = bench.system.dead_letters() - before;
                        assert_eq!(handled, usize::from(!members.is_empty()));
                        assert_eq!(dead, u64::from(members.is_empty()));
                        assert!(taken || dead == 1);
                    }
                }
            }
        });
    }
}
