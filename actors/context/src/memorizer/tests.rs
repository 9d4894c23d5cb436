//! The work in the background, on a store in memory with a scripted summarizer.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use kebne_actors::{ActorSystem, Props};
use tokio::sync::Semaphore;

use super::*;
use crate::{
    ContextLimits, ContextParts, MemoryStore,
    notes::{Fact, FactContent},
    store::{Details, Turn, TurnContent},
};

struct Parent;

impl Actor for Parent {
    type Context = Context<Self>;
}

impl Handler<Spawn> for Parent {
    type Result = ();

    fn handle(&mut self, spawn: Spawn, ctx: &mut Context<Self>) {
        spawn.perform(ctx);
    }
}

/// Summarizes by listing the numbers of the turns. Each answer takes a permit.
struct Script {
    permits: Arc<Semaphore>,
    fails: AtomicBool,
    panics: AtomicBool,
    facts: Mutex<VecDeque<Result<Vec<ExtractedFact>, SummarizerError>>>,
    asked: AtomicUsize,
    extracts: bool,
}

fn listed(turns: &[Turn]) -> String {
    let numbers = turns.iter().map(|turn| turn.number.to_string());
    numbers.collect::<Vec<_>>().join(" ")
}

impl Summarizer for Script {
    fn summarizes(&self) -> bool {
        !self.extracts
    }

    fn extracts(&self) -> bool {
        self.extracts
    }

    fn summarize(&self, task: SummaryTask) -> Asked<String> {
        self.asked.fetch_add(1, SeqCst);
        let permits = Arc::clone(&self.permits);
        let (fails, panics) = (self.fails.load(SeqCst), self.panics.swap(false, SeqCst));
        Box::pin(async move {
            permits.acquire().await.unwrap().forget();
            assert!(!panics, "as scripted");
            if fails {
                return Err(SummarizerError::NoAnswer("as scripted".to_owned()));
            }
            let before = task.previous.map_or(String::new(), |text| text + " ");
            Ok(before + &listed(&task.turns))
        })
    }

    fn extract(&self, _: FactsTask) -> Asked<Vec<ExtractedFact>> {
        self.asked.fetch_add(1, SeqCst);
        let answer = self.facts.lock().unwrap().pop_front();
        Box::pin(std::future::ready(answer.unwrap_or(Ok(Vec::new()))))
    }
}

struct Bench {
    system: ActorSystem,
    context: ContextHandle,
    memorizer: Memorizer,
    script: Arc<Script>,
}

impl Bench {
    async fn start(extracts: bool, settings: MemorySettings) -> Self {
        tokio::time::pause();
        let system = ActorSystem::new("test", 1);
        let store = Arc::new(MemoryStore::default());
        let clock: crate::WallClock = Arc::new(|| 1_000_000);
        let parts = ContextParts {
            open: Arc::new(move || Ok(Arc::clone(&store) as _)),
            limits: ContextLimits::default(),
            clock: Arc::clone(&clock),
            former_owners: Vec::new(),
        };
        let context = ContextHandle::start(&system, parts);
        let parent = system.spawn(Props::new(|| Parent), "parent");
        let script = Arc::new(Script {
            permits: Arc::new(Semaphore::new(1000)),
            fails: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            facts: Mutex::default(),
            asked: AtomicUsize::new(0),
            extracts,
        });
        let parts = MemorizerParts {
            context: context.clone(),
            summarizer: Arc::clone(&script) as _,
            settings,
            tokenizer: Tokenizer::O200kBase,
            clock,
        };
        let memorizer = Memorizer::start_under(&parent, parts).await.unwrap();
        Self {
            system,
            context,
            memorizer,
            script,
        }
    }

    async fn session(&self, owner: &str, id: &str, turns: u64) {
        let details = Details::default();
        let made = self.context.create(owner, id.to_owned(), details).await;
        made.unwrap();
        for number in 1..=turns {
            self.append(id, number).await;
        }
    }

    async fn append(&self, id: &str, number: u64) {
        let content = TurnContent {
            tokens: 100,
            leads: true,
            messages: Bytes::from(format!("turn {number}")),
        };
        self.context.append(id, content).await.unwrap();
    }

    /// Waits until nothing is left to do.
    async fn settle(&self) {
        for _ in 0..1000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let counts = self.memorizer.counts();
            if counts.waiting + counts.running == 0 {
                return;
            }
        }
        panic!("{:?}", self.memorizer.counts());
    }

    async fn summaries(&self, id: &str) -> Vec<(u64, String)> {
        let summaries = self.context.summaries("ann", id).await.unwrap();
        let summaries = summaries.into_iter();
        summaries
            .map(|summary| (summary.through, summary.content.text))
            .collect()
    }
}

