//! What was removed leaves the log beside the file within the promised time.

use super::*;

/// Returns everything in a folder.
fn disk(folder: &std::path::Path) -> Vec<u8> {
    let entries = std::fs::read_dir(folder).unwrap();
    let files = entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    files.flatten().collect()
}

fn has(folder: &std::path::Path, text: &str) -> bool {
    let disk = disk(folder);
    disk.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn the_promised_time_is_a_minute() {
    assert!(ContextLimits::default().sweep_every <= Duration::from_mins(1));
}

#[actix::test]
async fn rewound_text_is_taken_out_of_the_log_by_the_next_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.sqlite");
    let file = SqliteFile::new(path, None, Duration::from_secs(30));
    let system = ActorSystem::new("test", 1);
    let limits = ContextLimits {
        // The file works in real time, so that the test cannot pause it.
        sweep_every: Duration::from_secs(1),
        ..ContextLimits::default()
    };
    let parts = ContextParts {
        open: Arc::new(move || Ok(Arc::new(file.open()?) as _)),
        limits,
        clock: Arc::new(|| 1_000_000_000),
        former_owners: Vec::new(),
    };
    let context = ContextHandle::start(&system, parts);
    let details = Details::default();
    let created = context.create("ann", "s".to_owned(), details).await;
    created.unwrap();
    context
        .append("s", turn("this-stays", 1, true))
        .await
        .unwrap();
    let said = format!("this-was-said {}", "and more ".repeat(2000));
    context.append("s", turn(&said, 1, true)).await.unwrap();
    assert!(has(folder.path(), "this-was-said"));
    context.rewind("ann", "s", 1).await.unwrap();
    // The bound is wide because the machine may be busy.
    for tries in 0.. {
        if !has(folder.path(), "this-was-said") {
            break;
        }
        assert!(tries < 300, "it is on the disk after 30 s");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(has(folder.path(), "this-stays"));
    system.terminate().await;
}
