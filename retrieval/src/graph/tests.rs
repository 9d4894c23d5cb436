use proptest::prelude::*;

use super::*;

fn around(rng: &mut fastrand::Rng, centre: &[f32]) -> Vector {
    let noise = |rng: &mut fastrand::Rng| rng.f32() + rng.f32() + rng.f32() - 1.5;
    let components: Vec<f32> = centre.iter().map(|each| each + noise(rng)).collect();
    Vector::new(&components).unwrap()
}

fn clustered(rng: &mut fastrand::Rng, count: usize) -> Vec<Vector> {
    let centres: Vec<Vec<f32>> = (0..20)
        .map(|_| (0..24).map(|_| rng.f32() * 2.0 - 1.0).collect())
        .collect();
    (0..count)
        .map(|at| around(rng, &centres[at % centres.len()]))
        .collect()
}

fn linked(mut index: GraphIndex) -> GraphIndex {
    while let Some(links) = index.plan() {
        index.apply(links);
    }
    index
}

fn both(vectors: &[Vector]) -> (FlatIndex, GraphIndex) {
    let mut flat = FlatIndex::new(24).unwrap();
    for (id, vector) in (0..).zip(vectors) {
        flat.insert(id, vector).unwrap();
    }
    let graph = GraphIndex::from(flat.clone());
    (flat, graph)
}

fn ids(hits: &[Hit]) -> Vec<u64> {
    hits.iter().map(|hit| hit.id).collect()
}

/// Returns the share of the 10 nearest vectors that the graph finds.
fn recall(flat: &FlatIndex, graph: &GraphIndex, queries: &[Vector]) -> f64 {
    let mut found = 0;
    for query in queries {
        let truth = ids(&flat.search(query, 10, &|_| true).unwrap());
        let hits = ids(&graph.search(query, 10, &|_| true).unwrap());
        found += hits.iter().filter(|id| truth.contains(id)).count();
    }
    f64::from(u32::try_from(found).unwrap())
        / f64::from(u32::try_from(queries.len()).unwrap())
        / 10.0
}

#[test]
fn nearly_all_neighbours_are_found_while_vectors_come_and_go() {
    let mut rng = fastrand::Rng::with_seed(3);
    let vectors = clustered(&mut rng, 4000);
    let queries = clustered(&mut rng, 50);
    let (mut flat, graph) = both(&vectors[..3000]);
    assert_eq!(graph.unlinked(), 3000);
    assert!((recall(&flat, &graph, &queries) - 1.0).abs() < 1e-9);
    let mut graph = linked(graph);
    assert!(recall(&flat, &graph, &queries) > 0.95);
    for (id, vector) in (0..).zip(&vectors).skip(3000) {
        flat.insert(id, vector).unwrap();
        graph.insert(id, vector).unwrap();
    }
    assert_eq!(graph.unlinked(), 1000);
    assert!(recall(&flat, &graph, &queries) > 0.95);
    for id in (0..4000).step_by(5) {
        assert!(flat.remove(id) && graph.remove(id) && !graph.remove(id));
    }
    let mut graph = linked(graph);
    assert!(recall(&flat, &graph, &queries) > 0.95);
    for id in (0..4000).filter(|id| id % 5 != 0 && id % 2 == 0) {
        assert!(flat.remove(id) && graph.remove(id));
    }
    // It was built anew.
    assert!(graph.unlinked() > 0 && graph.len() == flat.len());
    assert!(recall(&flat, &linked(graph), &queries) > 0.95);
}

#[test]
fn a_condition_that_accepts_few_is_answered_exactly() {
    let mut rng = fastrand::Rng::with_seed(4);
    let (flat, graph) = both(&clustered(&mut rng, 2000));
    let graph = linked(graph);
    let wanted = |id: u64| id % 50 == 7;
    for query in clustered(&mut rng, 20) {
        let truth = flat.search(&query, 10, &wanted).unwrap();
        let hits = graph.search(&query, 10, &wanted).unwrap();
        assert_eq!(ids(&hits), ids(&truth));
    }
}

#[test]
fn links_that_were_sought_before_the_rows_were_numbered_anew_are_left_out() {
    let mut rng = fastrand::Rng::with_seed(5);
    let (_, graph) = both(&clustered(&mut rng, 3000));
    let mut graph = linked(graph);
    graph.insert(9999, &around(&mut rng, &[0.5; 24])).unwrap();
    let links = graph.plan().unwrap();
    for id in 0..1500 {
        graph.remove(id);
    }
    let before = graph.unlinked();
    graph.apply(links);
    assert_eq!(graph.unlinked(), before);
    assert!(before > 0);
}

#[test]
fn another_number_of_components_is_refused() {
    let (_, mut graph) = both(&[]);
    let short = Vector::new(&[1.0]).unwrap();
    assert!(graph.insert(1, &short).is_err());
    assert!(graph.search(&short, 1, &|_| true).is_err());
    assert!(graph.plan().is_none() && graph.is_empty());
}

proptest! {
    #[test]
    fn the_graph_holds_what_was_inserted_and_not_removed(steps in prop::collection::vec((0_u64..40, prop::bool::ANY, prop::bool::ANY), 1..120)) {
        let mut rng = fastrand::Rng::with_seed(6);
        let (_, mut graph) = both(&[]);
        let mut model = std::collections::BTreeSet::new();
        for (id, inserts, links) in steps {
            if inserts {
                graph.insert(id, &around(&mut rng, &[0.0; 24])).unwrap();
                model.insert(id);
            } else {
                prop_assert_eq!(graph.remove(id), model.remove(&id));
            }
            if links && let Some(links) = graph.plan() {
                graph.apply(links);
            }
        }
        let query = around(&mut rng, &[0.0; 24]);
        let mut found = ids(&graph.search(&query, 100, &|_| true).unwrap());
        found.sort_unstable();
        prop_assert_eq!(found, model.into_iter().collect::<Vec<_>>());
    }
}
