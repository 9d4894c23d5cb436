//! The rules of sessions, on a store in memory and in paused time.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use kebne_actors::ActorSystem;

use crate::{
    store::{
        Alive, Details, Fit, Found, Owned, Part, PartSize, Quota, Session, SessionStore,
        StoreError, Stored, Tidied, Turn, TurnContent,
    },
    *,
};

/// A context manager whose wall clock the test moves.
struct Bench {
    system: ActorSystem,
    context: ContextHandle,
    millis: Arc<AtomicU64>,
}

impl Bench {
    fn start(limits: ContextLimits) -> Self {
        let store = Arc::new(MemoryStore::default());
        Self::start_on(limits, move || Ok(Arc::clone(&store) as _))
    }

    fn start_on(
        limits: ContextLimits,
        open: impl Fn() -> Result<Arc<dyn SessionStore>, StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self::start_renamed(limits, Vec::new(), open)
    }

    fn start_renamed(
        limits: ContextLimits,
        former_owners: Vec<(String, String)>,
        open: impl Fn() -> Result<Arc<dyn SessionStore>, StoreError> + Send + Sync + 'static,
    ) -> Self {
        tokio::time::pause();
        let system = ActorSystem::new("test", 1);
        let millis = Arc::new(AtomicU64::new(1_000_000_000));
        let clock = Arc::clone(&millis);
        let parts = ContextParts {
            open: Arc::new(open),
            limits,
            clock: Arc::new(move || clock.load(SeqCst)),
            former_owners,
        };
        let context = ContextHandle::start(&system, parts);
        Self {
            system,
            context,
            millis,
        }
    }

    fn pass(&self, span: Duration) {
        let millis = u64::try_from(span.as_millis()).unwrap();
        self.millis.fetch_add(millis, SeqCst);
    }

    async fn create(&self, owner: &str, id: &str) -> Result<Session, ContextError> {
        let details = Details::default();
        self.context.create(owner, id.to_owned(), details).await
    }
}

fn turn(text: &str, tokens: u64, leads: bool) -> TurnContent {
    TurnContent {
        tokens,
        leads,
        messages: Bytes::copy_from_slice(text.as_bytes()),
    }
}

fn texts(turns: &[Turn]) -> Vec<&str> {
    let texts = turns
        .iter()
        .map(|turn| std::str::from_utf8(&turn.content.messages));
    texts.map(Result::unwrap).collect()
}

const NONE: Result<(), ContextError> = Err(ContextError::Store(StoreError::NoSuchSession));

#[actix::test]
async fn another_owner_sees_nothing_of_a_session() {
    let bench = Bench::start(ContextLimits::default());
    let context = &bench.context;
    bench.create("ann", "s").await.unwrap();
    context.append("s", turn("hello", 1, true)).await.unwrap();
    assert_eq!(context.read("bob", "s").await.map(drop), NONE);
    assert_eq!(context.turns("bob", "s", 0, 9).await.map(drop), NONE);
    let change = Change::default();
    assert_eq!(context.change("bob", "s", change).await.map(drop), NONE);
    assert_eq!(context.remove("bob", "s").await, NONE);
    let of_bob = context.list("bob", None, 9).await.unwrap();
    assert_eq!(of_bob.items, []);
    let of_ann = context.list("ann", None, 9).await.unwrap();
    assert_eq!((of_ann.items.len(), of_ann.has_more), (1, false));
    assert_eq!(context.read("ann", "s").await.unwrap().turns, 1);
    bench.system.terminate().await;
}

#[actix::test]
async fn the_newest_turns_that_fit_are_chosen() {
    let bench = Bench::start(ContextLimits::default());
    bench.create("ann", "s").await.unwrap();
    for (text, tokens) in [("a", 10), ("b", 30), ("c", 20), ("d", 5)] {
        let kept = bench.context.append("s", turn(text, tokens, true)).await;
        kept.unwrap();
    }
    for (budget, expected) in [
        (100, vec!["a", "b", "c", "d"]),
        (64, vec!["b", "c", "d"]),
        (54, vec!["c", "d"]),
        (24, vec!["d"]),
        (4, vec![]),
    ] {
        let turns = bench.context.fit("s", budget).await.unwrap();
        assert_eq!(texts(&turns), expected, "{budget}");
    }
    bench.system.terminate().await;
}

