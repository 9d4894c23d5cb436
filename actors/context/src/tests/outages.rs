//! Stores that fail, hang, are full, or cannot be opened.

use crate::store::erasure::{Looked, Next, Whose};

use super::*;

/// A store that ends once told so, or hangs; what it keeps is behind it.
pub(super) struct Fragile {
    pub(super) ended: Arc<AtomicBool>,
    pub(super) hangs: bool,
    pub(super) kept: Arc<MemoryStore>,
    /// Steps that an adoption takes before its last one.
    pub(super) adoption: AtomicU32,
    pub(super) disk: Arc<Disk>,
}

/// A disk that may be full.
pub(super) struct Disk {
    /// The largest turn that it takes.
    room: AtomicU64,
    probes: AtomicU32,
    /// Milliseconds for which the present step has been running; `u64::MAX` if that is not known.
    step_lasts: AtomicU64,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            room: AtomicU64::new(u64::MAX),
            probes: AtomicU32::new(0),
            step_lasts: AtomicU64::new(u64::MAX),
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
    fn step_lasts(&self) -> Option<Duration> {
        let millis = self.disk.step_lasts.load(SeqCst);
        (millis < u64::MAX).then(|| Duration::from_millis(millis))
    }
    fn insert(&self, session: Session, quota: Quota) -> Stored<()> {
        self.or(|| self.kept.insert(session, quota))
    }
    fn find(&self, id: &str) -> Stored<Option<Found>> {
        self.or(|| self.kept.find(id))
    }
    fn find_own(&self, named: Owned) -> Stored<Found> {
        self.or(|| self.kept.find_own(named))
    }
    fn change(&self, named: Owned, change: Change, now: u64, quota: Quota) -> Stored<Session> {
        self.or(|| self.kept.change(named, change, now, quota))
    }
    fn append_if(
        &self,
        id: &str,
        cuts: Option<u64>,
        content: TurnContent,
        now: u64,
        quota: Quota,
    ) -> Stored<u64> {
        if let Err(error) = self.disk.take(content.messages.len() as u64) {
            return Box::pin(std::future::ready(Err(error)));
        }
        self.or(|| self.kept.append_if(id, cuts, content, now, quota))
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
    fn put_turns(&self, named: Owned, turns: Vec<Turn>, quota: Quota) -> Stored<()> {
        self.or(|| self.kept.put_turns(named, turns, quota))
    }
    fn finish(&self, named: Owned, now: u64) -> Stored<Session> {
        self.or(|| self.kept.finish(named, now))
    }
    fn rewind(&self, named: Owned, to: u64, now: u64) -> Stored<Progress> {
        self.or(|| self.kept.rewind(named, to, now))
    }
    fn copy(&self, named: Owned, copying: Copying, quota: Quota) -> Stored<Progress> {
        self.or(|| self.kept.copy(named, copying, quota))
    }
    fn leaving(&self, named: Owned, tokens_max: u64) -> Stored<u64> {
        self.or(|| self.kept.leaving(named, tokens_max))
    }
    fn notes(&self, named: Owned, kind: NoteKind) -> Stored<Vec<Note>> {
        self.or(|| self.kept.notes(named, kind))
    }
    fn note(&self, named: Owned, step: NoteStep, quota: Quota) -> Stored<Vec<Option<u64>>> {
        self.or(|| self.kept.note(named, step, quota))
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
    fn count(&self) -> Stored<u64> {
        self.or(|| self.kept.count())
    }
    fn tidy(&self, alive: Alive) -> Stored<Tidied> {
        self.or(|| self.kept.tidy(alive))
    }
    fn held(&self, whose: Whose, from: Next) -> Stored<Looked> {
        self.or(|| self.kept.held(whose, from))
    }
    fn erase(&self, whose: Whose, from: Next) -> Stored<Looked> {
        self.or(|| self.kept.erase(whose, from))
    }
    fn empty_log(&self) -> Stored<bool> {
        self.or(|| self.kept.empty_log())
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
async fn a_question_that_waits_too_long_for_others_is_refused_alone() {
    let outage = Outage::start(true).await;
    let context = &outage.bench.context;
    outage.end_the_latest();
    // The step that runs is another one, and began a moment ago.
    outage.disk.step_lasts.store(5, SeqCst);
    let busy = Err(ContextError::Store(StoreError::Busy));
    assert_eq!(context.read("ann", "s").await, busy);
    let appended = context.append("s", turn("b", 1, true)).await;
    assert_eq!(appended, Err(ContextError::Store(StoreError::Busy)));
    assert_eq!(context.health(), StoreHealth::Available);
    assert_eq!((outage.opened.load(SeqCst), outage.restarts()), (1, 0));
    // One that has been running for most of the time of a question hangs.
    outage.disk.step_lasts.store(3500, SeqCst);
    let lost = Err(ContextError::Store(StoreError::Lost));
    assert_eq!(context.read("ann", "s").await, lost);
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
