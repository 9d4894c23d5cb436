//! Work pulling: who is asked for a job, who gets it, and what becomes of one that is lost.

use crate::{
    case::{
        Case, CaseResult, Failure,
        Stance::{Different, Same},
        ensure, ensure_eq,
    },
    cases,
    driver::work_pulling::{After, Claim, Desk, Driver, Progress, Receipt, Spec, settle},
};

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L3;
    a_producer_is_asked_only_when_a_worker_is_there => "WorkPullingSpec: illustrate work-pulling usage", Same;
    a_producer_is_asked_for_one_job_at_a_time => "WorkPullingSpec: illustrate work-pulling usage", Same;
    each_of_two_workers_gets_a_job => "WorkPullingSpec: illustrate work-pulling usage", Same;
    a_worker_gets_its_next_job_when_it_has_confirmed_the_last => "ReliableDeliverySpec: work with fast producer and slow consumer", Same;
    one_worker_gets_the_jobs_in_their_order => "ReliableDeliverySpec: illustrate point-to-point usage", Same;
    a_slow_producer_keeps_no_worker_from_its_job => "ReliableDeliverySpec: work with slow producer and fast consumer", Same;
    of_many_jobs_each_is_done_once => "ReliableDeliverySpec: work with fast producer and fast consumer", Same;
    a_job_goes_to_an_idle_worker_not_behind_a_busy_one => "WorkPullingSpec: illustrate work-pulling usage",
        Different("a worker has one job at a time; Pekko sends ahead within a window, where a job may lie behind a slow one");
    the_unconfirmed_job_of_a_dead_worker_goes_to_another => "WorkPullingSpec: resend unconfirmed to other if worker dies", Same;
    a_confirmed_job_is_not_given_out_again => "WorkPullingSpec: resend unconfirmed to other if worker dies", Same;
    a_job_that_was_lost_goes_before_younger_ones => "WorkPullingSpec: resend unconfirmed to other if worker dies", Same;
    the_job_of_the_only_worker_waits_for_the_next => "WorkPullingSpec: resend unconfirmed to other if worker dies", Same;
    a_confirmation_that_comes_after_its_worker_died_is_not_heard => "WorkPullingSpec: resend unconfirmed to other if worker dies", Same;
    a_producer_hears_when_its_job_is_confirmed_and_not_before => "WorkPullingSpec: reply to MessageWithConfirmation", Same;
    a_producer_hears_it_also_when_a_worker_died_of_it => "WorkPullingSpec: reply to MessageWithConfirmation also when worker dies", Same;
    a_producer_that_starts_anew_is_asked => "WorkPullingSpec: allow restart of producer", Same;
    a_restarted_worker_gets_its_job_again => "ReliableDeliverySpec: allow replacement of destination", Same;
    the_job_of_a_worker_that_panics_is_done_all_the_same => "WorkPullingSpec: resend unconfirmed to other if worker dies", Same;
    the_job_of_an_unregistered_worker_is_handed_over => "DurableWorkPullingSpec: hand over, and resend unconfirmed when worker is unregistered", Same;
    a_job_that_its_worker_forgets_comes_back => "WorkPullingSpec: resend unconfirmed to other if worker dies",
        Different("a delivery that is dropped comes back at once; Pekko cannot see that a living worker has lost one");
    jobs_may_be_offered_without_being_asked_up_to_a_bound => "WorkPullingSpec: illustrate work-pulling usage",
        Different("an offer is taken without demand while the buffer has room, and says so; Pekko's producer must wait to be asked");
    a_confirmed_job_makes_room_for_the_next => "WorkPullingSpec: illustrate work-pulling usage",
        Different("the bound is on jobs that are not done, waiting or in work");
    a_job_that_was_lost_too_often_is_given_back => "WorkPullingSpec: resend unconfirmed to other if worker dies",
        Different("deliveries may have a maximum; Pekko delivers for ever");
    the_jobs_of_a_desk_that_stops_are_said_to_be_lost => "WorkPullingSpec: reply to MessageWithConfirmation",
        Different("a producer hears that the desk is gone; Pekko's ask times out");
];

fn open(driver: &dyn Driver) -> Result<Box<dyn Desk>, Failure> {
    Ok(driver.open(Spec::default())?)
}

/// Has the producer send a job for which it must have been asked.
async fn send(desk: &dyn Desk, job: u32) -> Result<Box<dyn Receipt>, Failure> {
    settle().await;
    let receipt = desk.send(job);
    settle().await;
    receipt.ok_or_else(|| Failure::Failed(format!("the producer was not asked for job {job}")))
}

