//! A whole comparison as text and as JSON.

use serde_json::json;

use crate::sim::bench::Row;
use crate::sim::entrant::Entrant;
use crate::sim::table::{grid, summaries, summary, table};

/// Number of random scenarios that are listed by name: those with the lowest goodput.
const WORST: usize = 8;

/// Writes the comparison in Markdown.
pub(crate) fn text(entrants: &[Entrant], named: &[Row], drawn: &[Row], full: bool) -> String {
    let mut parts = Vec::new();
    if !named.is_empty() {
        if full {
            parts.push(table(named, entrants));
        }
        parts.push(grid(named, entrants));
    }
    if !drawn.is_empty() {
        let mut worst: Vec<Row> = drawn.to_vec();
        let first = |row: &Row| row.scores.first().map_or(1.0, |score| score.goodput);
        worst.sort_by(|a, b| first(a).total_cmp(&first(b)));
        worst.truncate(WORST);
        parts.push(format!(
            "{} random scenarios; the {} worst of {}:\n",
            drawn.len(),
            worst.len(),
            entrants.first().map_or("none", |entrant| entrant.name)
        ));
        let own = entrants.get(..1).unwrap_or_default();
        parts.push(table(&worst, own));
        parts.push(summaries(drawn, entrants));
    }
    parts.join("\n")
}

/// Writes the comparison in JSON.
pub(crate) fn json(
    entrants: &[Entrant],
    seeds: &[u64],
    named: &[Row],
    drawn: &[Row],
) -> serde_json::Result<Vec<u8>> {
    let names: Vec<&str> = entrants.iter().map(|entrant| entrant.name).collect();
    let sums = |rows: &[Row]| -> Vec<serde_json::Value> {
        names
            .iter()
            .enumerate()
            .map(|(index, law)| json!({ "law": law, "summary": summary(rows, index) }))
            .collect()
    };
    serde_json::to_vec_pretty(&json!({
        "laws": names,
        "seeds": seeds,
        "named": { "summaries": sums(named), "rows": named },
        "random": { "summaries": sums(drawn), "rows": drawn },
    }))
}
