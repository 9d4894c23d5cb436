//! The erasure in stores that keep, refuse or create.

use std::{
    cell::{Cell, RefCell},
    fs,
    path::Path,
    rc::Rc,
};

use kebne_context::Keyring;
use serde_json::json;

use super::*;

/// A store that keeps a number of things.
#[derive(Clone, Default)]
struct Fake {
    held: Rc<Cell<u64>>,
    has_key: Rc<Cell<bool>>,
    knows_users: bool,
    /// What appears after each erasure.
    created: Rc<RefCell<Vec<u64>>>,
}

impl Fake {
    fn kept(&self) -> Kept {
        Kept {
            items: BTreeMap::from([("things", self.held.get())]),
            bytes: 10 * self.held.get(),
            has_key: self.has_key.get(),
            ..Kept::default()
        }
    }
}

impl Erasable for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }
    fn knows_users(&self) -> bool {
        self.knows_users
    }
    fn count<'a>(&'a self, _: &'a Whose) -> Answer<'a, Kept> {
        Box::pin(async { Ok(self.kept()) })
    }
    fn erase<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Erased> {
        Box::pin(async {
            let removed = self.kept();
            let created = self.created.borrow_mut().pop().unwrap_or_default();
            self.held.set(created);
            let erases_key = whose.user.is_none() && created == 0;
            let key_erased = erases_key && self.has_key.replace(false);
            Ok(Erased {
                removed,
                key_erased,
                log_emptied: true,
                ..Erased::default()
            })
        })
    }
}

fn whose(user: Option<&str>) -> Whose {
    Whose {
        tenant: "ann".to_owned(),
        user: user.map(str::to_owned),
    }
}

fn who(master: Option<&str>) -> Who {
    Who {
        key: "laptop".to_owned(),
        request_id: "req_1".to_owned(),
        master: master.map(|digit| Keyring::from_hex(&digit.repeat(64)).unwrap()),
    }
}

fn holding(held: u64) -> Fake {
    Fake {
        held: Rc::new(Cell::new(held)),
        has_key: Rc::new(Cell::new(true)),
        ..Fake::default()
    }
}

#[actix::test]
async fn a_report_says_what_was_removed_and_that_nothing_is_left() {
    let stores: Vec<Box<dyn Erasable>> = vec![Box::new(holding(3))];
    let report = erase(&stores, &whose(None), &who(None)).await.unwrap();
    let report = report.value();
    let store = &report["stores"][0];
    assert_eq!(store["removed"]["items"]["things"], 3);
    assert_eq!(store["key"], "destroyed");
    assert_eq!(
        (&store["verified"], &report["verified"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(report["keys_destroyed"], 1);
    assert_eq!(report.get("signature"), None);
}

#[actix::test]
async fn what_is_created_meanwhile_is_erased_too_or_the_report_says_that_it_is_left() {
    let store = holding(3);
    *store.created.borrow_mut() = vec![0, 2];
    let stores: Vec<Box<dyn Erasable>> = vec![Box::new(store)];
    let report = erase(&stores, &whose(None), &who(None)).await.unwrap();
    assert_eq!(report.value()["stores"][0]["removed"]["items"]["things"], 5);
    assert_eq!(report.value()["verified"], true);
    let store = holding(3);
    *store.created.borrow_mut() = vec![1; 9];
    let stores: Vec<Box<dyn Erasable>> = vec![Box::new(store), Box::new(holding(1))];
    let report = erase(&stores, &whose(None), &who(None)).await.unwrap();
    let [first, second] = [0, 1].map(|at| &report.value()["stores"][at]);
    assert_eq!(
        (&first["verified"], &first["key"]),
        (&json!(false), &json!("kept"))
    );
    assert_eq!(first["left"]["items"]["things"], 1);
    assert_eq!(second["verified"], true);
    assert_eq!(report.value()["verified"], false);
}

#[actix::test]
async fn a_store_that_knows_no_users_takes_no_part_in_the_erasure_of_one() {
    let (mut knows, other) = (holding(2), holding(7));
    knows.knows_users = true;
    let stores: Vec<Box<dyn Erasable>> = vec![Box::new(knows), Box::new(other.clone())];
    let report = erase(&stores, &whose(Some("eve")), &who(None))
        .await
        .unwrap();
    let [first, second] = [0, 1].map(|at| &report.value()["stores"][at]);
    assert_eq!(
        (&first["verified"], &first["key"]),
        (&json!(true), &json!("kept"))
    );
    assert_eq!(second["covered"], false);
    assert_eq!(other.held.get(), 7);
    assert_eq!(report.value()["verified"], true);
}

#[actix::test]
async fn a_signature_holds_for_the_whole_report_and_outlives_a_rotation() {
    let stores: Vec<Box<dyn Erasable>> = vec![Box::new(holding(3))];
    let report = erase(&stores, &whose(None), &who(Some("a"))).await.unwrap();
    let key = |digit: &str| Keyring::from_hex(&digit.repeat(64)).unwrap();
    let report = report.value().clone();
    assert!(has_signed(&key("a"), &report));
    let rotated = key("b").with_old(&"a".repeat(64)).unwrap();
    assert!(has_signed(&rotated, &report));
    assert!(!has_signed(&key("b"), &report));
    // The order of members does not matter, their values do.
    let text = report.to_string();
    assert!(has_signed(&key("a"), &serde_json::from_str(&text).unwrap()));
    for (from, to) in [("\"ann\"", "\"bob\""), (":3", ":2"), ("destroyed", "kept")] {
        assert!(text.contains(from), "{from}");
        let changed = serde_json::from_str(&text.replace(from, to)).unwrap();
        assert!(!has_signed(&key("a"), &changed), "{from}");
    }
    let unsigned = erase(&stores, &whose(None), &who(None)).await.unwrap();
    assert!(!has_signed(&key("a"), unsigned.value()));
}

/// The folders that open a database, each with the stores of its content or the reason why it holds nothing of callers.
const DATABASES: [(&str, &str); 9] = [
    ("actors/accounts", "numbers of keys and budgets, no texts"),
    ("actors/agents", "agents"),
    ("actors/cache", "cache"),
    ("actors/collections", "collections"),
    ("actors/context", "sessions, backend_files, prompts"),
    ("actors/event-bus", "events"),
    ("actors/jobs", "jobs"),
    (
        "actors/persistence",
        "events of a program that uses the crate",
    ),
    ("src", "decisions about backends, no texts"),
];

#[test]
fn a_new_store_cannot_be_forgotten() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let folders = ["src", "adapters", "cache", "routing"].map(|name| root.join(name));
    let actors = fs::read_dir(root.join("actors")).unwrap();
    let actors = actors.map(|folder| folder.unwrap().path());
    for folder in folders.into_iter().chain(actors) {
        if folder.is_dir() && opens_a_database(&folder) {
            let name = folder.strip_prefix(root).unwrap();
            found.push(name.display().to_string());
        }
    }
    found.sort();
    let known = DATABASES.map(|(folder, _)| folder);
    assert_eq!(found, known, "list the store in `privacy::stores` and here");
}

fn opens_a_database(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_owned();
        if path.is_dir() {
            return name != "target" && name != "tests" && opens_a_database(&path);
        }
        let is_code = path.extension().is_some_and(|end| end == "rs") && name != "tests.rs";
        let ways = ["Connection::open", "PrivateFile::new", "OwnedFile::new"];
        let opens = |code: String| ways.iter().any(|way| code.contains(way));
        is_code && opens(fs::read_to_string(&path).unwrap())
    })
}