#[actix::test]
async fn a_tools_result_is_not_sent_without_its_call() {
    let bench = Bench::start(ContextLimits::default());
    bench.create("ann", "s").await.unwrap();
    for (text, leads) in [("call", true), ("result", false), ("next", true)] {
        let kept = bench.context.append("s", turn(text, 10, leads)).await;
        kept.unwrap();
    }
    let whole = bench.context.fit("s", 30).await.unwrap();
    assert_eq!(texts(&whole), ["call", "result", "next"]);
    let part = bench.context.fit("s", 20).await.unwrap();
    assert_eq!(texts(&part), ["next"]);
    bench.system.terminate().await;
}

#[actix::test]
async fn a_session_expires_when_idle_and_when_old() {
    let limits = ContextLimits {
        idle_expiry: Duration::from_secs(10),
        age_max: Duration::from_secs(25),
        ..ContextLimits::default()
    };
    let bench = Bench::start(limits);
    bench.create("ann", "idle").await.unwrap();
    bench.create("ann", "used").await.unwrap();
    for _ in 0..2 {
        bench.pass(Duration::from_secs(9));
        let kept = bench.context.append("used", turn("x", 1, true)).await;
        kept.unwrap();
    }
    assert_eq!(bench.context.read("ann", "idle").await.map(drop), NONE);
    assert_eq!(bench.context.read("ann", "used").await.unwrap().turns, 2);
    bench.pass(Duration::from_secs(9));
    assert_eq!(bench.context.read("ann", "used").await.map(drop), NONE);
    bench.system.terminate().await;
}

#[actix::test]
async fn what_has_expired_is_removed_and_makes_room() {
    let limits = ContextLimits {
        sessions_max: 2,
        idle_expiry: Duration::from_secs(10),
        ..ContextLimits::default()
    };
    let store = Arc::new(MemoryStore::default());
    let shared = Arc::clone(&store);
    let bench = Bench::start_on(limits, move || Ok(Arc::clone(&shared) as _));
    bench.create("ann", "a").await.unwrap();
    bench.create("ann", "b").await.unwrap();
    let full = bench.create("ann", "c").await.map(drop);
    assert_eq!(full, Err(ContextError::Store(StoreError::Full)));
    bench.create("bob", "d").await.unwrap();
    bench.pass(Duration::from_secs(11));
    bench.create("ann", "c").await.unwrap();
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(store.find("a").await.unwrap(), None);
    assert!(store.find("c").await.unwrap().is_some());
    bench.system.terminate().await;
}

#[actix::test]
async fn a_session_with_all_its_turns_takes_no_other_but_can_be_read() {
    let limits = ContextLimits {
        turns_max: 1,
        ..ContextLimits::default()
    };
    let bench = Bench::start(limits);
    bench.create("ann", "s").await.unwrap();
    bench.context.open("ann", "s").await.unwrap();
    bench.context.append("s", turn("a", 1, true)).await.unwrap();
    let full = bench.context.open("ann", "s").await;
    assert_eq!(full, Err(ContextError::Store(StoreError::TurnsFull)));
    // Nor does a call that was let in at the same time as another one exceed it.
    let late = bench.context.append("s", turn("b", 1, true)).await;
    assert_eq!(late, Err(ContextError::Store(StoreError::TurnsFull)));
    assert_eq!(bench.context.read("ann", "s").await.unwrap().turns, 1);
    bench.system.terminate().await;
}

#[actix::test]
async fn a_change_sets_what_it_names_and_leaves_the_rest() {
    let bench = Bench::start(ContextLimits::default());
    bench.create("ann", "s").await.unwrap();
    let metadata = BTreeMap::from([("city".to_owned(), "Kiruna".to_owned())]);
    let first = Change {
        metadata: Some(metadata.clone()),
        system_prompt: Some(Some("Be brief.".to_owned())),
        prompt: None,
    };
    bench.context.change("ann", "s", first).await.unwrap();
    let second = Change {
        system_prompt: Some(None),
        ..Change::default()
    };
    let session = bench.context.change("ann", "s", second).await.unwrap();
    assert_eq!(session.details.metadata, metadata);
    assert_eq!(session.details.system_prompt, None);
    let read = bench.context.read("ann", "s").await.unwrap();
    assert_eq!(read, session);
    bench.system.terminate().await;
}

