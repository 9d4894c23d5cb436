//! A file that cannot be used now: locked, full, gone; and a thread that panics or hangs.

use super::*;

fn hasty(path: &Path) -> SqliteFile {
    SqliteFile::new(path.to_owned(), None, Duration::from_millis(200))
}

async fn with_a_session(path: &Path) -> SqliteStore {
    let store = hasty(path).open().unwrap();
    store.insert(session("s", 1), QUOTA).await.unwrap();
    store
}

fn is_unavailable<T: std::fmt::Debug>(result: &Result<T, StoreError>, words: &str) {
    let Err(StoreError::Failed(reason)) = result else {
        panic!("{result:?}");
    };
    assert!(reason.contains(words), "{reason}");
}

#[tokio::test]
async fn a_lock_costs_writers_their_time_and_readers_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = with_a_session(&path).await;
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..3 {
        let append = || store.append("s", content("x", 1), 2, QUOTA);
        let (appended, found) = tokio::join!(append(), store.find("s"));
        is_unavailable(&appended, "another process uses the file");
        assert_eq!(found.unwrap().unwrap().session.turns, 0);
        // However many wait, each waits for its own time only.
        let began = Instant::now();
        let many = (0..300).map(|_| append());
        for appended in futures_util::future::join_all(many).await {
            is_unavailable(&appended, "another process uses the file");
        }
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    }
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.append("s", content("x", 1), 2, QUOTA).await, Ok(1));
}

#[tokio::test]
async fn a_step_that_nobody_waits_for_any_more_is_not_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = open(&path, None);
    store.insert(session("s", 1), QUOTA).await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut abandoned = store.append("s", content("abandoned", 1), 2, QUOTA);
    // It is with the thread once this one's answer is there.
    let read = store.find("s");
    tokio::select! {
        biased;
        _ = &mut abandoned => panic!("the lock is held"),
        found = read => drop(found),
    }
    drop(abandoned);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.append("s", content("x", 1), 2, QUOTA).await, Ok(1));
    let part = store.turns(named("ann", "s"), 0, PART).await.unwrap();
    assert_eq!(part.items[0].content, content("x", 1));
}

#[tokio::test]
async fn a_locked_file_is_opened_when_the_lock_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    write(&path, None).await;
    let other = rusqlite::Connection::open(&path).unwrap();
    // Not even readers are let in.
    other
        .pragma_update(None, "locking_mode", "EXCLUSIVE")
        .unwrap();
    other.execute_batch("BEGIN EXCLUSIVE; COMMIT").unwrap();
    is_unavailable(&hasty(&path).check(), "locked");
    let store = hasty(&path).open().unwrap();
    is_unavailable(&store.find("s").await, "locked");
    drop(other);
    assert_eq!(store.find("s").await.unwrap().unwrap().session.turns, 3);
}

#[tokio::test]
async fn a_file_that_is_gone_is_missed_and_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/s");
    let store = with_a_session(&path).await;
    let away = folder.path().join("away");
    fs::rename(path.parent().unwrap(), &away).unwrap();
    is_unavailable(&store.find("s").await, "is gone");
    is_unavailable(
        &store.append("s", content("x", 1), 2, QUOTA).await,
        "is gone",
    );
    is_unavailable(&store.insert(session("t", 1), QUOTA).await, "is gone");
    is_unavailable(&store.tidy(Alive::default()).await, "is gone");
    assert!(!path.exists());
    fs::rename(&away, path.parent().unwrap()).unwrap();
    assert_eq!(store.append("s", content("x", 1), 2, QUOTA).await, Ok(1));
    // Another one in its place would be mixed with the log of this one.
    let (other, away) = (folder.path().join("other"), folder.path().join("away"));
    write(&other, None).await;
    fs::rename(&path, &away).unwrap();
    fs::copy(&other, &path).unwrap();
    is_unavailable(&store.find("s").await, "is not the file");
    assert!(
        fs::read(&other).unwrap() == fs::read(&path).unwrap(),
        "it is left as it is"
    );
    fs::rename(&away, &path).unwrap();
    assert_eq!(store.append("s", content("x", 1), 2, QUOTA).await, Ok(2));
}

