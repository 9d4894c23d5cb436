//! A scenario for programs with a clock and sockets: its calls and its backend.
//!
//! A run over sockets gets the same calls and the same backend as a run in virtual time, so the two can be compared.
//! The script reads no clock: its user passes the time since the start of the scenario.

use std::time::Duration;

use kebne_control::{Outcome, QuotaHints, Timestamp};

use crate::sim::agenda::Event;
use crate::sim::arrivals::{self, Call};
use crate::sim::entrant;
use crate::sim::scenario::{Scenario, Value};
use crate::sim::world::World;
use crate::sim::{oracle, run, score, suite};

/// The reason why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The embedded scenarios are invalid.
    #[error("{0}")]
    Suite(String),
    /// No scenario has that name.
    #[error("the scenario `{0}` does not exist")]
    Unknown(String),
    /// The scenario has more than one open stream of calls through one gateway.
    #[error(
        "scenario `{name}` has {what}; one open stream of calls through one gateway can be played"
    )]
    Callers {
        /// The scenario.
        name: String,
        /// The part that is not supported.
        what: &'static str,
    },
    /// The speed is out of its range.
    #[error("the speed must be from 0.1 to 100")]
    Speed,
}

/// A call of the plan.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// Its number, from zero.
    pub id: usize,
    /// The arrival time, since the start.
    pub at: Duration,
}

/// A scaled scenario with its calls.
#[derive(Clone, Debug)]
pub struct Script {
    scenario: Scenario,
    seed: u64,
    calls: Vec<Call>,
}

/// The result of a script's run in virtual time.
#[derive(Clone, Copy, Debug)]
pub struct Virtual {
    /// Useful work of the lane relative to the oracle.
    pub goodput: f64,
    /// Calls served over calls offered.
    pub offered: f64,
    /// The oracle's useful work; the unit of [`Script::worth`].
    pub oracle: f64,
}

impl Script {
    /// Finds a scenario by its name, speeds it up by the factor `speed` (0.1 to 100), and draws its calls.
    ///
    /// # Errors
    /// Returns an error if there is no such scenario, if it has several gateways, tenants or closed-loop callers, or if
    /// the speed is out of range.
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

    /// Returns the deadline of each call.
    pub fn deadline(&self) -> Duration {
        duration(self.scenario.deadline)
    }

    /// Returns the timeout of an attempt.
    pub fn attempt_timeout(&self) -> Duration {
        duration(self.scenario.timeout)
    }

    /// Returns `true` if answers stream, so that the first part of each is observed.
    pub fn streams(&self) -> bool {
        let batch = self.scenario.backend.batch;
        batch.is_some_and(|batch| batch.streams)
    }

    /// Returns the useful work of a served call.
    pub fn worth(&self, id: usize) -> f64 {
        let worth = |call: &Call| match self.scenario.value {
            Value::Work => call.work,
            Value::Calls => 1.0,
            Value::Tokens => f64::from(call.cost),
            // The holder of the script does not report when a call ended.
            Value::Soon => 1.0,
        };
        self.calls.get(id).map_or(0.0, worth)
    }

    /// Runs the same scenario in virtual time with a law by its name in settings, such as `aimd`.
    ///
    /// Returns `None` if there is no such law.
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

    /// Creates the backend at the start of the scenario.
    pub fn stage(&self) -> Stage {
        // The holder of the stage makes the calls, so none are on the agenda.
        let mut world = World::new(&self.scenario, self.seed, &[]);
        world.taken = vec![0; self.calls.len()];
        Stage {
            world,
            calls: self.calls.clone(),
            next_job: 0,
        }
    }
}

/// The backend's answer to an attempt.
#[derive(Clone, Copy, Debug)]
pub struct ScriptEvent {
    /// The attempt.
    pub job: u64,
    /// How the attempt ended; `None` for the first part of an answer.
    pub outcome: Option<Outcome>,
    /// The quota headers.
    pub hints: QuotaHints,
}

/// The backend of a script. Its holder passes the time, which must not go back.
#[derive(Debug)]
pub struct Stage {
    /// The backend and the refusals in transit.
    world: World,
    calls: Vec<Call>,
    next_job: u64,
}

impl Stage {
    /// Accepts an attempt of the call `id` (ids beyond the last call wrap around); returns the number of the attempt.
    pub fn arrive(&mut self, id: usize, now: Timestamp) -> u64 {
        let job = self.next_job;
        self.next_job += 1;
        let id = id % self.calls.len().max(1);
        if let Some(call) = self.calls.get(id) {
            self.world.send(job, id, call, now);
        }
        job
    }

    /// Advances the state to `now`. Call it before [`Stage::arrive`] and whenever [`Stage::next_change`] is due.
    pub fn advance(&mut self, now: Timestamp) -> Vec<ScriptEvent> {
        let answers = self.world.backend.advance(now).into_iter();
        let mut events: Vec<ScriptEvent> = answers.map(ScriptEvent::from).collect();
        let agenda = &mut self.world.agenda;
        while agenda.due().is_some_and(|due| due <= now) {
            if let Some((_, Event::Told(answer))) = agenda.next() {
                events.push(answer.into());
            }
        }
        events
    }

    /// Records that the caller of an attempt has disconnected.
    pub fn leave(&mut self, job: u64, now: Timestamp) {
        self.world.backend.cancel(job, now);
    }

    /// Returns the time of the next state change without further calls.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let told = self.world.agenda.due();
        let change = self.world.backend.next_change(now);
        change.into_iter().chain(told).min()
    }

    /// Returns the number of calls that can be served at once now.
    pub fn slots(&self, now: Timestamp) -> usize {
        self.world.backend.best(now)
    }

    /// Returns the due time of the call `id`. The first call that arrives sets the clock by it.
    pub fn due(&self, id: usize) -> Duration {
        let call = self.calls.get(id % self.calls.len().max(1));
        call.map_or(Duration::ZERO, |call| duration(call.at))
    }
}

impl From<crate::sim::backend::Answer> for ScriptEvent {
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
