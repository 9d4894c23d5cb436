//! What a search of each index takes, and how often it finds the true neighbours.
//!
//! `cargo bench -p kebne-retrieval`, with the numbers of vectors as arguments behind `--` (default 1000 and 100000). One line per
//! index and number of vectors (384 components): the time to build it, the median and the 99th percentile of one search for 10
//! neighbours on one thread, the memory, and the share of the 10 true neighbours (by 32-bit numbers) that were found. Vectors
//! are drawn around one centre per hundred of them, as embeddings of texts about many subjects. The goals for 100,000 vectors are a
//! median of 20 ms, 100 MiB, and a recall of 0.99 (exact) and 0.95 (graph).

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench reads the clock and prints its table"
)]

use std::time::{Duration, Instant};

use kebne_retrieval::{FlatIndex, GraphIndex, Vector, VectorIndex};

const DIMENSIONS: usize = 384;
/// The vectors around one centre.
const EACH: usize = 100;
const SEARCHES: usize = 200;
const NEIGHBOURS: usize = 10;

fn normal(rng: &mut fastrand::Rng) -> f32 {
    (0..12).map(|_| rng.f32()).sum::<f32>() - 6.0
}

fn around(rng: &mut fastrand::Rng, centre: &[f32]) -> Vector {
    let components: Vec<f32> = centre
        .iter()
        .map(|component| component + 0.6 * normal(rng))
        .collect();
    Vector::new(&components).unwrap()
}

fn main() {
    let sizes: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let sizes = if sizes.is_empty() {
        vec![1000, 100_000]
    } else {
        sizes
    };
    println!(
        "{:>9}  {:<5}  {:>8}  {:>8}  {:>8}  {:>7}  {:>6}",
        "vectors", "index", "build s", "p50 ms", "p99 ms", "MiB", "recall"
    );
    for size in sizes {
        measure(size);
    }
}

fn measure(size: usize) {
    let mut rng = fastrand::Rng::with_seed(size as u64);
    let centres: Vec<Vec<f32>> = (0..size.div_ceil(EACH).max(10))
        .map(|_| (0..DIMENSIONS).map(|_| normal(&mut rng)).collect())
        .collect();
    let vectors: Vec<Vector> = (0..size)
        .map(|at| around(&mut rng, &centres[at % centres.len()]))
        .collect();
    let queries: Vec<Vector> = (0..SEARCHES)
        .map(|at| around(&mut rng, &centres[at * 7 % centres.len()]))
        .collect();
    let truths: Vec<Vec<u64>> = queries.iter().map(|query| truth(&vectors, query)).collect();
    let begin = Instant::now();
    let mut flat = FlatIndex::new(DIMENSIONS).unwrap();
    for (id, vector) in (0..).zip(&vectors) {
        flat.insert(id, vector).unwrap();
    }
    let built = begin.elapsed();
    drop(vectors);
    row(size, "flat", &flat, built, (&queries, &truths));
    let begin = Instant::now();
    let mut graph = GraphIndex::from(flat);
    while let Some(links) = graph.plan() {
        graph.apply(links);
    }
    let built = built + begin.elapsed();
    row(size, "graph", &graph, built, (&queries, &truths));
}

/// Returns the true neighbours, by 32-bit numbers.
fn truth(vectors: &[Vector], query: &Vector) -> Vec<u64> {
    let mut all: Vec<(u64, f32)> = (0..)
        .zip(vectors)
        .map(|(id, vector)| (id, vector.cosine(query)))
        .collect();
    all.select_nth_unstable_by(NEIGHBOURS, |left, right| right.1.total_cmp(&left.1));
    all[..NEIGHBOURS].iter().map(|(id, _)| *id).collect()
}

fn row(
    size: usize,
    name: &str,
    index: &dyn VectorIndex,
    built: Duration,
    (queries, truths): (&[Vector], &[Vec<u64>]),
) {
    let (mut times, mut found): (Vec<Duration>, usize) = (Vec::new(), 0);
    for (query, truth) in queries.iter().zip(truths) {
        let begin = Instant::now();
        let hits = index.search(query, NEIGHBOURS, &|_| true).unwrap();
        times.push(begin.elapsed());
        found += hits.iter().filter(|hit| truth.contains(&hit.id)).count();
    }
    times.sort_unstable();
    let millis = |at: usize| times[at].as_secs_f64() * 1e3;
    println!(
        "{size:>9}  {name:<5}  {:>8.1}  {:>8.2}  {:>8.2}  {:>7}  {:>6.3}",
        built.as_secs_f64(),
        millis(SEARCHES / 2),
        millis(SEARCHES * 99 / 100),
        index.bytes() >> 20,
        ratio(found)
    );
}

#[expect(clippy::cast_precision_loss, reason = "counts of results")]
fn ratio(found: usize) -> f64 {
    found as f64 / (SEARCHES * NEIGHBOURS) as f64
}
