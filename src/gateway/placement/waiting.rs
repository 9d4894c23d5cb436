//! A call that waits in a queue: when another backend is better for it.

use std::time::Duration;

use kebne_control::{FallbackKind, balance};
use kebne_lane::{Replica, Withdrawal};
use tokio::time::sleep;

use super::{Candidate, Placement};
use crate::{gateway::route::Target, settings::Balance};

/// The time between two looks at the other replicas while a call waits, drawn anew each time, so that calls that wait
/// together do not all move at once.
const LOOK_MIN: Duration = Duration::from_millis(50);
const LOOK_SPREAD: Duration = Duration::from_millis(150);
/// The number of times that a call may move.
const MOVES_MAX: u32 = 8;

impl Placement<'_> {
    /// Returns once the call, which waits at `here`, is better off at another backend. If `leaves` is set when it ends, the
    /// rules of the model have it leave for this kind of obstacle.
    pub(in crate::gateway) async fn is_better_off_elsewhere(
        &self,
        here: &Target,
        leaves: &mut Option<FallbackKind>,
    ) -> Withdrawal {
        if here.lane.server.is_some() {
            return self.is_better_off_or_lost(here, leaves).await;
        }
        self.is_better_off(here, leaves).await
    }

    /// As [`Self::is_better_off_elsewhere`], and once the server of `here` fails, so that nothing is worth waiting for.
    async fn is_better_off_or_lost(
        &self,
        here: &Target,
        leaves: &mut Option<FallbackKind>,
    ) -> Withdrawal {
        // A call whose attempt waits for the server is not taken back, and asks again at once; so each question takes some time.
        let fails = async {
            loop {
                sleep(LOOK_MIN + LOOK_SPREAD.mul_f64(fastrand::f64())).await;
                if here.lane.has_failed().is_some() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            withdrawal = self.is_better_off(here, leaves) => withdrawal,
            () = fails => Withdrawal::Waiting,
        }
    }

    async fn is_better_off(&self, here: &Target, leaves: &mut Option<FallbackKind>) -> Withdrawal {
        if self.left.len() < 2 || self.moves >= MOVES_MAX {
            return std::future::pending().await;
        }
        let own = |candidate: &&Candidate| candidate.target.lane.number == here.lane.number;
        let Some(here) = self.left.iter().find(own) else {
            return std::future::pending().await;
        };
        let is_bound = self.bound_among(self.left.iter().map(|other| &*other.target))
            == Some(here.target.lane.number);
        let accepted = if is_bound {
            self.route.balancer.affinity_wait
        } else {
            Duration::ZERO
        };
        loop {
            sleep(LOOK_MIN + LOOK_SPREAD.mul_f64(fastrand::f64())).await;
            let waits = self.replica(&here.target);
            if self.is_worth_moving(here, &waits, accepted) {
                *leaves = None;
                return Withdrawal::Waiting;
            }
            if let Some((kind, withdrawal)) = self.leaves(here, &waits) {
                *leaves = Some(kind);
                return withdrawal;
            }
        }
    }

    /// Returns `true` if a replica of the same group, or one of a preferred group, would answer the call sooner.
    fn is_worth_moving(&self, here: &Candidate, waits: &Replica, accepted: Duration) -> bool {
        let is_other = |other: &&Candidate| {
            let is_fixed =
                self.route.balancer.balance == Balance::Weighted && other.rank == here.rank;
            other.target.lane.number != here.target.lane.number
                && other.rank <= here.rank
                && !is_fixed
        };
        let others = self.left.iter().filter(is_other);
        others
            .map(|other| (other.rank, self.replica(&other.target)))
            .filter(|(rank, other)| *rank == here.rank || other.has_room())
            .any(|(_, other)| balance::is_worth_moving(waits, &other, accepted))
    }

    /// Returns for which kind of obstacle the call leaves `here`, if another backend would take it.
    fn leaves(&self, here: &Candidate, waits: &Replica) -> Option<(FallbackKind, Withdrawal)> {
        let waited = here.waited.saturating_add(self.entered.elapsed());
        let usual = balance::usual(&[*waits]);
        let kind = self.obstacle(here, waits, waited, usual, true)?;
        let is_other = |other: &Candidate| {
            // In a group the balancer decides about queues.
            let counts = kind != FallbackKind::Overload || other.rank != here.rank;
            other.target.lane.number != here.target.lane.number && counts
        };
        if !self.is_clear(is_other) {
            return None;
        }
        let withdrawal = if self.rules.has_asked_enough(waits, waited) {
            Withdrawal::Running
        } else {
            Withdrawal::Waiting
        };
        Some((kind, withdrawal))
    }
}
