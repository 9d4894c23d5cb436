//! A scenario for programs that have a clock and sockets: who calls when, and the backend that answers.
//!
//! It exists so that a run over sockets meets the very calls and the very backend of a run in virtual time, and
//! the two can be compared. It reads no clock: its user says what time it is, counted from the scenario's start.

use std::time::Duration;

use kebne_control::{Outcome, QuotaHints, Timestamp};

use crate::sim::agenda::Event;
use crate::sim::arrivals::{self, Call};
use crate::sim::entrant;
use crate::sim::scenario::{Scenario, Value};
use crate::sim::world::World;
use crate::sim::{oracle, run, score, suite};

/// Why a scenario cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The embedded scenarios are wrong.
    #[error("{0}")]
    Suite(String),
    /// No scenario has that name.
    #[error("no scenario is called `{0}`")]
    Unknown(String),
    /// Its callers are not one stream through one gateway.
    #[error(
        "scenario `{name}` has {what}; one open stream of calls through one gateway can be played"
    )]
    Callers {
        /// The scenario.
        name: String,
        /// What it has.
        what: &'static str,
    },
    /// The speed is out of its range.
    #[error("the speed must be from 0.1 to 100")]
    Speed,
}

/// A call to be made.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// Its number, from zero.
    pub id: usize,
    /// When it is offered, from the start.
    pub at: Duration,
}

/// A scenario, scaled, with its calls drawn.
#[derive(Clone, Debug)]
pub struct Script {
    scenario: Scenario,
    seed: u64,
    calls: Vec<Call>,
}

/// What the virtual run of a script gave.
#[derive(Clone, Copy, Debug)]
pub struct Virtual {
    /// Useful work of the lane over the oracle's.
    pub goodput: f64,
    /// Calls served over calls offered.
    pub offered: f64,
    /// The oracle's useful work; the unit of [`Script::worth`].
    pub oracle: f64,
}

impl Script {
    /// Finds a scenario by its name, makes it `speed` times as fast (0.1 to 100), and draws its calls.
    ///
    /// # Errors
    /// When there is none, when it has several gateways, tenants or callers that wait for each other, or when the
    /// speed is out of range.
    pub fn named(name: &str, speed: f64, seed: u64) -> Result<Self, ScriptError> {
        if !(0.1..=100.0).contains(&speed) {
            return Err(ScriptError::Speed);
        }
        let all = suite::named().map_err(|error| ScriptError::Suite(error.to_string()))?;
        let found = all.into_iter().find(|s| s.name.eq_ignore_ascii_case(name));
        let scenario = found.ok_or_else(|| ScriptError::Unknown(name.to_owned()))?;
        let what = if scenario.gateways.len() > 1 {
            Some("several gateways")
        } else if scenario.tenants.len() > 1 {
            Some("several tenants")
        } else if scenario.tenants.iter().any(|tenant| tenant.closed > 0) {
            Some("callers that wait for their answers")
        } else {
            None
        };
        if let Some(what) = what {
            let name = scenario.name;
            return Err(ScriptError::Callers { name, what });
        }
        let scenario = scenario.scaled(speed);
        let calls = arrivals::draw(&scenario, seed);
        Ok(Self {
            scenario,
            seed,
            calls,
        })
    }

    /// Returns the scenario's name and title.
    pub fn title(&self) -> String {
        format!("{} {}", self.scenario.name, self.scenario.title)
    }

