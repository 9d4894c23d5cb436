//! The actor that watches: it takes samples, keeps the alerts, tells its subscribers what changes, and has commands
//! carried out.
//!
//! A thin shell around [`Watch`]. It takes the time from its samples and does nothing between them. After a failure it
//! resumes with what it knows.

use std::time::Duration;

use actix::{Actor, Handler, Message, MessageResult};
use kebne_actors::{Context, Props, Recipient, Strategy};

use crate::{
    Access, Action, ActionSettings, AlertChanged, Alerts, Command, Memory, Planner, RuleSettings,
    Sample, UndoError, Watch,
};

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

/// Requests what is to be kept across a restart of the program.
#[derive(Debug, Message)]
#[rtype(result = "Memory")]
pub struct GetMemory;

/// Sends what changes to a recipient from now on. Beyond 64 subscribers it is ignored.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Subscribe(pub Recipient<AlertChanged>);

/// Sends the commands of actions to a recipient from now on. Without one, actions are only recorded.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CarryOut(pub Recipient<Command>);

/// Replaces the thresholds of the rules and what may be done about alerts. Open alerts stay open until their rules find
/// otherwise.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ChangeSettings {
    /// The thresholds of the rules.
    pub rules: RuleSettings,
    /// What may be done.
    pub actions: ActionSettings,
}

/// Replaces how the commands in actions reach the service.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ChangeAccess(pub Access);

/// Undoes the action of this number.
#[derive(Debug, Message)]
#[rtype(result = "Result<Action, UndoError>")]
pub struct Undo(pub u64);

/// The actor.
#[derive(Debug)]
pub struct Monitor {
    watch: Watch,
    planner: Planner,
    subscribers: Vec<Recipient<AlertChanged>>,
    executor: Option<Recipient<Command>>,
    /// The time of the last sample: since the start, and in seconds since 1970.
    now: (Duration, u64),
}

impl Monitor {
    /// Returns the props of an actor that goes on with what an earlier process knew.
    pub fn props(rules: RuleSettings, actions: ActionSettings, memory: Memory) -> Props<Self> {
        let create = move || Self {
            watch: Watch::with_memory(rules.clone(), &memory),
            planner: Planner::with_memory(actions.clone(), &memory),
            subscribers: Vec::new(),
            executor: None,
            now: (Duration::ZERO, 0),
        };
        // Open alerts outlive a failure, so that it does not announce them again.
        Props::new(create)
            .supervise(Strategy::resume())
            .mailbox(MAILBOX)
    }
}

impl Monitor {
    /// Sends a command to whoever carries it out. One that is lost is seen in the next samples.
    fn send(&self, command: Command) {
        if let Some(executor) = &self.executor {
            executor.post(command);
        }
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
        self.now = (sample.at, sample.unix_seconds);
        for command in self.planner.look(&sample, &self.watch.to_act_on()) {
            self.send(command);
        }
    }
}

impl Handler<GetAlerts> for Monitor {
    type Result = MessageResult<GetAlerts>;

    fn handle(&mut self, _: GetAlerts, _: &mut Context<Self>) -> Self::Result {
        let mut alerts = self.watch.alerts();
        let actions = self.planner.actions().into_iter();
        let access = self.watch.access();
        alerts.actions = actions.map(|action| action.with_command(access)).collect();
        MessageResult(alerts)
    }
}

impl Handler<GetMemory> for Monitor {
    type Result = MessageResult<GetMemory>;

    fn handle(&mut self, _: GetMemory, _: &mut Context<Self>) -> Self::Result {
        let mut memory = Memory::default();
        self.planner.remember(&mut memory);
        self.watch.remember(&mut memory);
        MessageResult(memory)
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

impl Handler<CarryOut> for Monitor {
    type Result = ();

    fn handle(&mut self, CarryOut(recipient): CarryOut, _: &mut Context<Self>) {
        self.executor = Some(recipient);
    }
}

impl Handler<ChangeSettings> for Monitor {
    type Result = ();

    fn handle(&mut self, changed: ChangeSettings, _: &mut Context<Self>) {
        self.watch.change(changed.rules);
        self.planner.change(changed.actions);
    }
}

impl Handler<ChangeAccess> for Monitor {
    type Result = ();

    fn handle(&mut self, ChangeAccess(access): ChangeAccess, _: &mut Context<Self>) {
        self.watch.reach_by(access);
    }
}

impl Handler<Undo> for Monitor {
    type Result = Result<Action, UndoError>;

    fn handle(&mut self, Undo(id): Undo, _: &mut Context<Self>) -> Self::Result {
        let (at, unix_seconds) = self.now;
        let (action, command) = self.planner.undo(id, at, unix_seconds)?;
        if let Command::Reopen { lane, .. } = &command {
            self.watch.let_in(lane);
        }
        self.send(command);
        Ok(action.with_command(self.watch.access()))
    }
}
