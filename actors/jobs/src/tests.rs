//! Jobs through their handle, with a clock that the tests move.

mod batches;
mod dispatcher;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{Actor, Handler};
use kebne_actors::{ActorRef, ActorSystem, Context, Props, Spawn};
use kebne_settings::{ByteCount, HumanDuration};
use tempfile::TempDir;

use kebne_file_store::StepKind;

use super::*;

struct Parent;

impl Actor for Parent {
    type Context = Context<Self>;
}

impl Handler<Spawn> for Parent {
    type Result = ();

    fn handle(&mut self, spawn: Spawn, ctx: &mut Context<Self>) {
        spawn.perform(ctx);
    }
}

/// A process with jobs; the next one has the same folder.
struct World {
    _system: ActorSystem,
    parent: ActorRef<Parent>,
    folder: TempDir,
    now: Arc<AtomicU64>,
    settings: JobsSettings,
}

impl World {
    fn new() -> Self {
        let system = ActorSystem::new("test", 7);
        let parent = system.spawn(Props::new(|| Parent), "parent");
        let folder = tempfile::tempdir().unwrap();
        let settings = JobsSettings {
            path: folder.path().join("data/jobs.sqlite"),
            ..JobsSettings::default()
        };
        Self {
            _system: system,
            parent,
            now: Arc::new(AtomicU64::new(1_000_000)),
            settings,
            folder,
        }
    }

    fn jobs(&self) -> Jobs {
        let now = Arc::clone(&self.now);
        let parts = JobsParts {
            settings: self.settings.clone(),
            keyring: Some(Keyring::from_hex(&"a".repeat(64)).unwrap()),
            clock: Arc::new(move || now.load(SeqCst)),
        };
        Jobs::new(&self.parent, parts)
    }

    fn pass(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.now.fetch_add(millis, SeqCst);
    }

    /// Returns everything in the folder of the store.
    fn disk(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(self.folder.path().join("data")).unwrap() {
            all.extend(std::fs::read(entry.unwrap().path()).unwrap());
        }
        all
    }
}

fn has(disk: &[u8], text: &str) -> bool {
    disk.windows(text.len()).any(|part| part == text.as_bytes())
}

fn new(request: &str) -> NewJob {
    NewJob {
        request: request.into(),
        lifetime: HOUR,
        ..NewJob::default()
    }
}

async fn add(jobs: &Jobs, owner: &str, request: &str) -> String {
    jobs.enqueue(owner, new(request)).await.unwrap().0.id
}

async fn take(jobs: &Jobs, most: usize) -> Taken {
    let needs = Needs {
        most,
        per_owner: 4,
        lease: LEASE,
        attempts_max: 2,
    };
    jobs.take(needs).await.unwrap()
}

fn requests(taken: &Taken) -> Vec<String> {
    let texts = taken.jobs.iter().map(|job| job.request.clone());
    texts.map(|text| String::from_utf8(text).unwrap()).collect()
}

const LEASE: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_hours(1);

fn again(after: u64, counts: bool) -> Outcome {
    Outcome::Again {
        after: Duration::from_secs(after),
        counts,
        result: b"last".to_vec(),
    }
}

#[actix::test]
async fn nothing_exists_before_the_first_job() {
    let world = World::new();
    let jobs = world.jobs();
    assert!(take(&jobs, 1).await.jobs.is_empty());
    let missing = JobError::Store(StoreError::NotFound("job"));
    assert_eq!(jobs.job("ann", "job_1").await, Err(missing));
    assert!(!world.settings.path.exists());
}

