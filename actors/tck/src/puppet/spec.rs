//! How a puppet is made: its name, its supervision, its bounds, and what its hooks do.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use super::script::{Command, Script};
use crate::driver::Unsupported;

/// What a hook does in the incarnation of this number, from 1.
pub type Hook = Arc<dyn Fn(u32) -> Script + Send + Sync>;
/// Whether something fails in the incarnation of this number, from 1.
pub type Question = Arc<dyn Fn(u32) -> bool + Send + Sync>;

/// How a puppet is made.
#[derive(Clone)]
pub struct Spec {
    /// The name among its siblings, and in the log.
    pub name: &'static str,
    /// What follows a failure; `None` for the library's default.
    pub supervision: Option<Supervision>,
    /// How many messages may wait; `None` for the library's default.
    pub mailbox: Option<usize>,
    /// What a full mailbox does; `None` for the library's default.
    pub overflow: Option<Overflow>,
    /// How many messages are handled in one turn; `None` for the library's default.
    pub throughput: Option<usize>,
    /// How many answers may be under way; `None` for the library's default.
    pub max_in_flight: Option<usize>,
    /// How many messages may be stashed; `None` for the library's default.
    pub stash: Option<usize>,
    /// After how long a wait counts as a hang; `None` for never.
    pub hang_after: Option<Duration>,
    /// Whether the factory fails.
    pub making_fails: Question,
    /// What the start hook does.
    pub starting: Hook,
    /// What the stop hook does.
    pub stopping: Hook,
    /// Whether it runs on a thread of its own.
    pub elsewhere: bool,
    /// Whether it is told things before it has started; else a library may have spawning wait for that.
    pub early: bool,
    incarnations: Arc<AtomicU32>,
}

impl Spec {
    /// Makes the spec of a puppet that does nothing by itself.
    pub fn named(name: &'static str) -> Self {
        let nothing: Hook = Arc::new(|_| Script(Vec::new()));
        Self {
            name,
            supervision: None,
            mailbox: None,
            overflow: None,
            throughput: None,
            max_in_flight: None,
            stash: None,
            hang_after: None,
            making_fails: Arc::new(|_| false),
            starting: Arc::clone(&nothing),
            stopping: nothing,
            elsewhere: false,
            early: false,
            incarnations: Arc::default(),
        }
    }

    /// Sets what follows a failure.
    #[must_use]
    pub fn supervised(mut self, supervision: Supervision) -> Self {
        self.supervision = Some(supervision);
        self
    }

    /// Sets how many messages may wait.
    #[must_use]
    pub fn mailbox(mut self, capacity: usize) -> Self {
        self.mailbox = Some(capacity);
        self
    }

    /// Sets what a full mailbox does.
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = Some(overflow);
        self
    }

    /// Sets how many messages are handled in one turn.
    #[must_use]
    pub fn throughput(mut self, messages: usize) -> Self {
        self.throughput = Some(messages);
        self
    }

    /// Sets how many answers may be under way.
    #[must_use]
    pub fn max_in_flight(mut self, answers: usize) -> Self {
        self.max_in_flight = Some(answers);
        self
    }

    /// Sets how many messages may be stashed.
    #[must_use]
    pub fn stash(mut self, capacity: usize) -> Self {
        self.stash = Some(capacity);
        self
    }

    /// Sets after how long a wait counts as a hang.
    #[must_use]
    pub fn hang_after(mut self, limit: Duration) -> Self {
        self.hang_after = Some(limit);
        self
    }

    /// Sets in which incarnations the factory fails.
    #[must_use]
    pub fn making_fails(mut self, fails: impl Fn(u32) -> bool + Send + Sync + 'static) -> Self {
        self.making_fails = Arc::new(fails);
        self
    }

    /// Sets what the start hook does in each incarnation.
    #[must_use]
    pub fn starting<S: Into<Script>>(
        mut self,
        script: impl Fn(u32) -> S + Send + Sync + 'static,
    ) -> Self {
        self.starting = Arc::new(move |incarnation| script(incarnation).into());
        self
    }

    /// Sets what the stop hook does in each incarnation.
    #[must_use]
    pub fn stopping<S: Into<Script>>(
        mut self,
        script: impl Fn(u32) -> S + Send + Sync + 'static,
    ) -> Self {
        self.stopping = Arc::new(move |incarnation| script(incarnation).into());
        self
    }

    /// Has it run on a thread of its own.
    #[must_use]
    pub fn elsewhere(mut self) -> Self {
        self.elsewhere = true;
        self
    }

    /// Says that it is told things before it has started.
    #[must_use]
    pub fn early(mut self) -> Self {
        self.early = true;
        self
    }

    /// Returns this as the command to spawn such a child.
    pub fn child(self) -> Command {
        Command::Spawn(Box::new(self))
    }

    pub(super) fn next_incarnation(&self) -> u32 {
        self.incarnations.fetch_add(1, SeqCst) + 1
    }

    /// Returns how many incarnations were begun.
    pub fn incarnations(&self) -> u32 {
        self.incarnations.load(SeqCst)
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Spec")
            .field("name", &self.name)
            .field("supervision", &self.supervision)
            .finish_non_exhaustive()
    }
}