fn settings() -> MemorySettings {
    MemorySettings {
        summarize_after: 2,
        facts_after: 2,
        batch_tokens_max: 300,
        ..MemorySettings::default()
    }
}

#[actix::test]
async fn turns_that_leave_the_budget_are_summarized_in_batches() {
    let bench = Bench::start(false, settings()).await;
    bench.session("ann", "s", 4).await;
    // 300 of 400 tokens are kept free of turns that are about to leave: one turn leaves, and two are waited for.
    bench.memorizer.turn_kept("ann", "s", 400);
    bench.settle().await;
    assert_eq!(bench.summaries("s").await, []);
    for number in 5..=10 {
        bench.append("s", number).await;
    }
    bench.memorizer.turn_kept("ann", "s", 400);
    bench.settle().await;
    let expected = [(3, "1 2 3"), (6, "1 2 3 4 5 6")];
    let expected = expected.map(|(through, text)| (through, text.to_owned()));
    assert_eq!(bench.summaries("s").await, expected);
    // The turns are all still there.
    let turns = bench.context.turns("ann", "s", 0, 100).await.unwrap();
    assert_eq!(turns.items.len(), 10);
    assert_eq!(bench.memorizer.counts().summaries, 2);
    bench.system.terminate().await;
}

#[actix::test]
async fn a_summary_that_is_too_long_is_cut() {
    let settings = MemorySettings {
        summary_tokens_max: 16,
        batch_tokens_max: 10_000,
        ..settings()
    };
    let bench = Bench::start(false, settings).await;
    bench.session("ann", "s", 60).await;
    bench.memorizer.turn_kept("ann", "s", 400);
    bench.settle().await;
    let summaries = bench.context.summaries("ann", "s").await.unwrap();
    let content = &summaries[0].content;
    assert!((1..=16).contains(&content.tokens), "{content:?}");
    assert!(content.text.starts_with("1 2 3"), "{content:?}");
    bench.system.terminate().await;
}

#[actix::test]
async fn a_model_that_fails_harms_nothing_and_is_asked_again_after_the_next_turn() {
    let bench = Bench::start(false, settings()).await;
    bench.session("ann", "s", 6).await;
    bench.script.fails.store(true, SeqCst);
    bench.memorizer.turn_kept("ann", "s", 400);
    bench.settle().await;
    assert_eq!(bench.memorizer.counts().failures, 1);
    bench.script.fails.store(false, SeqCst);
    bench.script.panics.store(true, SeqCst);
    bench.memorizer.turn_kept("ann", "s", 400);
    bench.settle().await;
    assert_eq!(bench.memorizer.counts().failures, 2);
    bench.memorizer.turn_kept("ann", "s", 400);
    bench.settle().await;
    let summaries = bench.summaries("s").await;
    assert_eq!(summaries, [(3, "1 2 3".to_owned())]);
    bench.system.terminate().await;
}

#[actix::test]
async fn a_session_is_worked_on_once_at_a_time_and_the_queue_is_bounded() {
    let settings = MemorySettings {
        queue_max: 2,
        at_once: 2,
        ..settings()
    };
    let bench = Bench::start(false, settings).await;
    let waiting = Arc::clone(&bench.script.permits);
    waiting.forget_permits(1000);
    for id in ["s", "t", "u", "v", "w"] {
        bench.session("ann", id, 6).await;
    }
    for id in ["s", "s", "t", "u", "s", "v", "w"] {
        bench.memorizer.turn_kept("ann", id, 400);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let counts = bench.memorizer.counts();
    assert_eq!((counts.running, counts.waiting, counts.dropped), (2, 2, 1));
    assert_eq!(bench.script.asked.load(SeqCst), 2);
    waiting.add_permits(1000);
    bench.settle().await;
    for id in ["s", "t", "u", "v"] {
        assert_eq!(bench.summaries(id).await.len(), 1, "{id}");
    }
    assert_eq!(bench.summaries("w").await, []);
    bench.system.terminate().await;
}

#[actix::test]
async fn a_summary_of_turns_that_were_removed_meanwhile_is_not_kept() {
    let bench = Bench::start(false, settings()).await;
    let waiting = Arc::clone(&bench.script.permits);
    waiting.forget_permits(1000);
    bench.session("ann", "s", 6).await;
    bench.memorizer.turn_kept("ann", "s", 400);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.script.asked.load(SeqCst), 1);
    let rewound = bench.context.rewind("ann", "s", 1).await.unwrap();
    assert_eq!(rewound.turns, 1);
    for number in 2..=6 {
        bench.append("s", number).await;
    }
    waiting.add_permits(1);
    bench.settle().await;
    assert_eq!(bench.summaries("s").await, []);
    assert_eq!(bench.memorizer.counts().failures, 0);
    bench.system.terminate().await;
}

