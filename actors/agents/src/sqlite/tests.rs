//! The store in a file.

use std::sync::Arc;

use super::*;
use crate::{
    message::Message,
    run::{Began, Budget, RunState},
};

struct World {
    folder: tempfile::TempDir,
    settings: AgentStoreSettings,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = AgentStoreSettings {
            path: folder.path().join("data/agents.sqlite"),
            ..AgentStoreSettings::default()
        };
        Self { folder, settings }
    }

    fn store(&self) -> SqliteStore {
        let key = Keyring::from_hex(&"a".repeat(64)).unwrap();
        SqliteStore::new(&self.settings, Some(key))
    }

    fn disk(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(self.folder.path().join("data")).unwrap() {
            all.extend(std::fs::read(entry.unwrap().path()).unwrap());
        }
        all
    }
}

fn new(owner: &str, id: &str) -> NewRun {
    let spec = AgentSpec::new("a", "m", "secretinstructions");
    NewRun {
        id: id.to_owned(),
        owner: owner.to_owned(),
        agent: "a".to_owned(),
        now: 5,
        open_max: Some(2),
        until: 0,
        began: RunEvent::Began(Box::new(Began {
            budget: Budget::of(&spec),
            spec,
            messages: vec![Message::user("secretinput")],
            remembered: 0,
            session: None,
            caller: String::new(),
            parent: None,
            depth: 0,
            origin: std::collections::BTreeMap::new(),
            awaited: None,
        })),
    }
}

fn cancel() -> RunEvent {
    RunEvent::CancelAsked {
        by: "someone".to_owned(),
    }
}

fn end() -> RunEvent {
    RunEvent::Ended {
        code: None,
        ending: crate::run::Ending::Completed,
        text: "secrettext".to_owned(),
    }
}

fn has(disk: &[u8], text: &str) -> bool {
    disk.windows(text.len()).any(|part| part == text.as_bytes())
}

#[actix::test]
async fn nothing_exists_before_the_first_run_and_then_it_is_encrypted_and_survives() {
    let world = World::new();
    let store = world.store();
    assert!(store.agents("ann").await.unwrap().is_empty());
    assert_eq!(store.held("ann").await.unwrap(), Holdings::default());
    assert!(!store.exists());
    assert!(store.create(new("ann", "run_1")).await.unwrap());
    assert!(!store.create(new("ann", "run_1")).await.unwrap());
    let spec = AgentSpec::new("mine", "m", "secretinstructions");
    assert!(store.put_agent("ann", spec.clone(), 1).await.unwrap());
    assert!(!store.put_agent("ann", spec.clone(), 1).await.unwrap());
    let more = store
        .put_agent("ann", AgentSpec::new("more", "m", ""), 1)
        .await;
    assert_eq!(more, Err(StoreError::Full(1, "agents")));
    drop(store);
    let store = world.store();
    assert_eq!(store.agent("ann", "mine").await.unwrap(), Some(spec));
    assert_eq!(store.agent("bob", "mine").await.unwrap(), None);
    let events = store.events("ann", "run_1", 0).await.unwrap();
    assert_eq!(events.len(), 1);
    assert!(store.events("bob", "run_1", 0).await.is_err());
    let disk = world.disk();
    assert!(!has(&disk, "secretinstructions") && !has(&disk, "secretinput"));
    let other = Keyring::from_hex(&"b".repeat(64)).unwrap();
    let other = SqliteStore::new(&world.settings, Some(other));
    assert!(matches!(other.check(), Err(StoreError::Damaged(_))));
}

#[actix::test]
async fn only_the_newest_lease_writes_and_decisions_need_none() {
    let world = World::new();
    let store = world.store();
    store.create(new("ann", "run_1")).await.unwrap();
    let first = store.claim(9, 10, 20).await.unwrap();
    assert_eq!(
        (first.len(), &*first[0].owner, first[0].fence),
        (1, "ann", 1)
    );
    assert!(store.claim(9, 19, 30).await.unwrap().is_empty());
    let second = store.claim(9, 20, 30).await.unwrap();
    let lost = store.append(&first[0], 1, vec![(21, end())]).await.unwrap();
    assert_eq!(lost, Appended::Lost);
    assert!(
        store
            .add(("ann", "run_1"), 1, (22, cancel()))
            .await
            .unwrap()
    );
    assert!(
        !store
            .add(("ann", "run_1"), 1, (22, cancel()))
            .await
            .unwrap()
    );
    let renewed = store
        .renew(vec![first[0].clone(), second[0].clone()], 50)
        .await
        .unwrap();
    assert_eq!(renewed, [Renewed::Lost, Renewed::Held(2)]);
    // It does not go back to waiting with an event that its holder has not seen.
    assert!(!store.release(&second[0], 1, true).await.unwrap());
    let Appended::Done(events) = store
        .append(&second[0], 1, vec![(23, end())])
        .await
        .unwrap()
    else {
        panic!("the lease is held");
    };
    let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, [2, 3]);
    let head = store.head("ann", "run_1").await.unwrap();
    assert_eq!(
        (head.state, head.ended, head.seq),
        (RunState::Ended, Some(23), 3)
    );
    assert!(store.claim(9, 1000, 1010).await.unwrap().is_empty());
}

