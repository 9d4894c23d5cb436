//! Chooses among the replicas of a model: which lane a call enters, and when a waiting call is better off in another.
//!
//! A replica is judged by the time after which it would have served the call: the predicted wait, and the usual service
//! time, scaled by how full the replica is. Among many replicas two are drawn and the better one is taken ("the power of
//! two choices", Mitzenmacher 2001), so that several gateways do not all choose the same one.

use std::time::Duration;

use crate::LaneState;

/// The predicted wait for a replica that loads for an unknown time.
const LOADING: Duration = Duration::from_secs(30);
/// The predicted wait for a replica that fails, or whose quota is used up, for an unknown time.
const AWAY: Duration = Duration::from_mins(2);
/// The service time of replicas that have not served a call, if no replica has.
const SERVICE_TIME: Duration = Duration::from_secs(1);
/// The time that waking a sleeping replica must save.
const WAKE_GAIN: Duration = Duration::from_secs(2);
/// A waiting call moves into another queue only if it would be answered sooner by this factor.
const GAIN: f64 = 2.0;
/// The part of a queue that is taken to be ahead of a call in it.
const AHEAD: f64 = 0.5;
/// The least time that a move must save, whatever the caller accepts.
const GAIN_MIN: Duration = Duration::from_millis(100);

/// What is known of a replica when a call is to be placed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replica {
    /// The state of its lane.
    pub state: LaneState,
    /// Calls that may be in flight at once.
    pub limit: u32,
    /// Calls in its lane, waiting or in flight.
    pub live: u32,
    /// The usual time of a call; zero before the first success.
    pub service_time: Duration,
    /// Calls per second that the backend completes; `None` before the first success.
    pub delivered_rate: Option<f64>,
    /// The time until the backend is expected to serve; `None` if it serves or the time is unknown.
    pub ready_in: Option<Duration>,
    /// Its share of the calls relative to the others, above 0; 1 for equal shares.
    pub weight: f64,
}

impl Replica {
    /// Returns `true` if a call would be sent at once.
    pub fn has_room(&self) -> bool {
        matches!(self.state, LaneState::Ramp | LaneState::Steady) && self.live < self.limit
    }

    /// Returns `true` if the backend is not known to serve, and nothing has asked it yet.
    pub fn is_asleep(&self) -> bool {
        self.state == LaneState::Idle && self.live == 0
    }

    /// Returns the predicted time until a new call is sent. `usual` is the service time if none is known.
    pub fn wait(&self, usual: Duration) -> Duration {
        self.away().saturating_add(self.queue(usual))
    }

    /// Returns the predicted time until the backend serves.
    fn away(&self) -> Duration {
        match self.state {
            LaneState::Ramp | LaneState::Steady => Duration::ZERO,
            LaneState::Idle if self.live == 0 => {
                self.ready_in.unwrap_or(LOADING).saturating_add(WAKE_GAIN)
            }
            LaneState::Idle | LaneState::Probe | LaneState::Cold => {
                self.ready_in.unwrap_or(LOADING)
            }
            LaneState::Open | LaneState::Paused | LaneState::Quota => self.ready_in.unwrap_or(AWAY),
        }
    }

    /// Returns the predicted time until the calls before a new one are sent, once the backend serves.
    pub(crate) fn queue(&self, usual: Duration) -> Duration {
        let before = f64::from((self.live + 1).saturating_sub(self.limit.max(1)));
        let served = self.served_in(usual).as_secs_f64();
        let rate = self
            .delivered_rate
            .filter(|rate| *rate > 0.0)
            .unwrap_or(f64::from(self.limit.max(1)) / served);
        span(before / rate)
    }

    /// Returns the predicted time until a new call is answered, longer for a replica that is fuller. Replicas are
    /// compared by it.
    fn cost(&self, usual: Duration) -> f64 {
        let fullness = f64::from(self.live + 1) / f64::from(self.limit.max(1));
        let served = self.served_in(usual).as_secs_f64() * fullness.min(1.0);
        self.wait(usual).as_secs_f64() + served / self.weight.max(f64::MIN_POSITIVE)
    }

    pub(crate) fn served_in(&self, usual: Duration) -> Duration {
        if self.service_time.is_zero() {
            usual
        } else {
            self.service_time
        }
    }
}

