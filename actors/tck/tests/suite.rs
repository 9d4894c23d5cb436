//! The suite itself: its list of cases, the libraries, and how a verdict gets from one process to another.
//!
//! These tests are here and not in the crate, which would have to be compiled a second time for them.

use std::collections::BTreeSet;

use kebne_tck::{
    case::Failure,
    registry::{cases, libraries},
    runner::{line_of, verdict_of},
};

#[test]
fn every_case_has_a_name_of_its_own_and_cites_something() {
    let mut names = BTreeSet::new();
    for case in cases() {
        assert!(names.insert(case.name), "{} is there twice", case.name);
        assert!(!case.topic.is_empty(), "{} cites nothing", case.name);
    }
}

#[test]
fn the_page_on_streams_names_cases_that_exist() {
    let names: BTreeSet<_> = cases().iter().map(|case| case.name).collect();
    let page = include_str!("../../../docs/streams.md");
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| `") || line.starts_with("| a "));
    let mut named = 0;
    for row in rows {
        let column = row
            .trim_end_matches(" |")
            .rsplit(" | ")
            .next()
            .unwrap_or_default();
        for case in column.split(", ") {
            let case = case.trim_matches('`');
            assert!(names.contains(case), "no case `{case}`, named in: {row}");
            named += 1;
        }
    }
    assert!(named > 40, "only {named} cases are named");
}

#[test]
fn the_versions_named_are_those_that_are_built() {
    let lock = include_str!("../../../Cargo.lock");
    for library in libraries() {
        let package = match library.name() {
            "kebne" => "kebne-actors",
            name => name,
        };
        let entry = format!("name = \"{package}\"\nversion = \"{}\"", library.version());
        assert!(lock.contains(&entry), "no {entry} in Cargo.lock");
    }
}

#[test]
fn a_verdict_survives_the_way_through_a_process() {
    let verdicts = [
        Ok(()),
        Err(Failure::Failed("a, b".to_owned())),
        Err(Failure::NotApplicable("no stash".to_owned())),
    ];
    for verdict in verdicts {
        let output = format!("noise\n{}\n", line_of(&verdict));
        assert_eq!(verdict_of(&output), Some(verdict));
    }
    assert_eq!(verdict_of("noise"), None);
}
