//! The driver for routers: pools and groups of routees that log what they handle.
//!
//! A routee logs a job's key under its own name, does what the job says, and answers with its name.

use std::{future::Future, pin::Pin, time::Duration};

use super::Unsupported;
use crate::case::{CaseResult, Failure, ensure_eq};

/// A future on the case's thread.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Opens stages.
pub trait Driver: Send + Sync {
    /// Opens an empty stage.
    fn open(&self) -> Box<dyn Stage>;

    /// Returns an error if the library does not claim this.
    ///
    /// # Errors
    /// Returns what it has no notion of.
    fn claims(&self, claim: Claim) -> Result<(), Unsupported>;
}

impl dyn Driver + '_ {
    /// Ends the case where the library does not claim this.
    ///
    /// # Errors
    /// Fails as not applicable.
    pub fn needs(&self, claim: Claim) -> CaseResult {
        Ok(self.claims(claim)?)
    }
}

/// What a library may or may not claim of its routers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A pool that is told nothing else gives each routee its turn.
    TurnsByDefault,
    /// A routee of a pool that stops, or that panics and is not to be restarted, is not replaced.
    RouteesLeave,
    /// What a routee refuses waits nowhere else.
    AddsNoRoom,
}

/// What a routee does with a job after it has logged it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Answers.
    Answer,
    /// Panics.
    Panic,
    /// Stops.
    Stop,
    /// Handles nothing else for this long, then answers.
    Hold(Duration),
    /// Is given up by this routee without an answer, and answered by any other.
    NoAnswerFrom(&'static str),
}

/// A message for a routee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// By which consistent hashing chooses; logged.
    pub key: u32,
    /// What the routee does.
    pub act: Act,
}

impl Job {
    /// Makes a job that is answered at once.
    pub fn of(key: u32) -> Self {
        Self {
            key,
            act: Act::Answer,
        }
    }

    /// Makes a job that does this.
    pub fn to(act: Act) -> Self {
        Self { key: 0, act }
    }
}

/// How a router chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// As the library does by default.
    Default,
    /// Each in turn.
    RoundRobin,
    /// By chance from this seed.
    Random(u64),
    /// By the job's key.
    ByKey,
    /// By how much each has to do, as near as the library comes to that.
    LeastLoaded,
}

/// A router to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// How it chooses.
    pub choice: Choice,
    /// The key from which on jobs go to all.
    pub broadcast_from: Option<u32>,
    /// Messages that may wait for each routee of a pool.
    pub mailbox: usize,
    /// Whether a pool's routees are restarted, or replaced, when they panic; otherwise they stop, where the library
    /// has pools of such (see [`Claim::RouteesLeave`]).
    pub restarted: bool,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            choice: Choice::Default,
            broadcast_from: None,
            mailbox: 1000,
            restarted: false,
        }
    }
}

impl Spec {
    /// Makes the description of a router that chooses so.
    pub fn choosing(choice: Choice) -> Self {
        Self {
            choice,
            ..Self::default()
        }
    }
}

/// Who handled which key.
pub type Handled = (String, u32);

/// Routers and members of one case.
pub trait Stage {
    /// Makes a pool of routees named `1`, `2` and so on.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn pool(&self, size: usize, spec: Spec) -> Result<Box<dyn Router>, Unsupported>;

    /// Makes a group of those that are registered, now and later.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn group(&self, spec: Spec) -> Result<Box<dyn Router>, Unsupported>;

    /// Starts and registers an actor for groups.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn member(&self, name: &'static str) -> Result<Box<dyn Member>, Unsupported>;

    /// Takes what was logged since the last time.
    fn handled(&self) -> Vec<Handled>;

    /// Counts the dead letters.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn dead_letters(&self) -> Result<u64, Unsupported>;

    /// Counts the living routees and members.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn living(&self) -> Result<usize, Unsupported>;
}

/// An actor that was registered.
pub trait Member {
    /// Stops it.
    fn stop(&self);

    /// Takes it from the register; it lives on.
    fn leave(&self);
}

/// A router.
pub trait Router {
    /// Sends a job to it. Returns `true` if it was taken, as far as that is known at once.
    fn tell(&self, job: Job) -> bool;

    /// Offers a job to it; returns `true` if it was taken, once that is known.
    fn offer(&self, job: Job) -> Soon<'_, bool> {
        Box::pin(std::future::ready(self.tell(job)))
    }

    /// Asks; `None` when there is no answer in time.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn ask(&self, job: Job, timeout: Duration) -> Soon<'_, Result<Option<String>, Unsupported>>;

    /// Asks all; the first answer counts.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn ask_first(
        &self,
        job: Job,
        timeout: Duration,
    ) -> Soon<'_, Result<Option<String>, Unsupported>>;

    /// Asks one by chance, and another after each interval; the first answer counts.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn ask_tail_chopping(
        &self,
        job: Job,
        interval: Duration,
        timeout: Duration,
    ) -> Soon<'_, Result<Option<String>, Unsupported>>;

    /// Sends a job to all.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn broadcast(&self, job: Job) -> Result<(), Unsupported>;

    /// Stops it.
    fn stop(&self);

    /// Returns `true` if it has not stopped.
    fn is_alive(&self) -> bool;
}

impl dyn Stage + '_ {
    /// Lets everything happen that can happen at once, and takes what was logged.
    pub async fn settled(&self) -> Vec<Handled> {
        settle().await;
        self.handled()
    }

    /// As [`Stage::handled`] once all has happened, the names only.
    pub async fn names(&self) -> Vec<String> {
        let handled = self.settled().await;
        handled.into_iter().map(|(name, _)| name).collect()
    }

    /// Compares who handled what since the last look.
    ///
    /// # Errors
    /// Fails the case when it was something else.
    pub async fn expect_names(&self, expected: &[&str]) -> CaseResult {
        let names = self.names().await;
        ensure_eq(
            "routees",
            &names.iter().map(String::as_str).collect(),
            &expected.to_vec(),
        )
    }

    /// Starts members of these names.
    ///
    /// # Errors
    /// Fails as not applicable.
    pub async fn members(&self, names: &[&'static str]) -> Result<Vec<Box<dyn Member>>, Failure> {
        let members: Result<Vec<_>, _> = names.iter().map(|name| self.member(name)).collect();
        settle().await;
        Ok(members?)
    }
}

impl dyn Router + '_ {
    /// Tells jobs of these keys.
    ///
    /// # Errors
    /// Fails the case unless all are taken.
    pub fn tell_keys(&self, keys: impl IntoIterator<Item = u32>) -> CaseResult {
        for key in keys {
            ensure_eq("taken", &self.tell(Job::of(key)), &true)?;
        }
        Ok(())
    }
}

/// Lets everything happen that can happen at once.
pub async fn settle() {
    tokio::time::sleep(super::actors::MOMENT).await;
}