#[actix::test]
async fn jobs_are_taken_by_priority_and_owners_take_turns() {
    let world = World::new();
    let jobs = world.jobs();
    for request in ["a1", "a2", "a3", "a4", "a5", "a6"] {
        add(&jobs, "ann", request).await;
    }
    add(&jobs, "bob", "b1").await;
    let urgent = NewJob {
        priority: 0,
        ..new("urgent")
    };
    let late = NewJob {
        priority: 3,
        ..new("late")
    };
    jobs.enqueue("cy", late).await.unwrap();
    jobs.enqueue("cy", urgent).await.unwrap();
    // All are of priority 0 but one.
    let taken = take(&jobs, 100).await;
    assert_eq!(
        requests(&taken),
        ["a1", "b1", "urgent", "a2", "a3", "a4", "late"]
    );
    // Four of an owner may run at once.
    assert!(take(&jobs, 100).await.jobs.is_empty());
    let done = Outcome::Succeeded(b"done".to_vec());
    jobs.confirm(&taken.jobs[0], done, 2).await.unwrap();
    assert_eq!(requests(&take(&jobs, 100).await), ["a5"]);
}

#[actix::test]
async fn a_lease_that_has_passed_cannot_confirm_and_each_job_has_one_result() {
    let world = World::new();
    let jobs = world.jobs();
    let id = add(&jobs, "ann", "one").await;
    let first = take(&jobs, 1).await.jobs.remove(0);
    // The process hangs, and another one opens the same file.
    world.pass(LEASE);
    let other = world.jobs();
    let taken = take(&other, 1).await;
    assert_eq!((taken.lost, taken.jobs.len()), (1, 1));
    let second = &taken.jobs[0];
    assert_eq!((second.attempt, second.lease.fence), (2, 2));
    let renewed = jobs.renew(vec![first.lease], LEASE).await.unwrap();
    assert_eq!(renewed, [Renewed::Lost]);
    let stale = Outcome::Succeeded(b"stale".to_vec());
    assert_eq!(jobs.confirm(&first, stale.clone(), 2).await.unwrap(), None);
    let done = Outcome::Succeeded(b"done".to_vec());
    let state = other.confirm(second, done, 2).await.unwrap();
    assert_eq!(state, Some(State::Succeeded));
    assert_eq!(jobs.confirm(&first, stale, 2).await.unwrap(), None);
    let (request, result) = jobs.content("ann", &id).await.unwrap();
    assert_eq!((request, result), (b"one".to_vec(), b"done".to_vec()));
    let disk = world.disk();
    assert!(!has(&disk, "done") && !has(&disk, "one"));
}

#[actix::test]
async fn a_lease_is_prolonged_and_a_job_that_ends_processes_is_given_up() {
    let world = World::new();
    let jobs = world.jobs();
    let id = add(&jobs, "ann", "one").await;
    let job = take(&jobs, 1).await.jobs.remove(0);
    world.pass(LEASE / 2);
    let renewed = jobs.renew(vec![job.lease], LEASE).await.unwrap();
    assert_eq!(renewed, [Renewed::Held]);
    world.pass(LEASE / 2 + Duration::from_secs(1));
    assert_eq!(
        take(&jobs, 1).await,
        Taken {
            next: Some(world.now.load(SeqCst) + 14_000),
            ..Taken::default()
        }
    );
    world.pass(LEASE);
    assert_eq!(take(&jobs, 1).await.jobs[0].attempt, 2);
    world.pass(LEASE);
    let taken = take(&jobs, 1).await;
    let state = State::Failed;
    assert_eq!(
        taken.ended,
        [Ended {
            id: id.clone(),
            state
        }]
    );
    assert_eq!(jobs.job("ann", &id).await.unwrap().state, state);
}

#[actix::test]
async fn only_attempts_that_count_are_bounded_and_a_job_waits_until_it_expires() {
    let world = World::new();
    let jobs = world.jobs();
    let id = add(&jobs, "ann", "one").await;
    for _ in 0..10 {
        let job = take(&jobs, 1).await.jobs.remove(0);
        assert_eq!(job.attempt, 1);
        let state = jobs.confirm(&job, again(5, false), 2).await.unwrap();
        assert_eq!(state, Some(State::Queued));
        assert!(take(&jobs, 1).await.jobs.is_empty());
        world.pass(Duration::from_secs(5));
    }
    for state in [State::Queued, State::Failed] {
        let job = take(&jobs, 1).await.jobs.remove(0);
        assert_eq!(
            jobs.confirm(&job, again(0, true), 2).await.unwrap(),
            Some(state)
        );
    }
    assert_eq!(jobs.content("ann", &id).await.unwrap().1, b"last");
    let id = add(&jobs, "ann", "two").await;
    let job = take(&jobs, 1).await.jobs.remove(0);
    jobs.confirm(&job, again(5, false), 2).await.unwrap();
    world.pass(HOUR);
    assert_eq!(take(&jobs, 1).await.ended[0].state, State::Expired);
    assert_eq!(jobs.job("ann", &id).await.unwrap().state, State::Expired);
}

