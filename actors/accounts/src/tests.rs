//! Keys and sums over restarts of the process, outages of the store, and calls at the same time.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use actix::{Actor, Handler};
use kebne_actors::{ActorRef, ActorSystem, Context, Props, Spawn};
use kebne_quota::{Budget, Estimate, Exceeded, Limits, Money, Period};
use kebne_settings::Validate as _;

use super::*;

mod shared;

/// 15 March 2026, noon.
const NOON: u64 = 1_773_576_000_000;

struct Guardian;

impl Actor for Guardian {
    type Context = Context<Self>;
}

impl Handler<Spawn> for Guardian {
    type Result = ();

    fn handle(&mut self, spawn: Spawn, ctx: &mut Context<Self>) {
        spawn.perform(ctx);
    }
}

/// One run of a service with a file.
struct Run {
    system: ActorSystem,
    accounts: Accounts,
    _guardian: ActorRef<Guardian>,
}

async fn run(path: &Path) -> Run {
    run_at(path, Arc::new(AtomicU64::new(NOON))).await
}

async fn run_at(path: &Path, clock: Arc<AtomicU64>) -> Run {
    let system = ActorSystem::new("test", 1);
    let guardian = system.spawn(Props::new(|| Guardian), "guardian");
    let settings = AccountsSettings {
        path: path.to_owned(),
        groups: vec![
            group("acme", None, 1000),
            group("search", Some("acme"), 500),
        ],
        ..AccountsSettings::default()
    };
    let accounts = Accounts::new(settings, Arc::new(move || clock.load(SeqCst)));
    let thread = actix_rt::Arbiter::new().handle();
    accounts.start_under(&guardian, thread).await.unwrap();
    Run {
        system,
        accounts,
        _guardian: guardian,
    }
}

fn group(name: &str, parent: Option<&str>, tokens: u64) -> GroupSettings {
    GroupSettings {
        name: name.to_owned(),
        parent: parent.map(str::to_owned),
        limits: budget(tokens),
        ..GroupSettings::default()
    }
}

fn budget(tokens: u64) -> Limits {
    Limits {
        budgets: vec![Budget {
            tokens: Some(tokens),
            money: None,
            per: Period::Month,
        }],
        ..Limits::default()
    }
}

fn estimate(tokens: u64) -> Estimate {
    Estimate {
        tokens,
        money: Money::ZERO,
    }
}

fn key(id: &str) -> StoredKey {
    StoredKey {
        id: id.to_owned(),
        hash: "00".repeat(32),
        old: None,
        created_at: NOON / 1000,
        spec: KeySpec {
            name: format!("name of {id}"),
            group: Some("search".to_owned()),
            limits: budget(300),
            ..KeySpec::default()
        },
    }
}

fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("data/accounts.sqlite")
}

/// Makes a call that uses `tokens`.
fn call(accounts: &Accounts, account: &str, tokens: u64) -> Result<(), Exceeded> {
    let path = accounts.open(account, Some("search"), &budget(300));
    let reserved = accounts.reserve(&path, estimate(tokens));
    let reservation = reserved.map_err(|denied| denied.exceeded)?;
    reservation.settle(tokens, Money::from_nano(tokens));
    Ok(())
}

fn month(accounts: &Accounts, account: &str) -> (u64, u64) {
    let view = accounts.view(account).unwrap();
    (view.month.calls, view.month.tokens)
}

#[actix::test]
async fn keys_and_sums_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let first = run(&file(&folder)).await;
    first.accounts.put_key(key("one")).await.unwrap();
    first.accounts.put_key(key("two")).await.unwrap();
    first.accounts.remove_key("one").await.unwrap();
    call(&first.accounts, "two", 200).unwrap();
    call(&first.accounts, "two", 50).unwrap();
    first.accounts.flush().await.unwrap();
    first.system.terminate().await;
    let second = run(&file(&folder)).await;
    let keys = second.accounts.keys();
    assert_eq!(keys.into_values().collect::<Vec<_>>(), [key("two")]);
    let refused = call(&second.accounts, "two", 51);
    assert_eq!(refused, Err(Exceeded::Tokens(Period::Month)));
    call(&second.accounts, "two", 50).unwrap();
    for account in ["two", "group/search", "group/acme"] {
        assert_eq!(month(&second.accounts, account), (3, 300), "{account}");
    }
    second.system.terminate().await;
}

