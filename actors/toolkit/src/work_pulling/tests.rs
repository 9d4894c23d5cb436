use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::*;
use crate::{clock::Dice, system::ActorState};

const SECOND: Duration = Duration::from_secs(1);

/// What the workers of a test hold, by worker, oldest first.
#[derive(Clone, Default)]
struct Hands(Arc<Mutex<BTreeMap<String, Vec<Delivery<u32>>>>>);

impl Hands {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<Delivery<u32>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, worker: &ActorRef<Worker>) -> Delivery<u32> {
        let mut hands = self.lock();
        hands.get_mut(worker.path()).unwrap().remove(0)
    }

    /// The jobs in hand, each with its worker's name.
    fn all(&self) -> Vec<(String, u32)> {
        let hands = self.lock();
        let jobs = hands.iter().flat_map(|(path, held)| {
            let name = path.trim_start_matches("/user/").to_owned();
            held.iter().map(move |d| (name.clone(), **d.job()))
        });
        jobs.collect()
    }
}

/// Holds what it is delivered; job 13 is one that it cannot do.
struct Worker(Hands);

impl Actor for Worker {
    type Context = Context<Self>;

    fn stopped(&mut self, ctx: &mut Context<Self>) {
        // What an incarnation holds in its own state goes with it.
        let held = self.0.lock().remove(ctx.path());
        drop(held);
    }
}

impl Handler<Delivery<u32>> for Worker {
    type Result = ();