#[actix::test]
async fn an_idempotency_key_queues_a_request_once() {
    let world = World::new();
    let jobs = world.jobs();
    let with_key = |request: &str| NewJob {
        idempotency: Some("digest".to_owned()),
        ..new(request)
    };
    let (job, is_new) = jobs.enqueue("ann", with_key("one")).await.unwrap();
    assert!(is_new);
    let (same, is_new) = jobs.enqueue("ann", with_key("one")).await.unwrap();
    assert_eq!((&same.id, is_new), (&job.id, false));
    let other = jobs.enqueue("ann", with_key("two")).await;
    assert_eq!(other, Err(JobError::Store(StoreError::OtherRequest)));
    let (other, is_new) = jobs.enqueue("bob", with_key("two")).await.unwrap();
    assert!(is_new && other.id != job.id);
}

#[actix::test]
async fn what_waits_of_an_owner_is_bounded_by_number_and_bytes() {
    let mut world = World::new();
    world.settings.waiting_max = 2;
    world.settings.tenant_bytes_max = ByteCount(100_000);
    let jobs = world.jobs();
    add(&jobs, "ann", "one").await;
    let job = take(&jobs, 1).await.jobs.remove(0);
    add(&jobs, "ann", "two").await;
    let full = jobs.enqueue("ann", new("three")).await.unwrap_err();
    let message = "there are already 2 jobs that wait (`jobs.waiting_max`)";
    assert_eq!(full.to_string(), message);
    add(&jobs, "bob", "one").await;
    let large = Outcome::Succeeded(vec![b'x'; 99_000]);
    jobs.confirm(&job, large, 2).await.unwrap();
    let full = jobs.enqueue("ann", new("three")).await.unwrap_err();
    let message = "there are already 100000 bytes of jobs (`jobs.tenant_bytes_max`)";
    assert_eq!(full.to_string(), message);
}

#[actix::test]
async fn a_job_is_cancelled_while_it_waits_and_while_it_runs() {
    let world = World::new();
    let jobs = world.jobs();
    let waits = add(&jobs, "ann", "waits").await;
    assert!(jobs.cancel("bob", &waits).await.is_err());
    let cancelled = jobs.cancel("ann", &waits).await.unwrap();
    assert_eq!(cancelled.state, State::Cancelled);
    let runs = add(&jobs, "ann", "runs").await;
    let job = take(&jobs, 1).await.jobs.remove(0);
    let marked = jobs.cancel("ann", &runs).await.unwrap();
    assert_eq!((marked.state, marked.is_cancelling), (State::Running, true));
    let renewed = jobs.renew(vec![job.lease], LEASE).await.unwrap();
    assert_eq!(renewed, [Renewed::Cancelling]);
    let state = jobs.confirm(&job, Outcome::Cancelled, 2).await.unwrap();
    assert_eq!(state, Some(State::Cancelled));
    let again = jobs.cancel("ann", &runs).await.unwrap();
    assert_eq!(again.state, State::Cancelled);
}

