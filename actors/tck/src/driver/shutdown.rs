//! The driver for coordinated shutdown: phases with tasks that log their names.

use std::{future::Future, pin::Pin, time::Duration};

use super::Unsupported;
use crate::case::{CaseResult, Failure, ensure_eq};

/// A future on the case's thread.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Makes shutdowns.
pub trait Driver: Send + Sync {
    /// Makes a shutdown of these phases.
    ///
    /// # Errors
    /// Says why these are no phases, in the library's own words.
    fn of(&self, phases: &[Phase]) -> Result<Box<dyn Shutdown>, String>;

    /// Makes a shutdown of the phases that the library has by default, those of a cluster included where it
    /// knows them.
    fn default_phases(&self) -> Box<dyn Shutdown>;
}

/// A phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// What it comes after.
    pub after: &'static [&'static str],
    /// How long it may take; `None` for the library's default.
    pub timeout: Option<Duration>,
    /// Whether the run goes on after a failure.
    pub recover: bool,
    /// Whether its tasks are run.
    pub enabled: bool,
}

impl Phase {
    /// Makes a phase with the library's defaults.
    pub const fn new(name: &'static str, after: &'static [&'static str]) -> Self {
        Self {
            name,
            after,
            timeout: None,
            recover: true,
            enabled: true,
        }
    }
}

/// What a task does after it has logged its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Ends well.
    Done,
    /// Works this long, logs its name only then, and ends well.
    Work(Duration),
    /// Fails.
    Fail,
    /// Panics.
    Panic,
    /// Never ends.
    Hang,
    /// Adds a task of this name to this phase, and ends well.
    Add(&'static str, &'static str),
    /// Takes back the task of this name, and ends well.
    Cancel(&'static str),
}

/// How an actor is to be stopped by a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// The task stops it.
    Stop,
    /// The task tells it a message at which it logs `told` and stops.
    Message,
}

/// How a run went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The phase whose failure ended the run, if its recovery is off.
    pub aborted_in: Option<String>,
    /// The tasks that failed.
    pub failed: Vec<String>,
    /// The tasks that their phase's time cut off.
    pub cut_off: Vec<String>,
}

/// One shutdown, with a log.
pub trait Shutdown {
    /// Returns the phases in the order of running, each with its time.
    fn phases(&self) -> Vec<(String, Duration)>;

    /// Adds a task that logs its name.
    ///
    /// # Errors
    /// Says why it was not added.
    fn add(&self, phase: &str, name: &'static str, act: Act) -> Result<(), String>;

    /// Takes back the task added first under this name; returns `true` if it was there.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn cancel(&self, name: &str) -> Result<bool, Unsupported>;

    /// Starts an actor that logs its name when it has stopped.
    fn spawn(&self, name: &'static str);

    /// Adds a task that stops an actor, and waits until it has.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn add_termination(
        &self,
        phase: &str,
        actor: &'static str,
        stopping: Stopping,
    ) -> Result<(), Unsupported>;

    /// Stops an actor now, and waits until it has.
    fn stop<'a>(&'a self, actor: &'a str) -> Soon<'a, ()>;

    /// Adds the task that stops all actors in the last phase.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn add_system(&self) -> Result<(), Unsupported>;

    /// Runs it, from the first phase or another; `reason` is remembered.
    ///
    /// # Errors
    /// Says that there is no such phase.
    fn run(
        &self,
        from: Option<&'static str>,
        reason: &'static str,
    ) -> Soon<'_, Result<Outcome, String>>;

    /// Returns the reason of the run, once there is one.
    fn reason(&self) -> Option<String>;

    /// Returns the time that a run may take with the tasks there are.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn total_timeout(&self) -> Result<Duration, Unsupported>;

    /// Returns what was logged.
    fn log(&self) -> Vec<String>;
}

impl dyn Driver + '_ {
    /// Makes a shutdown of phases that have an order.
    ///
    /// # Errors
    /// Fails the case otherwise.
    pub fn with(&self, phases: &[Phase]) -> Result<Box<dyn Shutdown>, Failure> {
        self.of(phases).map_err(Failure::Failed)
    }
}

impl dyn Shutdown + '_ {
    /// Adds tasks, each of its phase.
    ///
    /// # Errors
    /// Fails the case when one is not taken.
    pub fn add_all(&self, tasks: &[(&str, &'static str, Act)]) -> CaseResult {
        for (phase, name, act) in tasks {
            self.add(phase, name, *act).map_err(Failure::Failed)?;
        }
        Ok(())
    }

    /// Runs all phases.
    ///
    /// # Errors
    /// Fails the case when the run does not begin.
    pub async fn run_all(&self) -> Result<Outcome, Failure> {
        self.run(None, "asked").await.map_err(Failure::Failed)
    }

    /// Compares the log.
    ///
    /// # Errors
    /// Fails the case when it is another.
    pub fn expect(&self, entries: &[&str]) -> CaseResult {
        let log = self.log();
        ensure_eq(
            "log",
            &log.iter().map(String::as_str).collect(),
            &entries.to_vec(),
        )
    }
}
