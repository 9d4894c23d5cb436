//! The puppet: an actor that does what it is told, the same in every library.
//!
//! Owns what a puppet remembers ([`Body`]) and how it obeys ([`perform`]); what needs the library's own
//! context is asked of the adapter through [`Stage`]. Never does it make up for what a library lacks: a command
//! that the stage has no notion of is remembered as unsupported.

use std::{sync::Arc, time::Duration};

use crate::driver::{
    Unsupported,
    actors::{Puppet, Shared},
};

mod script;
mod spec;

pub use script::{Answer, Command, PipedOutcome, Repeat, Script};
pub use spec::{Backoff, Class, Directive, Hook, Overflow, Question, Spec, Supervision, Wish};

/// What a puppet remembers; one for each incarnation.
#[derive(Debug)]
pub struct Body {
    /// How it was specified.
    pub spec: Spec,
    /// The world's log.
    pub shared: Arc<Shared>,
    /// Which incarnation it is, from 1.
    pub incarnation: u32,
    sum: i64,
    stashing: bool,
}

/// What a handler is to do after a script was performed.
#[derive(Debug)]
pub enum Performed {
    /// Answer this, now.
    Answer(Answer),
    /// Answer this after a while, handling other messages meanwhile.
    Later(Duration, Answer),
    /// Answer this after a while by a future of the actor, or panic in it.
    Within(Duration, Option<Answer>),
    /// Drop the answer.
    Never,
    /// Fail by an error of this class.
    Failed(Class),
}

/// Whether the library could do it.
pub type Did = Result<(), Unsupported>;

/// What a puppet needs of the context that its library gives a handler.
#[expect(
    clippy::missing_errors_doc,
    reason = "every error says that the library has no notion of it"
)]
pub trait Stage {
    /// Stops this actor.
    fn stop(&mut self) -> Did;

    /// Returns an error where this actor cannot answer by a future of its own.
    fn can_answer_within(&self) -> Did {
        Err(Unsupported("answer by a future of the actor"))
    }

    /// Returns an error if this actor cannot fail by returning or reporting an error.
    fn can_fail(&self) -> Did {
        Err(Unsupported("failure by an error"))
    }

    /// Tells this actor itself.
    fn tell_myself(&mut self, script: Script) -> Did;

    /// Spawns a child.
    fn spawn(
        &mut self,
        _spec: Spec,
        _shared: &Arc<Shared>,
    ) -> impl Future<Output = Result<Puppet, Unsupported>> + Send {
        async { Err(Unsupported("children")) }
    }

    /// Asks a child to stop; returns `true` if it is one.
    fn stop_child(&mut self, _child: &Puppet) -> Result<bool, Unsupported> {
        Err(Unsupported("children"))
    }

    /// Returns the names of the living children.
    fn children(&mut self) -> Result<Vec<String>, Unsupported> {
        Err(Unsupported("list of children"))
    }

    /// Watches; the end is noted as `<name> saw <name of other> stop`, or `fail`.
    fn watch(&mut self, _other: &Puppet) -> impl Future<Output = Did> + Send {
        async { Err(Unsupported("death watch")) }
    }

    /// Watches; at the end the script comes as a message.
    fn watch_with(&mut self, _other: &Puppet, _script: Script) -> Did {
        Err(Unsupported("death watch with a message of one's own"))
    }

    /// Watches; at the end this actor fails.
    fn watch_or_die(&mut self, _other: &Puppet) -> impl Future<Output = Did> + Send {
        async { Err(Unsupported("death pact")) }
    }

    /// Ends a watch.
    fn unwatch(&mut self, _other: &Puppet) -> impl Future<Output = Did> + Send {
        async { Err(Unsupported("death watch")) }
    }

    /// Starts a timer; the script comes as a message.
    fn start_timer(
        &mut self,
        _key: &'static str,
        _after: Duration,
        _repeat: Repeat,
        _script: Script,
    ) -> impl Future<Output = Did> + Send {
        async { Err(Unsupported("timers")) }
    }

    /// Cancels a timer; returns `true` if there was one.
    fn cancel_timer(&mut self, _key: &'static str) -> Result<bool, Unsupported> {
        Err(Unsupported("timers that can be cancelled"))
    }

    /// Returns `true` if a timer runs.
    fn is_timer_active(&mut self, _key: &'static str) -> Result<bool, Unsupported> {
        Err(Unsupported("question whether a timer runs"))
    }

    /// Has the script come as a message whenever none came for `timeout`.
    fn receive_timeout(&mut self, _timeout: Duration, _script: Script) -> Did {
        Err(Unsupported("receive timeout"))
    }

    /// Ends the receive timeout.
    fn no_receive_timeout(&mut self) -> Did {
        Err(Unsupported("receive timeout"))
    }

    /// Puts a message aside; returns `true` if there was room.
    fn stash(&mut self, _script: Script) -> Result<bool, Unsupported> {
        Err(Unsupported("stash"))
    }

