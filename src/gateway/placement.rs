//! One call among the backends of its model: where it goes first, when it leaves a queue, and where it goes next.
//!
//! The call goes to the most preferred group with a replica for which the rules of the model name no obstacle, and there to
//! the replica that is expected to answer first. If there is an obstacle everywhere, it goes to the replica that is expected to
//! answer first of all.

mod waiting;

use std::{sync::Arc, time::Duration};

use kebne_control::{FallbackKind, FallbackRules, TimeLeft, balance};
use kebne_lane::{LaneState, Replica, Service};
use kebne_wire::request::Endpoint;
use tokio::time::Instant;

use crate::{
    backend::reason::UNREACHABLE,
    gateway::{
        affinity::of_session,
        balancer::Bond,
        lane::Lane,
        route::{Route, Target},
    },
    settings::Balance,
};

/// A backend that the call may go to.
struct Candidate {
    target: Arc<Target>,
    /// The position of its group; 0 is preferred.
    rank: usize,
    /// The time that the call has waited there.
    waited: Duration,
}

/// What is known of a candidate when a call is to be placed.
struct Prospect {
    replica: Replica,
    /// Why the call should not go there.
    obstacle: Option<FallbackKind>,
}

/// What a call that is placed asks for, and until when.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    pub(super) endpoint: Endpoint,
    pub(super) began: Instant,
    pub(super) due: Instant,
}

/// One call among the backends of its model.
pub(super) struct Placement<'b> {
    route: Arc<Route>,
    rules: FallbackRules,
    bond: &'b Bond,
    call: Placed,
    /// The backends that have not refused the call, or failed it.
    left: Vec<Candidate>,
    /// The lanes of those that have, by number.
    excluded: Vec<usize>,
    /// The lane that the call has just left; it does not enter it again at once.
    came_from: Option<usize>,
    entered: Instant,
    moves: u32,
}

/// The backend that a call goes to.
pub(super) struct Choice {
    pub(super) target: Arc<Target>,
    /// The backends of preferred groups that were passed over, and why.
    pub(super) passed_over: Vec<(Arc<Target>, FallbackKind)>,
}

impl<'b> Placement<'b> {
    pub(super) fn new(
        route: Arc<Route>,
        rules: FallbackRules,
        bond: &'b Bond,
        call: Placed,
        groups: Vec<Vec<Arc<Target>>>,
    ) -> Self {
        let mut placement = Self {
            route,
            rules,
            bond,
            call,
            left: Vec::new(),
            excluded: Vec::new(),
            came_from: None,
            entered: Instant::now(),
            moves: 0,
        };
        placement.left = placement.candidates(groups);
        placement
    }

    /// Continues with the backends that the model has now.
    pub(super) fn change(&mut self, route: Arc<Route>, groups: Vec<Vec<Arc<Target>>>) {
        self.route = route;
        self.left = self.candidates(groups);
    }

    /// Returns the route of the model.
    pub(super) fn route(&self) -> &Arc<Route> {
        &self.route
    }

    fn candidates(&self, groups: Vec<Vec<Arc<Target>>>) -> Vec<Candidate> {
        let ranked = groups.into_iter().enumerate();
        let all =
            ranked.flat_map(|(rank, group)| group.into_iter().map(move |target| (rank, target)));
        let left = all.filter(|(_, target)| !self.excluded.contains(&target.lane.number));
        let left = left.map(|(rank, target)| {
            let mut before = self.left.iter();
            let before = before.find(|one| one.target.lane.number == target.lane.number);
            Candidate {
                waited: before.map_or(Duration::ZERO, |before| before.waited),
                target,
                rank,
            }
        });
        left.collect()
    }

    /// Chooses a backend for the call, or returns `None` if all have refused or failed it.
    pub(super) fn choose(&mut self) -> Option<Choice> {
        let came_from = self.came_from.take();
        self.entered = Instant::now();
        let is_open = |candidate: &&Candidate| candidate.target.lane.number_is_not(came_from);
        let mut open: Vec<_> = self.left.iter().filter(is_open).collect();
        if open.is_empty() {
            open = self.left.iter().collect();
        }
        let [first, _, ..] = open.as_slice() else {
            let target = Arc::clone(&open.first()?.target);
            return Some(Choice {
                target,
                passed_over: Vec::new(),
            });
        };
        let prospects = self.prospects(&open);
        let places = open.iter().zip(&prospects);
        let mut clear = places.filter(|(_, prospect)| prospect.obstacle.is_none());
        let clear = clear.next().map(|(candidate, _)| candidate.rank);
        // In a group the balancer decides, whatever stands in the way.
        let is_one_group = open.iter().all(|candidate| candidate.rank == first.rank);
        let Some(rank) = clear.or(is_one_group.then_some(first.rank)) else {
            let replicas: Vec<_> = prospects.iter().map(|prospect| prospect.replica).collect();
            let chosen = open.get(balance::soonest(&replicas)?)?;
            return Some(Choice {
                target: Arc::clone(&chosen.target),
                passed_over: passed_over(chosen.rank, &open, &prospects),
            });
        };
        let target = self.choose_in(rank, &open, &prospects)?;
        let passed_over = if rank == first.rank {
            Vec::new()
        } else {
            passed_over(rank, &open, &prospects)
        };
        Some(Choice {
            target,
            passed_over,
        })
    }

