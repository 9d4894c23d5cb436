//! Chooses the lane of a call among the replicas of a group, and moves calls that wait where others would serve them
//! sooner.

use std::time::Duration;

use kebne_control::balance;
use kebne_lane::{LaneState, Replica, Service};
use tokio::time::sleep;

use crate::{
    backend::reason::UNREACHABLE,
    gateway::{
        affinity::{Beginning, Beginnings, of_session},
        lane::Lane,
        route::{Route, Target},
    },
    settings::{Affinity, Balance, ModelSettings},
};

/// The time between two looks at the other replicas while a call waits, drawn anew each time, so that calls that wait
/// together do not all move at once.
const LOOK_MIN: Duration = Duration::from_millis(50);
const LOOK_SPREAD: Duration = Duration::from_millis(150);
/// The number of times that a call may move.
const MOVES_MAX: u32 = 8;

/// How the replicas of a model are used.
#[derive(Debug)]
pub(super) struct Balancer {
    balance: Balance,
    affinity: Affinity,
    affinity_wait: Duration,
    wakes: bool,
    beginnings: Beginnings,
}

impl Balancer {
    pub(super) fn new(model: &ModelSettings) -> Self {
        Self {
            balance: model.balance,
            affinity: model.affinity,
            affinity_wait: model.affinity_wait.0,
            wakes: model.wake_replicas,
            beginnings: Beginnings::default(),
        }
    }
}

/// What a call has in common with others that should go to the same replica.
#[derive(Debug)]
pub(super) enum Bond {
    None,
    /// It belongs to a session.
    Session(String),
    /// The beginning of its prompt.
    Prompt(Beginning),
}

impl Bond {
    /// Reads the bond of a call; `session` is the session that it belongs to.
    pub(super) fn of(route: &Route, session: Option<&str>, body: &[u8]) -> Self {
        match (route.balancer.affinity, session) {
            (Affinity::Session, Some(session)) => Self::Session(session.to_owned()),
            (Affinity::Prefix, _) => Self::Prompt(Beginning::of(body)),
            (Affinity::None | Affinity::Session, _) => Self::None,
        }
    }
}

/// One call among the replicas of a group.
pub(super) struct Placement<'g> {
    balancer: &'g Balancer,
    bond: &'g Bond,
    /// The replicas that have not refused the call, or failed it.
    left: Vec<&'g Target>,
    /// The lane that the call has just left; it does not enter it again at once.
    came_from: Option<usize>,
    moves: u32,
}

impl<'g> Placement<'g> {
    pub(super) fn new(route: &'g Route, bond: &'g Bond, group: Vec<&'g Target>) -> Self {
        Self {
            balancer: &route.balancer,
            bond,
            left: group,
            came_from: None,
            moves: 0,
        }
    }

