//! Prompts in a file: versions, labels, outcomes, and what a key protects.

use std::{fs, path::Path, sync::atomic::Ordering::SeqCst};

use kebne_settings::HumanDuration;

use super::*;

struct Bench {
    folder: tempfile::TempDir,
    now: Arc<AtomicU64>,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            now: Arc::new(AtomicU64::new(1000)),
        }
    }

    fn settings(&self) -> PromptStoreSettings {
        PromptStoreSettings {
            path: self.folder.path().join("data/prompts.sqlite"),
            outcomes_max: 3,
            calls_max: 5,
            keep: HumanDuration::from_secs(3600),
        }
    }

    fn open(&self, digits: &[&str]) -> Result<PromptStore> {
        let now = Arc::clone(&self.now);
        let keyring = digits.first().map(|digit| {
            let keyring = Keyring::from_hex(&digit.repeat(64)).unwrap();
            let old: Vec<String> = digits[1..].iter().map(|old| old.repeat(64)).collect();
            keyring.with_old(&old.join(" ")).unwrap()
        });
        PromptStore::new(self.settings(), keyring, Arc::new(move || now.load(SeqCst)))
    }
}

fn bytes(folder: &Path) -> Vec<u8> {
    let files = fs::read_dir(folder).unwrap();
    files
        .flat_map(|file| fs::read(file.unwrap().path()).unwrap())
        .collect()
}

fn is_in(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

async fn add(store: &PromptStore, name: &str, template: &str) -> Result<u64> {
    store
        .add_version(name, template.to_owned(), Vec::new(), "admin")
        .await
}

fn note(owner: &str, call: &str, session: Option<&str>, version: &str) -> CallNote {
    CallNote {
        owner: owner.to_owned(),
        call: call.to_owned(),
        session: session.map(str::to_owned),
        prompt: "guide".to_owned(),
        version: version.to_owned(),
    }
}

fn request(call: &str) -> CallId {
    CallId::Request(call.to_owned())
}

#[tokio::test]
async fn versions_labels_and_shares_outlive_the_process_and_a_rotation() {
    let bench = Bench::new();
    let store = bench.open(&["a"]).unwrap();
    assert!(!bench.settings().path.exists());
    assert_eq!(add(&store, "guide", "the secret template").await, Ok(1));
    assert_eq!(add(&store, "guide", "another one").await, Ok(2));
    let change = PromptChange {
        labels: BTreeMap::from([("old".to_owned(), Some(1)), ("draft".to_owned(), None)]),
        split: Some(BTreeMap::from([(1, 0.25), (2, 0.75)])),
    };
    store.change("guide", change, "ann").await.unwrap();
    let before = store.stored();
    assert_eq!(before[0].labels["live"], 1);
    assert_eq!(before[0].labels.get("draft"), None);
    assert!(!is_in(&bytes(&bench.folder.path().join("data")), "secret"));
    drop(store);
    let rotated = bench.open(&["b", "a"]).unwrap();
    assert_eq!(rotated.stored(), before);
    drop(rotated);
    let store = bench.open(&["b"]).unwrap();
    assert_eq!(store.stored(), before);
    let history = store.history("guide").await.unwrap();
    assert_eq!(history.len(), 5);
    assert_eq!((&*history[0].author, history[4].at), ("ann", 1000));
    for wrong in [&[][..], &["a"]] {
        let refused = bench.open(wrong);
        assert!(matches!(refused, Err(PromptStoreError::Damaged(_))));
    }
    // A number is not given again.
    assert_eq!(add(&store, "guide", "the third").await, Ok(3));
}

#[tokio::test]
async fn a_file_that_is_gone_is_not_replaced_by_an_empty_one() {
    let bench = Bench::new();
    let store = bench.open(&[]).unwrap();
    assert_eq!(add(&store, "guide", "a template").await, Ok(1));
    let (path, aside) = (bench.settings().path, bench.folder.path().join("aside"));
    std::fs::rename(&path, &aside).unwrap();
    for _ in 0..2 {
        let lost = add(&store, "guide", "another").await;
        assert!(matches!(lost, Err(PromptStoreError::Failed(_))), "{lost:?}");
        assert!(!path.exists());
    }
    std::fs::rename(&aside, &path).unwrap();
    assert_eq!(add(&store, "guide", "another").await, Ok(2));
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_told_and_read_later() {
    let bench = Bench::new();
    let store = bench.open(&[]).unwrap();
    assert_eq!(add(&store, "guide", "a template").await, Ok(1));
    let kept = store.stored();
    drop(store);
    let path = bench.settings().path;
    let lock = rusqlite::Connection::open(&path).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let store = bench.open(&[]).unwrap();
    let health = store.health();
    assert!(health.unread && health.failures == 1, "{health:?}");
    assert!(health.reason.unwrap().contains("lock"));
    assert!(store.stored().is_empty());
    let failed = store.read_again().await;
    assert!(
        matches!(failed, Err(PromptStoreError::Failed(_))),
        "{failed:?}"
    );
    lock.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.read_again().await, Ok(true));
    assert_eq!(store.stored(), kept);
    assert_eq!(store.read_again().await, Ok(false));
    let health = store.health();
    assert_eq!(
        (health.reason, health.unread, health.failures),
        (None, false, 2)
    );
    // What was read stays when the file fails later.
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    add(&store, "guide", "another").await.unwrap_err();
    assert_eq!(store.stored(), kept);
    assert!(store.health().reason.is_some() && !store.health().unread);
    lock.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.read_again().await, Ok(true));
    assert_eq!(store.health().reason, None);
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let bench = Bench::new();
    let store = bench.open(&[]).unwrap();
    let change = |version| PromptChange {
        labels: BTreeMap::from([("live".to_owned(), Some(version))]),
        split: None,
    };
    let missing = store.change("guide", change(1), "ann").await;
    assert_eq!(missing, Err(PromptStoreError::NoPrompt("guide".to_owned())));
    add(&store, "guide", "x").await.unwrap();
    let missing = store.change("guide", change(2), "ann").await;
    let expected = PromptStoreError::NoVersion("guide".to_owned(), 2);
    assert_eq!(missing, Err(expected));
    store.remove("guide").await.unwrap();
    assert!(store.stored().is_empty());
    let again = store.remove("guide").await;
    assert_eq!(again, Err(PromptStoreError::NoPrompt("guide".to_owned())));
}

