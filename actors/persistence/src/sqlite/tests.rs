//! The journal in a file.

use super::*;

fn payload(text: &str) -> Payload {
    Payload {
        manifest: "1".to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

fn event(sequence: u64, text: &str) -> Recorded {
    Recorded {
        sequence,
        payload: payload(text),
    }
}

#[tokio::test]
async fn what_was_written_is_read_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let journal = SqliteJournal::open(&path).unwrap();
    journal
        .append("a", 1, vec![payload("x"), payload("y")])
        .await
        .unwrap();
    journal
        .append("b", 1, vec![payload("other")])
        .await
        .unwrap();
    journal.save("a", event(2, "state")).await.unwrap();
    drop(journal);
    let journal = SqliteJournal::open(&path).unwrap();
    let events = journal.read("a", 1, 10).await.unwrap();
    assert_eq!(events, [event(1, "x"), event(2, "y")]);
    assert_eq!(journal.latest("a").await.unwrap(), Some(event(2, "state")));
    assert_eq!(journal.highest("a").await.unwrap(), 2);
    assert_eq!(journal.latest("b").await.unwrap(), None);
}

#[tokio::test]
async fn a_number_that_is_taken_is_refused_and_leaves_no_trace_beside_others_that_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path().join("journal")).unwrap();
    journal.append("a", 1, vec![payload("x")]).await.unwrap();
    // Queued together, so that they share a transaction.
    let refused = journal.append("a", 1, vec![payload("again")]);
    let taken = journal.append("a", 2, vec![payload("y")]);
    let conflict = JournalError::Conflict {
        id: "a".to_owned(),
        sequence: 1,
    };
    assert_eq!(refused.await, Err(conflict));
    assert_eq!(taken.await, Ok(()));
    let events = journal.read("a", 1, 10).await.unwrap();
    assert_eq!(events, [event(1, "x"), event(2, "y")]);
}

#[tokio::test]
async fn deleted_events_leave_the_highest_number() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path().join("journal")).unwrap();
    let events = vec![payload("x"), payload("y"), payload("z")];
    journal.append("a", 1, events).await.unwrap();
    journal.delete("a", 3).await.unwrap();
    assert_eq!(journal.read("a", 1, 10).await.unwrap(), []);
    assert_eq!(journal.highest("a").await.unwrap(), 3);
}

#[tokio::test]
async fn a_file_that_is_not_a_journal_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    std::fs::write(
        &path,
        "this is text, and much longer than the header of a database file is, \
        which has a hundred bytes in all",
    )
    .unwrap();
    let Err(JournalError::Failed(message)) = SqliteJournal::open(&path) else {
        panic!("it opened a text");
    };
    assert!(message.contains("not a database"), "{message}");
}
