//! Entities: what is written, when it is answered, and what is recovered.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::Message;
use kebne_actors::{ActorRef, ActorSystem, AskError, Context, Props, Strategy};
use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    codec::Json,
    testkit::{EntityTestKit, FaultyJournal},
};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
enum Event {
    Added(u64),
    Opened,
    /// JSON has no maps whose keys are lists.
    #[serde(serialize_with = "never")]
    Unwritable,
}

fn never<S: serde::Serializer>(_: S) -> Result<S::Ok, S::Error> {
    Err(serde::ser::Error::custom("no form in bytes"))
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
struct Ledger {
    sum: u64,
    events: u64,
    open: bool,
}

impl EventSourced for Ledger {
    type Event = Event;
    fn apply(&mut self, event: &Event) {
        self.events += 1;
        match event {
            Event::Added(13) => panic!("a bug"),
            Event::Added(number) => self.sum += number,
            Event::Opened => self.open = true,
            Event::Unwritable => {}
        }
    }
}

/// Adds numbers, and answers with the sum behind them.
#[derive(Message)]
#[rtype(result = "u64")]
struct Add(Vec<u64>);
/// Adds a number once the ledger is open.
#[derive(Debug, Message)]
#[rtype(result = "u64")]
struct AddWhenOpen(u64);
#[derive(Message)]
#[rtype(result = "()")]
struct Open;
#[derive(Message)]
#[rtype(result = "u64")]
struct AddAndStop(u64);
#[derive(Message)]
#[rtype(result = "()")]
struct Reject;
/// Notes the sum behind its event.
#[derive(Message)]
#[rtype(result = "()")]
struct AddAndNote(u64, Arc<Mutex<Vec<u64>>>);

type Ctx = Context<Entity<Ledger>>;

impl CommandHandler<Add> for Ledger {
    fn handle(&self, Add(numbers): Add, _: &mut Ctx) -> ReplyEffect<Self, Add> {
        let events = numbers.into_iter().map(Event::Added);
        self.persist_all(events).then_reply(|ledger| ledger.sum)
    }
}
impl CommandHandler<AddWhenOpen> for Ledger {
    fn handle(&self, command: AddWhenOpen, _: &mut Ctx) -> ReplyEffect<Self, AddWhenOpen> {
        if self.open {
            self.persist(Event::Added(command.0))
                .then_reply(|ledger| ledger.sum)
        } else {
            Effect::stash(command)
        }
    }
}
impl CommandHandler<Open> for Ledger {
    fn handle(&self, _: Open, _: &mut Ctx) -> ReplyEffect<Self, Open> {
        self.persist(Event::Opened).then_unstash_all().no_reply()
    }
}
impl CommandHandler<AddAndStop> for Ledger {
    fn handle(&self, AddAndStop(number): AddAndStop, _: &mut Ctx) -> ReplyEffect<Self, AddAndStop> {
        let effect = self.persist(Event::Added(number)).then_stop();
        effect.then_reply(|ledger| ledger.sum)
    }
}
impl CommandHandler<Reject> for Ledger {
    fn handle(&self, _: Reject, _: &mut Ctx) -> ReplyEffect<Self, Reject> {
        self.persist_all([Event::Added(1), Event::Unwritable])
            .no_reply()
    }
}
impl CommandHandler<AddAndNote> for Ledger {
    fn handle(&self, command: AddAndNote, _: &mut Ctx) -> ReplyEffect<Self, AddAndNote> {
        let AddAndNote(number, notes) = command;
        let effect = self.persist(Event::Added(number));
        effect
            .then(move |ledger, _| notes.lock().unwrap().push(ledger.sum))
            .no_reply()
    }
}

fn persistence(journal: &FaultyJournal) -> Persistence<Ledger> {
    Persistence::new(Arc::new(journal.clone()), Json::default())
}

fn with_snapshots(journal: &FaultyJournal, retention: Retention) -> Persistence<Ledger> {
    persistence(journal).snapshots(Arc::new(journal.clone()), Json::default(), retention)
}

fn spawn(props: Props<Entity<Ledger>>) -> ActorRef<Entity<Ledger>> {
    ActorSystem::new("test", 1).spawn(props, "ledger")
}

async fn add(ledger: &ActorRef<Entity<Ledger>>, number: u64) -> Result<u64, AskError> {
    ledger.ask(Add(vec![number]), 600 * SECOND).await
}

#[actix::test]
async fn the_kit_shows_events_state_and_answer_and_recovers_the_same_state() {
    let mut kit = EntityTestKit::new(Ledger::default);
    let outcome = kit.run(Add(vec![1, 2])).await.unwrap();
    assert_eq!(outcome.events, [Event::Added(1), Event::Added(2)]);
    assert_eq!(outcome.reply, Ok(3));
    assert_eq!(outcome.state.as_ref().map(|state| state.sum), Some(3));
    let nothing = kit.run(Add(vec![])).await.unwrap();
    assert_eq!((nothing.events, nothing.reply), (vec![], Ok(3)));
    assert_eq!(kit.restart().await, outcome.state);
    kit.journal().fail_next_writes(1);
    let failed = kit.run(Add(vec![1])).await.unwrap();
    assert_eq!(failed.reply, Err(AskError::Failed));
    assert_eq!((failed.events, failed.state), (vec![], None));
    assert_eq!(kit.restart().await, outcome.state);
}

#[actix::test]
async fn an_answer_is_sent_when_the_events_are_written_and_not_before() {
    tokio::time::pause();
    let journal = FaultyJournal::default();
    let ledger = spawn(persistence(&journal).props("a", Ledger::default));
    journal.hold_writes();
    let asking = ledger.ask(Add(vec![1]), 600 * SECOND);
    let release = async {
        tokio::time::sleep(5 * SECOND).await;
        assert_eq!(journal.writes(), [("a".to_owned(), 1)]);
        journal.release_writes();
    };
    let begun = tokio::time::Instant::now();
    let (answer, ()) = tokio::join!(asking, release);
    assert_eq!(answer, Ok(1));
    assert!(begun.elapsed() >= 5 * SECOND);
}

#[actix::test]
async fn commands_wait_while_events_are_written_and_each_sees_the_state_behind_them() {
    tokio::time::pause();
    let journal = FaultyJournal::default();
    let ledger = spawn(persistence(&journal).props("a", Ledger::default));
    let (a, b, c) = tokio::join!(add(&ledger, 1), add(&ledger, 2), add(&ledger, 3));
    assert_eq!([a, b, c], [Ok(1), Ok(3), Ok(6)]);
}

#[actix::test]
async fn a_failed_write_fails_the_entity_and_a_backoff_recovers_it() {
    tokio::time::pause();
    let journal = FaultyJournal::default();
    let props = persistence(&journal).props("a", Ledger::default);
    let ledger = spawn(props.supervise(on_persist_failure(SECOND, 10 * SECOND)));
    assert_eq!(add(&ledger, 1).await, Ok(1));
    journal.fail_next_writes(1);
    // The second waits in the mailbox for the next instance.
    let (failed, next) = tokio::join!(add(&ledger, 5), add(&ledger, 2));
    assert_eq!((failed, next), (Err(AskError::Failed), Ok(3)));
}

#[actix::test]
async fn a_write_whose_acknowledgement_is_lost_is_found_by_the_recovery() {
    tokio::time::pause();
    let journal = FaultyJournal::default();
    let props = persistence(&journal).props("a", Ledger::default);
    let ledger = spawn(props.supervise(on_persist_failure(SECOND, 10 * SECOND)));
    journal.lose_next_acknowledgements(1);
    assert_eq!(add(&ledger, 5).await, Err(AskError::Failed));
    assert_eq!(add(&ledger, 2).await, Ok(7));
}

#[actix::test]
async fn a_write_that_takes_too_long_is_a_failure() {
    tokio::time::pause();
    let journal = FaultyJournal::default();
    let ledger = spawn(persistence(&journal).props("a", Ledger::default));
    assert_eq!(add(&ledger, 1).await, Ok(1));
    journal.hold_writes();
    let begun = tokio::time::Instant::now();
    assert_eq!(add(&ledger, 1).await, Err(AskError::Failed));
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert!(!ledger.is_alive());
}

#[actix::test]
async fn a_failed_recovery_is_tried_again_with_a_backoff_and_stops_without() {
    tokio::time::pause();
    let journal = FaultyJournal::default();
    journal.fail_next_reads(2);
    let props = persistence(&journal).props("a", Ledger::default);
    let ledger = spawn(props.supervise(on_persist_failure(SECOND, 10 * SECOND)));
    let begun = tokio::time::Instant::now();
    assert_eq!(add(&ledger, 1).await, Ok(1));
    assert!(begun.elapsed() >= 3 * SECOND);
    journal.fail_next_reads(1);
    let other = spawn(persistence(&journal).props("a", Ledger::default));
    assert!(add(&other, 1).await.is_err());
    assert!(!other.is_alive());
}

#[actix::test]
async fn an_event_without_a_form_in_bytes_is_rejected_and_resuming_keeps_the_state() {
    let journal = FaultyJournal::default();
    let props = persistence(&journal).props("a", Ledger::default);
    let ledger = spawn(props.supervise(Strategy::resume().on::<PersistenceError>()));
    assert_eq!(add(&ledger, 1).await, Ok(1));
    assert_eq!(ledger.ask(Reject, SECOND).await, Err(AskError::Failed));
    assert_eq!(add(&ledger, 2).await, Ok(3));
    assert_eq!(journal.writes().len(), 2);
}

#[actix::test]
async fn a_stashed_ask_is_answered_when_it_is_handled_again() {
    let journal = FaultyJournal::default();
    let ledger = spawn(persistence(&journal).props("a", Ledger::default));
    let later = |number| ledger.ask(AddWhenOpen(number), SECOND);
    let open = async {
        tokio::task::yield_now().await;
        ledger.ask(Open, SECOND).await
    };
    let (first, second, opened) = tokio::join!(later(1), later(2), open);
    assert_eq!((first, second, opened), (Ok(1), Ok(3), Ok(())));
}

#[actix::test]
async fn a_full_stash_is_a_failure() {
    let journal = FaultyJournal::default();
    let props = persistence(&journal).props("a", Ledger::default).stash(1);
    let ledger = spawn(props.supervise(Strategy::resume().on::<PersistenceError>()));
    let later = |number| ledger.ask(AddWhenOpen(number), SECOND);
    let open = ledger.ask(Open, SECOND);
    let (first, second, opened) = tokio::join!(later(1), later(2), open);
    assert_eq!(first, Ok(1));
    assert_eq!(second, Err(AskError::Failed));
    assert_eq!(opened, Ok(()));
}

#[actix::test]
async fn an_effect_runs_behind_its_event_and_not_if_the_write_fails() {
    let journal = FaultyJournal::default();
    let ledger = spawn(persistence(&journal).props("a", Ledger::default));
    let notes = Arc::new(Mutex::new(Vec::new()));
    let command = || AddAndNote(2, Arc::clone(&notes));
    assert_eq!(ledger.ask(command(), SECOND).await, Ok(()));
    journal.fail_next_writes(1);
    assert_eq!(ledger.ask(command(), SECOND).await, Err(AskError::Failed));
    assert_eq!(*notes.lock().unwrap(), [2]);
}

#[actix::test]
async fn a_stop_follows_the_answer() {
    let journal = FaultyJournal::default();
    let ledger = spawn(persistence(&journal).props("a", Ledger::default));
    assert_eq!(ledger.ask(AddAndStop(4), SECOND).await, Ok(4));
    ledger.when_stopped().await;
    let again = spawn(persistence(&journal).props("a", Ledger::default));
    assert_eq!(add(&again, 1).await, Ok(5));
}

#[actix::test]
async fn a_second_entity_of_an_id_fails_at_its_first_write() {
    let journal = FaultyJournal::default();
    let one = spawn(persistence(&journal).props("a", Ledger::default));
    let two = spawn(persistence(&journal).props("a", Ledger::default));
    assert_eq!(two.ask(Add(vec![]), SECOND).await, Ok(0));
    assert_eq!(add(&one, 1).await, Ok(1));
    assert_eq!(add(&two, 1).await, Err(AskError::Failed));
    assert!(!two.is_alive());
}

#[actix::test]
async fn snapshots_are_taken_at_multiples_and_old_ones_and_their_events_are_deleted() {
    let journal = FaultyJournal::default();
    let retention = Retention::every(2).keep(1).delete_events();
    let ledger = spawn(with_snapshots(&journal, retention).props("a", Ledger::default));
    for number in 1..=5 {
        assert!(add(&ledger, number).await.is_ok());
        tokio::task::yield_now().await;
    }
    let left = journal.read("a", 1, 10).await.unwrap();
    let left: Vec<_> = left.iter().map(|event| event.sequence).collect();
    assert_eq!(left, [3, 4, 5]);
    let latest = journal.latest("a").await.unwrap().unwrap();
    assert_eq!(latest.sequence, 4);
    let again = spawn(with_snapshots(&journal, retention).props("a", Ledger::default));
    let state = again.ask(Inspect::default(), SECOND).await.unwrap();
    assert_eq!((state.sum, state.events), (15, 5));
}

#[actix::test]
async fn a_snapshot_that_fails_costs_nothing_but_itself() {
    let journal = FaultyJournal::default();
    journal.fail_next_snapshots(1);
    let ledger = spawn(with_snapshots(&journal, Retention::every(1)).props("a", Ledger::default));
    assert_eq!(add(&ledger, 1).await, Ok(1));
    assert_eq!(add(&ledger, 2).await, Ok(3));
}

#[actix::test]
async fn a_damaged_snapshot_fails_the_recovery_unless_it_is_optional() {
    let journal = FaultyJournal::default();
    let persistence = with_snapshots(&journal, Retention::every(1));
    let ledger = spawn(persistence.props("a", Ledger::default));
    assert_eq!(add(&ledger, 1).await, Ok(1));
    let damaged = crate::Recorded {
        sequence: 1,
        payload: crate::Payload {
            manifest: "1".to_owned(),
            bytes: b"{".to_vec(),
        },
    };
    journal.save("a", damaged).await.unwrap();
    let strict = spawn(persistence.props("a", Ledger::default));
    assert!(add(&strict, 1).await.is_err());
    let lenient = persistence.snapshots_are_optional();
    let lenient = spawn(lenient.props("a", Ledger::default));
    assert_eq!(add(&lenient, 1).await, Ok(2));
}

#[actix::test]
async fn a_missing_event_fails_the_recovery() {
    let journal = FaultyJournal::default();
    let ledger = spawn(persistence(&journal).props("a", Ledger::default));
    for number in 1..=3 {
        assert!(add(&ledger, number).await.is_ok());
    }
    journal.delete("a", 1).await.unwrap();
    let again = spawn(persistence(&journal).props("a", Ledger::default));
    assert!(add(&again, 1).await.is_err());
    assert!(!again.is_alive());
}

#[actix::test]
async fn a_long_journal_is_recovered_page_by_page() {
    let journal = FaultyJournal::default();
    let ledger = spawn(persistence(&journal).props("a", Ledger::default));
    let sum = ledger.ask(Add(vec![1; 1000]), SECOND).await;
    assert_eq!(sum, Ok(1000));
    let again = spawn(persistence(&journal).props("a", Ledger::default));
    assert_eq!(add(&again, 1).await, Ok(1001));
}

#[actix::test]
async fn a_panic_while_an_event_is_applied_is_a_failure() {
    let journal = FaultyJournal::default();
    let ledger = spawn(persistence(&journal).props("a", Ledger::default));
    assert_eq!(add(&ledger, 13).await, Err(AskError::Failed));
    assert!(!ledger.is_alive());
}
