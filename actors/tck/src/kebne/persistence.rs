//! Kebne's event-sourced actors as the suite sees them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::Message;
use kebne_actors::{ActorRef, ActorSystem, AskError, Context, Strategy};
use kebne_persistence::{
    Codec, CodecError, CommandHandler, Effect, Entity, EventSourced, Journal, Json, Payload,
    Persistence, Recorded, ReplyEffect, Retention, Snapshots as _, on_persist_failure,
    testkit::FaultyJournal,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::Error as _};

use crate::{
    case::SEED,
    driver::{
        Unsupported,
        actors::ANSWER_TIMEOUT,
        persistence::{Answer, Command, Driver, Failing, Ledger, Refusal, Soon, Spec, World},
    },
};

type Notes = Arc<Mutex<Vec<String>>>;

/// Opens worlds on Kebne.
#[derive(Debug)]
pub(super) struct Ledgers;

impl Driver for Ledgers {
    fn open(&self) -> Result<Box<dyn World>, Unsupported> {
        Ok(Box::new(KebneWorld {
            system: ActorSystem::new("tck", SEED),
            journal: FaultyJournal::default(),
            notes: Notes::default(),
        }))
    }
}

/// An event; `None` has no form in bytes.
struct Event(Option<String>);

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(text) => serializer.serialize_str(text),
            None => Err(S::Error::custom("no form in bytes")),
        }
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Some(text)))
    }
}

struct State {
    entries: Vec<String>,
    notes: Notes,
}

impl State {
    fn note(&self, text: &str) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push(format!("{text} {}", self.entries.len()));
    }
}

impl EventSourced for State {
    type Event = Event;

    fn apply(&mut self, Event(text): &Event) {
        let text = text.clone().unwrap_or_default();
        assert_ne!(text, "boom", "on purpose");
        self.entries.push(text);
    }

    fn recovered(&self, _: &mut Context<Entity<Self>>) {
        self.note("recovered");
    }
}

/// Reads and writes snapshots as lines.
struct Lines(Notes);

impl Codec<State> for Lines {
    fn encode(&self, state: &State) -> Result<Payload, CodecError> {
        Ok(Payload {
            manifest: "lines".to_owned(),
            bytes: state.entries.join("\n").into_bytes(),
        })
    }

    fn decode(&self, payload: &Payload) -> Result<Vec<State>, CodecError> {
        if payload.manifest != "lines" {
            return Err(CodecError("not lines".to_owned()));
        }
        let text = String::from_utf8_lossy(&payload.bytes);
        Ok(vec![State {
            entries: text.lines().map(str::to_owned).collect(),
            notes: Arc::clone(&self.0),
        }])
    }
}

/// A command with its answer.
struct Do(Command);

impl Message for Do {
    type Result = Vec<String>;
}

fn event(text: &str) -> Event {
    Event(Some(text.to_owned()))
}

impl CommandHandler<Do> for State {
    #[expect(clippy::panic, reason = "on purpose")]
    fn handle(&self, command: Do, _: &mut Context<Entity<Self>>) -> ReplyEffect<Self, Do> {
        let effect = match &command.0 {
            Command::Persist(texts) => self.persist_all(texts.iter().map(|text| event(text))),
            Command::Nothing => self.unchanged(),
            Command::Later(text) if self.entries.iter().any(|entry| entry == "open") => {
                self.persist(event(text))
            }
            Command::Later(_) => return Effect::stash(command),
            Command::Open => self.persist(event("open")).then_unstash_all(),
            Command::Last(text) => self.persist(event(text)).then_stop(),
            Command::Noted(text) => {
                let effect = self.persist(event(text));
                effect.then(|state, _| state.note("noted"))
            }
            Command::Unwritable => self.persist_all([event("written"), Event(None)]),
            Command::Panic => panic!("on purpose"),
        };
        effect.then_reply(|state| state.entries.clone())
    }
}

struct KebneLedger(ActorRef<Entity<State>>);