#[actix::test]
async fn lists_are_read_page_by_page_newest_first() {
    let bench = Bench::start(ContextLimits::default());
    for id in ["a", "b", "c"] {
        bench.create("ann", id).await.unwrap();
        bench.pass(Duration::from_millis(1));
    }
    let ids = async |after: Option<&str>| {
        let after = after.map(str::to_owned);
        let part = bench.context.list("ann", after, 2).await.unwrap();
        let ids = part.items.into_iter().map(|session| session.id);
        (ids.collect::<Vec<_>>().join(" "), part.has_more)
    };
    assert_eq!(ids(None).await, ("c b".to_owned(), true));
    assert_eq!(ids(Some("b")).await, ("a".to_owned(), false));
    bench.system.terminate().await;
}

#[actix::test]
async fn a_removed_turn_leaves_the_numbers_of_the_others() {
    let bench = Bench::start(ContextLimits::default());
    let context = &bench.context;
    bench.create("ann", "s").await.unwrap();
    for text in ["a", "b"] {
        context.append("s", turn(text, 10, true)).await.unwrap();
    }
    let other = context.remove_turn("bob", "s", 2).await;
    assert_eq!(other.map(drop), NONE);
    assert_eq!(context.remove_turn("ann", "s", 2).await, Ok(true));
    assert_eq!(context.remove_turn("ann", "s", 2).await, Ok(false));
    assert_eq!(context.append("s", turn("c", 5, true)).await, Ok(3));
    let turns = context.turns("ann", "s", 0, 9).await.unwrap();
    assert_eq!(texts(&turns.items), ["a", "c"]);
    assert_eq!(context.read("ann", "s").await.unwrap().tokens, 15);
    bench.system.terminate().await;
}

/// A store that ends once told so, or hangs; what it keeps is behind it.
struct Fragile {
    ended: Arc<AtomicBool>,
    hangs: bool,
    kept: Arc<MemoryStore>,
    /// Steps that an adoption takes before its last one.
    adoption: AtomicU32,
    disk: Arc<Disk>,
}

/// A disk that may be full.
struct Disk {
    /// The largest turn that it takes.
    room: AtomicU64,
    probes: AtomicU32,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            room: AtomicU64::new(u64::MAX),
            probes: AtomicU32::new(0),
        }
    }
}

impl Disk {
    fn take(&self, bytes: u64) -> Result<(), StoreError> {
        let fits = bytes <= self.room.load(SeqCst);
        fits.then_some(()).ok_or_else(full)
    }
}

fn full() -> StoreError {
    StoreError::Failed("the disk is full".to_owned())
}

impl Fragile {
    fn or<T: Send + 'static>(&self, step: impl FnOnce() -> Stored<T>) -> Stored<T> {
        if self.ended.load(SeqCst) && self.hangs {
            return Box::pin(std::future::pending());
        }
        if self.ended.load(SeqCst) {
            return Box::pin(std::future::ready(Err(StoreError::Lost)));
        }
        step()
    }
}

impl SessionStore for Fragile {
    fn insert(&self, session: Session, quota: Quota) -> Stored<()> {
        self.or(|| self.kept.insert(session, quota))
    }
    fn find(&self, id: &str) -> Stored<Option<Found>> {
        self.or(|| self.kept.find(id))
    }
    fn change(&self, named: Owned, change: Change, now: u64, quota: Quota) -> Stored<Session> {
        self.or(|| self.kept.change(named, change, now, quota))
    }
    fn append(&self, id: &str, content: TurnContent, now: u64, quota: Quota) -> Stored<u64> {
        if let Err(error) = self.disk.take(content.messages.len() as u64) {
            return Box::pin(std::future::ready(Err(error)));
        }
        self.or(|| self.kept.append(id, content, now, quota))
    }
    fn newest(&self, id: &str, fit: Fit) -> Stored<Vec<Turn>> {
        self.or(|| self.kept.newest(id, fit))
    }
    fn turns(&self, named: Owned, after: u64, size: PartSize) -> Stored<Part<Turn>> {
        self.or(|| self.kept.turns(named, after, size))
    }
    fn remove_turn(&self, named: Owned, number: u64) -> Stored<bool> {
        self.or(|| self.kept.remove_turn(named, number))
    }
    fn list(
        &self,
        owner: &str,
        alive: Alive,
        after: Option<String>,
        size: PartSize,
    ) -> Stored<Part<Session>> {
        self.or(|| self.kept.list(owner, alive, after, size))
    }
    fn remove(&self, named: Owned) -> Stored<()> {
        self.or(|| self.kept.remove(named))
    }
    fn adopt(&self, former: &str, owner: &str) -> Stored<bool> {
        let fewer = self
            .adoption
            .fetch_update(SeqCst, SeqCst, |steps| steps.checked_sub(1));
        if fewer.is_ok() {
            return Box::pin(std::future::ready(Ok(true)));
        }
        self.or(|| self.kept.adopt(former, owner))
    }
    fn tidy(&self, alive: Alive) -> Stored<Tidied> {
        self.or(|| self.kept.tidy(alive))
    }
    fn probe(&self, bytes: u64) -> Stored<()> {
        self.disk.probes.fetch_add(1, SeqCst);
        let result = self.disk.take(bytes);
        self.or(|| {
            Box::pin(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                result
            })
        })
    }
}

