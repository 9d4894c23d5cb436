//! What a case is, and how it can end.

use std::{fmt, future::Future, pin::Pin};

/// The part of the semantics that a case belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Messages, asks, lifecycle.
    L1,
    /// Supervision, watch, timers, stash.
    L2,
    /// Mailbox, fairness, routers, work pulling.
    L3,
    /// Rate, breaker, retry.
    L4,
    /// Streams, and HTTP where it streams.
    L5,
    /// Shutdown.
    L6,
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
pub type Verdict = Result<(), Failure>;

/// A case under way, on the thread that the runner gave it.
pub type Running<'a> = Pin<Box<dyn Future<Output = Verdict> + 'a>>;

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
pub fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
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
pub fn ensure_eq<T: PartialEq + fmt::Debug>(what: &str, seen: &T, expected: &T) -> Verdict {
    ensure(seen == expected, || {
        format!("{what}: expected {expected:?}, saw {seen:?}")
    })
}

/// Writes a list of cases whose functions are named `$name`: `cases![Driver; L4: [isolated?] name => topic, stance; ...]`.
#[macro_export]
macro_rules! cases {
    ($driver:ty, $level:ident; $($name:ident => $topic:literal, $stance:expr;)*) => {
        &[$($crate::case::Case::<$driver> {
            level: $crate::case::Level::$level,
            name: stringify!($name),
            topic: $topic,
            stance: $stance,
            isolated: false,
            run: |driver| Box::pin($name(driver)),
        }),*]
    };
}