impl Ledger for KebneLedger {
    fn ask(&self, command: Command) -> Soon<'static, Answer> {
        let ledger = self.0.clone();
        Box::pin(async move {
            let answered = ledger.ask(Do(command), ANSWER_TIMEOUT).await;
            answered.map_err(|error| match error {
                AskError::Failed | AskError::Interrupted => Refusal::Failed,
                _ => Refusal::NotHandled,
            })
        })
    }

    fn tell(&self, command: Command) -> bool {
        self.0.tell(Do(command)).is_enqueued()
    }

    fn stop(&self) -> Soon<'_, ()> {
        self.0.stop();
        Box::pin(self.0.when_stopped())
    }

    fn is_alive(&self) -> bool {
        self.0.is_alive()
    }
}

struct KebneWorld {
    system: ActorSystem,
    journal: FaultyJournal,
    notes: Notes,
}

/// Returns the codec of a version.
fn codec(version: u32) -> Json {
    Json::version(version).upcast(1, |event| {
        let raised = match event.as_str() {
            Some("gone") => vec![],
            Some("pair") => vec!["left".into(), "right".into()],
            Some(text) => vec![format!("{text}!").into()],
            None => return Err(CodecError("not a text".to_owned())),
        };
        Ok(raised)
    })
}

fn strategy(failing: Failing) -> Strategy {
    match failing {
        Failing::Stop => Strategy::stop(),
        Failing::Restart => Strategy::restart(),
        Failing::Resume => Strategy::resume(),
        Failing::Backoff(min) => on_persist_failure(min, Duration::from_hours(1)).with_jitter(0.0),
    }
}

impl World for KebneWorld {
    fn spawn(&self, spec: Spec) -> Box<dyn Ledger> {
        let journal = Arc::new(self.journal.clone());
        let mut persistence = Persistence::new(journal.clone(), codec(spec.version));
        if let Some(snapshots) = spec.snapshots {
            let mut retention = Retention::every(snapshots.every).keep(snapshots.keep);
            if snapshots.delete_events {
                retention = retention.delete_events();
            }
            let lines = Lines(Arc::clone(&self.notes));
            persistence = persistence.snapshots(journal, lines, retention);
            if snapshots.optional {
                persistence = persistence.snapshots_are_optional();
            }
        }
        let notes = Arc::clone(&self.notes);
        let empty = move || State {
            entries: Vec::new(),
            notes: Arc::clone(&notes),
        };
        let props = persistence.props(spec.id, empty);
        let props = props.mailbox(spec.mailbox).stash(spec.stash);
        let props = props.supervise(strategy(spec.failing));
        Box::new(KebneLedger(self.system.spawn(props, spec.id)))
    }

    fn fail_writes(&self, writes: usize) {
        self.journal.fail_next_writes(writes);
    }

    fn lose_acknowledgements(&self, writes: usize) {
        self.journal.lose_next_acknowledgements(writes);
    }

    fn fail_reads(&self, reads: usize) {
        self.journal.fail_next_reads(reads);
    }

    fn fail_snapshots(&self, snapshots: usize) {
        self.journal.fail_next_snapshots(snapshots);
    }

    fn hold_writes(&self) {
        self.journal.hold_writes();
    }

    fn release_writes(&self) {
        self.journal.release_writes();
    }

    fn writes(&self) -> Vec<usize> {
        let writes = self.journal.writes().into_iter();
        writes.map(|(_, events)| events).collect()
    }

    fn events(&self, id: &'static str) -> Soon<'_, Vec<u64>> {
        Box::pin(async move {
            let events = self.journal.read(id, 1, usize::MAX).await;
            let events = events.unwrap_or_default().into_iter();
            events.map(|event| event.sequence).collect()
        })
    }

    fn delete_events(&self, id: &'static str, to: u64) -> Soon<'_, ()> {
        Box::pin(async move { self.journal.delete(id, to).await.unwrap_or_default() })
    }

    fn latest_snapshot(&self, id: &'static str) -> Soon<'_, Option<u64>> {
        Box::pin(async move {
            let latest = self.journal.latest(id).await.ok().flatten();
            latest.map(|snapshot| snapshot.sequence)
        })
    }

    fn damage_snapshot(&self, id: &'static str) -> Soon<'_, ()> {
        Box::pin(async move {
            let Some(sequence) = self.latest_snapshot(id).await else {
                return;
            };
            let payload = Payload {
                manifest: "damaged".to_owned(),
                bytes: Vec::new(),
            };
            let damaged = Recorded { sequence, payload };
            self.journal.save(id, damaged).await.unwrap_or_default();
        })
    }

    fn notes(&self) -> Vec<String> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.clone()
    }
}