#[actix::test]
async fn a_group_bounds_its_keys_together() {
    let run = run(Path::new("")).await;
    call(&run.accounts, "a", 300).unwrap();
    call(&run.accounts, "b", 200).unwrap();
    let path = run.accounts.open("b", Some("search"), &budget(300));
    let denied = run.accounts.reserve(&path, estimate(1)).unwrap_err();
    assert_eq!(&*denied.account, "group/search");
    run.system.terminate().await;
}

#[actix::test]
async fn a_file_that_is_gone_or_is_none_stops_no_call_and_loses_nothing_once_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let (path, aside) = (file(&folder), folder.path().join("aside"));
    let first = run(&path).await;
    call(&first.accounts, "a", 10).unwrap();
    first.accounts.flush().await.unwrap();
    std::fs::rename(&path, &aside).unwrap();
    call(&first.accounts, "a", 10).unwrap();
    let error = first.accounts.flush().await.unwrap_err();
    assert!(error.to_string().contains("disappeared"), "{error}");
    assert!(first.accounts.put_key(key("one")).await.is_err());
    assert!(first.accounts.keys().is_empty() && !path.exists());
    assert!(first.accounts.health().reason.is_some());
    assert_eq!(month(&first.accounts, "a"), (2, 20));
    std::fs::rename(&aside, &path).unwrap();
    first.accounts.flush().await.unwrap();
    let health = first.accounts.health();
    assert_eq!((health.reason, health.failures > 0), (None, true));
    first.system.terminate().await;
    let second = run(&path).await;
    call(&second.accounts, "a", 1).unwrap();
    assert_eq!(month(&second.accounts, "a"), (3, 21));
    second.system.terminate().await;
    let other = folder.path().join("other");
    std::fs::write(&other, "this is not a store").unwrap();
    let third = run(&other).await;
    call(&third.accounts, "a", 10).unwrap();
    assert!(third.accounts.health().reason.is_some());
    third.system.terminate().await;
}

#[actix::test]
async fn a_file_that_cannot_be_read_at_the_start_is_read_later_and_its_sums_count_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let first = run(&path).await;
    call(&first.accounts, "a", 200).unwrap();
    first.accounts.put_key(key("one")).await.unwrap();
    first.accounts.flush().await.unwrap();
    first.system.terminate().await;
    let aside = folder.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    std::fs::write(&path, "this cannot be read").unwrap();
    let second = run(&path).await;
    assert!(second.accounts.health().reason.is_some());
    call(&second.accounts, "a", 50).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    second.accounts.flush().await.unwrap();
    assert_eq!(month(&second.accounts, "a"), (2, 250));
    assert_eq!(second.accounts.keys().len(), 1);
    let refused = call(&second.accounts, "a", 60);
    assert_eq!(refused, Err(Exceeded::Tokens(Period::Month)));
    second.system.terminate().await;
}

#[actix::test]
async fn a_reservation_that_is_dropped_is_given_back() {
    let run = run(Path::new("")).await;
    let path = run.accounts.open("a", None, &budget(300));
    let reserved = run.accounts.reserve(&path, estimate(300)).unwrap();
    assert!(run.accounts.reserve(&path, estimate(1)).is_err());
    drop(reserved);
    assert_eq!(month(&run.accounts, "a"), (1, 0));
    assert!(run.accounts.reserve(&path, estimate(300)).is_ok());
    assert_eq!(run.accounts.view("a").unwrap().running, 0);
    run.system.terminate().await;
}

#[actix::test]
async fn calls_of_many_threads_never_exceed_a_budget() {
    let run = run(Path::new("")).await;
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let accounts = run.accounts.clone();
            std::thread::spawn(move || (0..200).filter(|_| call(&accounts, "a", 7).is_ok()).count())
        })
        .collect();
    let admitted: usize = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert_eq!(admitted, 300 / 7);
    assert_eq!(month(&run.accounts, "a"), (42, 294));
    run.system.terminate().await;
}

#[actix::test]
async fn a_new_month_begins_with_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicU64::new(NOON));
    let first = run_at(&file(&folder), Arc::clone(&clock)).await;
    call(&first.accounts, "a", 300).unwrap();
    assert!(call(&first.accounts, "a", 1).is_err());
    clock.fetch_add(31 * 86_400_000, SeqCst);
    call(&first.accounts, "a", 100).unwrap();
    first.accounts.flush().await.unwrap();
    first.system.terminate().await;
    let second = run_at(&file(&folder), clock).await;
    call(&second.accounts, "a", 100).unwrap();
    assert_eq!(month(&second.accounts, "a"), (2, 200));
    second.system.terminate().await;
}

