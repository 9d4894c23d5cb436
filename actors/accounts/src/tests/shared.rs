//! Accounts that several gateways share, in one process.

use std::{sync::atomic::AtomicBool, time::Duration};

use tokio::time::{Instant, sleep};

use super::*;
use crate::store::{BlockStore, SharedStore};

/// A store that can be taken away.
#[derive(Clone)]
struct Switched {
    store: LocalStore,
    is_gone: Arc<AtomicBool>,
}

impl Switched {
    fn check(&self) -> Result<(), StoreError> {
        if self.is_gone.load(SeqCst) {
            return Err(StoreError("it is gone".to_owned()));
        }
        Ok(())
    }
}

impl KeyStore for Switched {
    fn keys(&mut self) -> Result<Vec<StoredKey>, StoreError> {
        self.check().and_then(|()| self.store.keys())
    }

    fn put_key(&mut self, key: &StoredKey) -> Result<(), StoreError> {
        self.check().and_then(|()| self.store.put_key(key))
    }

    fn remove_key(&mut self, id: &str) -> Result<(), StoreError> {
        self.check().and_then(|()| self.store.remove_key(id))
    }

    fn groups(&mut self) -> Result<Vec<GroupSettings>, StoreError> {
        self.check().and_then(|()| self.store.groups())
    }

    fn put_group(&mut self, group: &GroupSettings) -> Result<(), StoreError> {
        self.check().and_then(|()| self.store.put_group(group))
    }

    fn remove_group(&mut self, name: &str) -> Result<(), StoreError> {
        self.check().and_then(|()| self.store.remove_group(name))
    }

    fn revision(&mut self) -> Result<u64, StoreError> {
        self.check().and_then(|()| self.store.revision())
    }
}

impl BlockStore for Switched {
    fn settle(
        &mut self,
        gateway: &str,
        asks: &[(String, Ask)],
        ttl: Duration,
    ) -> Result<Vec<Grant>, StoreError> {
        self.check()
            .and_then(|()| self.store.settle(gateway, asks, ttl))
    }
}

impl SharedStore for Switched {
    fn restore(
        &mut self,
        revision: u64,
        keys: &[StoredKey],
        groups: &[GroupSettings],
    ) -> Result<(), StoreError> {
        self.check()
            .and_then(|()| self.store.restore(revision, keys, groups))
    }
}

fn real_time() -> WallClock {
    let start = std::time::Instant::now();
    Arc::new(move || NOON + u64::try_from(start.elapsed().as_millis()).unwrap())
}

fn switched() -> Switched {
    Switched {
        store: LocalStore::new(real_time()),
        is_gone: Arc::default(),
    }
}

/// Starts a gateway whose clock is `ahead` by milliseconds.
async fn gateway(store: &Switched, name: &str, ahead: u64) -> Run {
    let system = ActorSystem::new("test", 1);
    let guardian = system.spawn(Props::new(|| Guardian), "guardian");
    let store = store.clone();
    let open = move || {
        store.check()?;
        Ok(Box::new(store.clone()) as Box<dyn SharedStore>)
    };
    let mut sharing = Sharing::new(name.to_owned(), Arc::new(open));
    (sharing.every, sharing.ttl) = (Duration::from_millis(50), Duration::from_millis(600));
    // Tests wait for an answer also where the machine is busy.
    sharing.wait = Duration::from_millis(200);
    let clock = real_time();
    let clock = Arc::new(move || clock() + ahead);
    let accounts = Accounts::shared(AccountsSettings::default(), clock, sharing);
    let thread = actix_rt::Arbiter::new().handle();
    accounts.start_under(&guardian, thread).await.unwrap();
    Run {
        system,
        accounts,
        _guardian: guardian,
    }
}

async fn admit(run: &Run, limits: &Limits, tokens: u64) -> Result<Reservation, Denied> {
    let path = run.accounts.open("a", None, limits);
    run.accounts.admit(&path, estimate(tokens)).await
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(10), "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn the_stores_keep_their_contracts() {
    let store = LocalStore::new(Arc::new(|| {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
        u64::try_from(now.unwrap().as_millis()).unwrap()
    }));
    let (mut one, mut other) = (store.clone(), store);
    assert_eq!(contract::check_keys(&mut one, &mut other), Ok(()));
    assert_eq!(contract::check_blocks(&mut one, &mut other, "t"), Ok(()));
    let folder = tempfile::tempdir().unwrap();
    let open = || SqliteStore::open(SqlitePlace::new(&file(&folder))).unwrap();
    assert_eq!(contract::check_keys(&mut open(), &mut open()), Ok(()));
    assert_eq!(contract::check_sums(&mut open()), Ok(()));
}