/// A context manager on stores that all end when the test says so.
struct Outage {
    bench: Bench,
    /// Ends the store that was opened last.
    latest: Arc<Mutex<Arc<AtomicBool>>>,
    /// Has each store end that is opened from now on.
    lasts: Arc<AtomicBool>,
    opened: Arc<AtomicU32>,
    disk: Arc<Disk>,
}

impl Outage {
    async fn start(hangs: bool) -> Self {
        let kept = Arc::new(MemoryStore::default());
        let latest = Arc::new(Mutex::new(Arc::new(AtomicBool::new(false))));
        let (lasts, opened) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let (flag, count, ends) = (Arc::clone(&latest), Arc::clone(&opened), Arc::clone(&lasts));
        let disk = Arc::<Disk>::default();
        let shared = Arc::clone(&disk);
        let bench = Bench::start_on(ContextLimits::default(), move || {
            count.fetch_add(1, SeqCst);
            let ended = Arc::new(AtomicBool::new(ends.load(SeqCst)));
            *flag.lock().unwrap() = Arc::clone(&ended);
            let kept = Arc::clone(&kept);
            let adoption = AtomicU32::new(0);
            Ok(Arc::new(Fragile {
                ended,
                hangs,
                kept,
                adoption,
                disk: Arc::clone(&shared),
            }) as _)
        });
        bench.create("ann", "s").await.unwrap();
        bench.context.append("s", turn("a", 1, true)).await.unwrap();
        Self {
            bench,
            latest,
            lasts,
            opened,
            disk,
        }
    }

    fn end_the_latest(&self) {
        self.latest.lock().unwrap().store(true, SeqCst);
    }

    fn restarts(&self) -> u32 {
        let tree = self.bench.system.tree();
        let manager = tree.iter().find(|actor| actor.path.ends_with("manager"));
        manager.unwrap().restarts
    }
}

#[actix::test]
async fn a_lost_store_is_opened_anew_and_nothing_acknowledged_is_lost() {
    opened_anew(false).await;
}

#[actix::test]
async fn a_store_that_hangs_is_opened_anew_too() {
    opened_anew(true).await;
}

async fn opened_anew(hangs: bool) {
    let outage = Outage::start(hangs).await;
    let context = &outage.bench.context;
    outage.end_the_latest();
    let lost = context.append("s", turn("b", 1, true)).await;
    assert_eq!(lost, Err(ContextError::Store(StoreError::Lost)));
    assert!(matches!(context.health(), StoreHealth::Unavailable { .. }));
    // The restart waits for its backoff; the question waits in the mailbox meanwhile.
    let session = context.read("ann", "s").await.unwrap();
    assert_eq!(session.turns, 1);
    // A write has failed, so only a write shows that the store works again.
    assert!(matches!(context.health(), StoreHealth::Unavailable { .. }));
    context.append("s", turn("b", 1, true)).await.unwrap();
    assert_eq!(context.health(), StoreHealth::Available);
    assert_eq!(outage.opened.load(SeqCst), 2);
    outage.bench.system.terminate().await;
}

