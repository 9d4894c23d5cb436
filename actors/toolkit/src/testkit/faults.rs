//! Random faults from a seed: panics, errors, hangs and losses before an actor's messages or a call.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix::{Actor, AsyncContext, fut::wrap_future};

use crate::system::{Context, Props};

/// The fault that replaces a message or call, or precedes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It panics; the message or call is lost.
    Panic,
    /// It fails with [`Injected`]; the message or call is lost.
    Error,
    /// It takes this much longer.
    Hang(Duration),
    /// The message is dropped silently; a call never ends.
    Drop,
}

/// An error that was injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an injected error")]
pub struct Injected;

/// The number of faults of each kind that occurred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Panics.
    pub panics: u64,
    /// Errors.
    pub errors: u64,
    /// Hangs.
    pub hangs: u64,
    /// Losses.
    pub drops: u64,
    /// Messages and calls without a fault.
    pub spared: u64,
}

/// Faults with given probabilities, in an order that the seed determines. Clones share the random source and the
/// counts.
///
/// Prints the seed to standard error, which a failing test shows.
#[derive(Clone)]
pub struct Faults {
    seed: u64,
    /// The number of actors into which faults were injected.
    streams: u64,
    panics: f64,
    errors: f64,
    hangs: (f64, Duration),
    drops: f64,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    chance: fastrand::Rng,
    counts: FaultCounts,
}

impl Faults {
    /// Creates faults from `seed`, all with probability 0.
    #[expect(
        clippy::print_stderr,
        reason = "the seed is needed to repeat a failed test"
    )]
    pub fn new(seed: u64) -> Self {
        eprintln!("faults from seed {seed}");
        Self {
            seed,
            streams: 0,
            panics: 0.0,
            errors: 0.0,
            hangs: (0.0, Duration::ZERO),
            drops: 0.0,
            shared: Arc::new(Mutex::new(Shared {
                chance: fastrand::Rng::with_seed(seed),
                counts: FaultCounts::default(),
            })),
        }
    }

    /// Sets the share that panics, from 0 to 1; default 0. The shares are applied in the order panics, errors, hangs,
    /// drops; whatever exceeds a sum of 1 has no effect.
    #[must_use]
    pub fn panics(mut self, share: f64) -> Self {
        self.panics = share;
        self
    }

    /// Sets the share that fails, from 0 to 1; default 0.
    #[must_use]
    pub fn errors(mut self, share: f64) -> Self {
        self.errors = share;
        self
    }

    /// Sets the share that takes `duration` longer, from 0 to 1; default 0.
    #[must_use]
    pub fn hangs(mut self, share: f64, duration: Duration) -> Self {
        self.hangs = (share, duration);
        self
    }

    /// Sets the share that is lost, from 0 to 1; default 0.
    #[must_use]
    pub fn drops(mut self, share: f64) -> Self {
        self.drops = share;
        self
    }

    /// Returns the seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the number of faults of each kind so far.
    pub fn counts(&self) -> FaultCounts {
        self.lock().counts
    }

    /// Injects the faults before the handlers of an actor, with [`Props::intercept`]. Each actor draws from its own
    /// random source, so the order of threads does not matter; all of them share the counts.
    ///
    /// # Panics
    /// The actor panics at a message for which a panic was drawn; this function does not.
    pub fn inject<A>(&mut self, props: Props<A>) -> Props<A>
    where
        A: Actor<Context = Context<A>>,
    {
        self.streams += 1;
        let own_seed = self.seed.wrapping_add(self.streams << 32);
        let mut chance = fastrand::Rng::with_seed(own_seed);
        let faults = self.clone();
        props.intercept(move |_, ctx, message| match faults.note(chance.f64()) {
            None => true,
            Some(FaultKind::Panic) => panic!("an injected panic at {message}"),
            Some(FaultKind::Error) => {
                ctx.fail(Injected);
                false
            }
            Some(FaultKind::Hang(duration)) => {
                ctx.wait(wrap_future(tokio::time::sleep(duration)));
                true
            }
            Some(FaultKind::Drop) => false,
        })
    }

    /// Draws the next fault and counts it. Returns `None` if there is none.
    pub fn roll(&self) -> Option<FaultKind> {
        let unit = self.lock().chance.f64();
        self.note(unit)
    }

    /// Applies the next fault to a call. Await this before the real call.
    ///
    /// # Errors
    /// Returns [`Injected`] if an error was drawn.
    ///
    /// # Panics
    /// Panics if a panic was drawn.
    pub async fn strike(&self) -> Result<(), Injected> {
        match self.roll() {
            None => Ok(()),
            Some(FaultKind::Panic) => panic!("an injected panic"),
            Some(FaultKind::Error) => Err(Injected),
            Some(FaultKind::Hang(duration)) => {
                tokio::time::sleep(duration).await;
                Ok(())
            }
            Some(FaultKind::Drop) => std::future::pending().await,
        }
    }

    fn note(&self, unit: f64) -> Option<FaultKind> {
        let counts = &mut self.lock().counts;
        let mut bound = 0.0;
        let mut falls_within = |share: f64| {
            bound += share;
            unit < bound
        };
        if falls_within(self.panics) {
            counts.panics += 1;
            return Some(FaultKind::Panic);
        }
        if falls_within(self.errors) {
            counts.errors += 1;
            return Some(FaultKind::Error);
        }
        if falls_within(self.hangs.0) {
            counts.hangs += 1;
            return Some(FaultKind::Hang(self.hangs.1));
        }
        if falls_within(self.drops) {
            counts.drops += 1;
            return Some(FaultKind::Drop);
        }
        counts.spared += 1;
        None
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Faults")
            .field("seed", &self.seed)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