async fn counts(desk: &dyn Desk, expected: (usize, usize, usize)) -> CaseResult {
    settle().await;
    let counts = desk.counts().await?;
    ensure_eq("workers, waiting, in work", &counts, &expected)
}

async fn a_producer_is_asked_only_when_a_worker_is_there(driver: &dyn Driver) -> CaseResult {
    let desk = open(driver)?;
    desk.start_producer()?;
    settle().await;
    ensure_eq("asked without a worker", &desk.requests(), &0)?;
    let worker = desk.worker("a", After::Stop);
    send(&*desk, 1).await?;
    worker.expect(&[1]).await?;
    worker.done().await?;
    ensure_eq("asked when it is idle again", &desk.requests(), &1)
}

async fn a_producer_is_asked_for_one_job_at_a_time(driver: &dyn Driver) -> CaseResult {
    let desk = open(driver)?;
    desk.start_producer()?;
    let _workers = ["a", "b", "c"].map(|name| desk.worker(name, After::Stop));
    for job in 0..3 {
        settle().await;
        ensure_eq("asked", &desk.requests(), &1)?;
        send(&*desk, job).await?;
    }
    counts(&*desk, (3, 0, 3)).await
}

async fn each_of_two_workers_gets_a_job(driver: &dyn Driver) -> CaseResult {
    let desk = open(driver)?;
    desk.start_producer()?;
    let workers = ["a", "b"].map(|name| desk.worker(name, After::Stop));
    send(&*desk, 1).await?;
    send(&*desk, 2).await?;
    let mut jobs: Vec<_> = workers.iter().flat_map(|worker| worker.jobs()).collect();
    jobs.sort_unstable();
    ensure_eq("jobs", &jobs, &vec![1, 2])?;
    ensure(
        workers.iter().all(|worker| worker.jobs().len() == 1),
        || "one worker has both".to_owned(),
    )
}

async fn a_worker_gets_its_next_job_when_it_has_confirmed_the_last(
    driver: &dyn Driver,
) -> CaseResult {
    let desk = open(driver)?;
    let worker = desk.worker("a", After::Stop);
    for job in 1..=3 {
        desk.offer(job)?;
    }
    for job in 1..=3 {
        worker.expect(&[job]).await?;
        worker.done().await?;
    }
    worker.expect(&[]).await
}

async fn one_worker_gets_the_jobs_in_their_order(driver: &dyn Driver) -> CaseResult {
    let desk = open(driver)?;
    let worker = desk.worker("a", After::Stop);
    for job in 0..50 {
        desk.offer(job)?;
    }
    let mut seen = Vec::new();
    for _ in 0..50 {
        settle().await;
        seen.extend(worker.jobs());
        worker.done().await?;
    }
    ensure_eq("jobs", &seen, &(0..50).collect())
}

async fn a_slow_producer_keeps_no_worker_from_its_job(driver: &dyn Driver) -> CaseResult {
    let desk = open(driver)?;
    desk.start_producer()?;
    let worker = desk.worker("a", After::Stop);
    for job in 0..5 {
        worker.expect(&[]).await?;
        tokio::time::sleep(std::time::Duration::from_mins(1)).await;
        send(&*desk, job).await?;
        worker.expect(&[job]).await?;
        worker.done().await?;
    }
    Ok(())
}

async fn of_many_jobs_each_is_done_once(driver: &dyn Driver) -> CaseResult {
    let desk = open(driver)?;
    let workers = ["a", "b", "c"].map(|name| desk.worker(name, After::Stop));
    let receipts: Result<Vec<_>, _> = (0..300).map(|job| desk.submit(job)).collect();
    let receipts = receipts?;
    let mut seen = Vec::new();
    for _ in 0..100 {
        settle().await;
        for worker in &workers {
            seen.extend(worker.jobs());
            worker.confirm();
        }
    }
    settle().await;
    seen.sort_unstable();
    ensure_eq("jobs", &seen, &(0..300).collect())?;
    for receipt in receipts {
        ensure_eq("progress", &receipt.progress(), &Progress::Confirmed(1))?;
    }
    Ok(())
}

