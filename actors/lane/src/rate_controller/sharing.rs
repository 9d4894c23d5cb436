//! The lease of a backend that is shared with other gateways: messages and handlers.

use actix::{Handler, Message, MessageResponse};
use kebne_control::{Lease, Renewal, Snapshot, controller};

use kebne_actors::Context;

use super::RateController;

/// Requests what the controller reports at a renewal of its lease.
#[derive(Debug, Message)]
#[rtype(result = "RenewalView")]
pub(crate) struct GetRenewal;

/// The answer to [`GetRenewal`].
#[derive(Debug, MessageResponse)]
pub(crate) struct RenewalView(pub(crate) Renewal);

/// Takes a lease.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct TakeLease {
    /// The lease; `None` if nothing is known of other gateways.
    pub(crate) lease: Option<Lease>,
    /// What other gateways have learned.
    pub(crate) learned: Option<Box<Snapshot>>,
}

impl Handler<GetRenewal> for RateController {
    type Result = RenewalView;

    fn handle(&mut self, _: GetRenewal, _ctx: &mut Context<Self>) -> RenewalView {
        RenewalView(self.law.renewal(self.parts.clock.now()))
    }
}

impl Handler<TakeLease> for RateController {
    type Result = ();

    fn handle(&mut self, TakeLease { lease, learned }: TakeLease, ctx: &mut Context<Self>) {
        if let Some(learned) = learned {
            self.law.adopt(&learned);
        }
        // The next incarnation continues with it until the next renewal.
        self.parts.kept.lock().lease = lease;
        self.step_now(controller::Message::Shared(lease), ctx);
    }
}
