//! What a search of the exact index takes, and how often it finds the true neighbours.
//!
//! `cargo bench -p kebne-retrieval`. One line per number of vectors (384 components): the median and the 95th percentile of one
//! search for 10 neighbours on one thread, the bytes per vector, and the share of the 10 true neighbours (by 32-bit numbers) that
//! were found. Vectors are drawn around 1,000 centres, as embeddings of texts about 1,000 subjects. The goal for 100,000
//! vectors is a median of 20 ms, 100 MiB and a recall of 0.99.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench reads the clock and prints its table"
)]

use std::time::{Duration, Instant};

use kebne_retrieval::{FlatIndex, Vector};

const DIMENSIONS: usize = 384;
const CENTRES: usize = 1000;
const SEARCHES: usize = 50;
const NEIGHBOURS: usize = 10;

fn normal(rng: &mut fastrand::Rng) -> f32 {
    (0..12).map(|_| rng.f32()).sum::<f32>() - 6.0
}

fn around(rng: &mut fastrand::Rng, centre: &[f32]) -> Vector {
    Vector::new(
        &centre
            .iter()
            .map(|component| component + 0.6 * normal(rng))
            .collect::<Vec<_>>(),
    )
    .unwrap()
}

fn main() {
    println!(
        "{:>9}  {:>9}  {:>9}  {:>12}  {:>6}",
        "vectors", "p50 ms", "p95 ms", "bytes/vector", "recall"
    );
    for size in [1000, 10_000, 100_000] {
        measure(size);
    }
}

fn measure(size: usize) {
    let mut rng = fastrand::Rng::with_seed(size as u64);
    let centres: Vec<Vec<f32>> = (0..CENTRES)
        .map(|_| (0..DIMENSIONS).map(|_| normal(&mut rng)).collect())
        .collect();
    let vectors: Vec<Vector> = (0..size)
        .map(|at| around(&mut rng, &centres[at % CENTRES]))
        .collect();
    let mut index = FlatIndex::new(DIMENSIONS).unwrap();
    for (id, vector) in (0..).zip(&vectors) {
        index.insert(id, vector).unwrap();
    }
    let mut times: Vec<Duration> = Vec::new();
    let mut found = 0;
    for at in 0..SEARCHES {
        let query = around(&mut rng, &centres[at % CENTRES]);
        let begin = Instant::now();
        let hits = index.search(&query, NEIGHBOURS, |_| true).unwrap();
        times.push(begin.elapsed());
        let mut truth: Vec<(u64, f32)> = (0..)
            .zip(&vectors)
            .map(|(id, vector)| (id, vector.cosine(&query)))
            .collect();
        truth.sort_by(|left, right| right.1.total_cmp(&left.1));
        found += hits
            .iter()
            .filter(|hit| truth[..NEIGHBOURS].iter().any(|(id, _)| *id == hit.id))
            .count();
    }
    times.sort_unstable();
    let millis = |at: usize| times[at].as_secs_f64() * 1e3;
    println!(
        "{size:>9}  {:>9.2}  {:>9.2}  {:>12}  {:>6.3}",
        millis(SEARCHES / 2),
        millis(SEARCHES * 95 / 100),
        index.bytes() / size,
        ratio(found)
    );
}

#[expect(clippy::cast_precision_loss, reason = "counts of results")]
fn ratio(found: usize) -> f64 {
    found as f64 / (SEARCHES * NEIGHBOURS) as f64
}
