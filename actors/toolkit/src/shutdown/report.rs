//! What became of each phase and each task of a run.

use std::{borrow::Cow, time::Duration};

/// Why the shutdown was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nobody said why.
    Unknown,
    /// Someone asked for it: an operator, a signal.
    Requested,
    /// Something failed for good; this is what it said.
    Failed(String),
    /// Another reason, in the program's own words.
    Other(Cow<'static, str>),
}

/// How a run of the shutdown went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Why it was run.
    pub reason: Reason,
    /// All phases in their order, those that were not run too.
    pub phases: Vec<PhaseReport>,
    /// The phase after whose failure the run was given up, if it was: its `recover` is off.
    pub aborted_in: Option<String>,
}

/// What became of one phase.
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

/// What became of one task.
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
    /// It failed, or panicked, with these words.
    Failed(String),
    /// Its phase's time ran out; it was dropped.
    CutOff,
    /// Its phase was not run.
    NotRun,
}

impl Report {
    /// Says whether all went well: no task failed, none was cut off, no phase was given up.
    pub fn is_clean(&self) -> bool {
        self.aborted_in.is_none() && self.failed().next().is_none() && !self.timed_out()
    }

    /// Returns what became of a phase.
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
