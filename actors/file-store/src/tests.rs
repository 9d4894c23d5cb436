use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use actix_rt::Arbiter;
use kebne_actors::{ActorRef, ActorSystem, AskError};
use kebne_file::{FileError, Kind, OpenFile, OwnedFile, Tables};

use crate::{Claim, FileKeeper, FileStore, StepKind, do_step, time_for};

const KIND: Kind = Kind {
    name: "numbers",
    application: 0x4b65_6254,
    format: 1,
    key_check: "kebne numbers",
    busy: Duration::from_millis(100),
};

const TABLES: Tables = Tables {
    create: &["CREATE TABLE numbers (number INTEGER NOT NULL) STRICT;"],
    upgrade: Tables::no_upgrade,
    survives_power_loss: false,
};

#[derive(Clone)]
struct Numbers(OwnedFile);

#[derive(Debug)]
enum Why {
    Store(String),
    NoAnswer,
}

impl From<FileError> for Why {
    fn from(error: FileError) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<AskError> for Why {
    fn from(_: AskError) -> Self {
        Self::NoAnswer
    }
}

impl FileStore for Numbers {
    type Open = OpenFile;
    type Error = FileError;

    fn file(&self) -> &OwnedFile {
        &self.0
    }

    fn open(&self) -> Result<OpenFile, FileError> {
        self.0.open()
    }

    fn open_file(open: &mut OpenFile) -> &mut OpenFile {
        open
    }

    fn is_failure(_: &FileError) -> bool {
        true
    }
}

fn file(path: &Path) -> Numbers {
    Numbers(OwnedFile::new(
        PathBuf::from(path),
        (KIND, TABLES),
        None,
        1 << 20,
    ))
}

fn put(open: &mut OpenFile, number: i64) -> Result<(), FileError> {
    let insert = "INSERT INTO numbers VALUES (?1)";
    open.connection.execute(insert, [number])?;
    Ok(())
}

fn sum(open: &mut OpenFile) -> Result<i64, FileError> {
    let sum = "SELECT coalesce(sum(number), 0) FROM numbers";
    Ok(open.connection.query_row(sum, [], |row| row.get(0))?)
}

fn keeper(store: &Numbers) -> (ActorSystem, ActorRef<FileKeeper<Numbers>>, Arbiter) {
    let (system, thread) = (ActorSystem::new("test", 7), Arbiter::new());
    let sweep = Arc::new(|open: &mut OpenFile| {
        let removed = open
            .connection
            .execute("DELETE FROM numbers WHERE number < 0", [])?;
        Ok(removed as u64)
    });
    let props = FileKeeper::props(store.clone(), sweep, thread.handle());
    let keeper = system.spawn(props, "numbers");
    (system, keeper, thread)
}

#[test]
fn an_abandoned_step_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = file(&folder.path().join("n.sqlite"));
    let mut open = store.open().unwrap();
    let claim = Claim::default();
    let done = Numbers::transaction(&mut open, &claim, |open| {
        put(open, 7)?;
        // The caller gives up while the step works.
        assert!(claim.abandon());
        Ok(())
    });
    assert!(
        done.unwrap_err()
            .to_string()
            .contains("longer than its caller waited")
    );
    let kept = Numbers::transaction(&mut open, &Claim::default(), sum);
    assert_eq!(kept, Ok(0));
}

#[test]
fn a_committed_step_cannot_be_abandoned() {
    let claim = Claim::default();
    assert!(claim.commit());
    assert!(!claim.abandon());
    let other = Claim::default();
    assert!(other.abandon());
    assert!(other.abandon(), "abandoning twice is the same");
    assert!(!other.commit());
}

#[test]
fn a_large_step_has_more_time() {
    assert_eq!(time_for(0), Duration::from_secs(10));
    assert_eq!(time_for(3 << 20), Duration::from_secs(16));
}

#[actix::test]
async fn a_step_is_done_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = file(&folder.path().join("n.sqlite"));
    let (_system, keeper, thread) = keeper(&store);
    let time = time_for(0);
    let put_both = |open: &mut OpenFile| {
        put(open, 1)?;
        put(open, 2)
    };
    let done: Result<(), Why> = do_step(&keeper, StepKind::Makes, time, put_both).await;
    assert!(done.is_ok(), "{done:?}");
    let half = |open: &mut OpenFile| {
        put(open, 4)?;
        Err::<(), _>(FileError::Failed("no more".to_owned()))
    };
    let done: Result<(), Why> = do_step(&keeper, StepKind::Writes, time, half).await;
    assert!(matches!(done, Err(Why::Store(_))), "{done:?}");
    let total: Result<i64, Why> = do_step(&keeper, StepKind::Reads, time, sum).await;
    assert_eq!(total.unwrap(), 3);
    thread.stop();
}

#[actix::test]
async fn a_step_that_panics_loses_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = file(&folder.path().join("n.sqlite"));
    let (_system, keeper, thread) = keeper(&store);
    let time = time_for(0);
    let first = |open: &mut OpenFile| put(open, 1);
    let done: Result<(), Why> = do_step(&keeper, StepKind::Makes, time, first).await;
    assert!(done.is_ok(), "{done:?}");
    let panics = |open: &mut OpenFile| -> Result<(), FileError> {
        put(open, 2)?;
        panic!("in the middle of a step")
    };
    let done: Result<(), Why> = do_step(&keeper, StepKind::Writes, time, panics).await;
    assert!(matches!(done, Err(Why::NoAnswer)), "{done:?}");
    let total: Result<i64, Why> = do_step(&keeper, StepKind::Reads, time, sum).await;
    assert_eq!(total.unwrap(), 1);
    thread.stop();
}

#[actix::test]
async fn a_file_that_disappeared_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("n.sqlite");
    let store = file(&path);
    let (_system, keeper, thread) = keeper(&store);
    let first = |open: &mut OpenFile| put(open, 1);
    let done: Result<(), Why> = do_step(&keeper, StepKind::Makes, time_for(0), first).await;
    assert!(done.is_ok(), "{done:?}");
    std::fs::remove_file(&path).unwrap();
    let second = |open: &mut OpenFile| put(open, 2);
    let done: Result<(), Why> = do_step(&keeper, StepKind::Makes, time_for(0), second).await;
    let Err(Why::Store(message)) = done else {
        panic!("{done:?}");
    };
    assert!(message.contains("has disappeared"), "{message}");
    assert!(!path.exists());
    thread.stop();
}
