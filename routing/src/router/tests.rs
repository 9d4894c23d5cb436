use std::collections::BTreeMap;

use kebne_settings::Validate as _;
use proptest::prelude::*;

use super::*;
use crate::{
    facts::{InputKind, SessionFacts},
    memory::{RouteMemory, SessionMemory},
    share::identity,
};

fn router(text: &str) -> Router {
    let text = format!("name = \"r\"\ndefault = \"small\"\n{text}");
    let settings: RouteSettings = toml::from_str(&text).unwrap();
    let errors = settings.validate("");
    assert!(errors.is_empty(), "{errors:?}");
    Router::new(settings)
}

/// Returns the rule, and the reasons of those before it.
fn decided(router: &Router, facts: &Facts<'_>, intent: &Intent) -> (String, Vec<String>) {
    let mut reasons = Vec::new();
    let decision = router.decide(facts, intent, &mut |_, look| {
        if let Look::Unmet(unmet) = look {
            reasons.push(unmet.to_string());
        }
    });
    (decision.rule.to_owned(), reasons)
}

/// A route with one rule with these conditions, which leads to `large`.
fn when(conditions: &str) -> Router {
    router(&format!(
        "[[rules]]\nname = \"rule\"\ntarget = \"large\"\n[rules.when]\n{conditions}"
    ))
}

fn known(name: &str) -> Intent {
    Intent::Known(name.to_owned())
}

const INTENTS: &str = "[[intents]]\nname = \"complaint\"\nexamples = [\"this is bad\"]\n\
    [[intents]]\nname = \"refund\"\nexamples = [\"money back\"]\n";

/// Conditions that hold for the call of the test, such that do not, and the reason.
const CONDITIONS: &[(&str, &str, &str)] = &[
    (
        "headers = {X-Plan = \"gold*\"}",
        "headers = {X-Plan = \"silver*\"}",
        "the header `X-Plan` is `bronze, gold-2`",
    ),
    (
        "headers = {x-plan = \"*\"}",
        "headers = {x-other = \"*\"}",
        "the header `x-other` is missing",
    ),
    (
        "keys = [\"a\", \"*-eu\"]",
        "keys = [\"*-us\"]",
        "the key is `shop-eu`",
    ),
    (
        "tenants = [\"shop\"]",
        "tenants = [\"sho\"]",
        "the tenant is `shop`",
    ),
    (
        "groups = [\"org\"]",
        "groups = [\"or\"]",
        "the groups are `team`, `org`",
    ),
    (
        "days = [\"mon\"]",
        "days = [\"tue\", \"sun\"]",
        "it is mon 05:50 (+00:00)",
    ),
    (
        "hours = \"22:00-06:00\"",
        "hours = \"06:00-22:00\"",
        "it is mon 05:50 (+00:00)",
    ),
    (
        "tokens_min = 500",
        "tokens_min = 501",
        "the prompt has 500 tokens",
    ),
    (
        "tokens_max = 500",
        "tokens_max = 499",
        "the prompt has 500 tokens",
    ),
    (
        "languages = [\"sv\", \"de\"]",
        "languages = [\"en\"]",
        "the language is `de`",
    ),
    ("tools = true", "tools = false", "there are tools"),
    (
        "inputs = [\"audio\", \"image\"]",
        "inputs = [\"audio\"]",
        "there are none of these inputs",
    ),
    ("stream = true", "stream = false", "the call is streamed"),
    (
        "session = true",
        "session = false",
        "the call belongs to a session",
    ),
    ("turns_min = 3", "turns_min = 4", "the session has 3 turns"),
    ("turns_max = 3", "turns_max = 2", "the session has 3 turns"),
    (
        "variables = {plan = \"g*\"}",
        "variables = {plan = \"s*\"}",
        "the variable `plan` is `gold`",
    ),
    (
        "variables = {plan = \"*\"}",
        "variables = {city = \"*\"}",
        "the variable `city` is not set",
    ),
    (
        "last_targets = [\"large\"]",
        "last_targets = [\"small\"]",
        "the last target is `large`",
    ),
    (
        "budget_left_max = 0.25",
        "budget_left_max = 0.2",
        "25.0 % of the budget are left",
    ),
    (
        "budget_left_min = 0.25",
        "budget_left_min = 0.5",
        "25.0 % of the budget are left",
    ),
];

