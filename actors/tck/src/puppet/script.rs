//! What a puppet can be told, and what it answers.

use std::time::Duration;

use super::spec::{Class, Spec};
use crate::driver::actors::{Offer, Puppet};

/// A message to a puppet: commands that it obeys in one go.
#[derive(Clone, Debug)]
pub struct Script(pub Vec<Command>);

impl From<Command> for Script {
    fn from(command: Command) -> Self {
        Self(vec![command])
    }
}

impl<const N: usize> From<[Command; N]> for Script {
    fn from(commands: [Command; N]) -> Self {
        Self(commands.into())
    }
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Note `<name> <text>` in the log.
    Note(&'static str),
    /// Note `<name> <number>`.
    NoteNumber(i64),
    /// Note `<name> <text> at <n> ms`, in paused time since the world was opened.
    NoteTime(&'static str),
    /// Note `<name> has <sum>`.
    NoteSum,
    /// Add to the sum, and answer it.
    Add(i64),
    /// Answer the sum.
    Get,
    /// Answer which incarnation this is, from 1.
    Incarnation,
    /// Answer that it will not, as an ordinary answer.
    Refuse(&'static str),
    /// Fail by an error.
    Fail(Class),
    /// Panic.
    Panic(&'static str),
    /// Stop.
    Stop,
    /// Tell another puppet, and answer what became of it.
    Tell(Puppet, Script),
    /// Ask a puppet to stop, as from outside.
    StopPuppet(Puppet),
    /// Tell oneself.
    TellMyself(Script),
    /// Count, and tell oneself to go on so until the world has had enough.
    Spin,
    /// Spawn a child, and answer it.
    Spawn(Box<Spec>),
    /// Ask a child to stop, and answer whether it is one.
    StopChild(Puppet),
    /// Answer the names of the living children.
    Children,
    /// Answer one's own path.
    Path,
    /// Answer a reference to oneself.
    Myself,
    /// Watch, and note `<name> saw <other> stop` or `fail`.
    Watch(Puppet),
    /// Watch, and get a script at the end.
    WatchWith(Puppet, Script),
    /// Watch, and fail at the end.
    WatchOrDie(Puppet),
    /// End a watch.
    Unwatch(Puppet),
    /// Start a timer of a key that brings a script.
    StartTimer(&'static str, Duration, Repeat, Script),
    /// Cancel a timer, and answer whether there was one.
    CancelTimer(&'static str),
    /// Answer whether a timer runs.
    IsTimerActive(&'static str),
    /// Get a script whenever no message came for this long.
    ReceiveTimeout(Duration, Script),
    /// End that.
    NoReceiveTimeout,
    /// Stash every message from now on, but those that begin with `Unstash` or `Urgent`.
    Stashing,
    /// Stash no more, and handle what is stashed.
    Unstash,
    /// Stash no more, and handle the first so many of what is stashed.
    UnstashSome(usize),
    /// Let the backoff of one's restarts start over.
    ResetBackoff,
    /// Handle what is stashed, stashing what comes.
    UnstashStillStashing,
    /// Nothing; says that the message is not to be stashed.
    Urgent,
    /// Run a future beside, and handle what comes of it.
    Pipe(Duration, PipedOutcome),
    /// Run a future of this incarnation that performs a script with its state.
    SpawnFuture(Duration, Script),
    /// Ask another, and note `<name> got` and the number, or `<name> got no answer`, as a message of its own.
    AskAndPipe(Puppet, Script, Duration),
    /// Handle nothing else for a while.
    Hold(Duration),
    /// End the thread that one runs on.
    EndThread,
    /// Drop the answer.
    NeverAnswer,
    /// Answer this number after a while, handling others meanwhile.
    AnswerAfter(Duration, i64),
    /// Answer this number after a while by a future of the actor, or panic in it, handling others meanwhile.
    AnswerWithin(Duration, Option<i64>),
    /// Note this when the asker waits no more.
    NoteWhenAbandoned(&'static str),
}

/// When a timer fires again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Not at all.
    Once,
    /// This long after it fired.
    Delay,
    /// At the multiples of its time, late ones included.
    Rate,
}

/// How a piped future ends.
#[derive(Clone, Debug)]
pub enum PipedOutcome {
    /// With a value: the script comes as a message.
    Value(Script),
    /// With an error, which the mapping turns into this script.
    Error(Script),
    /// With a panic.
    Panic,
}

/// What a puppet answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It is done.
    Done,
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
    /// Texts.
    Texts(Vec<String>),
    /// Yes or no.
    Yes(bool),
    /// It will not.
    Refused(&'static str),
    /// A puppet.
    Puppet(Puppet),
    /// What became of a message told on.
    Offer(Offer),
    /// The library has no notion of this.
    Unsupported(&'static str),
}