    /// Has the first of the stashed messages handled before all others.
    fn unstash_some(&mut self, _messages: usize) -> Did {
        Err(Unsupported("stash that gives back some"))
    }

    /// Has the backoff of this actor's restarts start over.
    fn reset_backoff(&mut self) -> Did {
        Err(Unsupported("reset of a backoff by hand"))
    }

    /// Has the stashed messages handled before all others.
    fn unstash(&mut self) -> Did {
        Err(Unsupported("stash"))
    }

    /// Runs a future beside the actor and has its outcome come as a message.
    fn pipe(&mut self, _after: Duration, _outcome: PipedOutcome) -> Did {
        Err(Unsupported("pipe to self"))
    }

    /// Asks another beside the actor and has what [`told_of`] makes of it come as a message.
    fn ask_and_pipe(&mut self, _other: &Puppet, _script: Script, _timeout: Duration) -> Did {
        Err(Unsupported("ask within an actor"))
    }

    /// Runs a future that belongs to this incarnation and performs the script with its state.
    fn spawn_future(&mut self, _after: Duration, _script: Script) -> Did {
        Err(Unsupported("futures of an actor"))
    }

    /// Handles nothing else for a while.
    fn hold(&mut self, time: Duration) -> impl Future<Output = Did> + Send;

    /// Ends the thread that this actor runs on.
    fn end_thread(&mut self) -> Did {
        Err(Unsupported("thread of one's own"))
    }

    /// Has `note` noted when the asker of the message in hand waits no more.
    fn note_when_abandoned(&mut self, _shared: &Arc<Shared>, _note: &'static str) -> Did {
        Err(Unsupported("token of the asker"))
    }

    /// Returns this actor's path.
    fn path(&mut self) -> Result<String, Unsupported> {
        Err(Unsupported("path of an actor"))
    }

    /// Returns a reference to this actor.
    fn myself(&mut self) -> Result<Puppet, Unsupported>;
}

impl Body {
    /// Makes the next incarnation; panics where the spec says that making fails.
    pub fn new(spec: Spec, shared: Arc<Shared>) -> Self {
        let incarnation = spec.next_incarnation();
        if (spec.making_fails)(incarnation) {
            shared.hook(format!("{} not made", spec.name));
            blow_up("in the factory");
        }
        Self {
            spec,
            shared,
            incarnation,
            sum: 0,
            stashing: false,
        }
    }

    /// Notes something under this puppet's name.
    pub fn note(&self, what: &str) {
        self.shared.note(format!("{} {what}", self.spec.name));
    }

    /// Notes that a hook ran.
    pub fn hook(&self, what: &str) {
        self.shared.hook(format!("{} {what}", self.spec.name));
    }

    /// Does what the start hook is to do.
    pub async fn started(&mut self, stage: &mut impl Stage) -> Performed {
        self.hook("started");
        let script = (self.spec.starting)(self.incarnation);
        perform(self, stage, script).await
    }

    /// Does what the stop hook is to do.
    pub async fn stopped(&mut self, stage: &mut impl Stage) {
        self.hook("stopped");
        let script = (self.spec.stopping)(self.incarnation);
        perform(self, stage, script).await;
    }

    /// Returns `true` if an arriving script is to be stashed.
    fn is_stashing(&self, script: &Script) -> bool {
        self.stashing
            && !matches!(
                script.0.first(),
                Some(Command::Unstash | Command::UnstashSome(_) | Command::Urgent)
            )
    }
}

/// Obeys a message: performs its script, or stashes it.
pub async fn receive(body: &mut Body, stage: &mut impl Stage, script: Script) -> Performed {
    if !body.is_stashing(&script) {
        return perform(body, stage, script).await;
    }
    match stage.stash(script) {
        Ok(true) => {}
        Ok(false) => body.note("stash is full"),
        Err(what) => body.shared.unsupported(what),
    }
    Performed::Answer(Answer::Done)
}

/// Performs the commands of a script in order, up to the first that fails; the last one's answer is the script's.
pub async fn perform(body: &mut Body, stage: &mut impl Stage, script: Script) -> Performed {
    let mut performed = Performed::Answer(Answer::Done);
    for command in script.0 {
        performed = match command {
            Command::Fail(class) => match stage.can_fail() {
                Ok(()) => return Performed::Failed(class),
                Err(what) => return unsupported(body, what),
            },
            Command::Panic(text) => blow_up(text),
            Command::NeverAnswer => Performed::Never,
            Command::AnswerWithin(delay, number) => match stage.can_answer_within() {
                Ok(()) => Performed::Within(delay, number.map(Answer::Number)),
                Err(what) => return unsupported(body, what),
            },
            Command::AnswerAfter(delay, number) => Performed::Later(delay, Answer::Number(number)),
            command => match obey(body, stage, command).await {
                Ok(answer) => Performed::Answer(answer),
                Err(what) => return unsupported(body, what),
            },
        };
    }
    performed
}

