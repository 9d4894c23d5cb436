//! L4: the token bucket. Source: Pekko `TokenBucketSpec`.

use std::time::Duration;

use crate::{
    case::{
        Case, CaseResult, SEED,
        Stance::{Different, Same},
        ensure, ensure_eq,
    },
    cases,
    driver::rate::{Bucket, Claim, RateDriver},
};

const MS: Duration = Duration::from_millis(1);

/// The cases.
pub(super) const CASES: &[Case<dyn RateDriver>] = cases![dyn RateDriver, L4;
    a_bucket_starts_full => "TokenBucketSpec: start full", Same;
    a_bucket_keeps_no_more_than_its_capacity => "TokenBucketSpec: maintain maximum capacity", Same;
    a_dear_offer_takes_all_it_costs_at_once => "TokenBucketSpec: start full", Same;
    a_cost_of_zero_is_free => "TokenBucketSpec: calculate correctly with no cost", Same;
    tokens_arrive_at_whole_intervals => "TokenBucketSpec: calculate correctly with different rates", Same;
    a_cost_above_the_capacity_waits_in_proportion => "TokenBucketSpec: allow cost larger than capacity", Same;
    a_dear_offer_delays_the_offers_after_it => "TokenBucketSpec: allow cost larger than capacity", Same;
    zero_capacity_makes_every_offer_wait => "TokenBucketSpec: work with zero capacity", Same;
    a_very_slow_bucket_counts_exactly => "TokenBucketSpec: accurately handle very slow rates", Same;
    a_very_fast_bucket_counts_exactly => "TokenBucketSpec: work with very fast rates", Same;
    regular_offers_below_the_rate_never_wait => "TokenBucketSpec: maintain equal token renewal rate", Same;
    a_clock_that_steps_back_adds_no_tokens => "TokenBucketSpec: handle wrap over, negative clock",
        Different("a monotonic clock of Rust's neither wraps nor is negative; a step back counts as no time");
    a_bucket_equals_the_naive_model => "TokenBucketSpec: behave exactly as the ideal token bucket", Same;
];

/// Makes a bucket with a token every 10 ms.
fn bucket(driver: &dyn RateDriver, capacity: u64) -> Result<Box<dyn Bucket>, crate::case::Failure> {
    driver.bucket(capacity, MS * 10)
}

/// Expects as many tokens as the capacity at once, and no more.
fn expect_full(bucket: &mut dyn Bucket, capacity: usize, at: Duration) -> CaseResult {
    for token in 0..capacity {
        let waited = bucket.offer(at, 1);
        ensure(waited == Some(Duration::ZERO), || {
            format!("token {token} of {capacity}: {waited:?}")
        })?;
    }
    let waited = bucket.offer(at, 1);
    ensure(waited.is_none_or(|wait| wait == MS * 10), || {
        format!("one more than {capacity}: {waited:?}")
    })
}

async fn a_bucket_starts_full(driver: &dyn RateDriver) -> CaseResult {
    expect_full(&mut *bucket(driver, 3)?, 3, Duration::ZERO)
}

async fn a_bucket_keeps_no_more_than_its_capacity(driver: &dyn RateDriver) -> CaseResult {
    expect_full(&mut *bucket(driver, 3)?, 3, MS * 10_000)
}

async fn a_dear_offer_takes_all_it_costs_at_once(driver: &dyn RateDriver) -> CaseResult {
    driver.needs(Claim::Costs)?;
    driver.needs(Claim::Lends)?;
    let mut bucket = bucket(driver, 3)?;
    ensure_eq(
        "three tokens",
        &bucket.wait(Duration::ZERO, 3),
        &Duration::ZERO,
    )?;
    ensure_eq("the fourth", &bucket.wait(Duration::ZERO, 1), &(MS * 10))
}

async fn a_cost_of_zero_is_free(driver: &dyn RateDriver) -> CaseResult {
    driver.needs(Claim::Costs)?;
    driver.needs(Claim::Lends)?;
    let mut bucket = bucket(driver, 1)?;
    ensure_eq("a dear offer", &bucket.wait(Duration::ZERO, 5), &(MS * 40))?;
    ensure_eq(
        "nothing from an empty bucket",
        &bucket.wait(MS, 0),
        &Duration::ZERO,
    )
}

async fn tokens_arrive_at_whole_intervals(driver: &dyn RateDriver) -> CaseResult {
    driver.needs(Claim::Lends)?;
    let mut bucket = bucket(driver, 1)?;
    ensure_eq(
        "the first",
        &bucket.wait(Duration::ZERO, 1),
        &Duration::ZERO,
    )?;
    ensure_eq("at 4 ms", &bucket.wait(MS * 4, 1), &(MS * 6))?;
    ensure_eq("at 19 ms", &bucket.wait(MS * 19, 1), &MS)?;
    ensure_eq("at 35 ms", &bucket.wait(MS * 35, 1), &Duration::ZERO)
}

async fn a_cost_above_the_capacity_waits_in_proportion(driver: &dyn RateDriver) -> CaseResult {
    driver.needs(Claim::Costs)?;
    driver.needs(Claim::Lends)?;
    let mut bucket = bucket(driver, 2)?;
    ensure_eq("7 of 2", &bucket.wait(Duration::ZERO, 7), &(MS * 50))
}