#[actix::test]
async fn a_sum_that_does_not_fit_stays_and_stops_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let first = run(&file(&folder)).await;
    for _ in 0..3 {
        let path = first.accounts.open("huge", None, &Limits::default());
        let reservation = first.accounts.reserve(&path, estimate(1)).unwrap();
        reservation.settle(u64::MAX, Money::from_nano(u64::MAX));
        first.accounts.flush().await.unwrap();
    }
    call(&first.accounts, "a", 100).unwrap();
    first.accounts.flush().await.unwrap();
    first.system.terminate().await;
    let second = run(&file(&folder)).await;
    second.accounts.open("huge", None, &Limits::default());
    second.accounts.open("a", None, &Limits::default());
    assert_eq!(month(&second.accounts, "a"), (1, 100));
    let largest = u64::try_from(i64::MAX).unwrap();
    assert_eq!(month(&second.accounts, "huge"), (3, largest));
    second.system.terminate().await;
}

#[test]
fn groups_must_exist_and_form_no_circle() {
    let settings = |groups: &[(&str, Option<&str>)]| AccountsSettings {
        groups: groups
            .iter()
            .map(|(name, parent)| group(name, *parent, 1))
            .collect(),
        ..AccountsSettings::default()
    };
    let paths = |groups: &[(&str, Option<&str>)]| {
        let errors = settings(groups).validate("accounts");
        errors
            .into_iter()
            .map(|error| error.path)
            .collect::<Vec<_>>()
    };
    assert_eq!(paths(&[("a", None), ("b", Some("a"))]), [""; 0]);
    assert_eq!(paths(&[("a", Some("c"))]), ["accounts.groups[0].parent"]);
    let circle = paths(&[("a", Some("b")), ("b", Some("a"))]);
    assert_eq!(circle.len(), 2, "{circle:?}");
    assert_eq!(
        paths(&[("a", None), ("a", None)]),
        ["accounts.groups[1].name"]
    );
    let chain = paths(&[
        ("a", None),
        ("b", Some("a")),
        ("c", Some("b")),
        ("d", Some("c")),
        ("e", Some("d")),
    ]);
    assert_eq!(chain, ["accounts.groups[4].parent"]);
}

#[actix::test]
async fn groups_of_the_store_bound_their_keys_and_survive_restarts_and_reloads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.sqlite");
    let first = run(&path).await;
    let stored = group("team", Some("acme"), 10);
    first.accounts.put_group(stored.clone()).await.unwrap();
    let names = |accounts: &Accounts| {
        let settings = accounts.settings();
        let chain = settings.chain("team").into_iter();
        chain.map(|group| group.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&first.accounts), ["team", "acme"]);
    let estimate = Estimate {
        tokens: 11,
        ..Estimate::default()
    };
    let reserve = |accounts: &Accounts| {
        let opened = accounts.open("key_1", Some("team"), &Limits::default());
        accounts.reserve(&opened, estimate).map(drop)
    };
    let denied = reserve(&first.accounts).unwrap_err();
    assert_eq!(&*denied.account, "group/team");
    first.system.terminate().await;

    let second = run(&path).await;
    assert_eq!(second.accounts.stored_groups(), [stored]);
    assert!(reserve(&second.accounts).is_err());
    second.accounts.change(AccountsSettings {
        groups: vec![group("acme", None, 1000)],
        ..AccountsSettings::default()
    });
    assert_eq!(names(&second.accounts), ["team", "acme"]);
    assert!(reserve(&second.accounts).is_err());
    let raised = group("team", Some("acme"), 100);
    second.accounts.put_group(raised).await.unwrap();
    assert!(reserve(&second.accounts).is_ok());
    assert_eq!(second.accounts.missing_groups(), Vec::<String>::new());
    second.accounts.change(AccountsSettings::default());
    assert_eq!(second.accounts.missing_groups(), ["acme"]);
    // A group of the settings takes the place of one with its name.
    second.accounts.change(AccountsSettings {
        groups: vec![group("acme", None, 1000), group("team", None, 5)],
        ..AccountsSettings::default()
    });
    assert_eq!(names(&second.accounts), ["team"]);
    assert_eq!(second.accounts.stored_groups(), []);
    second.accounts.remove_group("team").await.unwrap();
    second.accounts.change(AccountsSettings::default());
    assert!(second.accounts.view("group/team").is_none());
    second.system.terminate().await;
}