async fn a_job_goes_to_an_idle_worker_not_behind_a_busy_one(driver: &dyn Driver) -> CaseResult {
    let desk = open(driver)?;
    let (slow, quick) = (desk.worker("a", After::Stop), desk.worker("b", After::Stop));
    for job in 1..=4 {
        desk.offer(job)?;
    }
    settle().await;
    ensure_eq("of the slow one", &slow.jobs().len(), &1)?;
    for _ in 0..3 {
        settle().await;
        ensure_eq("of the quick one", &quick.jobs().len(), &1)?;
        quick.done().await?;
    }
    ensure_eq("of the slow one", &slow.jobs().len(), &1)?;
    counts(&*desk, (2, 0, 1)).await
}

async fn the_unconfirmed_job_of_a_dead_worker_goes_to_another(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::WorkersLeave)?;
    let desk = open(driver)?;
    let first = desk.worker("a", After::Stop);
    desk.offer(1)?;
    first.expect(&[1]).await?;
    let second = desk.worker("b", After::Stop);
    second.expect(&[]).await?;
    first.stop();
    second.expect(&[1]).await?;
    counts(&*desk, (1, 0, 1)).await
}

async fn a_confirmed_job_is_not_given_out_again(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::WorkersLeave)?;
    let desk = open(driver)?;
    let first = desk.worker("a", After::Stop);
    desk.offer(1)?;
    first.expect(&[1]).await?;
    first.done().await?;
    first.stop();
    let second = desk.worker("b", After::Stop);
    second.expect(&[]).await?;
    counts(&*desk, (1, 0, 0)).await
}

async fn a_job_that_was_lost_goes_before_younger_ones(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::WorkersLeave)?;
    let desk = open(driver)?;
    let first = desk.worker("a", After::Stop);
    for job in 1..=3 {
        desk.offer(job)?;
    }
    first.expect(&[1]).await?;
    first.stop();
    settle().await;
    let second = desk.worker("b", After::Stop);
    for job in 1..=3 {
        second.expect(&[job]).await?;
        second.done().await?;
    }
    Ok(())
}

async fn the_job_of_the_only_worker_waits_for_the_next(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::WorkersLeave)?;
    let desk = open(driver)?;
    let first = desk.worker("a", After::Stop);
    desk.offer(1)?;
    first.expect(&[1]).await?;
    first.panic();
    counts(&*desk, (0, 1, 0)).await?;
    let second = desk.worker("b", After::Stop);
    second.expect(&[1]).await
}

async fn a_confirmation_that_comes_after_its_worker_died_is_not_heard(
    driver: &dyn Driver,
) -> CaseResult {
    driver.needs(Claim::WorkersLeave)?;
    let desk = open(driver)?;
    let first = desk.worker("a", After::Stop);
    let receipt = desk.submit(1)?;
    first.expect(&[1]).await?;
    first.stop();
    settle().await;
    let second = desk.worker("b", After::Stop);
    second.expect(&[1]).await?;
    first.confirm();
    settle().await;
    ensure_eq("after the late one", &receipt.progress(), &Progress::Taken)?;
    second.done().await?;
    ensure_eq(
        "after the other",
        &receipt.progress(),
        &Progress::Confirmed(2),
    )
}

async fn a_producer_hears_when_its_job_is_confirmed_and_not_before(
    driver: &dyn Driver,
) -> CaseResult {
    let desk = open(driver)?;
    desk.start_producer()?;
    let worker = desk.worker("a", After::Stop);
    let receipt = send(&*desk, 1).await?;
    worker.expect(&[1]).await?;
    ensure_eq("in work", &receipt.progress(), &Progress::Taken)?;
    worker.done().await?;
    ensure_eq("done", &receipt.progress(), &Progress::Confirmed(1))
}

async fn a_producer_hears_it_also_when_a_worker_died_of_it(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::WorkersLeave)?;
    let desk = open(driver)?;
    desk.start_producer()?;
    let first = desk.worker("a", After::Stop);
    let receipt = send(&*desk, 1).await?;
    let second = desk.worker("b", After::Stop);
    first.panic();
    second.expect(&[1]).await?;
    ensure_eq("in work", &receipt.progress(), &Progress::Taken)?;
    second.done().await?;
    ensure_eq("done", &receipt.progress(), &Progress::Confirmed(2))
}

async fn a_producer_that_starts_anew_is_asked(driver: &dyn Driver) -> CaseResult {
    let desk = open(driver)?;
    desk.start_producer()?;
    let worker = desk.worker("a", After::Stop);
    settle().await;
    ensure_eq("the first was asked", &desk.requests(), &1)?;
    desk.start_producer()?;
    send(&*desk, 1).await?;
    worker.expect(&[1]).await?;
    worker.done().await?;
    send(&*desk, 2).await?;
    worker.expect(&[2]).await
}