#[actix::test]
async fn reports_of_a_lost_store_do_not_fail_the_next_one() {
    let outage = Outage::start(true).await;
    let context = &outage.bench.context;
    outage.end_the_latest();
    // All find out at different times that the first store hangs: the last ones while the second serves.
    let late = (0..50_u64).map(async |number| {
        tokio::time::sleep(Duration::from_millis(number * 50)).await;
        let began = tokio::time::Instant::now();
        let result = context.read("ann", "s").await;
        (result, began.elapsed())
    });
    let results = futures_util::future::join_all(late).await;
    for (result, took) in results {
        assert_eq!(result, Err(ContextError::Store(StoreError::Lost)));
        assert!(took <= ContextLimits::default().answer_timeout, "{took:?}");
    }
    assert_eq!(context.read("ann", "s").await.unwrap().turns, 1);
    assert_eq!((outage.opened.load(SeqCst), outage.restarts()), (2, 1));
    outage.bench.system.terminate().await;
}

#[actix::test]
async fn a_store_that_ends_again_and_again_ends_nothing_else() {
    outage(false).await;
}

#[actix::test]
async fn a_store_that_hangs_again_and_again_ends_nothing_else() {
    outage(true).await;
}

async fn outage(hangs: bool) {
    let outage = Outage::start(hangs).await;
    let context = &outage.bench.context;
    outage.lasts.store(true, SeqCst);
    outage.end_the_latest();
    for _ in 0..20 {
        let questions = (0..20).map(|_| context.read("ann", "s"));
        for result in futures_util::future::join_all(questions).await {
            assert!(result.is_err());
        }
    }
    let StoreHealth::Unavailable { failures, .. } = context.health() else {
        panic!("the outage is not seen");
    };
    assert!(failures > 10, "{failures}");
    assert!(outage.restarts() > 5);
    let failed = tokio::time::timeout(Duration::ZERO, outage.bench.system.when_failed());
    assert!(failed.await.is_err(), "the system ended");
    outage.lasts.store(false, SeqCst);
    // The longest backoff and one sweep: nobody has to ask for it.
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(context.health(), StoreHealth::Available);
    assert_eq!(context.read("ann", "s").await.unwrap().turns, 1);
    outage.bench.system.terminate().await;
}

#[actix::test]
async fn an_outage_of_writes_ends_when_a_write_of_that_size_succeeds() {
    let outage = Outage::start(false).await;
    let context = &outage.bench.context;
    let append = async |size: usize| context.append("s", turn(&"x".repeat(size), 1, true)).await;
    let is_up = || context.health() == StoreHealth::Available;
    outage.disk.room.store(100, SeqCst);
    assert_eq!(append(200).await, Err(full().into()));
    // Neither a read, nor a sweep with nothing to do, nor a smaller turn shows that there is room again.
    context.read("ann", "s").await.unwrap();
    assert!(!is_up());
    tokio::time::sleep(Duration::from_mins(3)).await;
    assert!(!is_up());
    append(50).await.unwrap();
    assert!(!is_up());
    let StoreHealth::Unavailable { failures, .. } = context.health() else {
        panic!("the outage is not seen");
    };
    assert!((3..=5).contains(&failures), "{failures}");
    outage.disk.room.store(u64::MAX, SeqCst);
    append(200).await.unwrap();
    assert!(is_up());
    // Without calls, a sweep finds it out.
    outage.disk.room.store(100, SeqCst);
    assert_eq!(append(200).await, Err(full().into()));
    outage.disk.room.store(u64::MAX, SeqCst);
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert!(is_up());
    outage.bench.system.terminate().await;
}

#[actix::test]
async fn no_call_is_let_in_while_the_store_refuses_writes_and_one_at_a_time_tries() {
    let outage = Outage::start(false).await;
    let context = &outage.bench.context;
    let probes = || outage.disk.probes.swap(0, SeqCst);
    context.open("ann", "s").await.unwrap();
    assert_eq!(probes(), 0);
    outage.disk.room.store(100, SeqCst);
    let refused = context.append("s", turn(&"x".repeat(200), 1, true)).await;
    assert_eq!(refused, Err(full().into()));
    for _ in 0..2 {
        let calls = (0..10).map(|_| context.open("ann", "s"));
        for opened in futures_util::future::join_all(calls).await {
            assert_eq!(opened, Err(full().into()));
        }
        assert_eq!(outage.bench.create("ann", "t").await, Err(full().into()));
        assert_eq!(probes(), 2);
    }
    // A caller that leaves while it tries does not keep others from trying.
    let left = tokio::time::timeout(Duration::from_millis(500), context.open("ann", "s"));
    assert!(left.await.is_err());
    tokio::time::sleep(Duration::from_secs(1)).await;
    outage.disk.room.store(u64::MAX, SeqCst);
    context.open("ann", "s").await.unwrap();
    assert_eq!(context.health(), StoreHealth::Available);
    outage.bench.create("ann", "t").await.unwrap();
    assert_eq!(probes(), 2);
    outage.bench.system.terminate().await;
}