#[test]
fn each_condition_holds_or_says_why_not() {
    let (groups, inputs) = (
        vec!["team".to_owned(), "org".to_owned()],
        [InputKind::Image],
    );
    let header = |value: &str| ("x-plan".to_owned(), value.to_owned());
    let headers = [header("bronze"), header("gold-2")];
    let variables = BTreeMap::from([("plan".to_owned(), "gold".to_owned())]);
    let memory = RouteMemory {
        last: Some("large".to_owned()),
        ..RouteMemory::default()
    };
    let facts = Facts {
        headers: &headers,
        key: "shop-eu",
        tenant: "shop",
        groups: &groups,
        // A Monday, 05:50 UTC.
        unix_seconds: 1_796_017_800,
        tokens: 500,
        question: "Wo ist mein Paket?",
        has_tools: true,
        inputs: &inputs,
        is_streamed: true,
        session: Some(SessionFacts {
            turns: 3,
            variables: &variables,
            memory: &memory,
        }),
        budget_left: Some(0.25),
        identity: 0,
        is_repeated: false,
    };
    for &(holds, fails, reason) in CONDITIONS {
        let found = decided(&when(holds), &facts, &Intent::Unknown);
        assert_eq!(found, ("rule".to_owned(), Vec::new()), "{holds}");
        let found = decided(&when(fails), &facts, &Intent::Unknown);
        assert_eq!(
            found,
            ("default".to_owned(), vec![reason.to_owned()]),
            "{fails}"
        );
        // All conditions of a rule must hold.
        let both =
            when(&format!("session = true\n{fails}").replace("session = true\nsession", "session"));
        assert_eq!(
            decided(&both, &facts, &Intent::Unknown).0,
            "default",
            "{fails}"
        );
    }
}

#[test]
fn a_call_without_a_session_meets_no_condition_of_sessions() {
    for conditions in [
        "turns_max = 9",
        "variables = {a = \"*\"}",
        "last_targets = [\"small\"]",
    ] {
        let found = decided(&when(conditions), &Facts::default(), &Intent::Unknown);
        let reason = "the call belongs to no session".to_owned();
        assert_eq!(found, ("default".to_owned(), vec![reason]), "{conditions}");
    }
    let found = decided(
        &when("session = false"),
        &Facts::default(),
        &Intent::Unknown,
    );
    assert_eq!(found.0, "rule");
    let found = decided(
        &when("budget_left_min = 0.9"),
        &Facts::default(),
        &Intent::Unknown,
    );
    assert_eq!(found.0, "rule");
}

#[test]
fn the_intent_is_needed_only_if_a_rule_with_one_is_reached() {
    let router = router(&format!(
        "{INTENTS}[[rules]]\nname = \"tools\"\ntarget = \"large\"\nwhen = {{tools = true}}\n\
         [[rules]]\nname = \"refund\"\ntarget = \"large\"\nwhen = {{intents = [\"refund\"], tokens_max = 100}}\n"
    ));
    let asked = Facts {
        question: "x",
        ..Facts::default()
    };
    assert!(router.needs_intent(&asked));
    for facts in [
        Facts {
            has_tools: true,
            ..asked
        },
        Facts {
            tokens: 101,
            ..asked
        },
        Facts {
            question: "",
            ..asked
        },
    ] {
        assert!(!router.needs_intent(&facts), "{facts:?}");
    }
    let reasons = |intent: &Intent| decided(&router, &asked, intent);
    assert_eq!(reasons(&known("refund")).0, "refund");
    assert_eq!(
        reasons(&known("complaint")).1[1],
        "the intent is `complaint`"
    );
    assert_eq!(reasons(&Intent::Unknown).1[1], "the intent is not known");
    assert_eq!(
        reasons(&Intent::NoneOfThem).1[1],
        "the question has none of the intents"
    );
}