#[actix::test]
async fn two_gateways_use_one_budget_and_their_clocks_may_be_wrong() {
    let store = switched();
    let one = gateway(&store, "one", 0).await;
    let other = gateway(&store, "other", 600_000).await;
    let mut admitted = 0;
    for index in 0..200 {
        let run = if index % 3 == 0 { &other } else { &one };
        if let Ok(reservation) = admit(run, &budget(300), 7).await {
            reservation.settle(7, Money::ZERO);
            admitted += 1;
        }
    }
    // A call may be refused while the other gateway holds what is left, until its next renewal.
    sleep(Duration::from_millis(200)).await;
    for run in [&one, &other, &one, &other] {
        while let Ok(reservation) = admit(run, &budget(300), 7).await {
            reservation.settle(7, Money::ZERO);
            admitted += 1;
        }
        sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(admitted, 300 / 7);
    let denied = admit(&one, &budget(300), 7).await.unwrap_err();
    assert_eq!(denied.exceeded, Exceeded::Tokens(Period::Month));
    until("both know of all calls", || {
        month(&one.accounts, "a") == (42, 294) && month(&other.accounts, "a") == (42, 294)
    })
    .await;
    one.system.terminate().await;
    other.system.terminate().await;
}

#[actix::test]
async fn without_the_store_calls_go_on_with_a_fair_part_and_count_once_afterwards() {
    let store = switched();
    let one = gateway(&store, "one", 0).await;
    let other = gateway(&store, "other", 0).await;
    for run in [&one, &other] {
        admit(run, &budget(1000), 100)
            .await
            .unwrap()
            .settle(100, Money::ZERO);
        run.accounts.flush().await.unwrap();
    }
    admit(&one, &budget(1000), 1)
        .await
        .unwrap()
        .settle(0, Money::ZERO);
    one.accounts.flush().await.unwrap();
    store.is_gone.store(true, SeqCst);
    until("the lease is over", || {
        one.accounts.shared_health().unwrap().state == BlocksState::Over
    })
    .await;
    let mut used = 0;
    while let Ok(reservation) = admit(&one, &budget(1000), 50).await {
        reservation.settle(50, Money::ZERO);
        used += 50;
    }
    // Half of what was left, or its block and half of the rest.
    assert!((300..=700).contains(&used), "{used}");
    assert!(one.accounts.health().reason.is_some());
    assert_eq!(one.accounts.shared_health().unwrap().fair_parts, 1);
    store.is_gone.store(false, SeqCst);
    until("the store is back", || {
        let health = one.accounts.shared_health().unwrap();
        health.state == BlocksState::Held && health.fair_parts == 0
    })
    .await;
    // Its idle account has the sums of all gateways when they are wanted.
    let since = Instant::now();
    while month(&other.accounts, "a").1 != 200 + used {
        assert!(since.elapsed() < Duration::from_secs(10));
        // The store may just have failed.
        let _read = other.accounts.refresh("a").await;
        sleep(Duration::from_millis(20)).await;
    }
    one.system.terminate().await;
    other.system.terminate().await;
}

#[actix::test]
async fn keys_and_groups_of_one_gateway_are_in_effect_at_others_and_survive_the_store() {
    let store = switched();
    let one = gateway(&store, "one", 0).await;
    let other = gateway(&store, "other", 0).await;
    one.accounts.put_key(key("k")).await.unwrap();
    one.accounts
        .put_group(group("search", None, 9))
        .await
        .unwrap();
    until("the other has the key", || {
        other.accounts.keys().contains_key("k") && other.accounts.stored_groups().len() == 1
    })
    .await;
    // The store loses everything.
    store.store.lose();
    until("the store has the key again", || {
        store.store.clone().keys().unwrap().len() == 1
    })
    .await;
    other.accounts.remove_key("k").await.unwrap();
    until("the key is gone everywhere", || {
        one.accounts.keys().is_empty()
    })
    .await;
    assert_eq!(one.accounts.stored_groups().len(), 1);
    store.is_gone.store(true, SeqCst);
    assert!(one.accounts.put_key(key("k")).await.is_err());
    assert_eq!(one.accounts.stored_groups().len(), 1);
    one.system.terminate().await;
    other.system.terminate().await;
}

#[actix::test]
async fn a_gateway_that_leaves_gives_its_blocks_back_at_once() {
    let store = switched();
    let one = gateway(&store, "one", 0).await;
    let other = gateway(&store, "other", 0).await;
    let limits = Limits {
        requests_at_once: Some(1),
        ..Limits::default()
    };
    drop(admit(&one, &limits, 1).await.unwrap());
    assert!(admit(&other, &limits, 1).await.is_err());
    one.accounts.leave().await.unwrap();
    sleep(Duration::from_millis(320)).await;
    assert!(admit(&other, &limits, 1).await.is_ok());
    one.system.terminate().await;
    other.system.terminate().await;
}