    /// Returns what is known of candidates.
    fn prospects(&self, candidates: &[&Candidate]) -> Vec<Prospect> {
        let replicas = candidates
            .iter()
            .map(|candidate| self.replica(&candidate.target));
        let replicas: Vec<_> = replicas.collect();
        let usual = balance::usual(&replicas);
        let pairs = candidates.iter().zip(replicas);
        let prospects = pairs.map(|(candidate, replica)| Prospect {
            obstacle: self.obstacle(candidate, &replica, candidate.waited, usual, false),
            replica,
        });
        prospects.collect()
    }

    fn obstacle(
        &self,
        candidate: &Candidate,
        replica: &Replica,
        waited: Duration,
        usual: Duration,
        is_inside: bool,
    ) -> Option<FallbackKind> {
        if candidate.target.lane.handle.service() != Service::Open {
            return Some(FallbackKind::OutOfService);
        }
        if let Some(kind) = candidate.target.unfit.kind(self.call.endpoint) {
            return self.rules.allows(kind).then_some(kind);
        }
        let time = self.time_beside(candidate);
        self.rules.obstacle(replica, waited, usual, is_inside, time)
    }

    /// Returns the time of the call beside the backend that it would go to if it left `here`; `None` if there is no such one.
    fn time_beside(&self, here: &Candidate) -> Option<TimeLeft> {
        let number = here.target.lane.number;
        let others = self.left.iter().map(|other| &*other.target);
        let others = others.filter(|other| other.lane.number != number);
        let others = others.map(|other| self.replica(other));
        let others: Vec<_> = others
            .filter(|other| other.state == LaneState::Idle || other.has_room())
            .collect();
        let next = others.get(balance::soonest(&others)?)?;
        let whole = self.call.due.saturating_duration_since(self.call.began);
        let left = self.call.due.saturating_duration_since(Instant::now());
        Some(TimeLeft::new(left, whole, next))
    }

    /// Returns what is known of a target when the call is to be placed.
    fn replica(&self, target: &Target) -> Replica {
        let mut replica = replica(target);
        if target.unfit.kind(self.call.endpoint).is_some() {
            replica.state = LaneState::Open;
            replica.ready_in = None;
        }
        replica
    }

    /// Chooses among the replicas of a group.
    fn choose_in(
        &self,
        rank: usize,
        open: &[&Candidate],
        prospects: &[Prospect],
    ) -> Option<Arc<Target>> {
        let members = open.iter().zip(prospects);
        let members = members.filter(|(candidate, _)| candidate.rank == rank);
        let (members, replicas): (Vec<_>, Vec<_>) = members
            .map(|(candidate, prospect)| (&candidate.target, prospect.replica))
            .unzip();
        if let [target] = members.as_slice() {
            return Some(Arc::clone(target));
        }
        let targets: Vec<&Target> = members.iter().map(|target| &***target).collect();
        let place = self.choose_among(&targets, &replicas)?;
        let target = Arc::clone(members.get(place)?);
        self.wake_another(&targets, &replicas);
        if let Bond::Prompt(beginning) = self.bond {
            let beginnings = &self.route.balancer.beginnings;
            beginnings.sent(beginning, target.lane.number);
        }
        Some(target)
    }

    /// Returns `true` if there are backends that have not refused the call, or failed it.
    pub(super) fn has_more(&self) -> bool {
        !self.left.is_empty()
    }

    /// Returns `true` if a backend other than `here` would take the call now.
    pub(super) fn has_alternative(&self, here: &Target) -> bool {
        self.is_clear(|other| other.target.lane.number != here.lane.number)
    }

    /// Returns `true` if there is no obstacle at one of some backends.
    fn is_clear(&self, is_meant: impl Fn(&Candidate) -> bool) -> bool {
        let meant = self.left.iter().filter(|candidate| is_meant(candidate));
        let meant: Vec<_> = meant.collect();
        let prospects = self.prospects(&meant);
        prospects.iter().any(|one| one.obstacle.is_none())
    }

    /// Excludes a backend that has refused the call, or failed it.
    pub(super) fn exclude(&mut self, target: &Target) {
        self.excluded.push(target.lane.number);
        self.left
            .retain(|other| other.target.lane.number != target.lane.number);
    }