    fn handle(&mut self, delivery: Delivery<u32>, ctx: &mut Context<Self>) {
        assert_ne!(**delivery.job(), 13, "on purpose");
        let mut hands = self.0.lock();
        let mine = hands.entry(ctx.path().to_owned()).or_default();
        mine.push(delivery);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Fail;

impl Handler<Fail> for Worker {
    type Result = ();

    fn handle(&mut self, _: Fail, ctx: &mut Context<Self>) {
        ctx.fail("on purpose");
    }
}

struct Bench {
    system: ActorSystem,
    work: WorkPulling<u32>,
    hands: Hands,
}

impl Bench {
    fn new(builder: WorkPullingBuilder<u32>) -> Self {
        tokio::time::pause();
        let system = ActorSystem::new("test", 1);
        Self {
            work: builder.spawn(&system, "desk"),
            system,
            hands: Hands::default(),
        }
    }

    fn worker_with(&self, name: &str, strategy: Strategy) -> ActorRef<Worker> {
        let hands = self.hands.clone();
        let props = Props::new(move || Worker(hands.clone())).supervise(strategy);
        self.system.spawn(props, name)
    }

    async fn worker(&self, name: &str) -> ActorRef<Worker> {
        let worker = self.worker_with(name, Strategy::stop());
        self.work.register(&worker);
        settle().await;
        worker
    }

    async fn stats(&self) -> (usize, usize, usize, usize) {
        let stats = self.work.stats().await.unwrap();
        (stats.workers, stats.idle, stats.waiting, stats.in_work)
    }
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn held(pairs: &[(&str, u32)]) -> Vec<(String, u32)> {
    let owned = pairs.iter().map(|(name, job)| ((*name).to_owned(), *job));
    owned.collect()
}

#[actix::test]
async fn jobs_wait_for_a_worker_and_each_worker_has_one_at_a_time() {
    let bench = Bench::new(WorkPulling::builder());
    for job in 1..=3 {
        assert!(bench.work.offer(job).is_enqueued());
    }
    let first = bench.worker("a").await;
    bench.work.register(&first);
    settle().await;
    assert_eq!(bench.hands.all(), held(&[("a", 1)]));
    bench.worker("b").await;
    assert_eq!(bench.hands.all(), held(&[("a", 1), ("b", 2)]));
    assert_eq!(bench.stats().await, (2, 0, 1, 2));
    bench.hands.take(&first).confirm();
    settle().await;
    assert_eq!(bench.hands.all(), held(&[("a", 3), ("b", 2)]));
    bench.hands.take(&first).confirm();
    settle().await;
    assert_eq!(bench.stats().await, (2, 1, 0, 1));
}

#[actix::test]
async fn the_buffer_bounds_what_is_not_done_and_a_confirmed_job_makes_room() {
    let bench = Bench::new(WorkPulling::builder().buffer(2));
    let worker = bench.worker("a").await;
    let offers: Vec<_> = (1..=4).map(|job| bench.work.clone().offer(job)).collect();
    let taken: Vec<_> = offers.iter().map(|offer| offer.is_enqueued()).collect();
    assert_eq!(taken, [true, true, false, false]);
    assert_eq!(offers[3], Offer::Dropped);
    assert_eq!(bench.system.dead_letters(), 2);
    let (error, back) = bench.work.submit(5).unwrap_err();
    assert_eq!((error, back), (WorkError::Full, 5));
    assert_eq!(bench.work.ask(5, SECOND).await, Err(WorkError::Full));
    settle().await;
    bench.hands.take(&worker).confirm();
    settle().await;
    assert!(bench.work.offer(6).is_enqueued());
    bench.work.stop();
    bench.work.when_stopped().await;
    assert_eq!(bench.work.offer(7), Offer::Closed);
}

#[actix::test]
async fn a_producer_learns_that_its_job_was_taken_and_confirmed() {
    let bench = Bench::new(WorkPulling::builder());
    let mut receipt = bench.work.submit(1).unwrap();
    assert_eq!(receipt.progress(), Progress::Waiting);
    let worker = bench.worker("a").await;
    assert_eq!(receipt.taken().await, Ok(1));
    assert_eq!(receipt.progress(), Progress::Taken { delivery: 1 });
    let late = receipt.confirmed_within(SECOND).await;
    assert_eq!(late, Err(WorkError::TimedOut));
    bench.hands.take(&worker).confirm();
    assert_eq!(receipt.confirmed().await, Ok(1));
    assert_eq!(receipt.taken().await, Ok(1));
}

#[actix::test]
async fn a_dead_workers_job_goes_to_another_before_younger_ones() {
    let bench = Bench::new(WorkPulling::builder());
    let first = bench.worker("a").await;
    let asked = actix_rt::spawn({
        let work = bench.work.clone();
        async move { work.ask(1, 60 * SECOND).await }
    });
    settle().await;
    assert!(bench.work.offer(2).is_enqueued());
    first.stop();
    first.when_stopped().await;
    let second = bench.worker("b").await;
    assert_eq!(bench.hands.all(), held(&[("b", 1)]));
    let delivery = bench.hands.take(&second);
    assert_eq!(delivery.number(), 2);
    delivery.confirm();
    assert_eq!(asked.await.unwrap(), Ok(2));
    settle().await;
    assert_eq!(bench.hands.all(), held(&[("b", 2)]));
}

#[actix::test]
async fn a_job_held_outside_a_dead_worker_is_withdrawn_and_its_late_confirmation_is_not_heard() {
    let bench = Bench::new(WorkPulling::builder());
    let first = bench.worker("a").await;
    let mut receipt = bench.work.submit(1).unwrap();
    settle().await;
    let late = bench.hands.take(&first);
    assert!(!late.withdrawn().is_cancelled());
    first.stop();
    late.withdrawn().cancelled().await;
    let second = bench.worker("b").await;
    late.confirm();
    settle().await;
    assert_eq!(receipt.progress(), Progress::Taken { delivery: 2 });
    assert_eq!(bench.stats().await, (1, 0, 0, 1));
    bench.hands.take(&second).confirm();
    assert_eq!(receipt.confirmed().await, Ok(2));
}

#[actix::test]
async fn a_restarted_workers_job_comes_back_and_it_works_on_without_registering_anew() {
    let bench = Bench::new(WorkPulling::builder());
    let worker = bench.worker_with("a", Strategy::restart());
    bench.work.register(&worker);
    let mut receipt = bench.work.submit(1).unwrap();
    settle().await;
    assert!(worker.tell(Fail).is_enqueued());
    settle().await;
    assert_eq!(receipt.progress(), Progress::Taken { delivery: 2 });
    bench.hands.take(&worker).confirm();
    assert_eq!(receipt.confirmed().await, Ok(2));
}

#[actix::test]
async fn while_a_worker_waits_for_its_restart_its_job_goes_to_an_idle_one() {
    let bench = Bench::new(WorkPulling::builder());
    let backoff = Strategy::restart().with_backoff(60 * SECOND, 60 * SECOND);
    let failing = bench.worker_with("a", backoff);
    bench.work.register(&failing);
    settle().await;
    assert!(bench.work.offer(1).is_enqueued());
    settle().await;
    let _other = bench.worker("b").await;
    assert!(failing.tell(Fail).is_enqueued());
    settle().await;
    assert_eq!(failing.report().state, ActorState::Restarting);
    assert_eq!(bench.hands.all(), held(&[("b", 1)]));
}

#[actix::test]
async fn a_delivery_that_is_dropped_comes_back() {
    let bench = Bench::new(WorkPulling::builder());
    let worker = bench.worker("a").await;
    assert!(bench.work.offer(1).is_enqueued());
    settle().await;
    drop(bench.hands.take(&worker));
    settle().await;
    assert_eq!(bench.hands.take(&worker).number(), 2);
}

#[actix::test]
async fn a_job_that_is_lost_too_often_is_given_back() {
    let back = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&back);
    let recipient = Recipient::new(move |given: GivenBack<u32>| {
        notes.lock().unwrap().push((*given.job, given.deliveries));
        Offer::Enqueued
    });
    let builder = WorkPulling::builder()
        .deliveries_max(3)
        .give_back_to(recipient);
    let bench = Bench::new(builder);
    let worker = bench.worker_with("a", Strategy::resume());
    bench.work.register(&worker);
    let given = bench.work.ask(13, SECOND).await;
    assert_eq!(given, Err(WorkError::GivenBack { deliveries: 3 }));
    assert_eq!(*back.lock().unwrap(), [(13, 3)]);
    assert_eq!(bench.system.dead_letters(), 0);
    assert_eq!(bench.stats().await, (1, 1, 0, 0));
}

#[actix::test]
async fn a_job_that_nobody_takes_back_is_a_dead_letter() {
    let bench = Bench::new(WorkPulling::builder().deliveries_max(1));
    let worker = bench.worker_with("a", Strategy::resume());
    bench.work.register(&worker);
    let given = bench.work.ask(13, SECOND).await;
    assert_eq!(given, Err(WorkError::GivenBack { deliveries: 1 }));
    assert_eq!(bench.system.dead_letters(), 1);
}

#[actix::test]
async fn a_worker_is_struck_out_when_it_is_deregistered() {
    let bench = Bench::new(WorkPulling::builder());
    let (first, second) = (bench.worker("a").await, bench.worker("b").await);
    assert!(bench.work.offer(1).is_enqueued());
    settle().await;
    let withdrawn = bench.hands.take(&first);
    bench.work.deregister(&first);
    settle().await;
    assert!(withdrawn.withdrawn().is_cancelled());
    assert_eq!(bench.hands.all(), held(&[("b", 1)]));
    bench.hands.take(&second).confirm();
    assert!(bench.work.offer(2).is_enqueued());
    settle().await;
    assert_eq!(bench.hands.all(), held(&[("b", 2)]));
    assert_eq!(bench.stats().await, (1, 0, 0, 1));
}

#[actix::test]
async fn workers_come_and_go_with_the_listing_of_a_key() {
    let bench = Bench::new(WorkPulling::builder());
    let receptionist = bench.system.receptionist();
    let key = ServiceKey::new("workers");
    let early = bench.worker_with("a", Strategy::stop());
    receptionist.register(&key, &early);
    bench.work.register_listed(&key);
    let late = bench.worker_with("b", Strategy::stop());
    receptionist.register(&key, &late);
    settle().await;
    assert_eq!(bench.stats().await, (2, 2, 0, 0));
    for job in [1, 2] {
        assert!(bench.work.offer(job).is_enqueued());
    }
    settle().await;
    early.stop();
    receptionist.deregister(&key, &late);
    settle().await;
    assert_eq!(bench.stats().await, (0, 0, 2, 0));
}

type Requests = Arc<Mutex<Vec<RequestNext<u32>>>>;

/// Returns a producer that keeps what it is asked.
fn producer() -> (Recipient<RequestNext<u32>>, Requests) {
    let requests = Requests::default();
    let kept = Arc::clone(&requests);
    let recipient = Recipient::new(move |request| {
        kept.lock().unwrap().push(request);
        Offer::Enqueued
    });
    (recipient, requests)
}

#[actix::test]
async fn a_producer_is_asked_only_when_a_worker_waits_and_once_for_each_job() {
    let bench = Bench::new(WorkPulling::builder().buffer(2));
    let (recipient, requests) = producer();
    let asked = || requests.lock().unwrap().len();
    bench.work.start_producer(recipient);
    settle().await;
    assert_eq!(asked(), 0, "nobody works");
    let first = bench.worker("a").await;
    let _second = bench.worker("b").await;
    assert_eq!(asked(), 1, "once until it sends");
    for job in [1, 2] {
        let request = requests.lock().unwrap().pop().unwrap();
        drop(request.send(job));
        settle().await;
    }
    assert_eq!(bench.hands.all(), held(&[("a", 1), ("b", 2)]));
    assert_eq!(asked(), 0);
    bench.worker("c").await;
    assert_eq!(asked(), 0, "there is no room in the buffer");
    bench.hands.take(&first).confirm();
    settle().await;
    assert_eq!(asked(), 1);
    let request = requests.lock().unwrap().pop().unwrap();
    let confirmed = actix_rt::spawn(request.ask(3, SECOND));
    settle().await;
    let (name, job) = bench.hands.all().pop().unwrap();
    assert_eq!((name.as_str(), job), ("c", 3));
    for delivery in std::mem::take(&mut *bench.hands.lock())
        .into_values()
        .flatten()
    {
        delivery.confirm();
    }
    assert_eq!(confirmed.await.unwrap(), Ok(1));
}

#[actix::test]
async fn a_producer_that_starts_anew_is_asked_anew_and_one_that_declines_only_after_a_change() {
    let bench = Bench::new(WorkPulling::builder());
    let worker = bench.worker("a").await;
    let (lost, _of_the_dead_one) = producer();
    bench.work.start_producer(lost);
    settle().await;
    let (recipient, requests) = producer();
    bench.work.start_producer(recipient);
    settle().await;
    assert_eq!(requests.lock().unwrap().len(), 1);
    let declined = requests.lock().unwrap().pop();
    drop(declined);
    settle().await;
    assert_eq!(requests.lock().unwrap().len(), 0);
    assert!(bench.work.offer(1).is_enqueued());
    settle().await;
    bench.hands.take(&worker).confirm();
    settle().await;
    assert_eq!(requests.lock().unwrap().len(), 1);
}

#[actix::test]
async fn what_a_desk_leaves_is_withdrawn_counted_and_said() {
    let bench = Bench::new(WorkPulling::builder());
    let worker = bench.worker("a").await;
    let mut receipts = [1, 2].map(|job| bench.work.submit(job).unwrap());
    settle().await;
    let delivery = bench.hands.take(&worker);
    bench.work.stop();
    bench.work.when_stopped().await;
    assert!(delivery.withdrawn().is_cancelled());
    delivery.confirm();
    assert_eq!(bench.system.dead_letters(), 2);
    for receipt in &mut receipts {
        assert!(receipt.is_lost());
        assert_eq!(receipt.confirmed().await, Err(WorkError::Stopped));
    }
    assert!(bench.work.stats().await.is_err());
    let (error, back) = bench.work.submit(3).unwrap_err();
    assert_eq!((error, back), (WorkError::Stopped, 3));
}

/// Does a job in a task of its own, or panics, or forgets it, or stops: by chance.
struct Fickle(Dice, Arc<Mutex<Vec<u32>>>);

impl Actor for Fickle {
    type Context = Context<Self>;
}

impl Handler<Delivery<u32>> for Fickle {
    type Result = ();

    fn handle(&mut self, delivery: Delivery<u32>, ctx: &mut Context<Self>) {
        let (draw, time) = (self.0.unit(), Duration::from_secs_f64(self.0.unit()));
        let done = Arc::clone(&self.1);
        match draw {
            ..0.1 => panic!("by chance"),
            ..0.2 => ctx.fail("by chance"),
            ..0.25 => ctx.stop(),
            ..0.35 => {}
            _ => {
                actix_rt::spawn(async move {
                    tokio::time::sleep(time).await;
                    if delivery.withdrawn().is_cancelled() {
                        return;
                    }
                    done.lock().unwrap().push(**delivery.job());
                    delivery.confirm();
                });
            }
        }
    }
}

#[actix::test]
async fn among_workers_that_fail_in_every_way_each_job_is_done_once() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let work = WorkPulling::builder().spawn(&system, "desk");
    let (done, key) = (Arc::new(Mutex::new(Vec::new())), ServiceKey::new("fickle"));
    work.register_listed(&key);
    let mut receipts: Vec<_> = (0..300).map(|job| work.submit(job).unwrap()).collect();
    let mut seed = 0;
    let mut living: Vec<ActorRef<Fickle>> = Vec::new();
    let hire = async {
        loop {
            living.retain(ActorRef::is_alive);
            while living.len() < 5 {
                seed += 1;
                let (dice, done) = (Dice::seeded(seed), Arc::clone(&done));
                let props = Props::new(move || Fickle(dice.clone(), Arc::clone(&done)));
                let props = props.supervise(Strategy::resume());
                let worker = system.spawn(props, &format!("worker-{seed}"));
                system.receptionist().register(&key, &worker);
                living.push(worker);
            }
            tokio::time::sleep(SECOND).await;
        }
    };
    let all_done = futures_util::future::join_all(receipts.iter_mut().map(Receipt::confirmed));
    let results = tokio::select! {
        results = all_done => results,
        () = hire => unreachable!(),
    };
    assert!(results.iter().all(Result::is_ok));
    assert!(
        results
            .iter()
            .any(|done| done.is_ok_and(|deliveries| deliveries > 1))
    );
    let mut jobs = done.lock().unwrap().clone();
    jobs.sort_unstable();
    assert_eq!(jobs, (0..300).collect::<Vec<_>>());
    let stats = work.stats().await.unwrap();
    assert_eq!((stats.waiting, stats.in_work), (0, 0));
}