/// Of what kind a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An error of a first class.
    A,
    /// An error of a second class.
    B,
    /// A panic.
    Panic,
    /// A failed start.
    Start,
    /// A child's escalated failure.
    Child,
    /// A hang.
    Hang,
    /// A full mailbox.
    Overflow,
    /// A death pact.
    Pact,
}

/// What is done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Go on with the same state.
    Resume,
    /// Go on with fresh state.
    Restart,
    /// Stop.
    Stop,
    /// Fail the parent.
    Escalate,
}

/// What a full mailbox does with one more message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Refuses it.
    DropNew,
    /// Drops the oldest.
    DropHead,
    /// Drops the youngest.
    DropTail,
    /// Drops all that wait.
    DropBuffer,
    /// Fails the actor.
    Fail,
    /// Makes an offer wait.
    Backpressure,
}

/// How long the waits before restarts are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first wait.
    pub min: Duration,
    /// The longest, before jitter.
    pub max: Duration,
    /// The share that is added at most.
    pub jitter: f64,
    /// The quiet time after which it starts over; `None` for the default.
    pub reset_after: Option<Duration>,
}

/// What else a supervision may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Let children live on at a restart.
    KeepChildren,
    /// Start the backoff over by a command only.
    ResetByHand,
    /// Refuse messages while the actor restarts.
    RefuseMeanwhile,
    /// Allow so many restarts in a row.
    RestartsMax(u32),
}

/// What follows failures.
#[derive(Clone, Debug)]
pub struct Supervision {
    /// What follows a failure of a class that is listed; the first match counts.
    pub rules: Vec<(Class, Directive)>,
    /// What follows any other failure.
    pub otherwise: Directive,
    /// How many restarts are allowed in a window.
    pub limit: Option<(u32, Duration)>,
    /// Whether the parent fails when that is exceeded.
    pub escalate_at_limit: bool,
    /// The waits before restarts.
    pub backoff: Option<Backoff>,
    /// What else is asked for.
    pub wishes: Vec<Wish>,
    /// The only classes that this is for, and what meets the others, with counts of its own.
    pub nested: Option<(Vec<Class>, Box<Supervision>)>,
}

impl Supervision {
    /// Meets every failure so.
    pub fn always(directive: Directive) -> Self {
        Self {
            rules: Vec::new(),
            otherwise: directive,
            limit: None,
            escalate_at_limit: false,
            backoff: None,
            wishes: Vec::new(),
            nested: None,
        }
    }

    /// Restarts at once, without a limit.
    pub fn restart() -> Self {
        Self::always(Directive::Restart)
    }

    /// Meets these classes so, and stops at any other.
    pub fn by_class(rules: &[(Class, Directive)]) -> Self {
        Self {
            rules: rules.to_vec(),
            ..Self::always(Directive::Stop)
        }
    }

    /// Restarts with waits that double from `min` to `max`, without jitter.
    pub fn backoff(min: Duration, max: Duration) -> Self {
        Self {
            backoff: Some(Backoff {
                min,
                max,
                jitter: 0.0,
                reset_after: None,
            }),
            ..Self::restart()
        }
    }

    /// Allows so many restarts in a window.
    #[must_use]
    pub fn limit(mut self, restarts: u32, window: Duration) -> Self {
        self.limit = Some((restarts, window));
        self
    }

    /// Fails the parent when the limit is exceeded.
    #[must_use]
    pub fn escalate_at_limit(mut self) -> Self {
        self.escalate_at_limit = true;
        self
    }

    /// Asks for something else besides.
    #[must_use]
    pub fn wish(mut self, wish: Wish) -> Self {
        self.wishes.push(wish);
        self
    }

    /// Is for these classes only; `outer` meets the others.
    #[must_use]
    pub fn inside(mut self, classes: &[Class], outer: Self) -> Self {
        self.nested = Some((classes.to_vec(), Box::new(outer)));
        self
    }

    /// Returns an error if a wish or a nesting is requested.
    ///
    /// # Errors
    /// Names what is asked for.
    pub fn is_plain(&self) -> Result<(), Unsupported> {
        if self.nested.is_some() {
            return Err(Unsupported("nested supervision"));
        }
        match self.wishes.first() {
            None => Ok(()),
            Some(Wish::KeepChildren) => Err(Unsupported("children that outlive a restart")),
            Some(Wish::ResetByHand) => Err(Unsupported("reset of a backoff by hand")),
            Some(Wish::RefuseMeanwhile) => Err(Unsupported("refusal while an actor restarts")),
            Some(Wish::RestartsMax(_)) => Err(Unsupported("maximum of restarts in a row")),
        }
    }

    /// Sets the jitter of the backoff.
    #[must_use]
    pub fn jitter(mut self, jitter: f64) -> Self {
        if let Some(backoff) = &mut self.backoff {
            backoff.jitter = jitter;
        }
        self
    }

    /// Sets the quiet time after which the backoff starts over.
    #[must_use]
    pub fn reset_after(mut self, quiet: Duration) -> Self {
        if let Some(backoff) = &mut self.backoff {
            backoff.reset_after = Some(quiet);
        }
        self
    }

    /// Says what follows a failure of a class.
    pub fn directive(&self, class: Class) -> Directive {
        let rule = self.rules.iter().find(|(of, _)| *of == class);
        rule.map_or(self.otherwise, |(_, directive)| *directive)
    }
}
