//! Calls that begin without being offered.
//!
//! While no call waits and the limit leaves room, the next call may begin at once, which is known before it arrives.
//! [`Pool::open_terms`] returns what such calls may do, so that callers need not ask. Each attempt that began in this way is
//! recorded afterwards by [`Pool::begun`], which leaves the pool as [`Pool::offer`] and [`Pool::next`] would have left it.

use std::time::Duration;

use super::{AttemptId, Dispatch, OfferedCall, Other, Permission, Pool, Running, Timestamp};
use crate::Grant;

/// What calls may do without being offered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenTerms {
    /// The number of attempts that may begin.
    pub slots: u32,
    /// The usual time of a call. One that has less time left must be offered.
    pub time_min: Duration,
    /// `true` if calls that may be hedged must be offered, so that their hedges are planned.
    pub hedges: bool,
    timeout_base: Duration,
    timeout: Duration,
}

impl OpenTerms {
    /// Returns the time that an attempt may take with `left` until its caller's deadline.
    pub fn timeout(&self, left: Duration) -> Duration {
        usual_timeout(self.timeout_base, self.timeout, left).min(left)
    }
}

/// Returns what the operator allows an attempt, or more where a slow tail was proved, but then at most half of the time
/// that is left.
pub(super) fn usual_timeout(base: Duration, proved: Duration, left: Duration) -> Duration {
    base.max(proved.min(left / 2)).min(proved)
}

impl<T> Pool<T> {
    /// Returns what calls may do without being offered; `None` if each must be offered.
    pub fn open_terms(&self) -> Option<OpenTerms> {
        let Grant {
            permission,
            requests,
            tokens,
            ready_eta,
            ..
        } = self.grant;
        let nobody_waits = self.calls.is_empty() && self.refused.is_empty();
        let is_unmetered = requests.is_none() && tokens.is_none();
        let serves = permission == Permission::Open && ready_eta.is_none();
        if self.closed || !nobody_waits || !is_unmetered || !serves {
            return None;
        }
        Some(OpenTerms {
            slots: self.grant.concurrency.checked_sub(self.in_flight())?,
            time_min: self.grant.service_time.min(self.grant.service_time_high),
            hedges: self.hedging.is_on(),
            timeout_base: self.grant.attempt_timeout_base,
            timeout: self.grant.attempt_timeout,
        })
    }

    /// Records an attempt that began at `sent` under the open terms.
    pub fn begun(
        &mut self,
        call: &OfferedCall<()>,
        attempt: AttemptId,
        sent: Timestamp,
    ) -> Dispatch<()> {
        self.load.arrived(sent);
        let mut meta = self.meta(call, sent);
        meta.attempts = 1;
        meta.sent = true;
        meta.hedge = false;
        let running = Running {
            meta,
            probe: false,
            sent,
            begun: false,
            hedge: false,
            other: Other::None,
        };
        self.start(attempt, running, sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Controller, ControllerSettings, LaneState, Outcome, PoolSettings};

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_secs_f64(seconds)
    }

    fn pool(permission: Permission) -> Pool<()> {
        let controller = Controller::new(&ControllerSettings::default(), None, at(0.0));
        let grant = Grant {
            permission,
            concurrency: 4,
            service_time: Duration::from_secs(1),
            service_time_high: Duration::from_secs(3),
            state: LaneState::Steady,
            ..controller.grant()
        };
        Pool::new(&PoolSettings::default(), grant, at(0.0))
    }

    fn call(deadline: Timestamp, tenant: u64) -> OfferedCall<()> {
        OfferedCall {
            payload: (),
            deadline,
            bytes: 10,
            tokens: 500,
            output_tokens_max: 400,
            tenant,
            priority: 0,
            weight: 1.0,
            refuse_when_cold: false,
            hedge: false,
            kind: crate::Kind::default(),
        }
    }

    #[test]
    fn a_pool_in_which_calls_begin_is_as_one_in_which_they_are_offered() {
        let mut dice = fastrand::Rng::with_seed(11);
        let (mut asked, mut open) = (pool(Permission::Open), pool(Permission::Open));
        let mut running = Vec::new();
        for step in 0..2000_u32 {
            let now = at(f64::from(step) / 10.0);
            let terms = open.open_terms().unwrap();
            if terms.slots > 0 && dice.bool() {
                let call = call(
                    now.after(Duration::from_secs(dice.u64(2..200))),
                    dice.u64(..3),
                );
                asked.offer(call.clone(), now).unwrap();
                let offered = asked.next(now).unwrap();
                let begun = open.begun(&call, offered.attempt, now);
                assert_eq!(terms.timeout(call.deadline.since(now)), offered.timeout);
                assert_eq!(format!("{begun:?}"), format!("{offered:?}"));
                running.push(offered.attempt);
            } else if !running.is_empty() {
                let attempt = running.swap_remove(dice.usize(..running.len()));
                let outcome = match dice.u8(..4) {
                    0 => Outcome::Client,
                    1 => Outcome::Success { tokens: None },
                    _ => Outcome::Success {
                        tokens: Some(dice.u32(1..300)),
                    },
                };
                asked.ended(attempt, (), outcome, true, now, &mut || 0.5);
                match outcome {
                    Outcome::Success { tokens } => assert!(open.served(attempt, tokens, now)),
                    _ => drop(open.ended(attempt, (), outcome, true, now, &mut || 0.5)),
                }
            }
            let states = [&asked, &open].map(|pool| {
                let (load, output) = (&pool.load, &pool.output);
                format!("{:?} {load:?} {output:?}", pool.report(now))
            });
            assert_eq!(states[0], states[1]);
        }
    }

    #[test]
    fn calls_are_offered_while_one_waits_a_rate_is_known_or_the_lane_does_not_serve() {
        let mut p = pool(Permission::Open);
        assert_eq!(p.open_terms().map(|terms| terms.slots), Some(4));
        p.offer(call(at(60.0), 0), at(0.0)).unwrap();
        assert_eq!(p.open_terms(), None, "a call waits");
        p.next(at(0.0)).unwrap();
        assert_eq!(p.open_terms().map(|terms| terms.slots), Some(3));
        let metered = Grant {
            requests: Some(crate::BucketGrant::per_second(5.0)),
            ..p.grant()
        };
        let lower = Grant {
            concurrency: 0,
            ..p.grant()
        };
        let open = p.grant();
        for grant in [metered, lower] {
            p.set_grant(grant, at(0.0));
            assert_eq!(p.open_terms(), None, "{grant:?}");
            p.set_grant(open, at(0.0));
        }
        p.close(at(0.0));
        assert_eq!(p.open_terms(), None, "the lane drains");
        let until = at(10.0);
        for permission in [
            Permission::SingleFlight { not_before: until },
            Permission::Paused { until },
            Permission::Closed { until },
        ] {
            assert_eq!(pool(permission).open_terms(), None, "{permission:?}");
        }
    }
}
