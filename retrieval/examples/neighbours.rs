//! Prints the neighbours that a search finds: `neighbours flat|graph DIMENSIONS COUNT VECTORS QUERIES`.
//!
//! As in the program, an index names candidates, and their vectors, as they are stored, decide. The fewest candidates are those of a search for 10.
//! The files hold 32-bit numbers, the lowest byte first. One line per query: the rows of its nearest vectors, the nearest first.
//! `scripts/test-recall` compares them with those of another library.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program of its own reads files and prints"
)]

use std::{error::Error, fs};

use kebne_retrieval::{CANDIDATES_EACH, FlatIndex, GraphIndex, Vector, VectorIndex, rescored};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, dimensions, count, vectors, queries] = arguments.as_slice() else {
        return Err("usage: neighbours flat|graph DIMENSIONS COUNT VECTORS QUERIES".into());
    };
    let (dimensions, count): (usize, usize) = (dimensions.parse()?, count.parse()?);
    let mut flat = FlatIndex::new(dimensions)?;
    let mut stored: Vec<Vec<u8>> = Vec::new();
    for (id, vector) in (0..).zip(read(vectors, dimensions)?) {
        flat.insert(id, &vector)?;
        stored.push(vector.to_bytes());
    }
    let exact = |id: u64| {
        let bytes = stored.get(usize::try_from(id).ok()?)?;
        Vector::from_bytes(bytes).ok()
    };
    let index: Box<dyn VectorIndex> = match kind.as_str() {
        "flat" => Box::new(flat),
        "graph" => {
            let mut graph = GraphIndex::from(flat);
            while let Some(links) = graph.plan() {
                graph.apply(links);
            }
            Box::new(graph)
        }
        other => return Err(format!("`{other}` is not an index").into()),
    };
    for query in read(queries, dimensions)? {
        let hits = index.search(&query, count * CANDIDATES_EACH, &|_| true)?;
        let best = rescored(hits, &query, exact).into_iter().take(count);
        let ids: Vec<String> = best.map(|hit| hit.id.to_string()).collect();
        println!("{}", ids.join(" "));
    }
    Ok(())
}

fn read(path: &str, dimensions: usize) -> Result<Vec<Vector>, Box<dyn Error>> {
    let bytes = fs::read(path)?;
    let (numbers, _) = bytes.as_chunks::<4>();
    let numbers: Vec<f32> = numbers
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    let vectors = numbers.chunks_exact(dimensions.max(1)).map(Vector::new);
    Ok(vectors.collect::<Result<_, _>>()?)
}