#[actix::test]
async fn lists_have_the_newest_first_and_only_the_owners_jobs() {
    let world = World::new();
    let jobs = world.jobs();
    let mut ids = Vec::new();
    for request in ["1", "2", "3"] {
        ids.push(add(&jobs, "ann", request).await);
    }
    add(&jobs, "bob", "4").await;
    let page = |after: Option<&String>| PageQuery {
        limit: 2,
        after: after.cloned(),
    };
    let first = jobs.jobs("ann", page(None), None).await.unwrap();
    assert_eq!((&first.items[0].id, first.has_more), (&ids[2], true));
    let rest = jobs.jobs("ann", page(Some(&ids[1])), None).await.unwrap();
    assert_eq!((&rest.items[0].id, rest.has_more), (&ids[0], false));
    let listed = jobs.jobs("bob", page(Some(&ids[1])), None).await;
    assert_eq!(listed, Err(JobError::Store(StoreError::NotListed)));
    let ahead = jobs.job("ann", &ids[2]).await.unwrap().ahead;
    assert_eq!(ahead, 2);
}

#[actix::test]
async fn an_erasure_leaves_no_job_no_key_and_no_result() {
    let mut world = World::new();
    world.settings.retention = HumanDuration::from_secs(60);
    let jobs = world.jobs();
    add(&jobs, "ann", "one").await;
    let job = take(&jobs, 1).await.jobs.remove(0);
    add(&jobs, "ann", "two").await;
    add(&jobs, "bob", "three").await;
    let held = jobs.held("ann").await.unwrap();
    assert_eq!((held.jobs, held.bytes, held.has_key), (2, 6, true));
    let erased = jobs.erase("ann").await.unwrap();
    assert_eq!((erased.removed, erased.key_erased), (held, true));
    assert!(erased.log_emptied);
    let done = Outcome::Succeeded(b"late".to_vec());
    assert_eq!(jobs.confirm(&job, done, 2).await.unwrap(), None);
    assert!(jobs.held("ann").await.unwrap().is_empty());
    assert!(!has(&world.disk(), "ann"));
    assert_eq!(requests(&take(&jobs, 9).await), ["three"]);
}

#[actix::test]
async fn what_has_ended_is_removed_after_its_time_and_with_it_the_owners_key() {
    let world = World::new();
    let jobs = world.jobs();
    let sweep = async || {
        let before = world.now.load(SeqCst);
        let act = move |database: &mut sqlite::Database| database.sweep(before, 3);
        jobs.step(StepKind::Removes, Ok(0), act).await.unwrap()
    };
    let ended = add(&jobs, "ann", "one").await;
    let waits = add(&jobs, "bob", "two").await;
    jobs.cancel("ann", &ended).await.unwrap();
    let batch = NewBatch {
        jobs: vec![new("3"), new("4")],
        lifetime: HOUR,
        ..NewBatch::default()
    };
    let batch = jobs.add_batch("bob", batch).await.unwrap().id;
    jobs.cancel_batch("bob", &batch).await.unwrap();
    assert_eq!(sweep().await, 0);
    world.pass(Duration::from_secs(1));
    // The results of the batch are not collected yet.
    assert_eq!((sweep().await, sweep().await), (1, 0));
    assert!(jobs.job("ann", &ended).await.is_err());
    assert!(!jobs.held("ann").await.unwrap().has_key);
    assert_eq!(jobs.job("bob", &waits).await.unwrap().state, State::Queued);
    assert_eq!(jobs.batch("bob", &batch).await.unwrap().counts.cancelled, 2);
}

#[actix::test]
async fn a_request_that_cannot_be_decrypted_does_not_stop_the_others() {
    let world = World::new();
    let jobs = world.jobs();
    add(&jobs, "ann", "one").await;
    add(&jobs, "ann", "two").await;
    let connection = rusqlite::Connection::open(&world.settings.path).unwrap();
    let damage = "UPDATE jobs SET request = x'00' WHERE number = 1";
    connection.execute(damage, []).unwrap();
    let taken = take(&jobs, 9).await;
    assert_eq!(requests(&taken), ["", "two"]);
    let failed = Outcome::Failed(b"unreadable".to_vec());
    let state = jobs.confirm(&taken.jobs[0], failed, 2).await.unwrap();
    assert_eq!(state, Some(State::Failed));
}
