//! The order of results: exact vectors, and one score of words and vectors.

use kebne_retrieval::{Embedded, Role, Vector};

use super::*;

/// Makes vectors that differ by less than an index of one byte per component distinguishes. The number in a text decides.
struct Alike;

fn alike(text: &str) -> Vector {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let mut state = digits.parse::<u64>().unwrap().wrapping_add(1) << 20;
    let mut next = move || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        u16::try_from((mixed ^ (mixed >> 27)) >> 48).unwrap()
    };
    let components: Vec<f32> = (0..32)
        .map(|_| 1.0 + 0.05 * f32::from(next()) / 65536.0)
        .collect();
    Vector::new(&components).unwrap()
}

impl Embedder for Alike {
    fn space(&self) -> &'static str {
        "alike"
    }

    fn dimensions(&self) -> Option<usize> {
        Some(32)
    }

    fn embed(&self, texts: Vec<String>, _: Role) -> Embedded<'_> {
        let vectors = texts.iter().map(|text| alike(text)).collect();
        Box::pin(std::future::ready(Ok(vectors)))
    }
}

/// Imports texts as one document, and searches.
async fn found(
    collections: &Collections,
    texts: &[String],
    query: impl Fn(String) -> Query,
) -> Vec<Source> {
    let id = collection(collections, "ann").await;
    let lines: Vec<String> = texts
        .iter()
        .map(|text| serde_json::json!({"text": text}).to_string())
        .collect();
    let document = Document {
        name: "all.jsonl".to_owned(),
        content: lines.join("\n").into(),
    };
    let imported = collections.import("ann", &id, document).await.unwrap();
    let member = read(collections, "ann", &id, &imported.member.file).await;
    assert_eq!(member.status, Status::Completed, "{member:?}");
    let query = query(id);
    let vectors = collections.embed_query(&query).await;
    collections.search("ann", &query, &vectors).unwrap().sources
}

#[actix::test]
async fn the_order_is_that_of_the_vectors_as_they_were_made() {
    let world = World {
        embedder: Arc::new(Alike),
        ..World::new()
    };
    let collections = world.collections();
    let texts: Vec<String> = (0..40).map(|number| format!("text {number}")).collect();
    let query = |id| Query {
        collections: vec![id],
        texts: vec!["question 1000".to_owned()],
        limit: 10,
        words_share: Some(0.0),
        ..Query::default()
    };
    let sources = found(&collections, &texts, query).await;
    let question = alike("1000");
    let cosine = |place: &u64| question.cosine(&alike(&texts[usize::try_from(*place).unwrap()]));
    let mut truth: Vec<u64> = (0..40).collect();
    truth.sort_by(|left, right| cosine(right).total_cmp(&cosine(left)));
    let places: Vec<u64> = sources.iter().map(|source| source.place).collect();
    assert_eq!(places, truth[..10]);
    assert!((sources[0].cosine.unwrap() - cosine(&truth[0])).abs() < 1e-6);
    // The index alone does not know this order.
    let mut index = kebne_retrieval::FlatIndex::new(32).unwrap();
    for (id, text) in (0..).zip(&texts) {
        kebne_retrieval::VectorIndex::insert(&mut index, id, &alike(text)).unwrap();
    }
    let hits = kebne_retrieval::VectorIndex::search(&index, &question, 10, &|_| true).unwrap();
    assert_ne!(
        hits.iter().map(|hit| hit.id).collect::<Vec<_>>(),
        truth[..10]
    );
    collections.stop();
}

#[actix::test]
async fn a_score_is_the_mean_of_both_measures_wherever_a_chunk_was_found() {
    let world = World::new();
    let collections = world.collections();
    // More texts with the word than an index names as candidates.
    let mut texts: Vec<String> = (0..60)
        .map(|number| format!("lake lake number{number}"))
        .collect();
    texts.push(
        "the lakes of the north, where a lake freezes in the long winter of Lapland".to_owned(),
    );
    for share in [None, Some(0.0), Some(0.7)] {
        let query = |id| Query {
            collections: vec![id],
            texts: vec!["which lakes of the north freeze in winter".to_owned()],
            limit: 5,
            words_share: share,
            ..Query::default()
        };
        let sources = found(&collections, &texts, query).await;
        assert_eq!(sources[0].place, 60, "{share:?}");
        let embedder = HashedNgrams::new(384);
        let question = embedder.embed("which lakes of the north freeze in winter");
        let cosine = question.cosine(&embedder.embed(&texts[60]));
        assert!((sources[0].cosine.unwrap() - cosine).abs() < 1e-4);
        let mut words = kebne_retrieval::WordIndex::default();
        for (id, text) in (0..).zip(&texts) {
            words.insert(id, text);
        }
        let hits = words.search("which lakes of the north freeze in winter", 1, |_| true);
        let share = share.unwrap_or(kebne_retrieval::WORDS_SHARE);
        let expected = kebne_retrieval::blend(Some(cosine), hits[0].fit, share);
        assert!((sources[0].score - expected).abs() < 1e-3, "{sources:?}");
    }
    collections.stop();
}

#[actix::test]
async fn the_operator_sets_the_share_of_the_words() {
    let mut world = World::new();
    world.settings.search_words_share = Some(1.0);
    let collections = world.collections();
    let query = |id| Query {
        collections: vec![id],
        texts: vec!["mountains".to_owned()],
        limit: 5,
        ..Query::default()
    };
    // The vectors would find it.
    let texts = ["a mountain".to_owned()];
    assert!(found(&collections, &texts, query).await.is_empty());
    collections.stop();
}
