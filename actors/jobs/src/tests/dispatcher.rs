//! The actor that has jobs carried out.

use std::sync::Mutex;

use tokio::sync::Semaphore;

use super::*;

/// Notes what it does, and waits for a permit before each job.
struct Noting {
    permits: Semaphore,
    runs: AtomicU64,
    runs_max: AtomicU64,
    seen: Mutex<Vec<String>>,
}

impl Noting {
    fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            permits: Semaphore::new(permits),
            runs: AtomicU64::new(0),
            runs_max: AtomicU64::new(0),
            seen: Mutex::default(),
        })
    }
}

impl Worker for Noting {
    fn run<'a>(&'a self, job: &'a Leased) -> Work<'a, Outcome> {
        Box::pin(async move {
            let text = String::from_utf8(job.request.clone()).unwrap();
            self.seen.lock().unwrap().push(text.clone());
            let runs = self.runs.fetch_add(1, SeqCst) + 1;
            self.runs_max.fetch_max(runs, SeqCst);
            self.permits.acquire().await.unwrap().forget();
            self.runs.fetch_sub(1, SeqCst);
            assert!(text != "panic", "the work fails");
            Outcome::Succeeded(text.into_bytes())
        })
    }

    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> Work<'a, Delivered> {
        Box::pin(async move {
            let notice = &delivery.notice;
            let text = format!("{} {}", notice.target, notice.state);
            self.seen.lock().unwrap().push(text);
            Delivered::Done
        })
    }
}

/// Waits until something holds, which is looked at after each change.
async fn until(jobs: &Jobs, mut holds: impl AsyncFnMut() -> bool) {
    let mut changes = jobs.changes();
    let waits = async {
        while !holds().await {
            let next = tokio::time::timeout(Duration::from_millis(20), changes.recv());
            next.await.ok();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waits)
        .await
        .unwrap();
}

async fn is_in(jobs: &Jobs, id: &str, state: State) -> bool {
    jobs.job("ann", id).await.unwrap().state == state
}

#[actix::test]
async fn so_many_run_at_once_and_all_end_with_one_result() {
    let mut world = World::new();
    world.settings.at_once = 3;
    let jobs = world.jobs();
    let worker = Noting::new(0);
    jobs.connect(worker.clone()).await.unwrap();
    let mut ids = Vec::new();
    for at in 0..20 {
        ids.push(add(&jobs, "ann", &at.to_string()).await);
    }
    until(&jobs, async || worker.runs.load(SeqCst) == 3).await;
    worker.permits.add_permits(100);
    for (at, id) in ids.iter().enumerate() {
        until(&jobs, async || is_in(&jobs, id, State::Succeeded).await).await;
        let (_, result) = jobs.content("ann", id).await.unwrap();
        assert_eq!(result, at.to_string().into_bytes());
    }
    assert_eq!(worker.runs_max.load(SeqCst), 3);
    assert_eq!(worker.seen.lock().unwrap().len(), 20);
    jobs.stop();
}

#[actix::test]
async fn a_job_that_runs_is_cancelled_at_once_and_its_notice_is_delivered() {
    let world = World::new();
    let jobs = world.jobs();
    let worker = Noting::new(0);
    jobs.connect(worker.clone()).await.unwrap();
    let job = NewJob {
        notify: Some("there".to_owned()),
        ..new("one")
    };
    let id = jobs.enqueue("ann", job).await.unwrap().0.id;
    until(&jobs, async || worker.runs.load(SeqCst) == 1).await;
    jobs.cancel("ann", &id).await.unwrap();
    until(&jobs, async || is_in(&jobs, &id, State::Cancelled).await).await;
    let told = || {
        worker
            .seen
            .lock()
            .unwrap()
            .contains(&"there cancelled".to_owned())
    };
    until(&jobs, async || told()).await;
    jobs.stop();
}

#[actix::test]
async fn a_job_whose_work_panics_does_not_stop_the_others() {
    let world = World::new();
    let jobs = world.jobs();
    let worker = Noting::new(100);
    jobs.connect(worker).await.unwrap();
    let bad = add(&jobs, "ann", "panic").await;
    let good = add(&jobs, "ann", "good").await;
    until(&jobs, async || is_in(&jobs, &good, State::Succeeded).await).await;
    assert!(is_in(&jobs, &bad, State::Running).await);
    for _ in 0..world.settings.attempts_max {
        world.pass(Duration::from_mins(11));
        jobs.wake();
        tokio::task::yield_now().await;
    }
    until(&jobs, async || {
        world.pass(Duration::from_secs(31));
        jobs.wake();
        is_in(&jobs, &bad, State::Failed).await
    })
    .await;
    jobs.stop();
}

#[actix::test]
async fn what_an_earlier_process_left_is_done() {
    let world = World::new();
    let jobs = world.jobs();
    let left = add(&jobs, "ann", "left").await;
    let waits = add(&jobs, "ann", "waits").await;
    assert_eq!(take(&jobs, 1).await.jobs.len(), 1);
    jobs.stop();
    world.pass(LEASE);
    let jobs = world.jobs();
    let worker = Noting::new(100);
    jobs.connect(worker.clone()).await.unwrap();
    for id in [left, waits] {
        until(&jobs, async || is_in(&jobs, &id, State::Succeeded).await).await;
    }
    jobs.stop();
}

#[actix::test]
async fn a_stop_in_order_confirms_what_runs_and_takes_no_more() {
    let mut world = World::new();
    world.settings.at_once = 1;
    let jobs = world.jobs();
    let worker = Noting::new(0);
    jobs.connect(worker.clone()).await.unwrap();
    let first = add(&jobs, "ann", "first").await;
    let second = add(&jobs, "ann", "second").await;
    until(&jobs, async || worker.runs.load(SeqCst) == 1).await;
    jobs.drain();
    worker.permits.add_permits(2);
    jobs.when_settled().await;
    assert!(is_in(&jobs, &first, State::Succeeded).await);
    assert!(is_in(&jobs, &second, State::Queued).await);
    jobs.stop();
}