#[actix::test]
async fn a_stopped_memorizer_gives_up_its_work() {
    let bench = Bench::start(false, settings()).await;
    let permits = Arc::clone(&bench.script.permits);
    permits.forget_permits(1000);
    bench.session("ann", "s", 6).await;
    bench.memorizer.turn_kept("ann", "s", 400);
    tokio::time::sleep(Duration::from_millis(100)).await;
    bench.memorizer.stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    permits.add_permits(1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.summaries("s").await, []);
    // Hints after the end do no harm.
    bench.memorizer.turn_kept("ann", "s", 400);
    bench.system.terminate().await;
}

fn fact(text: &str, turns: &[u64], replaces: Option<u64>) -> ExtractedFact {
    ExtractedFact {
        text: text.to_owned(),
        turns: turns.to_vec(),
        replaces,
    }
}

#[actix::test]
async fn facts_are_extracted_once_and_owners_ones_are_not_touched() {
    let bench = Bench::start(true, settings()).await;
    bench.session("ann", "s", 3).await;
    let content = FactContent {
        text: "Lives in Kiruna".to_owned(),
        tokens: 4,
        turns: Vec::new(),
        created: 1,
        changed: 1,
    };
    let own = bench.context.add_fact("ann", "s", content, 100).await;
    assert_eq!(own.unwrap().number, 1);
    let long = "x".repeat(2000);
    let answer = vec![
        fact("Has a dog", &[2], None),
        fact("Lives in Umeå", &[1], Some(1)),
        fact("Lives in Kiruna", &[1], None),
        fact(&long, &[1], None),
        fact("Likes tea", &[9], None),
        fact("Has a dog", &[3], None),
    ];
    bench.script.facts.lock().unwrap().push_back(Ok(answer));
    bench.memorizer.turn_kept("ann", "s", 400);
    bench.settle().await;
    let texts = async || {
        let facts = bench.context.facts("ann", "s").await.unwrap();
        let facts = facts.into_iter();
        facts
            .map(
                |Fact {
                     number, content, ..
                 }| (number, content.text, content.turns),
            )
            .collect::<Vec<_>>()
    };
    let of = |number, text: &str, turns: &[u64]| (number, text.to_owned(), turns.to_vec());
    let expected = [
        of(1, "Lives in Kiruna", &[]),
        of(2, "Has a dog", &[2]),
        // A fact cannot rest on a turn that the model was not shown.
        of(3, "Likes tea", &[1, 2, 3]),
    ];
    assert_eq!(texts().await, expected);
    // The same turns are not read again.
    bench.memorizer.turn_kept("ann", "s", 400);
    bench.settle().await;
    assert_eq!(bench.script.asked.load(SeqCst), 1);
    for number in 4..=5 {
        bench.append("s", number).await;
    }
    let answer = vec![fact("Has two dogs", &[5], Some(2))];
    bench.script.facts.lock().unwrap().push_back(Ok(answer));
    bench.memorizer.turn_kept("ann", "s", 400);
    bench.settle().await;
    assert_eq!(texts().await[1], of(2, "Has two dogs", &[5]));
    bench.system.terminate().await;
}

#[actix::test]
async fn turns_whose_facts_cannot_be_read_are_passed_over() {
    let bench = Bench::start(true, settings()).await;
    bench.session("ann", "s", 2).await;
    let unusable = || Err(SummarizerError::Unusable("not JSON".to_owned()));
    bench
        .script
        .facts
        .lock()
        .unwrap()
        .extend([unusable(), unusable()]);
    bench.memorizer.turn_kept("ann", "s", 400);
    bench.settle().await;
    assert_eq!(bench.memorizer.counts().failures, 2);
    let session = bench.context.read("ann", "s").await.unwrap();
    assert_eq!(session.marks.facts_through, 2);
    // A model that does not answer is asked again later.
    for number in 3..=4 {
        bench.append("s", number).await;
    }
    let away = Err(SummarizerError::NoAnswer("cold".to_owned()));
    bench.script.facts.lock().unwrap().push_back(away);
    bench.memorizer.turn_kept("ann", "s", 400);
    bench.settle().await;
    let session = bench.context.read("ann", "s").await.unwrap();
    assert_eq!(session.marks.facts_through, 2);
    bench.system.terminate().await;
}
