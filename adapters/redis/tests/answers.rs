//! Kept answers in real servers.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

#[expect(dead_code, reason = "the tests of leases use all of it")]
#[path = "leases/server.rs"]
mod server;

use kebne_answer_cache::{CacheStore as _, Entry, Keyring, Meaning, Scope, StoreError, contract};
use kebne_cache::Key;
use kebne_redis::{Options, RedisAnswers};
use kebne_retrieval::Vector;
use server::{KINDS, Server};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OTHER_KEY: &str = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn keyring(hex: &str) -> Keyring {
    Keyring::from_hex(hex).unwrap()
}

fn open(options: &Options, keyring: Option<Keyring>) -> RedisAnswers {
    RedisAnswers::new(options, keyring, contract::BOUNDS).unwrap()
}

fn entry(number: u8, text: &str) -> Entry {
    let meaning = Meaning {
        group: Key([200; 32]),
        question: text.to_owned(),
        space: "s".to_owned(),
        vector: Vector::new(&[1.0, 0.0]).unwrap(),
    };
    Entry {
        key: Key([number; 32]),
        model: "m".to_owned(),
        created: 1000,
        expires: 2000,
        body: text.as_bytes().into(),
        meaning: Some(meaning),
    }
}

fn of(owner: &str) -> Scope {
    Scope {
        owner: Some(owner.to_owned()),
        model: None,
    }
}

/// Returns everything that a server holds, as it would reach a disk.
fn dump(options: &Options) -> Vec<u8> {
    let client = redis::Client::open(options.url.as_str()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let names: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    let mut all = Vec::new();
    for name in names {
        let value: Vec<u8> = redis::cmd("DUMP")
            .arg(&name)
            .query(&mut connection)
            .unwrap();
        all.extend([name, value].concat());
    }
    all
}

fn has(all: &[u8], needle: &[u8]) -> bool {
    all.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn they_keep_the_contract() {
    for kind in KINDS {
        let server = Server::start(kind);
        let mut number = 0;
        for keyring in [None, Some(keyring(KEY))] {
            contract::check(|| {
                number += 1;
                let options = Options {
                    prefix: format!("kebne-{number}:"),
                    ..server.options()
                };
                Box::new(open(&options, keyring.clone()))
            });
        }
    }
}

#[test]
fn an_answer_of_one_gateway_is_found_by_the_other_and_what_one_erases_is_gone_for_both() {
    for kind in KINDS {
        let server = Server::start(kind);
        let options = server.options();
        let mut one = open(&options, Some(keyring(KEY)));
        let mut other = open(&options, Some(keyring(KEY)));
        one.keep("ann", entry(1, "one"), 1000).unwrap();
        let found = other.look("ann", Key([1; 32]), 1500).unwrap().unwrap();
        assert_eq!(&*found.body, b"one", "{kind}");
        let erased = one.erase(&of("ann")).unwrap();
        assert_eq!((erased.entries, erased.keys), (1, 1), "{kind}");
        assert_eq!(other.look("ann", Key([1; 32]), 1500).unwrap(), None);
        // The other one remembers a number of the owner that is gone.
        other.keep("ann", entry(2, "two"), 1000).unwrap();
        let learned = b"learned".to_vec();
        other
            .learn("ann", ("m", Key([200; 32])), learned.clone(), 0)
            .unwrap();
        assert!(one.look("ann", Key([2; 32]), 1500).unwrap().is_some());
        assert_eq!(one.learned("ann", Key([200; 32])).unwrap(), Some(learned));
        assert_eq!(one.totals().entries, 1, "{kind}");
    }
}

#[test]
fn the_server_holds_no_text_and_opens_with_no_other_key() {
    let server = Server::start(KINDS[0]);
    let options = server.options();
    let mut store = open(&options, Some(keyring(KEY)));
    store.keep("ann", entry(7, "a secret"), 1000).unwrap();
    let group = ("m", Key([200; 32]));
    store
        .learn("ann", group, b"secret too".to_vec(), 0)
        .unwrap();
    let all = dump(&options);
    assert!(has(&all, b"ann") && !has(&all, b"secret") && !has(&all, &[7; 32]));
    assert!(!has(&all, "07".repeat(32).as_bytes()));

    for wrong in [Some(keyring(OTHER_KEY)), None] {
        let found = open(&options, wrong).look("ann", Key([7; 32]), 1500);
        assert!(matches!(found, Err(StoreError::Damaged(_))), "{found:?}");
    }
    let both = keyring(OTHER_KEY).with_old(KEY).unwrap();
    let mut store = open(&options, Some(both));
    assert!(store.look("ann", Key([7; 32]), 1500).unwrap().is_some());
    let mut store = open(&options, Some(keyring(OTHER_KEY)));
    assert!(store.look("ann", Key([7; 32]), 1500).unwrap().is_some());
    store.erase(&Scope::default()).unwrap();
    assert!(!has(&dump(&options), b"ann"));
}

#[test]
fn the_number_of_an_owner_is_nobody_elses_after_the_server_has_lost_everything() {
    let server = Server::start(KINDS[0]);
    let options = server.options();
    let (mut one, mut other) = (open(&options, None), open(&options, None));
    one.keep("ann", entry(1, "of ann"), 1000).unwrap();
    let client = redis::Client::open(options.url.as_str()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let () = redis::cmd("FLUSHALL").query(&mut connection).unwrap();
    other.keep("bob", entry(2, "of bob"), 1000).unwrap();
    assert_eq!(one.look("ann", Key([2; 32]), 1500).unwrap(), None);
    one.keep("ann", entry(3, "of ann"), 1000).unwrap();
    let counts = other.counts(None).unwrap().into_iter();
    let counts: Vec<_> = counts.map(|count| (count.owner, count.entries)).collect();
    assert_eq!(counts, [("ann".to_owned(), 1), ("bob".to_owned(), 1)]);
}

#[test]
fn a_server_that_is_gone_is_a_failure_and_is_used_again_when_it_is_back() {
    let mut server = Server::start(KINDS[0]);
    let options = server.options();
    let mut store = open(&options, None);
    store.keep("ann", entry(1, "one"), 1000).unwrap();
    server.kill();
    let found = store.look("ann", Key([1; 32]), 1500);
    assert!(matches!(found, Err(StoreError::Failed(_))), "{found:?}");
    server.restart();
    // It has lost everything, also the owner's number.
    assert_eq!(store.look("ann", Key([1; 32]), 1500).unwrap(), None);
    store.keep("ann", entry(1, "one"), 1000).unwrap();
    assert!(store.look("ann", Key([1; 32]), 1500).unwrap().is_some());
    server.signal("STOP");
    let found = store.look("ann", Key([1; 32]), 1500);
    assert!(matches!(found, Err(StoreError::Failed(_))), "{found:?}");
    server.signal("CONT");
    assert!(store.look("ann", Key([1; 32]), 1500).unwrap().is_some());
}