fn beside(path: &Path, end: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Truncates a file in another process: closing it would end the locks that this one holds on it.
fn truncate(path: &Path, size: u64) {
    let mut truncate = std::process::Command::new("truncate");
    let status = truncate.arg(format!("--size={size}")).arg(path).status();
    assert!(status.unwrap().success());
}

/// Copies the files as a process that is killed leaves them, and returns the turns that the next one finds.
async fn turns_after_a_kill(path: &Path) -> Result<Vec<u64>, StoreError> {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("s");
    for end in ["", "-wal"] {
        let (from, to) = (beside(path, end), beside(&copy, end));
        if from.exists() {
            // Closing a file would end the locks that this process holds on it.
            let copied = std::process::Command::new("cp").arg(from).arg(to).status();
            assert!(copied.unwrap().success());
        }
    }
    numbers(&open(&copy, None), "s").await
}

#[tokio::test]
async fn acknowledged_turns_outlive_a_log_that_is_removed_or_replaced() {
    for (ends, is_replaced) in [
        (&["-wal"][..], false),
        (&["-shm"], false),
        (&["-wal", "-shm"], false),
        (&["-wal"], true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let store = with_a_session(&path).await;
        let append = || store.append("s", content("x", 1), 2, QUOTA);
        assert_eq!(append().await, Ok(1));
        for end in ends {
            fs::remove_file(beside(&path, end)).unwrap();
            if is_replaced {
                fs::write(beside(&path, end), "another file").unwrap();
            }
        }
        is_unavailable(&append().await, "was removed or replaced");
        assert_eq!(append().await, Ok(2), "{ends:?}");
        assert_eq!(turns_after_a_kill(&path).await, Ok(vec![1, 2]), "{ends:?}");
        assert_eq!(numbers(&store, "s").await, Ok(vec![1, 2]), "{ends:?}");
    }
}

#[tokio::test]
async fn no_turn_is_acknowledged_into_a_log_that_was_truncated() {
    for tenths in [0, 5, 9] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let store = with_a_session(&path).await;
        let append = || store.append("s", content(&"x".repeat(9000), 1), 2, QUOTA);
        for number in 1..=20 {
            assert_eq!(append().await, Ok(number));
        }
        // A program that asks `SQLite` to make the log smaller does no harm.
        let other = rusqlite::Connection::open(&path).unwrap();
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        other.query_row(checkpoint, [], |_| Ok(())).unwrap();
        drop(other);
        for number in 21..=40 {
            assert_eq!(append().await, Ok(number));
        }
        let log = beside(&path, "-wal");
        let size = fs::metadata(&log).unwrap().len();
        truncate(&log, size / 10 * tenths);
        is_unavailable(&append().await, "was truncated");
        let number = append().await.unwrap();
        assert!((21..40).contains(&number), "{number}");
        let expected: Vec<u64> = (1..=number).collect();
        assert_eq!(turns_after_a_kill(&path).await, Ok(expected.clone()));
        assert_eq!(numbers(&store, "s").await, Ok(expected));
        drop(store);
        assert_eq!(file(&path, None).check(), Ok(()));
    }
}

#[tokio::test]
async fn an_index_that_was_truncated_ends_no_process_and_loses_no_turn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = with_a_session(&path).await;
    let append = || store.append("s", content("x", 1), 2, QUOTA);
    assert_eq!(append().await, Ok(1));
    truncate(&beside(&path, "-shm"), 0);
    is_unavailable(&append().await, "was truncated");
    assert_eq!(append().await, Ok(2));
    assert_eq!(turns_after_a_kill(&path).await, Ok(vec![1, 2]));
    assert_eq!(numbers(&store, "s").await, Ok(vec![1, 2]));
}

