//! The state of a lane for operators.
//!
//! Asks the lane's actors for their reports, of which the last ones are kept (`reports`). It exists so that an operator sees a lane at once also
//! while its actors hang or restart: then the last reports are shown with their age. What callers and backends count by
//! themselves (calls, endings, failures) is current in any case.

use std::{sync::Arc, time::Duration};

use kebne_actors::ActorRef;

use crate::{
    backend::Backend,
    handle::LaneHandle,
    lane::{Entrance, GetClosed, Lane, Route},
    rate_controller::GetController,
    reports::Reports,
    snapshot::{LaneSnapshot, PastVerdict, Question, Service, next_attempt, until},
    worker_pool::GetPool,
};

/// The time within which the lane's actors must answer for a snapshot. They answer within a millisecond; on a machine that is
/// busy with other work they may take some tens of them.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_millis(250);
impl<B: Backend> LaneHandle<B> {
    /// Returns the state of the lane for operators. If its actors do not answer within 250 ms, their last known numbers are
    /// returned, marked as stale.
    pub async fn snapshot(&self) -> LaneSnapshot {
        let entrance = self.inner.entrance.borrow().clone();
        let reports = match (entrance, self.inner.reports.ask()) {
            (Entrance::Open(route), Some(question)) => self.open_reports(&route, question).await,
            (Entrance::Closed { lane, .. }, Some(question)) => {
                self.closed_reports(&lane, question).await
            }
            (Entrance::Starting, _) | (_, None) => None,
        };
        match reports {
            Some(reports) => self.snapshot_of(&self.inner.reports.keep(reports), false),
            None => self.snapshot_of(&self.inner.reports.last(), true),
        }
    }

    async fn open_reports(&self, route: &Route<B>, question: Question) -> Option<Reports> {
        let get_controller = GetController(question.clone());
        let (controller, pool) = tokio::join!(
            route
                .controller
                .ask_control(get_controller, SNAPSHOT_TIMEOUT),
            route.pool.ask_control(GetPool(question), SNAPSHOT_TIMEOUT),
        );
        let (controller, pool) = (controller.ok()?, pool.ok()?);
        Some(Reports {
            at: self.inner.clock.now(),
            controller: controller.report,
            verdicts: controller.verdicts,
            states: controller.states,
            pool: pool.report,
            workers: pool.workers,
            workers_idle: pool.workers_idle,
        })
    }

    async fn closed_reports(
        &self,
        lane: &ActorRef<Lane<B>>,
        question: Question,
    ) -> Option<Reports> {
        let asked = lane.ask_control(GetClosed(question), SNAPSHOT_TIMEOUT);
        let view = asked.await.ok()?;
        let now = self.inner.clock.now();
        let memory = self.inner.learned.lock();
        Some(Reports {
            at: now,
            controller: view.controller,
            verdicts: memory.verdicts(now),
            states: memory.states(),
            pool: view.pool,
            workers: 0,
            workers_idle: 0,
        })
    }

    fn snapshot_of(&self, reports: &Reports, stale: bool) -> LaneSnapshot {
        let inner = &self.inner;
        let now = inner.clock.now();
        let age = now.since(reports.at);
        let closed = self.closed();
        let grant = reports.controller.grant;
        let ready = grant.ready_eta.filter(|_| closed.is_none());
        let next = next_attempt(grant.permission).filter(|_| closed.is_none());
        let verdicts = reports.verdicts.iter().map(|verdict| PastVerdict {
            age: verdict.age.saturating_add(age),
            ..*verdict
        });
        LaneSnapshot {
            name: Arc::clone(&inner.name),
            stale,
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            service: self.service(),
            closed,
            state: self.state(),
            state_changes: reports.states.clone(),
            controller: reports.controller.clone(),
            verdicts: verdicts.collect(),
            ready_in_ms: ready.map(|time| until(time, now)),
            next_attempt_in_ms: next.map(|time| until(time, now)),
            pool: reports.pool.clone(),
            workers: reports.workers,
            workers_idle: reports.workers_idle,
            worker_restarts: inner.status.restarts(),
            last_failure: self.last_failure(),
            failures: inner.status.failure_counts(),
            live: self.live(),
            endings: self.endings(),
            prewarms: inner.prewarms.counts(),
        }
    }

    /// Returns whether the lane admits calls.
    pub fn service(&self) -> Service {
        match (self.closed(), self.inner.status.is_draining()) {
            (Some(_), _) => Service::Closed,
            (None, false) => Service::Open,
            (None, true) if self.live() == 0 => Service::Drained,
            (None, true) => Service::Draining,
        }
    }
}
