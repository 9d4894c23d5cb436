//! The work on one session: summaries first, then facts, each in batches until nothing is left to do.

use std::sync::atomic::Ordering::Relaxed;

use super::{
    Counters, ExtractedFact, FactsTask, MemorizerParts, SummarizerError, SummaryTask, queue::Job,
};
use crate::{
    handle::ContextError,
    notes::{Fact, FactContent, Summary, SummaryContent},
    store::{StoreError, Turn},
};

/// The number of turns that are read from the store at once.
const PAGE: usize = 64;
/// The part of the history's tokens that stays free for turns which are about to leave, so that their summary is there in
/// time: one quarter.
const AHEAD: u64 = 4;
/// How often an answer that cannot be used is asked for before its turns are passed over.
const TRIES: usize = 2;

/// The reason why the work on a session ends early.
#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    Summarizer(#[from] SummarizerError),
}

/// Does the work on a session. An error ends it until the next turn of the session.
pub(super) async fn work(parts: &MemorizerParts, counters: &Counters, job: &Job) {
    let work = Work {
        parts,
        counters,
        of: (&job.owner, &job.session),
    };
    let mut done = Ok(());
    if parts.summarizer.summarizes() {
        done = work.summarize(job.history_tokens).await;
    }
    if parts.summarizer.extracts() {
        done = done.and(work.extract().await);
    }
    match done {
        Ok(()) => {}
        // The session was removed or rewound meanwhile.
        Err(WorkError::Context(ContextError::Store(
            error @ (StoreError::NoSuchSession | StoreError::Changed),
        ))) => tracing::debug!(%error, "a session is not summarized"),
        Err(WorkError::Summarizer(error @ SummarizerError::Unpaid(_))) => {
            counters.unpaid.fetch_add(1, Relaxed);
            tracing::info!(%error, "a session is not summarized; its next turn tries again");
        }
        Err(error) => {
            counters.failures.fetch_add(1, Relaxed);
            tracing::warn!(%error, "a session could not be summarized; its next turn tries again");
        }
    }
}

struct Work<'a> {
    parts: &'a MemorizerParts,
    counters: &'a Counters,
    of: (&'a str, &'a str),
}

