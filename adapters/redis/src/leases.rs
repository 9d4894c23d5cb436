//! Leases of the gateways of several machines.
//!
//! The state of a lane is one value, which a gateway reads, steps and replaces. Two scripts do that: the second replaces the state only if
//! nobody else has, so that each step is applied to what the step before has left. All times are the server's, so that gateways whose
//! clocks are wrong agree.

use std::time::Duration;

use kebne_shares::{
    CapacityLease, LaneKey, Later, LeaseError, Renewal, Renewed, SharedLane, Timestamp,
};
use redis::Script;

use crate::connection::{RedisConnection, RedisFault};

/// The time after which the state of a lane that nobody renews is forgotten. What was learned in it, such as load times, is worth keeping
/// for a night.
const FORGOTTEN: Duration = Duration::from_hours(24);
/// The attempts of one step. Each failed one means that another gateway's step was applied.
const ATTEMPTS_MAX: u32 = 32;

/// Leases in Redis or Valkey.
#[derive(Debug)]
pub struct RedisLeases {
    connection: RedisConnection,
    ttl: Duration,
    load: Script,
    swap: Script,
}

/// A state as it was read, and the server's time.
struct Read {
    text: String,
    now: Timestamp,
}

impl RedisLeases {
    /// Creates the store of a connection. Leases live for `ttl`, which must be the same in all gateways.
    pub fn new(connection: RedisConnection, ttl: Duration) -> Self {
        Self {
            connection,
            ttl,
            load: Script::new(include_str!("leases/load.lua")),
            swap: Script::new(include_str!("leases/swap.lua")),
        }
    }

    async fn step<T>(
        &self,
        lane: &LaneKey,
        step: impl Fn(&mut SharedLane, Timestamp) -> T,
    ) -> Result<T, LeaseError> {
        // One key of one lane, so that all of it is in one slot of a cluster.
        let key = format!("{}lease:{{{lane}}}", self.connection.prefix());
        let mut read = self.load(&key).await.map_err(failed)?;
        for _ in 0..ATTEMPTS_MAX {
            let mut state = parse(&key, &read.text);
            let result = step(&mut state, read.now);
            let next = serde_json::to_string(&state);
            let next = next.map_err(|error| LeaseError::Damaged(error.to_string()))?;
            match self.swap(&key, &read.text, &next).await.map_err(failed)? {
                None => return Ok(result),
                Some(found) => read = found,
            }
        }
        let message = format!("`{key}` was changed by others {ATTEMPTS_MAX} times");
        Err(LeaseError::Slow(message))
    }

    async fn load(&self, key: &str) -> Result<Read, RedisFault> {
        let invocation = self.load.key(key);
        let (text, seconds, micros): (String, u64, u32) = self.connection.run(&invocation).await?;
        Ok(Read {
            text,
            now: time(seconds, micros),
        })
    }

    /// Replaces the state; returns the present one if it is another.
    async fn swap(&self, key: &str, from: &str, to: &str) -> Result<Option<Read>, RedisFault> {
        let mut invocation = self.swap.key(key);
        let forgotten = u64::try_from(FORGOTTEN.as_millis()).unwrap_or(u64::MAX);
        invocation.arg(from).arg(to).arg(forgotten);
        let (done, text, seconds, micros): (u8, String, u64, u32) =
            self.connection.run(&invocation).await?;
        Ok((done == 0).then(|| Read {
            text,
            now: time(seconds, micros),
        }))
    }
}

fn time(seconds: u64, micros: u32) -> Timestamp {
    Timestamp::from_duration(
        Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros.into())),
    )
}

/// Reads a state. What is none is replaced by an empty one, which settles for one time to live.
fn parse(key: &str, text: &str) -> SharedLane {
    if text.is_empty() {
        return SharedLane::default();
    }
    serde_json::from_str(text).unwrap_or_else(|error| {
        tracing::warn!(key, %error, "the leases of a lane cannot be read; they begin anew");
        SharedLane::default()
    })
}

fn failed(fault: RedisFault) -> LeaseError {
    match fault {
        RedisFault::Slow(reason) => LeaseError::Slow(reason),
        RedisFault::Unavailable(reason) => LeaseError::Unavailable(reason),
        RedisFault::Damaged(reason) => LeaseError::Damaged(reason),
    }
}

impl CapacityLease for RedisLeases {
    fn renew<'a>(
        &'a self,
        lane: &'a LaneKey,
        member: &'a str,
        renewal: &'a Renewal,
    ) -> Later<'a, Result<Renewed, LeaseError>> {
        Box::pin(self.step(lane, move |lane, now| Renewed {
            lease: lane.renew(member, renewal, self.ttl, now),
            learned: lane.learned().clone(),
        }))
    }

    fn leave<'a>(
        &'a self,
        lane: &'a LaneKey,
        member: &'a str,
    ) -> Later<'a, Result<(), LeaseError>> {
        Box::pin(self.step(lane, move |lane, _| lane.leave(member)))
    }

    fn ttl(&self) -> Duration {
        self.ttl
    }
}
