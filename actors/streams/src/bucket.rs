//! A token bucket in whole nanoseconds: Pekko's `TokenBucket`, without a clock of its own.
//!
//! Owns the wait of an offer. The bucket starts full, and one token is added every `interval`. An offer that costs
//! more than the bucket contains waits for the rest and empties the bucket; the next token is added one interval after
//! that wait. Source: Pekko `TokenBucketSpec`.

use std::time::Duration;

use tokio::time::Instant;

/// A token bucket.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    capacity: u64,
    interval: u128,
    available: u64,
    epoch: Instant,
    /// When the last token was added, in nanoseconds after the epoch. It is in the future while an offer waits.
    updated: u128,
}

impl TokenBucket {
    /// Creates a full bucket of `capacity` tokens. One token is added every `interval`, which must be at least 1 ns (0
    /// counts as 1 ns). With a capacity of 0, every offer waits.
    pub fn new(capacity: u64, interval: Duration, now: Instant) -> Self {
        Self {
            capacity,
            interval: interval.as_nanos().max(1),
            available: capacity,
            epoch: now,
            updated: 0,
        }
    }

    /// Takes `cost` tokens and returns the wait until they are available, which is zero if they are available now.
    pub fn offer(&mut self, now: Instant, cost: u64) -> Duration {
        let now = now.saturating_duration_since(self.epoch).as_nanos();
        let arrived = now.saturating_sub(self.updated) / self.interval;
        self.updated += arrived * self.interval;
        let arrived = u64::try_from(arrived).unwrap_or(u64::MAX);
        self.available = self.available.saturating_add(arrived).min(self.capacity);
        if cost <= self.available {
            self.available -= cost;
            return Duration::ZERO;
        }
        let missing = u128::from(cost - self.available);
        self.available = 0;
        self.updated = self
            .updated
            .saturating_add(missing.saturating_mul(self.interval));
        duration(self.updated.saturating_sub(now))
    }
}

fn duration(nanoseconds: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    let seconds = u64::try_from(nanoseconds / SECOND).unwrap_or(u64::MAX);
    let rest = u32::try_from(nanoseconds % SECOND).unwrap_or(0);
    Duration::new(seconds, rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn bucket(capacity: u64) -> (TokenBucket, Instant) {
        let now = Instant::now();
        (TokenBucket::new(capacity, MS * 10, now), now)
    }

    #[test]
    fn the_bucket_starts_full_and_keeps_its_capacity() {
        let (mut bucket, start) = bucket(3);
        assert_eq!(bucket.offer(start, 3), Duration::ZERO);
        assert_eq!(bucket.offer(start + MS * 1000, 3), Duration::ZERO);
        assert_eq!(bucket.offer(start + MS * 1000, 1), MS * 10);
    }

    #[test]
    fn a_cost_of_zero_is_free_even_from_an_empty_bucket() {
        let (mut bucket, start) = bucket(1);
        assert_eq!(bucket.offer(start, 5), MS * 40);
        assert_eq!(bucket.offer(start, 0), Duration::ZERO);
    }

    #[test]
    fn a_cost_above_the_capacity_waits_in_proportion() {
        let (mut bucket, start) = bucket(2);
        assert_eq!(bucket.offer(start, 7), MS * 50);
        assert_eq!(bucket.offer(start + MS * 50, 1), MS * 10);
    }

    #[test]
    fn an_empty_capacity_makes_each_offer_wait_a_whole_interval() {
        let (mut bucket, start) = bucket(0);
        assert_eq!(bucket.offer(start, 1), MS * 10);
        assert_eq!(bucket.offer(start + MS * 25, 1), MS * 5);
    }

    #[test]
    fn tokens_arrive_at_whole_intervals() {
        let (mut bucket, start) = bucket(1);
        assert_eq!(bucket.offer(start, 1), Duration::ZERO);
        assert_eq!(bucket.offer(start + MS * 4, 1), MS * 6);
        assert_eq!(bucket.offer(start + MS * 19, 1), MS);
    }

    #[test]
    fn the_longest_wait_does_not_overflow() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(0, Duration::MAX, now);
        let wait = bucket.offer(now, u64::MAX);
        assert!(wait > Duration::from_secs(1 << 60));
        assert!(bucket.offer(now, u64::MAX) >= wait);
    }

    proptest! {
        /// The naive model adds one token at each tick of the interval, one at a time.
        #[test]
        fn the_bucket_equals_the_naive_model(
            capacity in 0..6_u64,
            interval in 1..7_u64,
            offers in prop::collection::vec((0..20_u64, 0..9_u64), 1..60),
        ) {
            let start = Instant::now();
            let ms = |n: u64| Duration::from_millis(n);
            let mut bucket = TokenBucket::new(capacity, ms(interval), start);
            let (mut now, mut next_token, mut tokens) = (0, interval, capacity);
            for (pause, cost) in offers {
                for _ in 0..pause {
                    now += 1;
                    if now == next_token {
                        tokens = (tokens + 1).min(capacity);
                        next_token += interval;
                    }
                }
                let waited = bucket.offer(start + ms(now), cost);
                // The next offer is made, at the earliest, exactly when the wait of this one ends.
                let asked = now;
                let mut missing = cost.saturating_sub(tokens);
                tokens -= cost.min(tokens);
                while missing > 0 {
                    now += 1;
                    if now == next_token {
                        missing -= 1;
                        next_token += interval;
                    }
                }
                prop_assert_eq!(waited, ms(now - asked));
            }
        }
    }
}
