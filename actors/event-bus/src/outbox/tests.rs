//! The outbox on a file.

use std::path::Path;

use kebne_settings::ByteCount;

use super::*;
use crate::settings::WhenFull;

fn parts(folder: &Path, key: Option<&str>) -> OutboxParts {
    OutboxParts {
        settings: OutboxSettings {
            path: folder.join("events.sqlite"),
            ..OutboxSettings::default()
        },
        keyring: key.map(|digit| Keyring::from_hex(&digit.repeat(64)).unwrap()),
    }
}

fn message(number: u32) -> Message {
    Message::new(
        format!("id-{number}"),
        "call.ended.ann.-",
        "ann",
        format!("{{\"n\":{number}}}"),
    )
}

fn put(outbox: &Outbox, numbers: std::ops::Range<u32>) {
    for number in numbers {
        outbox.put(message(number));
    }
    outbox.flush();
}

fn ids(outbox: &Outbox) -> Vec<String> {
    let (answer, found) = oneshot::channel();
    let read = Command::Read(100, answer);
    outbox.commands.blocking_send(read).unwrap();
    let found = found.blocking_recv().unwrap().unwrap();
    found.into_iter().map(|(_, one)| one.unwrap().id).collect()
}

#[test]
fn what_waits_is_there_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = Outbox::start(parts(folder.path(), Some("a"))).unwrap();
    put(&outbox, 0..3);
    drop(outbox);
    let outbox = Outbox::start(parts(folder.path(), Some("a"))).unwrap();
    assert_eq!(outbox.counts().waiting, 3);
    assert_eq!(ids(&outbox), ["id-0", "id-1", "id-2"]);
}

#[test]
fn the_file_shows_nothing_of_a_message_and_opens_only_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = Outbox::start(parts(folder.path(), Some("a"))).unwrap();
    put(&outbox, 0..1);
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for text in ["id-0", "call.ended", "ann"] {
            let found = bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes());
            assert!(!found, "{text}");
        }
    }
    drop(outbox);
    let wrong = Outbox::start(parts(folder.path(), Some("b")));
    assert!(matches!(
        wrong,
        Err(StartError::File(FileError::Damaged(_)))
    ));
    let mut rotated = parts(folder.path(), Some("b"));
    let keyring = rotated.keyring.take().unwrap();
    rotated.keyring = Some(keyring.with_old(&"a".repeat(64)).unwrap());
    assert_eq!(ids(&Outbox::start(rotated).unwrap()), ["id-0"]);
    let only_new = Outbox::start(parts(folder.path(), Some("b"))).unwrap();
    assert_eq!(ids(&only_new), ["id-0"]);
}

#[test]
fn a_full_outbox_drops_by_its_rule_and_counts() {
    for (when_full, kept) in [
        (WhenFull::DropOldest, ["id-3", "id-4"]),
        (WhenFull::DropNewest, ["id-0", "id-1"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut parts = parts(folder.path(), None);
        parts.settings.events_max = 2;
        parts.settings.when_full = when_full;
        let outbox = Outbox::start(parts).unwrap();
        put(&outbox, 0..5);
        assert_eq!(ids(&outbox), kept);
        let counts = outbox.counts();
        assert_eq!((counts.waiting, counts.dropped), (2, 3));
    }
}

#[test]
fn bytes_are_bounded_too_and_a_message_larger_than_all_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let mut parts = parts(folder.path(), None);
    parts.settings.bytes_max = ByteCount::from_kib(1);
    let outbox = Outbox::start(parts).unwrap();
    outbox.put(Message::new("large", "a", "k", "x".repeat(2000)));
    put(&outbox, 0..40);
    let counts = outbox.counts();
    assert!(counts.bytes <= 1024 && counts.waiting > 5, "{counts:?}");
    assert_eq!(counts.dropped + counts.waiting, 41);
    assert_eq!(ids(&outbox).last().unwrap(), "id-39");
}

#[test]
fn the_messages_of_a_tenant_can_be_erased() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = Outbox::start(parts(folder.path(), None)).unwrap();
    for (id, key) in [
        ("1", "ann"),
        ("2", "ann.s"),
        ("3", "anna"),
        ("4", "ann%2Fbob"),
    ] {
        outbox.put(Message::new(id, "a", key, "{}"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    assert_eq!(runtime.block_on(outbox.count_of("ann")), Ok(3));
    assert_eq!(runtime.block_on(outbox.erase("ann")), Ok(3));
    assert_eq!(ids(&outbox), ["3"]);
    assert_eq!(outbox.counts().waiting, 1);
}

#[test]
fn a_file_that_disappears_is_said_and_the_messages_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = Outbox::start(parts(folder.path(), None)).unwrap();
    put(&outbox, 0..1);
    std::fs::remove_file(folder.path().join("events.sqlite")).unwrap();
    put(&outbox, 1..3);
    let counts = outbox.counts();
    assert_eq!(counts.failed, 2);
    assert!(counts.reason.unwrap().contains("disappeared"));
}