    /// Returns the calls, in order of time.
    pub fn calls(&self) -> impl ExactSizeIterator<Item = Planned> + '_ {
        self.calls.iter().enumerate().map(|(id, call)| Planned {
            id,
            at: duration(call.at),
        })
    }

    /// Returns how long each caller waits.
    pub fn deadline(&self) -> Duration {
        duration(self.scenario.deadline)
    }

    /// Returns how long an attempt may take.
    pub fn attempt_timeout(&self) -> Duration {
        duration(self.scenario.timeout)
    }

    /// Says whether answers stream, so that the first part of each is seen.
    pub fn streams(&self) -> bool {
        let batch = self.scenario.backend.batch;
        batch.is_some_and(|batch| batch.streams)
    }

    /// Returns what a served call is worth.
    pub fn worth(&self, id: usize) -> f64 {
        let worth = |call: &Call| match self.scenario.value {
            Value::Work => call.work,
            Value::Calls => 1.0,
            Value::Tokens => f64::from(call.cost),
        };
        self.calls.get(id).map_or(0.0, worth)
    }

    /// Runs the same scenario in virtual time with a law by its name in settings, such as `aimd`.
    ///
    /// Returns none for a law that does not exist.
    pub fn in_virtual_time(&self, law: &str) -> Option<Virtual> {
        let entrant = entrant::by_law(law)?;
        let oracle = oracle::run(&self.scenario, self.seed);
        let run = run::run(&self.scenario, self.seed, entrant, false);
        let score = score::score(&self.scenario, &run, &oracle);
        Some(Virtual {
            goodput: score.goodput,
            offered: score.offered,
            oracle: oracle.work,
        })
    }

    /// Sets the backend up, at the scenario's start.
    pub fn stage(&self) -> Stage {
        // Whoever holds the stage makes the calls, so none is on its agenda.
        let mut world = World::new(&self.scenario, self.seed, &[]);
        world.taken = vec![0; self.calls.len()];
        Stage {
            world,
            calls: self.calls.clone(),
            next_job: 0,
        }
    }
}

/// What the backend says to one attempt.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    /// The attempt.
    pub job: u64,
    /// How it ended; none for the first part of an answer.
    pub outcome: Option<Outcome>,
    /// What the headers say of quotas.
    pub hints: QuotaHints,
}

/// The backend of a script; whoever holds it tells it the time, which never goes back.
#[derive(Debug)]
pub struct Stage {
    /// The backend, and the refusals that are under way.
    world: World,
    calls: Vec<Call>,
    next_job: u64,
}

impl Stage {
    /// Takes an attempt of the call `id` (numbers beyond the script's start over); returns its number.
    pub fn arrive(&mut self, id: usize, now: Timestamp) -> u64 {
        let job = self.next_job;
        self.next_job += 1;
        let id = id % self.calls.len().max(1);
        if let Some(call) = self.calls.get(id) {
            self.world.send(job, id, call, now);
        }
        job
    }

    /// Brings everything to `now`; to be called before [`Stage::arrive`] and whenever [`Stage::next_change`] is due.
    pub fn advance(&mut self, now: Timestamp) -> Vec<Said> {
        let answers = self.world.backend.advance(now).into_iter();
        let mut said: Vec<Said> = answers.map(Said::from).collect();
        let agenda = &mut self.world.agenda;
        while agenda.due().is_some_and(|due| due <= now) {
            if let Some((_, Event::Told(answer))) = agenda.next() {
                said.push(answer.into());
            }
        }
        said
    }

    /// Notes that the caller of an attempt has hung up.
    pub fn leave(&mut self, job: u64, now: Timestamp) {
        self.world.backend.cancel(job, now);
    }

    /// Returns when something happens, should no one call.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let told = self.world.agenda.due();
        let change = self.world.backend.next_change(now);
        change.into_iter().chain(told).min()
    }

    /// Returns how many calls it can serve at once now.
    pub fn slots(&self, now: Timestamp) -> usize {
        self.world.backend.best(now)
    }

    /// Returns when the call `id` is due, by which the first one seen sets the clock.
    pub fn due(&self, id: usize) -> Duration {
        let call = self.calls.get(id % self.calls.len().max(1));
        call.map_or(Duration::ZERO, |call| duration(call.at))
    }
}

impl From<crate::sim::backend::Answer> for Said {
    fn from(answer: crate::sim::backend::Answer) -> Self {
        Self {
            job: answer.job,
            outcome: answer.outcome,
            hints: answer.hints,
        }
    }
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
