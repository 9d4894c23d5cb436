//! The parts that a run and the oracle share: the backend, the agenda, and the transport between them.

use kebne_control::Timestamp;

use crate::sim::agenda::{Agenda, Event};
use crate::sim::arrivals::Call;
use crate::sim::backend::{Admission, Answer, Backend, JobId, Request};
use crate::sim::number::at;
use crate::sim::scenario::Scenario;

fn announce(agenda: &mut Agenda, id: usize, call: &Call) {
    agenda.add(at(call.at), Event::Arrival(id));
    if let Some(after) = call.leaves_after {
        agenda.add(at(call.at + after), Event::Leave(id));
    }
}

/// The backend and the agenda.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) backend: Backend,
    pub(crate) agenda: Agenda,
    /// The number of times that the backend has accepted each call.
    pub(crate) taken: Vec<u32>,
    /// Time until a refusal reaches its client, in seconds.
    refusal_time: f64,
    backend_due: Option<Timestamp>,
}

impl World {
    /// Creates a world with all arrivals on the agenda.
    pub(crate) fn new(scenario: &Scenario, seed: u64, calls: &[Call]) -> Self {
        let mut agenda = Agenda::default();
        for (id, call) in calls.iter().enumerate() {
            announce(&mut agenda, id, call);
        }
        for restart in &scenario.restarts {
            agenda.add(at(*restart), Event::Restart);
        }
        agenda.add(Timestamp::ZERO, Event::Backend);
        agenda.add(Timestamp::ZERO, Event::Sample);
        Self {
            backend: Backend::new(scenario, seed),
            agenda,
            taken: vec![0; calls.len()],
            refusal_time: scenario.backend.refusal_time,
            backend_due: None,
        }
    }

    /// Puts one more call on the agenda.
    pub(crate) fn expect(&mut self, id: usize, call: &Call) {
        self.taken.push(0);
        announce(&mut self.agenda, id, call);
    }

    /// Sends an attempt of the call `id` to the backend; a refusal is put on the agenda.
    pub(crate) fn send(&mut self, job: JobId, id: usize, call: &Call, now: Timestamp) {
        let Some(taken) = self.taken.get_mut(id) else {
            return;
        };
        let request = Request {
            job,
            call: id,
            taken: *taken,
            work: call.work,
            cost: call.cost,
            tokens: call.tokens,
            prompt: call.prompt,
            streamed: call.streamed,
        };
        match self.backend.admit(request, now) {
            Admission::Taken => *taken += 1,
            Admission::Refused(outcome, hints) => {
                let told = at(now.as_secs_f64() + self.refusal_time);
                let answer = Answer {
                    job,
                    outcome: Some(outcome),
                    hints,
                };
                self.agenda.add(told, Event::Told(answer));
            }
        }
    }

    /// Puts the backend's next change on the agenda, unless an earlier one is there.
    pub(crate) fn plan_backend(&mut self, now: Timestamp) {
        if let Some(next) = self.backend.next_change(now)
            && self.backend_due.is_none_or(|due| next < due || due <= now)
        {
            self.backend_due = Some(next);
            self.agenda.add(next, Event::Backend);
        }
    }
}