#[tokio::test]
async fn a_turn_is_not_acknowledged_when_its_log_is_removed_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = with_a_session(&path).await;
    let log = beside(&path, "-wal");
    let removes = store.step(Access::Writes, Ok(()), move |_| {
        fs::remove_file(log).unwrap();
        Ok(())
    });
    let append = || store.append("s", content("x", 1), 2, QUOTA);
    let (removed, appended) = tokio::join!(removes, append());
    let mut kept: Vec<u64> = appended.into_iter().collect();
    assert!(removed.is_err() || kept.is_empty(), "{kept:?}");
    kept.extend(append().await);
    let found = turns_after_a_kill(&path).await.unwrap();
    assert!(
        kept.iter().all(|number| found.contains(number)),
        "{kept:?} {found:?}"
    );
}

#[tokio::test]
async fn concurrent_appends_do_not_exceed_the_turns_of_a_session() {
    let folder = tempfile::tempdir().unwrap();
    let quota = Quota {
        turns_max: 3,
        ..QUOTA
    };
    let store = with_a_session(&folder.path().join("s")).await;
    let appends = (0..8).map(|_| store.append("s", content("x", 1), 2, quota));
    let mut results = futures_util::future::join_all(appends).await;
    results.sort_by_key(|result| result.clone().unwrap_or(u64::MAX));
    assert_eq!(results[..3], [Ok(1), Ok(2), Ok(3)]);
    for refused in &results[3..] {
        assert_eq!(*refused, Err(StoreError::TurnsFull));
    }
    assert_eq!(numbers(&store, "s").await, Ok(vec![1, 2, 3]));
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_costs_an_error_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let in_the_way = folder.path().join("data");
    fs::write(&in_the_way, "").unwrap();
    let path = in_the_way.join("s");
    let store = hasty(&path).open().unwrap();
    is_unavailable(&store.insert(session("s", 1), QUOTA).await, "");
    fs::remove_file(&in_the_way).unwrap();
    store.insert(session("s", 1), QUOTA).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_loses_no_acknowledged_turn_and_keeps_none_that_was_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = open(&path, None);
    store.insert(session("s", 1), QUOTA).await.unwrap();
    let pages = async |pages: u32| {
        let limit =
            store.step(Access::Writes, Ok(()), move |database| {
                let connection = &database.connection;
                Ok(connection
                    .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?)
            });
        limit.await.unwrap();
    };
    let text = "x".repeat(5000);
    let mut kept = Vec::new();
    for _ in 0..4 {
        // An aborted transaction has the file opened again, without the bound.
        pages(40).await;
        let appends = (0..20).map(|_| store.append("s", content(&text, 1), 2, QUOTA));
        let results = futures_util::future::join_all(appends).await;
        kept.extend(results.into_iter().filter_map(Result::ok));
    }
    pages(40).await;
    let refused = loop {
        match store.append("s", content(&text, 1), 2, QUOTA).await {
            Ok(number) if number < 100 => kept.push(number),
            refused => break refused,
        }
    };
    is_unavailable(&refused, "full");
    pages(40).await;
    is_unavailable(&store.probe(50_000).await, "full");
    assert!((10..80).contains(&kept.len()), "{}", kept.len());
    assert_eq!(numbers(&store, "s").await.unwrap(), kept);
    pages(10_000).await;
    let log = || fs::metadata(beside(&path, "-wal")).unwrap().len();
    let before = log();
    assert_eq!(store.probe(10_000_000).await, Ok(()));
    assert!(
        before < 5_000_000 && log() >= 10_000_000,
        "{before} {}",
        log()
    );
    let next = kept.len() as u64 + 1;
    assert_eq!(
        store.append("s", content(&text, 1), 2, QUOTA).await,
        Ok(next)
    );
}

