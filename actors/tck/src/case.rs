//! What a case is, and how it can end.
//!
//! # Adding a case
//! Write one function whose name is the sentence that must hold, taking the driver of its area and returning a
//! [`CaseResult`], and list it with [`cases!`](crate::cases!) in the same file, naming the Pekko specification and topic it
//! follows and its [`Stance`]. Mark it `isolated` when some library may abort the process or spin its thread
//! for ever on it. A whole new file of cases is added to [`registry`](crate::registry) by one line.
//!
//! A case moves time itself: the clock is tokio's and paused, so a sleep ends when nothing else can run. It never sees
//! real time, takes chance from [`SEED`] only, and asks for nothing that Pekko does not document or that is
//! no trap of actix.

use std::{fmt, future::Future, pin::Pin};

/// Where the chance of every case starts.
pub const SEED: u64 = 0x6b65_626e;

/// The part of the semantics that a case belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Messages, asks, lifecycle.
    L1,
    /// Supervision, watch, timers, stash.
    L2,
    /// Mailbox, fairness, routers, work pulling, reliable delivery.
    L3,
    /// Rate, breaker, retry.
    L4,
    /// Streams, and HTTP where it streams.
    L5,
    /// Shutdown.
    L6,
    /// Event-sourced actors.
    L7,
}

impl Level {
    /// All levels in order.
    pub const ALL: [Self; 7] = [
        Self::L1,
        Self::L2,
        Self::L3,
        Self::L4,
        Self::L5,
        Self::L6,
        Self::L7,
    ];

    /// Says what the level is about.
    pub const fn about(self) -> &'static str {
        match self {
            Self::L1 => "messages, asks, lifecycle",
            Self::L2 => "supervision, watch, timers, stash",
            Self::L3 => "mailbox, fairness, routers, work pulling, reliable delivery",
            Self::L4 => "rate, breaker, retry",
            Self::L5 => "streams, HTTP",
            Self::L6 => "shutdown",
            Self::L7 => "persistence",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}

/// How Kebne stands to what the cited specification says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stance {
    /// The case asks for what Pekko does.
    Same,
    /// The case asks for something else, for this reason.
    Different(&'static str),
    /// Pekko has no such topic; the case guards against a trap of actix.
    Trap(&'static str),
}

/// Why a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The library does something else; what was expected and what was seen.
    Failed(String),
    /// The library does not claim to offer what the case is about.
    NotApplicable(String),
}

/// The end of one case.
pub type CaseResult = Result<(), Failure>;

/// A case under way, on the thread that the runner gave it.
pub type Running<'a> = Pin<Box<dyn Future<Output = CaseResult> + 'a>>;

/// One case; `D` is the driver of the part of a library that it is about.
#[derive(Clone, Copy)]
pub struct Case<D: ?Sized> {
    /// The level, and the number within it.
    pub level: Level,
    /// What must hold, as a sentence with underscores: the name of the case's function.
    pub name: &'static str,
    /// The Pekko specification and its topic, such as `SupervisionSpec: restart, mailbox kept`.
    pub topic: &'static str,
    /// How Kebne stands to that.
    pub stance: Stance,
    /// Whether a library may take the process or its thread down with it: then it runs in a process of its own.
    pub isolated: bool,
    /// Runs the case.
    pub run: for<'a> fn(&'a D) -> Running<'a>,
}

impl<D: ?Sized> fmt::Debug for Case<D> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Case")
            .field("level", &self.level)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Fails the case unless `holds`.
///
/// # Errors
/// Returns [`Failure::Failed`] with what `otherwise` says.
pub fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> CaseResult {
    if holds {
        Ok(())
    } else {
        Err(Failure::Failed(otherwise()))
    }
}

/// Fails the case unless both are equal.
///
/// # Errors
/// Returns [`Failure::Failed`] with both values.
pub fn ensure_eq<T: PartialEq + fmt::Debug + ?Sized>(
    what: &str,
    seen: &T,
    expected: &T,
) -> CaseResult {
    ensure(seen == expected, || {
        format!("{what}: expected {expected:?}, saw {seen:?}")
    })
}

/// Writes a list of cases: `cases![dyn Driver, L4; name => topic, stance; name => topic, stance, isolated; …]`.
///
/// Each name is that of an `async fn(&dyn Driver) -> CaseResult` in scope.
#[macro_export]
macro_rules! cases {
    (@isolated) => { false };
    (@isolated isolated) => { true };
    ($driver:ty, $level:ident; $($name:ident => $topic:literal, $stance:expr $(, $isolated:ident)?;)*) => {
        &[$($crate::case::Case::<$driver> {
            level: $crate::case::Level::$level,
            name: stringify!($name),
            topic: $topic,
            stance: $stance,
            isolated: $crate::cases!(@isolated $($isolated)?),
            run: |driver| Box::pin($name(driver)),
        }),*]
    };
}