/// Makes the turns of a session; returns the rules.
fn turns(router: &Router, intents: &[Intent]) -> Vec<String> {
    let mut memory = SessionMemory::default();
    let variables = BTreeMap::new();
    let mut rules = Vec::new();
    for (turns, intent) in (0..).zip(intents) {
        let own = memory.of("r");
        let facts = Facts {
            question: "x",
            session: Some(SessionFacts {
                turns,
                variables: &variables,
                memory: &own,
            }),
            ..Facts::default()
        };
        let decision = router.decide(&facts, intent, &mut |_, _| {});
        rules.push(decision.rule.to_owned());
        memory.note(&router.noted(&facts, &decision, intent));
    }
    rules
}

#[test]
fn a_session_escalates_after_two_complaints_and_stays_there() {
    let router = router(&format!(
        "{INTENTS}[[rules]]\nname = \"escalate\"\ntarget = \"large\"\nstay = true\nwhen = {{counts = {{complaint = 2}}}}\n"
    ));
    let (other, complaint) = (Intent::NoneOfThem, known("complaint"));
    let said = [&complaint, &other, &complaint, &other, &complaint].map(Clone::clone);
    let expected = ["default", "default", "escalate", "escalate", "escalate"];
    assert_eq!(turns(&router, &said), expected);
    // Without a session nothing is counted.
    let facts = Facts {
        question: "x",
        ..Facts::default()
    };
    assert!(!router.needs_intent(&facts));
    assert_eq!(decided(&router, &facts, &complaint).0, "default");
}

#[test]
fn a_call_that_goes_on_with_the_results_of_tools_is_not_counted_again() {
    let router = router(&format!(
        "{INTENTS}[[rules]]\nname = \"escalate\"\ntarget = \"large\"\nwhen = {{counts = {{complaint = 2}}}}\n"
    ));
    let variables = BTreeMap::new();
    let memory = RouteMemory {
        counts: BTreeMap::from([("complaint".to_owned(), 1)]),
        ..RouteMemory::default()
    };
    for (is_repeated, rule, counted) in [
        (true, "default", None),
        (false, "escalate", Some("complaint".to_owned())),
    ] {
        let facts = Facts {
            question: "x",
            is_repeated,
            session: Some(SessionFacts {
                turns: 1,
                variables: &variables,
                memory: &memory,
            }),
            ..Facts::default()
        };
        let intent = known("complaint");
        let decision = router.decide(&facts, &intent, &mut |_, _| {});
        assert_eq!(decision.rule, rule);
        assert_eq!(router.noted(&facts, &decision, &intent).intent, counted);
    }
}

#[test]
fn a_session_stays_with_its_rule_unless_one_before_it_matches() {
    let router = router(&format!(
        "{INTENTS}[[rules]]\nname = \"refund\"\ntarget = \"large\"\nwhen = {{intents = [\"refund\"]}}\n\
         [[rules]]\nname = \"begin\"\ntarget = \"middle\"\nstay = true\nwhen = {{intents = [\"complaint\"]}}\n\
         [[rules]]\nname = \"after\"\ntarget = \"large\"\n"
    ));
    let (other, complaint, refund) = (Intent::NoneOfThem, known("complaint"), known("refund"));
    let said = [&other, &complaint, &other, &refund, &other].map(Clone::clone);
    let expected = ["after", "begin", "begin", "refund", "begin"];
    assert_eq!(turns(&router, &said), expected);
}

#[test]
fn a_stay_with_a_rule_that_is_gone_is_forgotten() {
    let router = when("session = true");
    let memory = RouteMemory {
        stay: Some("gone".to_owned()),
        ..RouteMemory::default()
    };
    let variables = BTreeMap::new();
    let facts = Facts {
        session: Some(SessionFacts {
            turns: 1,
            variables: &variables,
            memory: &memory,
        }),
        ..Facts::default()
    };
    assert_eq!(decided(&router, &facts, &Intent::Unknown).0, "rule");
}

