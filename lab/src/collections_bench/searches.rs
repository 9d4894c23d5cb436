//! The searches of the second process.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use kebne_collections::{Collections, Query};
use kebne_retrieval::Vector;

use super::{CollectionsBenchError, Corpus, ID, LOOK_EVERY, OWNER, open, ratio};

/// The results of a search.
const RESULTS: usize = 10;
/// The questions whose true neighbours are computed.
const JUDGED: u64 = 50;

/// Measures the first search, the memory, and further searches, of which there are so many; `graph` also by the graph.
pub(super) async fn measure(
    folder: &Path,
    corpus: &Corpus,
    (searches, graph): (u64, bool),
) -> Result<String, CollectionsBenchError> {
    let id = std::fs::read_to_string(folder.join(ID))?;
    let truth = truth(corpus)?;
    let (_system, collections) = open(folder, corpus, u64::MAX)?;
    let before = resident();
    let (first, _) = search(&collections, &id, 0, None).await?;
    let taken = resident().saturating_sub(before);
    let counted = collections.index_bytes();
    let mut text = format!(
        "first search   {:>8.2} s\nmemory         {:>8} MiB resident, {} MiB by its own count\n\n         p50 ms   p99 ms  recall@{RESULTS}\n",
        first.as_secs_f64(),
        taken >> 20,
        counted >> 20,
    );
    text.push_str(&row("flat", &collections, &id, (searches, &truth)).await?);
    collections.stop();
    drop(collections);
    if graph {
        let (_system, collections) = open(folder, corpus, 1)?;
        let began = Instant::now();
        search(&collections, &id, 0, None).await?;
        while collections.unlinked() > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let built = began.elapsed().as_secs_f64();
        text.push_str(&row("graph", &collections, &id, (searches, &truth)).await?);
        // Writing to a string does not fail.
        let _always_written = writeln!(text, "the graph took {built:.0} s");
        collections.stop();
    }
    Ok(text)
}

/// Measures searches: the times of hybrid ones, and the recall of those by vectors alone.
async fn row(
    name: &str,
    collections: &Collections,
    id: &str,
    (searches, truth): (u64, &[BTreeSet<u64>]),
) -> Result<String, CollectionsBenchError> {
    let mut times = Vec::new();
    for number in 0..searches {
        times.push(search(collections, id, number, None).await?.0);
    }
    times.sort_unstable();
    let at = |percent: usize| {
        let time = times.get(times.len() * percent / 100).copied();
        1e3 * time.unwrap_or_default().as_secs_f64()
    };
    let (mut found, mut all) = (0, 0);
    for (number, true_ones) in (0..).zip(truth) {
        let (_, hits) = search(collections, id, number, Some(0.0)).await?;
        found += hits.intersection(true_ones).count() as u64;
        all += true_ones.len() as u64;
    }
    let recall = ratio(found) / ratio(all);
    Ok(format!(
        "{name:<6} {:>8.2} {:>8.2} {recall:>10.4}\n",
        at(50),
        at(99)
    ))
}

/// Searches; returns the time without that of the embedder, and the numbers of the chunks that were found.
async fn search(
    collections: &Collections,
    id: &str,
    number: u64,
    words_share: Option<f32>,
) -> Result<(Duration, BTreeSet<u64>), CollectionsBenchError> {
    let query = Query {
        collections: vec![id.to_owned()],
        texts: vec![Corpus::question(number)],
        limit: RESULTS,
        words_share,
        ..Query::default()
    };
    let vectors = collections.embed_query(&query).await;
    let began = Instant::now();
    let found = collections.search(OWNER, &query, &vectors)?;
    let spent = began.elapsed();
    let numbers = found.sources.iter();
    let numbers = numbers.filter_map(|source| Corpus::number(&source.text));
    Ok((spent, numbers.collect()))
}

/// Returns the true neighbours of the first questions, by 32-bit numbers.
fn truth(corpus: &Corpus) -> Result<Vec<BTreeSet<u64>>, CollectionsBenchError> {
    let questions = (0..JUDGED).map(|number| corpus.question_vector(number));
    let questions: Vec<Vector> = questions.collect::<Result<_, _>>()?;
    let mut near: Vec<Vec<(u64, f32)>> = vec![Vec::new(); questions.len()];
    for number in 0..corpus.chunks {
        let vector = corpus.chunk_vector(number)?;
        for (near, question) in near.iter_mut().zip(&questions) {
            near.push((number, question.cosine(&vector)));
            if near.len() > 100 * RESULTS {
                keep_nearest(near);
            }
        }
    }
    let nearest = near.into_iter().map(|mut near| {
        keep_nearest(&mut near);
        near.into_iter().map(|(number, _)| number).collect()
    });
    Ok(nearest.collect())
}

fn keep_nearest(near: &mut Vec<(u64, f32)>) {
    near.sort_unstable_by(|left, right| right.1.total_cmp(&left.1));
    near.truncate(RESULTS);
}

/// Returns the resident memory of this process in bytes; 0 where the system does not say.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kib.unwrap_or_default() << 10
}