    /// Excludes the backends whose contexts are known not to be longer than that of a backend for which the call was too long.
    pub(super) fn exclude_contexts_of(&mut self, target: &Target) {
        let Some(too_short) = target.lane.settings.context_tokens else {
            return;
        };
        self.left.retain(|other| {
            let context = other.target.lane.settings.context_tokens;
            context.is_none_or(|context| context > too_short)
        });
    }

    /// Records that the call was taken back from a queue.
    pub(super) fn moved(&mut self, from: &Target) {
        let number = from.lane.number;
        let waited = self.entered.elapsed();
        let mut left = self.left.iter_mut();
        if let Some(candidate) = left.find(|other| other.target.lane.number == number) {
            candidate.waited = candidate.waited.saturating_add(waited);
        }
        self.came_from = Some(number);
        self.moves += 1;
    }

    /// Returns the position of a replica among `targets`, whose states are `replicas`.
    fn choose_among(&self, targets: &[&Target], replicas: &[Replica]) -> Option<usize> {
        let best = match self.route.balancer.balance {
            Balance::Weighted => return balance::draw(replicas, fastrand::f64()),
            Balance::LeastLoaded => {
                balance::choose(replicas, [fastrand::u32(..), fastrand::u32(..)])?
            }
        };
        let lane = self.bound_among(targets.iter().copied());
        let mut numbers = targets.iter().map(|target| Some(target.lane.number));
        let bound = lane.and_then(|lane| numbers.position(|number| number == Some(lane)));
        let stays = |bound: &usize| {
            let pair = replicas.get(*bound).zip(replicas.get(best));
            let accepted = self.route.balancer.affinity_wait;
            pair.is_some_and(|(bound, best)| balance::is_worth_staying(bound, best, accepted))
        };
        Some(bound.filter(stays).unwrap_or(best))
    }

    /// Returns the lane among `targets` that the call should stay with.
    fn bound_among<'t>(&self, targets: impl Iterator<Item = &'t Target> + Clone) -> Option<usize> {
        match self.bond {
            Bond::None => None,
            Bond::Session(session) => {
                let names = targets.clone().map(|target| target.lane.name());
                let place = of_session(session, names)?;
                let mut targets = targets.skip(place);
                targets.next().map(|target| target.lane.number)
            }
            Bond::Prompt(beginning) => self.route.balancer.beginnings.lane_of(beginning),
        }
    }

    /// Wakes a replica that sleeps if those that are awake have more calls than slots.
    fn wake_another(&self, targets: &[&Target], replicas: &[Replica]) {
        if !self.route.balancer.wakes || !balance::needs_another(replicas) {
            return;
        }
        let asleep = replicas.iter().position(Replica::is_asleep);
        if let Some(target) = asleep.and_then(|place| targets.get(place)) {
            target.lane.wake();
        }
    }
}

/// Returns the candidates of preferred groups that a call does not go to, and why.
fn passed_over(
    rank: usize,
    open: &[&Candidate],
    prospects: &[Prospect],
) -> Vec<(Arc<Target>, FallbackKind)> {
    let places = open.iter().zip(prospects);
    let passed = places.filter(|(candidate, _)| candidate.rank < rank);
    let passed = passed.filter_map(|(candidate, prospect)| {
        let kind = prospect.obstacle?;
        let is_away = matches!(
            kind,
            FallbackKind::Cold | FallbackKind::Unreachable | FallbackKind::Quota
        );
        // No call goes there, so nothing else would find out that it serves again.
        if is_away && prospect.replica.live == 0 {
            candidate.target.lane.wake();
        }
        Some((Arc::clone(&candidate.target), kind))
    });
    passed.collect()
}

/// Returns what is known of a target when a call is to be placed.
fn replica(target: &Target) -> Replica {
    let lane = &target.lane;
    let mut replica = lane.handle.load();
    replica.weight = target.weight;
    if let Some(failing) = lane.failing() {
        replica.state = LaneState::Open;
        replica.ready_in = failing.again_in;
    } else if lane.handle.service() != Service::Open || is_away(lane, replica.state) {
        replica.state = LaneState::Open;
        replica.ready_in = None;
    }
    replica
}

/// Returns `true` if a backend that is not known to serve is not there: its health checks fail, or it could not be reached when
/// it was last asked. It may be loading, but nothing promises that it ever serves.
fn is_away(lane: &Lane, state: LaneState) -> bool {
    if matches!(state, LaneState::Ramp | LaneState::Steady) {
        return false;
    }
    if let Some(is_up) = lane.health.is_up() {
        return !is_up;
    }
    matches!(state, LaneState::Probe | LaneState::Cold)
        && lane
            .handle
            .last_failure()
            .is_some_and(|failure| failure.reason == Some(UNREACHABLE))
}
