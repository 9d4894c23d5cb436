//! The report of a run: the result of each phase and task.

use std::{borrow::Cow, time::Duration};

/// Why the shutdown was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No reason was given.
    Unknown,
    /// It was requested, by an operator or a signal.
    Requested,
    /// Something failed for good, with this message.
    Failed(String),
    /// Another reason, in the program's own words.
    Other(Cow<'static, str>),
}

/// The report of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Why it was run.
    pub reason: Reason,
    /// All phases in their order, including those that did not run.
    pub phases: Vec<PhaseReport>,
    /// The phase whose failure ended the run early, if one did: its `recover` is off.
    pub aborted_in: Option<String>,
}

/// The result of one phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseReport {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub end: PhaseEnd,
    /// How long it took.
    pub took: Duration,
    /// Its tasks, in the order of adding.
    pub tasks: Vec<TaskReport>,
}

/// How a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseEnd {
    /// All its tasks ended, well or not.
    Ended,
    /// Its time ran out with tasks under way, which were cut off.
    TimedOut,
    /// It is disabled: its tasks were not run.
    Disabled,
    /// The run began after it, or was given up before it.
    NotRun,
}

/// The result of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskReport {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub end: TaskEnd,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskEnd {
    /// It is done.
    Done,
    /// It failed or panicked, with this message.
    Failed(String),
    /// Its phase's time ran out; it was dropped.
    CutOff,
    /// Its phase was not run.
    NotRun,
}

impl Report {
    /// Returns `true` if no task failed or was cut off, and no phase was skipped after a failure.
    pub fn is_clean(&self) -> bool {
        self.aborted_in.is_none() && self.failed().next().is_none() && !self.timed_out()
    }

    /// Returns the report of a phase.
    pub fn phase(&self, name: &str) -> Option<&PhaseReport> {
        self.phases.iter().find(|phase| phase.name == name)
    }

    /// Returns the tasks that failed, each with its phase.
    pub fn failed(&self) -> impl Iterator<Item = (&str, &TaskReport)> {
        self.tasks()
            .filter(|(_, task)| matches!(task.end, TaskEnd::Failed(_)))
    }

    /// Returns the tasks that were cut off, each with its phase.
    pub fn cut_off(&self) -> impl Iterator<Item = (&str, &TaskReport)> {
        self.tasks().filter(|(_, task)| task.end == TaskEnd::CutOff)
    }

    fn tasks(&self) -> impl Iterator<Item = (&str, &TaskReport)> {
        let phases = self.phases.iter();
        phases.flat_map(|phase| phase.tasks.iter().map(|task| (phase.name.as_str(), task)))
    }

    fn timed_out(&self) -> bool {
        let mut phases = self.phases.iter();
        phases.any(|phase| phase.end == PhaseEnd::TimedOut)
    }
}