impl Work<'_> {
    async fn summarize(&self, history_tokens: u64) -> Result<(), WorkError> {
        let (owner, id) = self.of;
        let context = &self.parts.context;
        let kept_free = history_tokens - history_tokens / AHEAD;
        loop {
            let session = context.read(owner, id).await?;
            let leaving = context.leaving(owner, id, kept_free).await?;
            let last = context.summaries(owner, id).await?.pop();
            let covered = last.as_ref().map_or(0, |last| last.through);
            if leaving < covered.saturating_add(self.parts.settings.summarize_after) {
                return Ok(());
            }
            let turns = self.batch(covered, leaving).await?;
            let Some(through) = turns.last().map(|turn| turn.number) else {
                return Ok(());
            };
            let task = SummaryTask {
                owner: owner.to_owned(),
                previous: last.map(|last| last.content.text),
                turns,
            };
            let text = self.parts.summarizer.summarize(task).await?;
            let (text, tokens) = self.within_bound(text);
            let content = SummaryContent {
                tokens,
                text,
                created: (self.parts.clock)(),
            };
            let summary = Summary { through, content };
            let cuts = session.marks.cuts;
            context.keep_summary(self.of, &summary, cuts).await?;
            self.counters.summaries.fetch_add(1, Relaxed);
        }
    }

    /// Returns a summary of at most the tokens that a call may have, and its tokens. Models count tokens in other ways.
    fn within_bound(&self, mut text: String) -> (String, u64) {
        let tokens_max = self.parts.settings.summary_tokens_max;
        loop {
            let tokens = self.parts.tokenizer.count(&text);
            if tokens <= tokens_max {
                return (text, tokens);
            }
            let end = (text.len() as u64).saturating_mul(tokens_max) / tokens;
            let end = usize::try_from(end).unwrap_or(usize::MAX);
            text.truncate(text.floor_char_boundary(end));
        }
    }

    async fn extract(&self) -> Result<(), WorkError> {
        let (owner, id) = self.of;
        let context = &self.parts.context;
        loop {
            let session = context.read(owner, id).await?;
            let marks = session.marks;
            let due = marks.facts_through + self.parts.settings.facts_after;
            if session.turns < due {
                return Ok(());
            }
            let turns = self.batch(marks.facts_through, session.turns).await?;
            let through = turns.last().map_or(session.turns, |turn| turn.number);
            let known = context.facts(owner, id).await?;
            let facts = self.ask_for_facts(&known, &turns).await?;
            let (added, changed) = self.sorted(facts, &known, &turns);
            let facts_max = self.parts.settings.facts_max;
            let at = (through, marks.cuts);
            let kept = context.keep_facts(self.of, (added, changed), at, facts_max);
            let kept = kept.await?;
            self.counters.facts.fetch_add(kept as u64, Relaxed);
        }
    }

    /// Asks for the facts in some turns. If the answers cannot be used, the turns are passed over.
    async fn ask_for_facts(
        &self,
        known: &[Fact],
        turns: &[Turn],
    ) -> Result<Vec<ExtractedFact>, WorkError> {
        if turns.is_empty() {
            return Ok(Vec::new());
        }
        for _ in 0..TRIES {
            let task = FactsTask {
                owner: self.of.0.to_owned(),
                known: known.to_vec(),
                turns: turns.to_vec(),
            };
            match self.parts.summarizer.extract(task).await {
                Err(SummarizerError::Unusable(why)) => {
                    self.counters.failures.fetch_add(1, Relaxed);
                    tracing::debug!(why, "an answer with facts cannot be used");
                }
                answer => return Ok(answer?),
            }
        }
        Ok(Vec::new())
    }

    /// Sorts facts into new ones and changed ones. Facts that are too long, or that are known, are left out.
    fn sorted(
        &self,
        facts: Vec<ExtractedFact>,
        known: &[Fact],
        turns: &[Turn],
    ) -> (Vec<FactContent>, Vec<Fact>) {
        let now = (self.parts.clock)();
        let size_max = self.parts.settings.fact_size_max.as_usize();
        let (mut added, mut changed) = (Vec::<FactContent>::new(), Vec::new());
        let is_read = |number: &u64| turns.iter().any(|turn| turn.number == *number);
        let all: Vec<u64> = turns.iter().map(|turn| turn.number).collect();
        for fact in facts {
            let text = fact.text.trim();
            let is_known = known.iter().any(|known| known.content.text == text)
                || added.iter().any(|added| added.text == text);
            if text.is_empty() || text.len() > size_max || is_known {
                continue;
            }
            // A fact without turns of its own may rest on each of those that were read.
            let named: Vec<u64> = fact.turns.iter().copied().filter(is_read).collect();
            let mut content = FactContent {
                text: text.to_owned(),
                tokens: self.parts.tokenizer.count(text),
                turns: if named.is_empty() { all.clone() } else { named },
                created: now,
                changed: now,
            };
            let replaced = known
                .iter()
                .find(|known| Some(known.number) == fact.replaces);
            let Some(replaced) = replaced else {
                added.push(content);
                continue;
            };
            content.created = replaced.content.created;
            changed.push(Fact {
                number: replaced.number,
                is_owners: false,
                content,
            });
        }
        (added, changed)
    }

    /// Returns some turns after `after` and up to `through`, at least one if there is one.
    async fn batch(&self, after: u64, through: u64) -> Result<Vec<Turn>, WorkError> {
        let (owner, id) = self.of;
        let page = self.parts.context.turns(owner, id, after, PAGE).await?;
        let mut left = self.parts.settings.batch_tokens_max;
        let mut batch = Vec::new();
        for turn in page.items {
            let tokens = turn.content.tokens;
            if turn.number > through || (tokens > left && !batch.is_empty()) {
                break;
            }
            left = left.saturating_sub(tokens);
            batch.push(turn);
        }
        Ok(batch)
    }
}