#[tokio::test]
async fn the_outcome_of_a_call_is_kept_once_and_only_for_its_owner() {
    let bench = Bench::new();
    let store = bench.open(&["a"]).unwrap();
    store.note(note("ann", "req_1", None, "1"));
    store.note(note("ann", "req_2", Some("sess"), "2"));
    let report = async |owner: &str, call: CallId, outcome| {
        store.report(owner, "guide", call, outcome).await
    };
    let good = || Outcome::Value(1.0);
    let other = report("bob", request("req_1"), good()).await;
    assert_eq!(other, Err(PromptStoreError::NoCall));
    assert_eq!(report("ann", request("req_1"), good()).await.unwrap(), "1");
    let twice = report("ann", request("req_1"), Outcome::Value(-1.0)).await;
    assert_eq!(twice, Err(PromptStoreError::Twice));
    let session = CallId::Session("sess".to_owned());
    let solved = Outcome::Label("solved".to_owned());
    assert_eq!(report("ann", session, solved).await.unwrap(), "2");
    let tallies = store.outcomes("guide").await.unwrap();
    assert_eq!((tallies["1"].values, tallies["2"].labels["solved"]), (1, 1));
    store.note(note("ann", "req_3", None, "1"));
    store.note(note("ann", "req_4", None, "1"));
    report("ann", request("req_3"), good()).await.unwrap();
    let full = report("ann", request("req_4"), good()).await;
    assert!(matches!(full, Err(PromptStoreError::Full { max: 3, .. })));
}

#[tokio::test]
async fn calls_are_bounded_and_expire() {
    let bench = Bench::new();
    let store = bench.open(&[]).unwrap();
    for call in 0..9 {
        store.note(note("ann", &format!("req_{call}"), None, "1"));
    }
    store.tidy().await.unwrap();
    assert_eq!(store.held("ann").await.unwrap().calls, 5);
    let first = store.report("ann", "guide", request("req_3"), Outcome::Value(0.0));
    assert_eq!(first.await, Err(PromptStoreError::NoCall));
    let last = store.report("ann", "guide", request("req_8"), Outcome::Value(0.0));
    last.await.unwrap();
    bench.now.fetch_add(3_600_001, SeqCst);
    store.tidy().await.unwrap();
    assert_eq!(store.held("ann").await.unwrap(), PromptHeld::default());
}

#[tokio::test]
async fn an_erased_tenant_leaves_no_byte() {
    let bench = Bench::new();
    let store = bench.open(&["a"]).unwrap();
    for (owner, call) in [("ann", "req_of_ann"), ("bob", "req_of_bob")] {
        store.note(note(owner, call, None, "1"));
        let label = Outcome::Label(format!("label of {owner}"));
        store
            .report(owner, "guide", request(call), label)
            .await
            .unwrap();
    }
    let folder = bench.folder.path().join("data");
    assert!(is_in(&bytes(&folder), "label of ann"));
    let (erased, log_emptied) = store.erase("ann").await.unwrap();
    assert_eq!((erased.calls, erased.outcomes, log_emptied), (1, 1, true));
    assert_eq!(store.held("ann").await.unwrap(), PromptHeld::default());
    let left = bytes(&folder);
    assert!(!is_in(&left, "of ann") && !is_in(&left, "of_ann"));
    assert!(is_in(&left, "label of bob"));
}