fn unsupported(body: &Body, what: Unsupported) -> Performed {
    body.shared.unsupported(what);
    Performed::Answer(Answer::Unsupported(what.0))
}

async fn obey(
    body: &mut Body,
    stage: &mut impl Stage,
    command: Command,
) -> Result<Answer, Unsupported> {
    match command {
        Command::Note(text) => body.note(text),
        Command::NoteNumber(number) => body.note(&number.to_string()),
        Command::NoteTime(text) => {
            let text = format!("{text} at {} ms", body.shared.millis());
            body.note(&text);
        }
        Command::NoteSum => {
            let text = format!("has {}", body.sum);
            body.note(&text);
        }
        Command::Add(number) => {
            body.sum += number;
            return Ok(Answer::Number(body.sum));
        }
        Command::Get => return Ok(Answer::Number(body.sum)),
        Command::Incarnation => return Ok(Answer::Number(i64::from(body.incarnation))),
        Command::Refuse(text) => return Ok(Answer::Refused(text)),
        Command::Tell(other, script) => {
            let told = other.tell(script);
            return Ok(told.map_or(Answer::Done, Answer::Offer));
        }
        Command::StopPuppet(other) => {
            let stopped = other.stop();
            stopped.map_err(|_| Unsupported("stop from outside"))?;
        }
        Command::TellMyself(script) => stage.tell_myself(script)?,
        Command::Spin => spin(body, stage)?,
        Command::Stop => stage.stop()?,
        Command::Stashing => body.stashing = true,
        Command::Unstash => {
            body.stashing = false;
            stage.unstash()?;
        }
        Command::UnstashStillStashing => stage.unstash()?,
        Command::UnstashSome(messages) => {
            body.stashing = false;
            stage.unstash_some(messages)?;
        }
        Command::ResetBackoff => stage.reset_backoff()?,
        Command::Urgent => {}
        command => return on_stage(&body.shared, stage, command).await,
    }
    Ok(Answer::Done)
}

/// Tells itself to go on, until the case has seen enough.
fn spin(body: &Body, stage: &mut impl Stage) -> Did {
    use std::sync::atomic::Ordering::SeqCst;
    body.shared.count.fetch_add(1, SeqCst);
    if body.shared.enough.load(SeqCst) {
        return Ok(());
    }
    stage.tell_myself(Command::Spin.into())
}

/// Performs what only the library's context can.
async fn on_stage(
    shared: &Arc<Shared>,
    stage: &mut impl Stage,
    command: Command,
) -> Result<Answer, Unsupported> {
    match command {
        Command::Spawn(spec) => return stage.spawn(*spec, shared).await.map(Answer::Puppet),
        Command::StopChild(child) => return stage.stop_child(&child).map(Answer::Yes),
        Command::Children => return stage.children().map(Answer::Texts),
        Command::Path => return stage.path().map(Answer::Text),
        Command::Myself => return stage.myself().map(Answer::Puppet),
        Command::Watch(other) => stage.watch(&other).await?,
        Command::WatchWith(other, script) => stage.watch_with(&other, script)?,
        Command::WatchOrDie(other) => stage.watch_or_die(&other).await?,
        Command::Unwatch(other) => stage.unwatch(&other).await?,
        Command::StartTimer(key, after, repeat, script) => {
            stage.start_timer(key, after, repeat, script).await?;
        }
        Command::CancelTimer(key) => return stage.cancel_timer(key).map(Answer::Yes),
        Command::IsTimerActive(key) => return stage.is_timer_active(key).map(Answer::Yes),
        Command::ReceiveTimeout(timeout, script) => stage.receive_timeout(timeout, script)?,
        Command::NoReceiveTimeout => stage.no_receive_timeout()?,
        Command::Pipe(after, outcome) => stage.pipe(after, outcome)?,
        Command::SpawnFuture(after, script) => stage.spawn_future(after, script)?,
        Command::AskAndPipe(other, script, timeout) => {
            stage.ask_and_pipe(&other, script, timeout)?;
        }
        Command::Hold(time) => stage.hold(time).await?,
        Command::EndThread => stage.end_thread()?,
        Command::NoteWhenAbandoned(note) => stage.note_when_abandoned(shared, note)?,
        _ => return Err(Unsupported("such command")),
    }
    Ok(Answer::Done)
}

/// Returns what an actor tells itself of the answer to its ask.
pub fn told_of(answer: Option<&Answer>) -> Script {
    match answer {
        Some(Answer::Number(number)) => {
            Script(vec![Command::Note("got"), Command::NoteNumber(*number)])
        }
        Some(_) => Command::Note("got another answer").into(),
        None => Command::Note("got no answer").into(),
    }
}

/// Panics on purpose.
///
/// # Panics
/// Always.
#[expect(clippy::panic, reason = "cases are about what follows a panic")]
pub fn blow_up(text: &str) -> ! {
    panic!("{text}")
}
