//! The time of a decision on this machine: rules alone, and with the vector of the question by the built-in embedder.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use kebne_retrieval::HashedNgrams;
use kebne_routing::{
    ConditionSettings, Facts, Intent, IntentIndex, RouteRuleSettings, RouteSettings, Router,
    Verdict,
};

use crate::routes::{Labelled, Split};

/// Decisions that are timed.
const ROUNDS: usize = 2000;
/// The rules of the route that is timed, none of which matches: the worst case of the default settings.
const RULES: usize = 64;
/// The components of vectors, as in the program.
const DIMENSIONS: usize = 384;

/// Returns the times as text.
pub(crate) fn text(questions: &[Labelled]) -> String {
    let router = Router::new(route());
    let embedder = HashedNgrams::new(DIMENSIONS);
    let train = questions.iter().filter(|one| one.split == Split::Train);
    let index =
        IntentIndex::new(train.map(|one| (one.intent.clone(), vec![embedder.embed(&one.text)])));
    let test: Vec<&Labelled> = questions
        .iter()
        .filter(|one| one.split == Split::Test)
        .collect();
    let (mut rules, mut intents) = (Vec::new(), Vec::new());
    for one in test.iter().cycle().take(ROUNDS) {
        let facts = Facts {
            question: &one.text,
            tokens: 100,
            ..Facts::default()
        };
        let began = Instant::now();
        black_box(router.decide(black_box(&facts), &Intent::NoneOfThem, &mut |_, _| {}));
        rules.push(began.elapsed());
        let began = Instant::now();
        let nearest = index.nearest(&embedder.embed(black_box(&one.text)));
        let settings = router.settings();
        black_box(Verdict::of(
            &nearest,
            settings.intent_threshold,
            settings.intent_margin,
        ));
        intents.push(began.elapsed());
    }
    format!(
        "\ntime of a decision        p50        p99\n{RULES} rules           {}\nbuilt-in embedder  {}\n",
        quantiles(rules),
        quantiles(intents)
    )
}

/// Returns a route whose rules each read the language, and none of which matches.
fn route() -> RouteSettings {
    let rule = |number: usize| RouteRuleSettings {
        name: format!("rule-{number}"),
        when: ConditionSettings {
            tokens_min: Some(50),
            languages: vec!["fi".to_owned()],
            intents: vec!["x".to_owned()],
            ..ConditionSettings::default()
        },
        target: Some("m".to_owned()),
        ..RouteRuleSettings::default()
    };
    RouteSettings {
        name: "cost".to_owned(),
        default: "m".to_owned(),
        rules: (0..RULES).map(rule).collect(),
        ..RouteSettings::default()
    }
}

fn quantiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: usize| {
        let time = times.get(times.len() * part / 100).copied();
        format!("{:>7.1} µs", 1e6 * time.unwrap_or_default().as_secs_f64())
    };
    format!("{} {}", at(50), at(99))
}
