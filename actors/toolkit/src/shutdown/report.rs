//! The report of a run: the result of each phase and task.

use std::{borrow::Cow, time::Duration};

/// The reason for the shutdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No reason was given.
    Unknown,
    /// It was requested, by an operator or a signal.
    Requested,
    /// An unrecoverable failure, with this message.
    Failed(String),
    /// Another reason, as text from the program.
    Other(Cow<'static, str>),
}

/// The report of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The reason for the run.
    pub reason: Reason,
    /// All phases in their order, including those that did not run.
    pub phases: Vec<PhaseReport>,
    /// The phase whose failure ended the run early because its `recover` is `false`, if there is one.
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
    /// All its tasks ended, successfully or not.
    Ended,
    /// Its time limit passed while tasks were running; they were dropped.
    TimedOut,
    /// It is disabled: its tasks were not run.
    Disabled,
    /// The run began after it, or was aborted before it.
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
    /// The time limit of its phase passed, and it was dropped.
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