#[actix::test]
async fn a_run_that_waits_goes_on_after_a_decision() {
    let world = World::new();
    let store = world.store();
    store.create(new("ann", "run_1")).await.unwrap();
    let lease = store.claim(9, 10, 20).await.unwrap().remove(0);
    assert!(store.release(&lease, 1, true).await.unwrap());
    assert_eq!(store.totals().await.unwrap().waiting, 1);
    assert!(store.claim(9, 1000, 1010).await.unwrap().is_empty());
    store
        .add(("ann", "run_1"), 1, (22, cancel()))
        .await
        .unwrap();
    assert_eq!(store.claim(9, 1000, 1010).await.unwrap().len(), 1);
}

#[actix::test]
async fn bounds_pages_and_removal() {
    let world = World::new();
    let store = world.store();
    for id in ["run_1", "run_2"] {
        store.create(new("ann", id)).await.unwrap();
    }
    let full = store.create(new("ann", "run_3")).await;
    assert_eq!(full, Err(StoreError::Full(2, "runs")));
    assert!(store.create(new("bob", "run_4")).await.unwrap());
    let page = |limit, after: Option<&str>| PageQuery {
        agent: Some("a".to_owned()),
        limit,
        after: after.map(str::to_owned),
    };
    let first = store.runs("ann", page(1, None)).await.unwrap();
    assert_eq!((first.runs[0].id.as_str(), first.has_more), ("run_2", true));
    let second = store.runs("ann", page(1, Some("run_2"))).await.unwrap();
    assert_eq!(
        (second.runs[0].id.as_str(), second.has_more),
        ("run_1", false)
    );
    let unknown = store.runs("ann", page(1, Some("run_4"))).await;
    assert_eq!(unknown, Err(StoreError::NotListed));
    for lease in store.claim(9, 10, 20).await.unwrap() {
        store.append(&lease, 1, vec![(30, end())]).await.unwrap();
    }
    assert_eq!(store.sweep(30).await.unwrap(), 0);
    assert_eq!(store.sweep(31).await.unwrap(), 3);
    assert!(!store.held("ann").await.unwrap().has_key);
}

#[actix::test]
async fn an_erasure_leaves_nothing_of_an_owner_and_all_of_others() {
    let world = World::new();
    let store = world.store();
    store.create(new("ann", "run_1")).await.unwrap();
    store.create(new("bob", "run_2")).await.unwrap();
    let spec = AgentSpec::new("mine", "m", "");
    store.put_agent("ann", spec, 9).await.unwrap();
    let erased = store.erase("ann").await.unwrap();
    assert_eq!(
        (
            erased.removed.runs,
            erased.removed.agents,
            erased.removed.events
        ),
        (1, 1, 1)
    );
    assert!(erased.key_erased && erased.log_emptied);
    assert_eq!(store.held("ann").await.unwrap(), Holdings::default());
    assert_eq!(store.held("bob").await.unwrap().runs, 1);
    assert!(!has(&world.disk(), "run_1"));
}

#[actix::test]
async fn steps_of_many_at_once_share_transactions_and_one_that_fails_takes_back_only_itself() {
    let world = World::new();
    let store = Arc::new(world.store());
    let steps: Vec<_> = (0..100)
        .map(|at| {
            let store = Arc::clone(&store);
            // Every third one is there already.
            let id = format!("run_{}", at - at % 3 % 2);
            let owner = format!("owner-{}", at / 2);
            actix_rt::spawn(async move { store.create(new(&owner, &id)).await })
        })
        .collect();
    let mut made = 0;
    for step in steps {
        if step.await.unwrap().unwrap_or(false) {
            made += 1;
        }
    }
    let totals = store.totals().await.unwrap();
    assert_eq!(totals.running, made);
}

#[actix::test]
async fn a_file_that_was_replaced_is_not_written() {
    let world = World::new();
    let store = world.store();
    store.create(new("ann", "run_1")).await.unwrap();
    std::fs::remove_file(&world.settings.path).unwrap();
    let failed = store.create(new("ann", "run_2")).await;
    assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
}