/// Returns the position of the replica for a new call, or `None` for an empty list.
///
/// `draws` are two random numbers. With more than two replicas they select the two that are compared; if neither has room,
/// all are.
pub fn choose(replicas: &[Replica], draws: [u32; 2]) -> Option<usize> {
    let usual = usual(replicas);
    let best = |places: &mut dyn Iterator<Item = usize>| {
        let costs = places.filter_map(|place| Some((place, replicas.get(place)?.cost(usual))));
        costs.min_by(|(_, a), (_, b)| a.total_cmp(b))
    };
    if replicas.len() > 2 {
        let first = place(draws[0], replicas.len());
        let other = place(draws[1], replicas.len() - 1);
        let second = if other < first { other } else { other + 1 };
        let mut drawn = [first, second].into_iter().filter(|place| {
            let replica = replicas.get(*place);
            replica.is_some_and(Replica::has_room)
        });
        if let Some((found, _)) = best(&mut drawn) {
            return Some(found);
        }
    }
    best(&mut (0..replicas.len())).map(|(found, _)| found)
}

/// Returns the position of the replica that is expected to answer first of all; `None` for an empty list.
pub fn soonest(replicas: &[Replica]) -> Option<usize> {
    let usual = usual(replicas);
    let costs = replicas.iter().map(|replica| replica.cost(usual));
    let best = costs.enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map(|(found, _)| found)
}

/// Returns the position of a replica drawn by weight among those that serve or may serve; `draw` is a random number from 0
/// to below 1. Returns `None` for an empty list.
pub fn draw(replicas: &[Replica], draw: f64) -> Option<usize> {
    let serves = |replica: &Replica| {
        !matches!(
            replica.state,
            LaneState::Open | LaneState::Paused | LaneState::Quota
        )
    };
    let any = replicas.iter().any(serves);
    let weight = |replica: &Replica| {
        if serves(replica) || !any {
            replica.weight
        } else {
            0.0
        }
    };
    let mut left = draw * replicas.iter().map(weight).sum::<f64>();
    for (place, replica) in replicas.iter().enumerate() {
        left -= weight(replica);
        if left < 0.0 {
            return Some(place);
        }
    }
    replicas.len().checked_sub(1)
}

/// Returns `true` if the calls of a group need another replica than those that are awake.
pub fn needs_another(replicas: &[Replica]) -> bool {
    let awake = replicas.iter().filter(|replica| !replica.is_asleep());
    let (live, limit) = awake.fold((0_u32, 0_u32), |(live, limit), replica| {
        (
            live.saturating_add(replica.live),
            limit.saturating_add(replica.limit.max(1)),
        )
    });
    live > limit
}

/// Returns `true` if a call that accepts a wait of `accepted` to stay with the replica `bound` should enter it although
/// `best` is expected to answer first.
pub fn is_worth_staying(bound: &Replica, best: &Replica, accepted: Duration) -> bool {
    let usual = usual(&[*bound, *best]);
    bound.wait(usual) <= best.wait(usual).saturating_add(accepted)
}

/// Returns `true` if a call that waits at `here`, and accepts a wait of `accepted` to stay there, should leave it for
/// `there`.
///
/// The place of the call in its queue is not known; half of the calls that wait are taken to be ahead of it.
pub fn is_worth_moving(here: &Replica, there: &Replica, accepted: Duration) -> bool {
    if here.has_room() {
        return false;
    }
    let usual = usual(&[*here, *there]);
    let queue = here.queue(usual).mul_f64(AHEAD);
    let stay = here.away().saturating_add(queue) + here.served_in(usual);
    let go = there.wait(usual).saturating_add(there.served_in(usual));
    let factor = if there.has_room() { 1.0 } else { GAIN };
    let gain = accepted.max(GAIN_MIN);
    stay >= go.saturating_add(gain) && stay.as_secs_f64() >= go.as_secs_f64() * factor
}

/// Returns the mean service time of the replicas that have served; a second if none has.
pub fn usual(replicas: &[Replica]) -> Duration {
    let known = replicas.iter().map(|replica| replica.service_time);
    let known: Vec<_> = known.filter(|time| !time.is_zero()).collect();
    let count = u32::try_from(known.len()).unwrap_or(u32::MAX);
    let sum: Duration = known.iter().sum();
    sum.checked_div(count).unwrap_or(SERVICE_TIME)
}

/// Returns the place that a random number selects among `count`.
fn place(draw: u32, count: usize) -> usize {
    usize::try_from(draw).unwrap_or(0) % count
}

fn span(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests;