#[actix::test]
async fn a_store_that_cannot_be_opened_is_tried_again_until_it_can() {
    let (store, tries) = (Arc::new(MemoryStore::default()), AtomicU32::new(0));
    let bench = Bench::start_on(ContextLimits::default(), move || {
        if tries.fetch_add(1, SeqCst) < 30 {
            return Err(StoreError::Failed("no room".to_owned()));
        }
        Ok(Arc::clone(&store) as _)
    });
    let refused = bench.create("ann", "s").await.map(drop);
    assert!(
        matches!(refused, Err(ContextError::NoAnswer(_))),
        "{refused:?}"
    );
    let StoreHealth::Unavailable { reason, .. } = bench.context.health() else {
        panic!("the outage is not seen");
    };
    assert!(reason.contains("no room"), "{reason}");
    tokio::time::sleep(Duration::from_mins(10)).await;
    bench.create("ann", "s").await.unwrap();
    bench.system.terminate().await;
}

#[actix::test]
async fn the_waits_inside_are_parts_of_one_budget() {
    for answer_timeout in [Duration::from_millis(100), Duration::from_mins(1)] {
        let limits = ContextLimits {
            answer_timeout,
            ..ContextLimits::default()
        };
        assert!(limits.lock_wait() < limits.store_timeout());
        assert!(limits.store_timeout() < answer_timeout);
    }
}

#[actix::test]
async fn changes_of_different_fields_at_once_are_all_kept() {
    let bench = Bench::start(ContextLimits::default());
    let context = &bench.context;
    bench.create("ann", "s").await.unwrap();
    let metadata = BTreeMap::from([("city".to_owned(), "Kiruna".to_owned())]);
    let changes = [
        Change {
            metadata: Some(metadata.clone()),
            ..Change::default()
        },
        Change {
            system_prompt: Some(Some("Be brief.".to_owned())),
            ..Change::default()
        },
        Change {
            prompt: Some(Some("guide".to_owned())),
            ..Change::default()
        },
    ];
    let changes = changes.map(|change| context.change("ann", "s", change));
    for changed in futures_util::future::join_all(changes).await {
        changed.unwrap();
    }
    let details = context.read("ann", "s").await.unwrap().details;
    assert_eq!(details.metadata, metadata);
    assert_eq!(details.system_prompt.as_deref(), Some("Be brief."));
    assert_eq!(details.prompt.as_deref(), Some("guide"));
    bench.system.terminate().await;
}

#[actix::test]
async fn a_page_is_bounded_in_bytes_and_goes_on_where_it_ended() {
    let limits = ContextLimits {
        page_bytes_max: 100,
        ..ContextLimits::default()
    };
    let bench = Bench::start(limits);
    let context = &bench.context;
    bench.create("ann", "s").await.unwrap();
    // The third is larger than a page, and is a page of its own.
    for size in [40, 40, 300, 40, 60, 1] {
        let kept = context.append("s", turn(&"x".repeat(size), 1, true));
        kept.await.unwrap();
    }
    let (mut after, mut pages) = (0, Vec::new());
    loop {
        let part = context.turns("ann", "s", after, 9).await.unwrap();
        let numbers: Vec<u64> = part.items.iter().map(|turn| turn.number).collect();
        after = *numbers.last().unwrap();
        pages.push(numbers);
        if !part.has_more {
            break;
        }
    }
    assert_eq!(pages, [vec![1, 2], vec![3], vec![4, 5], vec![6]]);
    bench.system.terminate().await;
}

