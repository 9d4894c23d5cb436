//! The actor that watches: it takes samples, keeps the alerts, and tells its subscribers what changes.
//!
//! A thin shell around [`Watch`]. It takes the time from its samples and does nothing between them. After a failure it
//! resumes with what it knows.

use actix::{Actor, Handler, Message, MessageResult};
use kebne_actors::{Context, Props, Recipient, Strategy};

use crate::{AlertChanged, Alerts, RuleSettings, Sample, Watch};

/// The number of samples and questions that may wait. Samples come once a second.
const MAILBOX: usize = 64;
/// The number of subscribers; the program has a handful.
const SUBSCRIBERS_MAX: usize = 64;

/// Applies the rules to one sample.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct TakeSample(pub Sample);

/// Requests the alerts.
#[derive(Debug, Message)]
#[rtype(result = "Alerts")]
pub struct GetAlerts;

/// Sends what changes to a recipient from now on. Beyond 64 subscribers it is ignored.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Subscribe(pub Recipient<AlertChanged>);

/// The actor.
#[derive(Debug)]
pub struct Monitor {
    watch: Watch,
    subscribers: Vec<Recipient<AlertChanged>>,
}

impl Monitor {
    /// Returns the props of the actor.
    pub fn props(settings: RuleSettings) -> Props<Self> {
        let create = move || Self {
            watch: Watch::new(settings.clone()),
            subscribers: Vec::new(),
        };
        // Open alerts outlive a failure, so that it does not announce them again.
        Props::new(create)
            .supervise(Strategy::resume())
            .mailbox(MAILBOX)
    }
}

impl Actor for Monitor {
    type Context = Context<Self>;
}

impl Handler<TakeSample> for Monitor {
    type Result = ();

    fn handle(&mut self, TakeSample(sample): TakeSample, _: &mut Context<Self>) {
        for changed in self.watch.take(&sample) {
            for subscriber in &self.subscribers {
                // A subscriber that is behind can ask for all alerts.
                subscriber.post(changed.clone());
            }
        }
    }
}

impl Handler<GetAlerts> for Monitor {
    type Result = MessageResult<GetAlerts>;

    fn handle(&mut self, _: GetAlerts, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.watch.alerts())
    }
}

impl Handler<Subscribe> for Monitor {
    type Result = ();

    fn handle(&mut self, Subscribe(recipient): Subscribe, _: &mut Context<Self>) {
        if self.subscribers.len() < SUBSCRIBERS_MAX {
            self.subscribers.push(recipient);
        }
    }
}
