//! Batches and notices.

use super::*;
use crate::sqlite::Collecting;

fn batch(requests: &[&str], notify: Option<&str>) -> NewBatch {
    let job = |request: &&str| NewJob {
        label: format!("label of {request}"),
        ..new(request)
    };
    NewBatch {
        details: b"details".to_vec(),
        jobs: requests.iter().map(job).collect(),
        lifetime: HOUR,
        notify: notify.map(str::to_owned),
    }
}

async fn ended(jobs: &Jobs) -> Option<Collecting> {
    jobs.next_ended_batch(LEASE).await.unwrap()
}

#[actix::test]
async fn a_batch_ends_when_its_jobs_have_and_is_collected_once() {
    let world = World::new();
    let jobs = world.jobs();
    let made = jobs
        .add_batch("ann", batch(&["1", "2"], Some("there")))
        .await;
    let made = made.unwrap();
    assert_eq!((made.counts.total, made.counts.open), (2, 2));
    let listed = jobs.jobs(
        "ann",
        PageQuery {
            limit: 9,
            after: None,
        },
        None,
    );
    assert!(listed.await.unwrap().items.is_empty());
    let taken = take(&jobs, 9).await.jobs;
    let done = Outcome::Succeeded(b"done".to_vec());
    jobs.confirm(&taken[0], done, 2).await.unwrap();
    assert_eq!(ended(&jobs).await, None);
    let failed = Outcome::Failed(b"no".to_vec());
    jobs.confirm(&taken[1], failed, 2).await.unwrap();
    let left = ended(&jobs).await.unwrap();
    // Whoever collects it may end meanwhile.
    assert_eq!(ended(&jobs).await, None);
    world.pass(LEASE);
    let collecting = ended(&jobs).await.unwrap();
    let lines = jobs.lines(&collecting, 0, 1).await.unwrap();
    assert_eq!((lines.len(), lines[0].label.as_str()), (1, "label of 1"));
    let lines = jobs.lines(&collecting, lines[0].number, 9).await.unwrap();
    assert_eq!((lines.len(), lines[0].state), (1, State::Failed));
    assert_eq!(lines[0].result, b"no");
    assert!(!jobs.end_batch(left, b"stale".to_vec()).await.unwrap());
    assert!(jobs.end_batch(collecting, b"new".to_vec()).await.unwrap());
    let read = jobs.batch("ann", &made.id).await.unwrap();
    assert_eq!((read.counts.succeeded, read.counts.failed), (1, 1));
    assert_eq!(
        (read.details.as_slice(), read.ended.is_some()),
        (&b"new"[..], true)
    );
    let (delivery, _) = jobs.next_delivery(LEASE).await.unwrap();
    let notice = delivery.unwrap().notice;
    assert_eq!((notice.target.as_str(), notice.of), ("there", made.id));
    assert_eq!(
        (notice.kind.as_str(), notice.state.as_str()),
        ("batch", "succeeded")
    );
}

#[actix::test]
async fn a_batch_that_does_not_fit_is_not_queued_at_all() {
    let mut world = World::new();
    world.settings.waiting_max = 2;
    let jobs = world.jobs();
    let full = jobs.add_batch("ann", batch(&["1", "2", "3"], None)).await;
    assert!(full.unwrap_err().to_string().contains("`jobs.waiting_max`"));
    assert!(take(&jobs, 9).await.jobs.is_empty());
}

#[actix::test]
async fn a_cancelled_batch_ends_with_what_was_done() {
    let world = World::new();
    let jobs = world.jobs();
    let made = jobs.add_batch("ann", batch(&["1", "2", "3"], None)).await;
    let id = made.unwrap().id;
    let taken = take(&jobs, 2).await.jobs;
    let done = Outcome::Succeeded(b"done".to_vec());
    jobs.confirm(&taken[0], done, 2).await.unwrap();
    let batch = jobs.cancel_batch("ann", &id).await.unwrap();
    assert_eq!((batch.counts.cancelled, batch.counts.open), (1, 1));
    let lease = vec![taken[1].lease];
    let renewed = jobs.renew(lease, LEASE).await.unwrap();
    assert_eq!(renewed, [Renewed::Cancelling]);
    jobs.confirm(&taken[1], Outcome::Cancelled, 2)
        .await
        .unwrap();
    let collecting = ended(&jobs).await.unwrap();
    let counts = collecting.batch.counts;
    assert_eq!((counts.succeeded, counts.cancelled), (1, 2));
}

#[actix::test]
async fn a_notice_is_written_with_the_end_and_taken_again_after_its_lease() {
    let world = World::new();
    let jobs = world.jobs();
    let with_notice = NewJob {
        notify: Some("there".to_owned()),
        ..new("one")
    };
    let (job, _) = jobs.enqueue("ann", with_notice).await.unwrap();
    assert_eq!(jobs.next_delivery(LEASE).await.unwrap(), (None, None));
    jobs.cancel("ann", &job.id).await.unwrap();
    let first = jobs.next_delivery(LEASE).await.unwrap().0.unwrap();
    assert_eq!(
        (first.attempt, first.notice.state.as_str()),
        (1, "cancelled")
    );
    let next = world.now.load(SeqCst) + 30_000;
    assert_eq!(jobs.next_delivery(LEASE).await.unwrap(), (None, Some(next)));
    world.pass(LEASE);
    let second = jobs.next_delivery(LEASE).await.unwrap().0.unwrap();
    assert_eq!((second.attempt, &second.id), (2, &first.id));
    // What the first one says counts no more.
    jobs.settle_delivery(&first, None).await.unwrap();
    let wait = Some(Duration::from_secs(1));
    jobs.settle_delivery(&second, wait).await.unwrap();
    world.pass(Duration::from_secs(1));
    let third = jobs.next_delivery(LEASE).await.unwrap().0.unwrap();
    jobs.settle_delivery(&third, None).await.unwrap();
    assert_eq!(jobs.next_delivery(LEASE).await.unwrap(), (None, None));
    assert!(!has(&world.disk(), "there"));
}