#[tokio::test]
async fn a_store_that_cannot_be_created_leaves_nothing_and_old_drafts_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sqlite");
    // The store cannot get its name, because a link that leads nowhere has it.
    std::os::unix::fs::symlink(folder.path().join("none/s"), &path).unwrap();
    let store = hasty(&path).open().unwrap();
    for _ in 0..3 {
        assert!(store.insert(session("s", 1), QUOTA).await.is_err());
    }
    let names = || {
        let files = fs::read_dir(folder.path()).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["s.sqlite"]);
    let hour_ago = std::time::SystemTime::now() - Duration::from_hours(1);
    for (name, is_old) in [
        ("s.0123456789abcdef.draft", true),
        ("s.0123456789abcdef.draft-shm", true),
        ("s.0123456789abcdef.draft-wal", true),
        ("s.1123456789abcdef.draft", false),
        ("s.draft", true),
        ("other.0123456789abcdef.draft", true),
    ] {
        let file = fs::File::create(folder.path().join(name)).unwrap();
        if is_old {
            file.set_modified(hour_ago).unwrap();
        }
    }
    hasty(&path).check().unwrap();
    let left = [
        "other.0123456789abcdef.draft",
        "s.1123456789abcdef.draft",
        "s.draft",
        "s.sqlite",
    ];
    assert_eq!(names(), left);
}

#[tokio::test]
async fn a_draft_has_no_files_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    file::create(&path, None).unwrap();
    let mode: String = rusqlite::Connection::open(&path)
        .unwrap()
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "delete", "the store gets its log when it is opened");
    let store = hasty(&path).open().unwrap();
    store.insert(session("s", 1), QUOTA).await.unwrap();
    assert!(beside(&path, "-wal").exists());
}

#[tokio::test]
async fn a_panic_on_the_thread_loses_the_store_and_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let file = file(&path, None);
    let store = file.open().unwrap();
    store.insert(session("s", 1), QUOTA).await.unwrap();
    let panics = store.step::<()>(Access::Writes, Ok(()), |_| panic!("a bug"));
    let (appended, panicked) = tokio::join!(store.append("s", content("x", 1), 2, QUOTA), panics);
    assert_eq!(panicked, Err(StoreError::Lost));
    assert_eq!(store.find("s").await, Err(StoreError::Lost));
    let next = file.open().unwrap();
    let kept: Vec<u64> = appended.into_iter().collect();
    assert_eq!(numbers(&next, "s").await.unwrap(), kept);
}

#[tokio::test]
async fn threads_that_hang_are_few() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let file = file(&path, None);
    let first = file.open().unwrap();
    first.insert(session("s", 1), QUOTA).await.unwrap();
    drop(first);
    let mut hanging = Vec::new();
    while let Ok(store) = file.open() {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let hangs = store.step(Access::Reads, Ok(()), move |_| {
            released.recv().ok();
            Ok(())
        });
        let hangs = tokio::spawn(hangs);
        hanging.push((release, hangs));
        assert!(hanging.len() <= THREADS_MAX);
    }
    is_unavailable(&file.open(), "hang");
    drop(hanging);
    loop {
        if let Ok(store) = file.open() {
            assert!(store.find("s").await.unwrap().is_some());
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_step_that_waits_too_long_for_others_is_refused_and_not_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = with_a_session(&path).await;
    let idle = async || {
        while store.step_lasts() > Some(Duration::ZERO) {
            tokio::task::yield_now().await;
        }
    };
    idle().await;
    let (release, released) = std::sync::mpsc::channel::<()>();
    let long = store.step(Access::Reads, Ok(()), move |_| {
        released.recv().ok();
        Ok(())
    });
    let long = tokio::spawn(long);
    while store.step_lasts() < Some(Duration::from_millis(5)) {
        tokio::task::yield_now().await;
    }
    let waiting = tokio::spawn(store.append("s", content("x", 1), 2, QUOTA));
    // The long step is still the one that runs when the time of the other is over.
    while store.step_lasts() < Some(Duration::from_millis(300)) {
        tokio::task::yield_now().await;
    }
    drop(release);
    long.await.unwrap().unwrap();
    assert_eq!(waiting.await.unwrap(), Err(StoreError::Busy));
    assert!(numbers(&store, "s").await.unwrap().is_empty());
    idle().await;
}