#[test]
fn a_share_goes_to_the_canary_and_another_is_copied() {
    let router = router(
        "[[rules]]\nname = \"all\"\ntarget = \"old\"\ncanary = {model = \"new\", share = 0.2}\n\
         shadow = {model = \"candidate\", share = 0.3}\n",
    );
    let (mut canaries, mut copies) = (0, 0);
    for number in 0..10_000 {
        let facts = Facts {
            identity: identity(&["key", &number.to_string()]),
            ..Facts::default()
        };
        let decision = router.decide(&facts, &Intent::Unknown, &mut |_, _| {});
        assert_eq!(decision.is_canary, decision.model == "new");
        assert_eq!(decision.target.model(), "old");
        canaries += u32::from(decision.is_canary);
        copies += u32::from(decision.shadow.is_some());
        let again = router.decide(&facts, &Intent::Unknown, &mut |_, _| {});
        assert_eq!(again, decision);
    }
    assert!((1800..2200).contains(&canaries), "{canaries}");
    assert!((2700..3300).contains(&copies), "{copies}");
    let models: Vec<&str> = router.models().collect();
    assert_eq!(models, ["old", "small", "new"]);
}

#[test]
fn a_service_is_a_target_under_a_name_of_its_own() {
    let router = router(
        "[[rules]]\nname = \"a\"\nservice = {url = \"http://localhost/v1\"}\n\
         [[rules]]\nname = \"b\"\nservice = {url = \"http://localhost/v1\", name = \"faq\"}\n",
    );
    let models: Vec<&str> = router.models().collect();
    assert_eq!(models, ["r-a", "faq", "small"]);
}

proptest! {
    /// Whatever holds for a call, one rule decides, and every rule before it has a reason.
    #[test]
    fn one_rule_decides_and_those_before_it_have_reasons(
        bounds in prop::collection::vec((0_u64..20, 0_u64..20), 0..8), tokens in 0_u64..20, is_streamed: bool
    ) {
        let mut text = String::new();
        for (place, (least, more)) in bounds.iter().enumerate() {
            let most = least + more;
            let rule = format!("[[rules]]\nname = \"n{place}\"\ntarget = \"t{place}\"\nwhen = {{tokens_min = {least}, tokens_max = {most}}}\n");
            text += &rule;
        }
        let router = router(&text);
        let facts = Facts { tokens, is_streamed, ..Facts::default() };
        let (rule, reasons) = decided(&router, &facts, &Intent::Unknown);
        let expected = bounds.iter().position(|(least, more)| (*least..=least + more).contains(&tokens));
        prop_assert_eq!(reasons.len(), expected.unwrap_or(bounds.len()));
        let name = expected.map_or("default".to_owned(), |place| format!("n{place}"));
        prop_assert_eq!(rule, name);
        prop_assert!(!router.needs_intent(&facts));
    }

    /// If the intent is not needed, it changes nothing.
    #[test]
    fn an_intent_that_is_not_needed_changes_nothing(
        tools: bool, rules in prop::collection::vec((any::<bool>(), 0_u8..3), 0..6), in_session: bool
    ) {
        let mut text = INTENTS.to_owned();
        for (place, (tools, kind)) in rules.iter().enumerate() {
            let more = ["", ", intents = [\"refund\"]", ", counts = {refund = 1}"][usize::from(*kind)];
            let rule = format!("[[rules]]\nname = \"n{place}\"\ntarget = \"t\"\nwhen = {{tools = {tools}{more}}}\n");
            text += &rule;
        }
        let router = router(&text);
        let (variables, memory) = (BTreeMap::new(), RouteMemory::default());
        let session = SessionFacts { turns: 0, variables: &variables, memory: &memory };
        let facts = Facts {
            has_tools: tools, question: "x", session: in_session.then_some(session), ..Facts::default()
        };
        if !router.needs_intent(&facts) {
            let without = decided(&router, &facts, &Intent::Unknown).0;
            prop_assert_eq!(decided(&router, &facts, &known("refund")).0, without);
        }
    }
}
