//! What the scheduler reports of its servers.

use std::{sync::Arc, time::Duration};

use actix::{Handler, MessageResult};
use kebne_actors::Context;
use kebne_control::Timestamp;

use super::{GetLoadTimes, GetReports, Known, Scheduler};
use crate::{
    parts::Means,
    report::ServerReport,
    schedule::{Phase, ServerId, View},
};

/// The lines of a server's log in a report.
const REPORT_LINES: usize = 20;

impl Scheduler {
    fn report(&self, server: ServerId, known: &Known, now: Timestamp) -> Option<ServerReport> {
        let view = self.schedule.view(server, now)?;
        let times = self.schedule.load_times(server)?;
        let leases = known.gate.leases();
        let (kind, port) = match &known.parts.means {
            Means::Process(launch) => ("process", Some(launch.port())),
            Means::Hooks { .. } => ("hooks", None),
        };
        Some(ServerReport {
            name: Arc::clone(&known.parts.name),
            kind,
            state: view.phase,
            state_ms: millis(view.age),
            pid: known.pid,
            port,
            device: Arc::clone(&known.parts.device),
            memory: known.parts.room.memory,
            slots: known.parts.room.slots,
            in_flight: leases.held,
            calls: leases.calls,
            waiting_ms: view.waiting.map(millis),
            ready_in_ms: view.eta.map(millis),
            loads: view.loads,
            load_seconds: known.load_seconds,
            swaps: view.swaps,
            failures: view.failures,
            failures_in_row: view.failures_in_row,
            is_failing: view.is_failing || known.is_awake,
            is_awake: known.is_awake,
            load_p50_ms: times.quantile(0.5).map(millis),
            load_p90_ms: times.quantile(0.9).map(millis),
            last_error: known.last_error.clone(),
            lines: known.lines.last(REPORT_LINES),
        })
    }
}

impl Handler<GetReports> for Scheduler {
    type Result = MessageResult<GetReports>;

    fn handle(&mut self, _: GetReports, _: &mut Context<Self>) -> Self::Result {
        let now = self.clock.now();
        let servers = self.servers.iter();
        let reports = servers.filter_map(|(server, known)| self.report(*server, known, now));
        MessageResult(reports.collect())
    }
}

impl Handler<GetLoadTimes> for Scheduler {
    type Result = MessageResult<GetLoadTimes>;

    fn handle(&mut self, _: GetLoadTimes, _: &mut Context<Self>) -> Self::Result {
        let servers = self.servers.iter();
        let times = servers.filter_map(|(server, known)| {
            let times = self.schedule.load_times(*server)?;
            Some((known.parts.name.to_string(), times.clone()))
        });
        MessageResult(times.collect())
    }
}

/// Returns why a server does not serve, in words for callers and operators.
pub(super) fn reason(view: &View, known: &Known) -> String {
    match view.phase {
        Phase::Starting => "it is starting".to_owned(),
        Phase::Closing | Phase::Stopping => match &known.parts.means {
            Means::Process(_) => "it is being stopped".to_owned(),
            Means::Hooks { .. } => "it is being put to sleep".to_owned(),
        },
        Phase::Stopped if view.failures_in_row > 0 => {
            let error = known.last_error.as_deref().unwrap_or("it failed");
            format!("its last run failed: {error}")
        }
        Phase::Stopped if view.waiting.is_some() => "it waits for room".to_owned(),
        Phase::Stopped | Phase::Ready => "it is not running".to_owned(),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