async fn a_restarted_worker_gets_its_job_again(driver: &dyn Driver) -> CaseResult {
    let desk = open(driver)?;
    let worker = desk.worker("a", After::Restart);
    let receipt = desk.submit(1)?;
    worker.expect(&[1]).await?;
    worker.panic();
    worker.expect(&[1]).await?;
    worker.done().await?;
    ensure_eq("done", &receipt.progress(), &Progress::Confirmed(2))
}

async fn the_job_of_a_worker_that_panics_is_done_all_the_same(driver: &dyn Driver) -> CaseResult {
    let desk = open(driver)?;
    let workers = ["a", "b"].map(|name| desk.worker(name, After::Restart));
    desk.offer(1)?;
    for _ in 0..3 {
        settle().await;
        let holder = workers.iter().find(|worker| worker.jobs() == [1]);
        let holder = holder.ok_or_else(|| Failure::Failed("nobody has the job".to_owned()))?;
        holder.panic();
    }
    settle().await;
    let held: Vec<_> = workers.iter().flat_map(|worker| worker.jobs()).collect();
    ensure_eq("jobs in hand", &held, &vec![1])?;
    ensure_eq(
        "confirmed",
        &workers.iter().any(|worker| worker.confirm()),
        &true,
    )?;
    counts(&*desk, (2, 0, 0)).await
}

async fn the_job_of_an_unregistered_worker_is_handed_over(driver: &dyn Driver) -> CaseResult {
    let desk = open(driver)?;
    let first = desk.worker("a", After::Stop);
    desk.offer(1)?;
    first.expect(&[1]).await?;
    let second = desk.worker("b", After::Stop);
    settle().await;
    first.leave()?;
    second.expect(&[1]).await?;
    second.done().await?;
    desk.offer(2)?;
    second.expect(&[2]).await
}

async fn a_job_that_its_worker_forgets_comes_back(driver: &dyn Driver) -> CaseResult {
    let desk = open(driver)?;
    let first = desk.worker("a", After::Stop);
    desk.offer(1)?;
    first.expect(&[1]).await?;
    let second = desk.worker("b", After::Stop);
    settle().await;
    first.forget()?;
    second.expect(&[1]).await?;
    counts(&*desk, (2, 0, 1)).await
}

async fn jobs_may_be_offered_without_being_asked_up_to_a_bound(driver: &dyn Driver) -> CaseResult {
    let desk = driver.open(Spec {
        buffer: Some(3),
        ..Spec::default()
    })?;
    let taken: Result<Vec<_>, _> = (0..5).map(|job| desk.offer(job)).collect();
    ensure_eq("taken", &taken?, &vec![true, true, true, false, false])?;
    counts(&*desk, (0, 3, 0)).await
}

async fn a_confirmed_job_makes_room_for_the_next(driver: &dyn Driver) -> CaseResult {
    let desk = driver.open(Spec {
        buffer: Some(1),
        ..Spec::default()
    })?;
    let worker = desk.worker("a", After::Stop);
    ensure_eq("the first", &desk.offer(1)?, &true)?;
    worker.expect(&[1]).await?;
    ensure_eq("while it is in work", &desk.offer(2)?, &false)?;
    worker.done().await?;
    ensure_eq("when it is done", &desk.offer(3)?, &true)
}

async fn a_job_that_was_lost_too_often_is_given_back(driver: &dyn Driver) -> CaseResult {
    let desk = driver.open(Spec {
        deliveries_max: Some(2),
        ..Spec::default()
    })?;
    let worker = desk.worker("a", After::Restart);
    let receipt = desk.submit(1)?;
    for _ in 0..2 {
        worker.expect(&[1]).await?;
        worker.panic();
    }
    worker.expect(&[]).await?;
    ensure_eq("progress", &receipt.progress(), &Progress::GivenBack)?;
    desk.offer(2)?;
    worker.expect(&[2]).await
}

async fn the_jobs_of_a_desk_that_stops_are_said_to_be_lost(driver: &dyn Driver) -> CaseResult {
    let desk = open(driver)?;
    let worker = desk.worker("a", After::Stop);
    let receipts = [desk.submit(1)?, desk.submit(2)?];
    worker.expect(&[1]).await?;
    desk.stop();
    settle().await;
    worker.confirm();
    settle().await;
    for receipt in receipts {
        ensure_eq("progress", &receipt.progress(), &Progress::Lost)?;
    }
    Ok(())
}