#[actix::test]
async fn an_owner_holds_no_more_bytes_than_it_may() {
    let limits = ContextLimits {
        owner_bytes_max: 1000,
        idle_expiry: Duration::from_secs(10),
        ..ContextLimits::default()
    };
    let bench = Bench::start(limits);
    let context = &bench.context;
    let full = StoreError::BytesFull { bytes_max: 1000 };
    let full = ContextError::Store(full);
    assert!(full.to_string().contains("`context.owner_bytes_max`"));
    for id in ["a", "b"] {
        bench.create("ann", id).await.unwrap();
    }
    bench.create("bob", "c").await.unwrap();
    let appends = (0..20).map(|number| {
        let id = if number % 2 == 0 { "a" } else { "b" };
        context.append(id, turn(&"x".repeat(100), 1, true))
    });
    let results = futures_util::future::join_all(appends).await;
    let kept = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(kept, 10);
    assert_eq!(
        results
            .iter()
            .filter(|result| **result == Err(full.clone()))
            .count(),
        10
    );
    assert_eq!(context.open("ann", "a").await, Err(full.clone()));
    let long = Change {
        system_prompt: Some(Some("long".to_owned())),
        ..Change::default()
    };
    assert_eq!(context.change("ann", "a", long.clone()).await, Err(full));
    // Others are not concerned, and deletion and expiry make room.
    context.change("bob", "c", long.clone()).await.unwrap();
    context.remove_turn("ann", "a", 1).await.unwrap();
    context.change("ann", "a", long).await.unwrap();
    context.remove("ann", "b").await.unwrap();
    context.open("ann", "a").await.unwrap();
    bench.pass(Duration::from_secs(11));
    bench.create("ann", "d").await.unwrap();
    let kept = context.append("d", turn(&"x".repeat(1000), 1, true));
    assert_eq!(kept.await, Ok(1));
    bench.system.terminate().await;
}

#[actix::test]
async fn sessions_of_a_former_name_belong_to_the_present_one() {
    let store = Arc::new(MemoryStore::default());
    let before = Arc::clone(&store);
    let bench = Bench::start_on(ContextLimits::default(), move || {
        Ok(Arc::clone(&before) as _)
    });
    for (owner, id) in [
        ("hash-1", "a"),
        ("hash-2", "b"),
        ("hash-3", "c"),
        ("bob", "d"),
    ] {
        bench.create(owner, id).await.unwrap();
    }
    bench.system.terminate().await;
    tokio::time::resume();
    let former = [("hash-1", "ann"), ("hash-2", "ann"), ("hash-3", "eve")];
    let former = former.map(|(former, owner)| (former.to_owned(), owner.to_owned()));
    let after = Arc::clone(&store);
    let bench = Bench::start_renamed(ContextLimits::default(), former.to_vec(), move || {
        Ok(Arc::clone(&after) as _)
    });
    let context = &bench.context;
    assert_eq!(context.read("ann", "a").await.unwrap().owner, "ann");
    let part = context.list("ann", None, 9).await.unwrap();
    assert_eq!(part.items.len(), 2);
    assert_eq!(context.read("hash-1", "a").await.map(drop), NONE);
    assert_eq!(context.read("bob", "d").await.unwrap().owner, "bob");
    // Whoever never calls has them by the next sweep.
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(store.find("c").await.unwrap().unwrap().session.owner, "eve");
    bench.system.terminate().await;
}

#[actix::test]
async fn a_question_gives_an_owner_only_so_many_sessions() {
    let kept = Arc::new(MemoryStore::default());
    let opened = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&opened);
    let former = vec![("hash".to_owned(), "ann".to_owned())];
    let bench = Bench::start_renamed(ContextLimits::default(), former, move || {
        count.fetch_add(1, SeqCst);
        Ok(Arc::new(Fragile {
            ended: Arc::default(),
            hangs: false,
            kept: Arc::clone(&kept),
            adoption: AtomicU32::new(40),
            disk: Arc::default(),
        }) as _)
    });
    bench.create("hash", "s").await.unwrap();
    let first = bench.context.read("ann", "s").await;
    assert!(matches!(
        first,
        Err(ContextError::Store(StoreError::Failed(_)))
    ));
    assert_eq!(bench.context.read("ann", "s").await.unwrap().owner, "ann");
    assert_eq!(opened.load(SeqCst), 1);
    bench.system.terminate().await;
}
