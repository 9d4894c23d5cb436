//! What owners may hold, and owners that have another name now.

use super::{outages::Fragile, *};

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
async fn a_turn_that_will_have_no_room_is_refused_in_advance() {
    let limits = ContextLimits {
        owner_bytes_max: 1000,
        ..ContextLimits::default()
    };
    let bench = Bench::start(limits);
    let context = &bench.context;
    let full = ContextError::Store(StoreError::BytesFull { bytes_max: 1000 });
    bench.create("ann", "a").await.unwrap();
    context
        .append("a", turn(&"x".repeat(500), 1, true))
        .await
        .unwrap();
    context.open_for("ann", "a", 300).await.unwrap();
    assert_eq!(context.open_for("ann", "a", 600).await, Err(full.clone()));
    assert_eq!(context.fit_for("a", 9, 300).await.unwrap().len(), 1);
    assert_eq!(context.fit_for("a", 9, 600).await, Err(full.clone()));
    let create =
        |id: &str, bytes| context.create_for("ann", id.to_owned(), Details::default(), bytes);
    assert_eq!(create("b", 600).await, Err(full));
    create("b", 300).await.unwrap();
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