async fn a_dear_offer_delays_the_offers_after_it(driver: &dyn RateDriver) -> CaseResult {
    driver.needs(Claim::Costs)?;
    driver.needs(Claim::Lends)?;
    let mut bucket = bucket(driver, 10)?;
    ensure_eq("20 of 10", &bucket.wait(Duration::ZERO, 20), &(MS * 100))?;
    ensure_eq(
        "at the end of its wait",
        &bucket.wait(MS * 100, 1),
        &(MS * 10),
    )?;
    ensure_eq(
        "ten of the 14 since",
        &bucket.wait(MS * 250, 10),
        &Duration::ZERO,
    )?;
    ensure_eq("one more", &bucket.wait(MS * 250, 1), &(MS * 10))
}

async fn zero_capacity_makes_every_offer_wait(driver: &dyn RateDriver) -> CaseResult {
    driver.needs(Claim::Lends)?;
    let mut bucket = bucket(driver, 0)?;
    ensure_eq("the first", &bucket.wait(Duration::ZERO, 1), &(MS * 10))?;
    ensure_eq("half an interval late", &bucket.wait(MS * 25, 1), &(MS * 5))?;
    ensure_eq(
        "after a long silence",
        &bucket.wait(MS * 1000, 1),
        &(MS * 10),
    )
}

async fn a_very_slow_bucket_counts_exactly(driver: &dyn RateDriver) -> CaseResult {
    driver.needs(Claim::Costs)?;
    driver.needs(Claim::Lends)?;
    let day = Duration::from_hours(24);
    let mut bucket = driver.bucket(1, day)?;
    ensure_eq(
        "the first",
        &bucket.wait(Duration::ZERO, 1),
        &Duration::ZERO,
    )?;
    let nearly = day.saturating_sub(Duration::from_nanos(1));
    ensure_eq(
        "a moment early",
        &bucket.wait(nearly, 1),
        &Duration::from_nanos(1),
    )?;
    ensure_eq("two days later", &bucket.wait(day * 3, 1), &Duration::ZERO)?;
    ensure_eq("and at once", &bucket.wait(day * 3, 2), &(day * 2))
}

async fn a_very_fast_bucket_counts_exactly(driver: &dyn RateDriver) -> CaseResult {
    driver.needs(Claim::Costs)?;
    driver.needs(Claim::Lends)?;
    let nano = Duration::from_nanos(1);
    let mut bucket = driver.bucket(10, nano)?;
    ensure_eq(
        "the burst",
        &bucket.wait(Duration::ZERO, 10),
        &Duration::ZERO,
    )?;
    ensure_eq("a million", &bucket.wait(Duration::ZERO, 1_000_000), &MS)?;
    ensure_eq(
        "5 ns later",
        &bucket.wait(MS + nano * 5, 5),
        &Duration::ZERO,
    )?;
    ensure_eq("and one more", &bucket.wait(MS + nano * 5, 1), &nano)
}

async fn regular_offers_below_the_rate_never_wait(driver: &dyn RateDriver) -> CaseResult {
    let mut bucket = bucket(driver, 1)?;
    for n in 0..1000 {
        // Never in step with the interval, and never faster.
        let at = MS * 11 * n;
        let waited = bucket.offer(at, 1);
        ensure(waited == Some(Duration::ZERO), || {
            format!("the offer at {at:?}: {waited:?}")
        })?;
    }
    Ok(())
}

async fn a_clock_that_steps_back_adds_no_tokens(driver: &dyn RateDriver) -> CaseResult {
    driver.needs(Claim::Costs)?;
    driver.needs(Claim::Lends)?;
    let mut bucket = bucket(driver, 2)?;
    ensure_eq("at 1 s", &bucket.wait(MS * 1000, 2), &Duration::ZERO)?;
    let waited = bucket.wait(MS * 990, 1);
    ensure(waited >= MS * 10, || {
        format!("10 ms back, a token waited only {waited:?}")
    })
}

/// Pekko's naive bucket: one token at each tick of the interval, one at a time.
struct Naive {
    capacity: u64,
    interval: u64,
    tokens: u64,
    now: u64,
    next_token: u64,
}

impl Naive {
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now += 1;
            if self.now == self.next_token {
                self.tokens = (self.tokens + 1).min(self.capacity);
                self.next_token += self.interval;
            }
        }
    }

    /// Takes `cost`, waiting as long as it must; returns how long that was.
    fn take(&mut self, cost: u64) -> u64 {
        let asked = self.now;
        let mut missing = cost.saturating_sub(self.tokens);
        self.tokens -= cost.min(self.tokens);
        while missing > 0 {
            self.now += 1;
            if self.now == self.next_token {
                missing -= 1;
                self.next_token += self.interval;
            }
        }
        self.now - asked
    }
}

async fn a_bucket_equals_the_naive_model(driver: &dyn RateDriver) -> CaseResult {
    driver.needs(Claim::Costs)?;
    driver.needs(Claim::Lends)?;
    for seed in SEED..SEED + 200 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let (capacity, interval) = (chance.u64(0..6), chance.u64(1..7));
        let ms = |n: u64| Duration::from_millis(n);
        let mut bucket = driver.bucket(capacity, ms(interval))?;
        let mut naive = Naive {
            capacity,
            interval,
            tokens: capacity,
            now: 0,
            next_token: interval,
        };
        for offer in 0..50 {
            naive.pass(chance.u64(0..20));
            let cost = chance.u64(0..9);
            // Perfect timing: the next offer is made when this one's wait has ended at the earliest.
            let seen = bucket.wait(ms(naive.now), cost);
            let expected = ms(naive.take(cost));
            ensure(seen == expected, || {
                format!("seed {seed}, offer {offer}: expected a wait of {expected:?}, saw {seen:?}")
            })?;
        }
    }
    Ok(())
}
