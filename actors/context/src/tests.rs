//! The rules of sessions, on a store in memory and in paused time.

mod contract;
mod log;
mod outages;
mod owners;

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
        Alive, Copying, Details, Fit, Found, Note, NoteKind, NoteStep, Owned, Part, PartSize,
        Progress, Quota, RoutingChange, Session, SessionStore, StoreError, Stored, Tidied, Turn,
        TurnContent,
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
        ..Change::default()
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
async fn what_routes_remember_changes_only_if_it_is_what_was_read() {
    let bench = Bench::start(ContextLimits::default());
    bench.create("ann", "s").await.unwrap();
    let change = async |before: Option<&str>, after: &str| {
        let change = Change {
            routing: Some(RoutingChange {
                cuts: None,
                before: before.map(str::to_owned),
                after: after.to_owned(),
            }),
            ..Change::default()
        };
        let session = bench.context.change("ann", "s", change).await.unwrap();
        session.details.routing
    };
    assert_eq!(change(None, "1").await.as_deref(), Some("1"));
    assert_eq!(change(None, "2").await.as_deref(), Some("1"));
    assert_eq!(change(Some("1"), "2").await.as_deref(), Some("2"));
    let other = Change {
        metadata: Some(BTreeMap::new()),
        ..Change::default()
    };
    bench.context.change("ann", "s", other).await.unwrap();
    let read = bench.context.read("ann", "s").await.unwrap();
    assert_eq!(read.details.routing.as_deref(), Some("2"));
    // It is not for another owner.
    let foreign = Change {
        routing: Some(RoutingChange {
            cuts: None,
            before: Some("2".to_owned()),
            after: "3".to_owned(),
        }),
        ..Change::default()
    };
    let foreign = bench.context.change("bob", "s", foreign).await;
    assert_eq!(foreign, Err(ContextError::Store(StoreError::NoSuchSession)));
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