    /// Chooses a replica for the call, or returns `None` if all have refused or failed it.
    pub(super) fn choose(&mut self) -> Option<&'g Target> {
        let came_from = self.came_from.take();
        let targets = self.left.iter().copied();
        let targets: Vec<_> = targets
            .filter(|target| Some(target.lane.number) != came_from)
            .collect();
        if targets.len() < 2 {
            return targets.first().copied();
        }
        let replicas = targets.iter().map(|target| replica(target));
        let replicas: Vec<_> = replicas.collect();
        let target = *targets.get(self.choose_among(&targets, &replicas)?)?;
        self.wake_another(&targets, &replicas);
        if let Bond::Prompt(beginning) = self.bond {
            self.balancer.beginnings.sent(beginning, target.lane.number);
        }
        Some(target)
    }

    /// Returns `true` if there are replicas that the call was not sent to.
    pub(super) fn has_more(&self) -> bool {
        !self.left.is_empty()
    }

    /// Excludes a replica that has refused the call, or failed it.
    pub(super) fn exclude(&mut self, target: &Target) {
        self.left
            .retain(|other| other.lane.number != target.lane.number);
    }

    /// Returns once the call, which waits at `here`, is better off at another replica.
    pub(super) async fn is_better_off_elsewhere(&self, here: &Target) {
        if self.left.len() < 2
            || self.moves >= MOVES_MAX
            || self.balancer.balance == Balance::Weighted
        {
            return std::future::pending().await;
        }
        let is_bound = self.bound_among(&self.left) == Some(here.lane.number);
        let accepted = if is_bound {
            self.balancer.affinity_wait
        } else {
            Duration::ZERO
        };
        loop {
            sleep(LOOK_MIN + LOOK_SPREAD.mul_f64(fastrand::f64())).await;
            let waits = replica(here);
            let others = self
                .left
                .iter()
                .filter(|other| other.lane.number != here.lane.number);
            let mut others = others.map(|other| replica(other));
            if others.any(|other| balance::is_worth_moving(&waits, &other, accepted)) {
                return;
            }
        }
    }

    /// Records that the call was taken back from a queue.
    pub(super) fn moved(&mut self, from: &Target) {
        self.came_from = Some(from.lane.number);
        self.moves += 1;
    }

    /// Returns the position of a replica among `targets`, whose states are `replicas`.
    fn choose_among(&self, targets: &[&Target], replicas: &[Replica]) -> Option<usize> {
        let best = match self.balancer.balance {
            Balance::Weighted => return balance::draw(replicas, fastrand::f64()),
            Balance::LeastLoaded => {
                balance::choose(replicas, [fastrand::u32(..), fastrand::u32(..)])?
            }
        };
        let lane = self.bound_among(targets);
        let bound = targets
            .iter()
            .position(|target| Some(target.lane.number) == lane);
        let stays = |bound: &usize| {
            let pair = replicas.get(*bound).zip(replicas.get(best));
            let accepted = self.balancer.affinity_wait;
            pair.is_some_and(|(bound, best)| balance::is_worth_staying(bound, best, accepted))
        };
        Some(bound.filter(stays).unwrap_or(best))
    }

    /// Returns the lane among `targets` that the call should stay with.
    fn bound_among(&self, targets: &[&Target]) -> Option<usize> {
        match self.bond {
            Bond::None => None,
            Bond::Session(session) => {
                let names = targets.iter().map(|target| target.lane.name());
                let place = of_session(session, names)?;
                targets.get(place).map(|target| target.lane.number)
            }
            Bond::Prompt(beginning) => self.balancer.beginnings.lane_of(beginning),
        }
    }

    /// Wakes a replica that sleeps if those that are awake have more calls than slots.
    fn wake_another(&self, targets: &[&Target], replicas: &[Replica]) {
        if !self.balancer.wakes || !balance::needs_another(replicas) {
            return;
        }
        let asleep = replicas.iter().position(Replica::is_asleep);
        let Some(lane) = asleep.and_then(|place| targets.get(place).map(|target| &target.lane))
        else {
            return;
        };
        let handle = lane.handle.clone();
        actix_rt::spawn(async move {
            if let Err(error) = handle.prewarm().await {
                tracing::debug!(lane = handle.name(), %error, "the replica was not woken");
            }
        });
    }
}

/// Returns what is known of a target when a call is to be placed.
fn replica(target: &Target) -> Replica {
    let lane = &target.lane;
    let mut replica = lane.handle.load();
    replica.weight = target.weight;
    if lane.handle.service() != Service::Open || is_unreachable(lane, replica.state) {
        replica.state = LaneState::Open;
        replica.ready_in = None;
    }
    replica
}

/// Returns `true` if a backend that is not known to serve could not be reached when it was last asked. It may be loading,
/// but nothing promises that it ever serves.
fn is_unreachable(lane: &Lane, state: LaneState) -> bool {
    matches!(state, LaneState::Probe | LaneState::Cold)
        && lane
            .handle
            .last_failure()
            .is_some_and(|failure| failure.reason == Some(UNREACHABLE))
}
