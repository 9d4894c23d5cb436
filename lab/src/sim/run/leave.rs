//! Attempts that end because their result is not needed: the caller has left, or another attempt was faster.

use kebne_control::{Outcome, QuotaHints, Span};

use super::{Flight, Run};
use crate::sim::backend::JobId;
use crate::sim::ledger::End;

impl Run<'_> {
    /// Ends a call whose caller has left.
    pub(super) fn leave(&mut self, id: usize) {
        let Some(&call) = self.calls.get(id) else {
            return;
        };
        if self.ledger.ends.contains_key(&id) {
            return;
        }
        if let Some(gateway) = self.gateways.get_mut(call.gateway) {
            gateway.leave(id, self.now);
        }
        let flights = self.flights.iter().filter(|(_, flight)| flight.call == id);
        let running: Vec<(JobId, Flight)> = flights.map(|(job, flight)| (*job, *flight)).collect();
        for (job, flight) in running {
            self.cancel(job, flight);
        }
        self.close(id, End::Left);
        self.pump(call.gateway);
    }

    pub(super) fn cancel(&mut self, job: JobId, flight: Flight) {
        self.flights.remove(&job);
        self.world.backend.cancel(job, self.now);
        self.ledger.attempt(&Outcome::Cancelled);
        if let Some(gateway) = self.gateways.get_mut(flight.gateway) {
            let hints = QuotaHints::default();
            let span = Span {
                sent: flight.sent,
                at: self.now,
            };
            let (attempt, call) = (flight.attempt, flight.call);
            let outcome = Outcome::Cancelled;
            // The attempt that cancels the other one decides about the call.
            let _none = gateway.ended(
                attempt,
                call,
                outcome,
                hints,
                span,
                self.now,
                &mut self.ledger,
            );
        }
    }

    /// Cancels the other attempt of a call that is answered.
    pub(super) fn cancel_other(&mut self, winner: JobId, flight: Flight) {
        let mut flights = self.flights.iter();
        let other = flights.find(|(job, other)| other.call == flight.call && **job != winner);
        if let Some((&job, &loser)) = other {
            self.cancel(job, loser);
        }
    }
}
