use proptest::prelude::*;

use super::*;
use crate::{Guard, GuardRuleSettings, GuardSettings, Hits, Pattern, Rules, Side};

fn guard(rules: Vec<GuardRuleSettings>, window: usize) -> Rules {
    let guard = GuardSettings {
        name: "g".to_owned(),
        window,
        rules,
        ..GuardSettings::default()
    };
    let guard = Guard::new(&guard).unwrap();
    Rules::new(Side::Output, guard.rules(Side::Output))
}

fn regex(name: &str, regex: &str) -> GuardRuleSettings {
    GuardRuleSettings {
        name: Some(name.to_owned()),
        regex: Some(regex.to_owned()),
        ..GuardRuleSettings::default()
    }
}

/// All patterns, and expressions that match without a bound, look around, or begin alike.
fn many() -> Vec<GuardRuleSettings> {
    let mut rules: Vec<GuardRuleSettings> = Pattern::ALL
        .into_iter()
        .map(|pattern| GuardRuleSettings {
            pattern: Some(pattern),
            ..GuardRuleSettings::default()
        })
        .collect();
    rules.push(regex("unbounded", "secret.*"));
    rules.push(regex("lazy", "(?s)<key>.*?</key>"));
    rules.push(regex("word", r"\bcat\b"));
    rules.push(regex("line", r"(?m)^top$"));
    rules.push(regex("whole", r"\Aonly\z"));
    rules.push(regex("unicode", r"\b\p{Lu}ö\w{2,}\b"));
    rules.push(regex("short", "ab"));
    rules.push(regex("long", "abcd+"));
    rules
}

thread_local! {
    /// The guards of [`many`] by their windows; compiling takes longer than searching.
    static GUARDS: [(usize, Rules); 3] = [32, 64, 256].map(|window| (window, guard(many(), window)));
}

fn many_with(window: usize) -> Rules {
    GUARDS.with(|guards| {
        let found = guards.iter().find(|(size, _)| *size == window);
        found.unwrap().1.clone()
    })
}

/// Returns all matches of a text that arrives in these parts.
fn matches(rules: &Rules, parts: &[&str]) -> Vec<Match> {
    let (mut scan, mut found) = (Scan::default(), Vec::new());
    for part in parts {
        scan.feed(rules.list(), part, false, &mut found);
    }
    scan.feed(rules.list(), "", true, &mut found);
    found
}

/// Texts of pieces of matches, so that most of them contain matches that span parts.
fn text() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "ann@example.com",
        "@",
        "a",
        "b",
        "cat",
        "concat",
        "4111 1111 1111 1111",
        "4111",
        "４１１１",
        "\u{A0}",
        "\u{2011}",
        "\u{200B}",
        "\t",
        "&nbsp;",
        "ö",
        "de89 3704-0044 0532 0130 00",
        "𝟜111\u{A0}1111 1111\u{3000}1111",
        " ",
        "  ",
        "\n",
        ".",
        "+46 70 123 45 67",
        "GB82 WEST 1234 5698 7654 32",
        "192.168.0.1",
        ".5",
        "2001:db8::1",
        ":",
        "123-45-6789",
        "AB123456C",
        "811228-9874",
        "secret",
        "<key>",
        "</key>",
        "top",
        "only",
        "Öö",
        "xyz",
        "ab",
        "abcd",
        "dd",
        "é",
        "🦀",
        "0",
        "1",
        "-",
    ];
    proptest::collection::vec(proptest::sample::select(PIECES), 0..40)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_matches_of_any_parts_are_those_of_the_whole(
        text in text(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
        window in prop::sample::select(vec![32_usize, 64, 256]),
    ) {
        let rules = many_with(window);
        let whole = matches(&rules, &[&text]);
        let mut places: Vec<usize> = cuts.iter().map(|cut| text.floor_char_boundary(cut.index(text.len() + 1))).collect();
        places.extend([0, text.len()]);
        places.sort_unstable();
        let parts: Vec<&str> = places.windows(2).map(|ends| &text[ends[0]..ends[1]]).collect();
        prop_assert_eq!(matches(&rules, &parts), whole.clone());
        let each: Vec<String> = text.chars().map(String::from).collect();
        let each: Vec<&str> = each.iter().map(String::as_str).collect();
        prop_assert_eq!(matches(&rules, &each), whole.clone());
        let mut end = 0;
        for one in &whole {
            // A folded character has at most four bytes.
            prop_assert!(one.range.start >= end && one.range.len() <= 4 * window);
            end = one.range.end;
        }
    }

    #[test]
    fn no_more_than_a_window_is_held_back(text in text(), window in prop::sample::select(vec![32_usize, 256])) {
        let rules = many_with(window);
        let (mut scan, mut found, mut size) = (Scan::default(), Vec::new(), 0);
        for letter in text.chars() {
            scan.feed(rules.list(), letter.encode_utf8(&mut [0; 4]), false, &mut found);
            size += letter.len_utf8();
            prop_assert!(size - scan.decided() <= 4 * (window + 4));
        }
    }
}

#[test]
fn text_that_belongs_to_no_match_is_not_held_back() {
    let only = |pattern| GuardRuleSettings {
        pattern: Some(pattern),
        ..GuardRuleSettings::default()
    };
    let rules = guard(vec![only(Pattern::Card), only(Pattern::Iban)], 256);
    let (mut scan, mut found) = (Scan::default(), Vec::new());
    for (part, held) in [
        ("The sum is ", 0),
        ("4", 1),
        ("111 1111 1111 111", 18),
        ("1", 19),
        (" or so.", 0),
    ] {
        scan.feed(rules.list(), part, false, &mut found);
        let size = scan.base + scan.text.len();
        assert_eq!(size - scan.decided(), held, "{part}");
    }
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].range, 11..30);
}

#[test]
fn nothing_after_a_refusal_is_decided() {
    let refuse = GuardRuleSettings {
        action: Action::Refuse,
        ..regex("no", "forbidden")
    };
    let rules = guard(vec![refuse, regex("mask", "a+")], 256);
    let (mut scan, mut found) = (Scan::default(), Vec::new());
    scan.feed(rules.list(), "baa for", false, &mut found);
    scan.feed(rules.list(), "bidden aa", false, &mut found);
    scan.feed(rules.list(), " aa", true, &mut found);
    assert!(scan.is_refused);
    assert_eq!((found.len(), scan.decided()), (2, 4));
    let mut hits = Hits::new();
    let refused = rules.plain("baa forbidden aa", &mut hits).unwrap_err();
    assert_eq!(&*refused.rule, "no");
    assert_eq!(hits.len(), 2);
}

#[test]
fn an_expression_that_searches_far_takes_time_in_proportion_to_the_text() {
    // Each place begins a candidate whose end is far beyond the window.
    let rules = guard(vec![regex("far", "a[^x]*x")], 32);
    let text = "a".repeat(100_000) + "x";
    let found = matches(&rules, &[&text]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].range.len(), 32);
}
