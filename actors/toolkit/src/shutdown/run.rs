//! The one run of a shutdown.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{
    Inner, Phase, Reason, Task,
    report::{PhaseEnd, PhaseReport, Report, TaskEnd, TaskReport},
};
use crate::system::panic_text;

/// The deadline of a phase whose own deadline exceeds the range of the clock: ten years.
const FAR: Duration = Duration::from_hours(24 * 3650);

/// Runs the phases from the one at `first` and publishes the report.
pub(super) async fn drive(inner: Arc<Inner>, first: usize, reason: Reason) {
    let mut phases = Vec::with_capacity(inner.phases.len());
    let mut aborted_in = None;
    for (place, (name, phase)) in inner.phases.iter().enumerate() {
        let tasks = inner.begin(place, name);
        let report = if aborted_in.is_some() || place < first {
            not_run(name, PhaseEnd::NotRun, tasks)
        } else if phase.enabled {
            run_phase(name, phase, tasks).await
        } else {
            if !tasks.is_empty() {
                tracing::info!(phase = %name, tasks = tasks.len(), "a disabled phase was skipped");
            }
            not_run(name, PhaseEnd::Disabled, tasks)
        };
        if !phase.recover && !went_well(&report) {
            aborted_in.get_or_insert_with(|| name.clone());
        }
        phases.push(report);
    }
    if let Some(phase) = &aborted_in {
        tracing::error!(phase, "the shutdown was aborted");
    }
    inner.report.send_replace(Some(Report {
        reason,
        phases,
        aborted_in,
    }));
}

fn not_run(name: &str, end: PhaseEnd, tasks: Vec<Task>) -> PhaseReport {
    let tasks = tasks.into_iter().map(|task| TaskReport {
        name: task.name,
        end: TaskEnd::NotRun,
    });
    PhaseReport {
        name: name.to_owned(),
        end,
        took: Duration::ZERO,
        tasks: tasks.collect(),
    }
}

fn went_well(report: &PhaseReport) -> bool {
    let failed = |task: &TaskReport| matches!(task.end, TaskEnd::Failed(_));
    report.end != PhaseEnd::TimedOut && !report.tasks.iter().any(failed)
}

/// Runs the tasks of a phase at the same time, until all have ended or the time limit has passed.
async fn run_phase(name: &str, phase: &Phase, tasks: Vec<Task>) -> PhaseReport {
    let began = Instant::now();
    tracing::debug!(phase = %name, tasks = tasks.len(), "a shutdown phase began");
    let mut reports = Vec::with_capacity(tasks.len());
    let mut running = JoinSet::new();
    for (place, task) in tasks.into_iter().enumerate() {
        reports.push(TaskReport {
            name: task.name,
            end: TaskEnd::CutOff,
        });
        let body = AssertUnwindSafe(async move { (task.body)().await });
        running.spawn(async move {
            let end = match body.catch_unwind().await {
                Ok(Ok(())) => TaskEnd::Done,
                Ok(Err(error)) => TaskEnd::Failed(error.to_string()),
                Err(panic) => TaskEnd::Failed(format!("panicked: {}", panic_text(&*panic))),
            };
            (place, end)
        });
    }
    let mut end = PhaseEnd::Ended;
    let deadline = began.checked_add(phase.timeout);
    let deadline = deadline.unwrap_or_else(|| began + FAR);
    while !running.is_empty() {
        let Ok(joined) = timeout_at(deadline, running.join_next()).await else {
            end = PhaseEnd::TimedOut;
            break;
        };
        // A task that the runtime itself dropped is reported as cut off, which is the initial value.
        let Some(Ok((place, ended))) = joined else {
            continue;
        };
        if let Some(report) = reports.get_mut(place) {
            if let TaskEnd::Failed(error) = &ended {
                tracing::warn!(phase = %name, task = %report.name, error, "a shutdown task failed");
            }
            report.end = ended;
        }
    }
    if end == PhaseEnd::TimedOut {
        let cut_off: Vec<_> = reports
            .iter()
            .filter(|report| report.end == TaskEnd::CutOff)
            .map(|report| report.name.as_str())
            .collect();
        tracing::warn!(phase = %name, timeout = ?phase.timeout, ?cut_off, "a shutdown phase timed out");
    }
    PhaseReport {
        name: name.to_owned(),
        end,
        took: began.elapsed(),
        tasks: reports,
    }
}
