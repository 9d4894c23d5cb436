//! The refusals of servers: each sample has the class that its file and the documentation give it.
//!
//! `<sample>.in` holds the status, headers and body of an answer. `<sample>.out` holds its class while the server is known
//! to work (`warm`), and while it is not (`asleep`).
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its files must fail"
)]

use std::{collections::BTreeMap, fs, path::PathBuf, time::SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use kebne_wire::classify::{ErrorResponse, classify};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus/refusals")
}

/// Returns the class of a sample, as its label.
fn class(sample: &str, proven: bool) -> &'static str {
    let (head, body) = sample.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    let status: u16 = lines.next().unwrap().parse().unwrap();
    let headers: HeaderMap = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            let value = HeaderValue::from_str(value).unwrap();
            (HeaderName::try_from(name).unwrap(), value)
        })
        .collect();
    let outcome = classify(&ErrorResponse {
        status: StatusCode::from_u16(status).unwrap(),
        headers: &headers,
        body: body.as_bytes(),
        proven,
        cold_statuses: &[],
        now: SystemTime::UNIX_EPOCH,
    });
    outcome.label()
}

/// Returns the classes of every sample: of a server that is known to work, and of one that is not.
fn samples() -> BTreeMap<String, (String, String)> {
    let files = fs::read_dir(folder()).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let inputs = paths.filter(|path| path.extension().is_some_and(|kind| kind == "in"));
    let each = inputs.map(|path| {
        let expected = fs::read_to_string(path.with_extension("out")).unwrap();
        let (warm, asleep) = expected.trim_end().split_once('\n').unwrap();
        let warm = warm.strip_prefix("warm: ").unwrap().to_owned();
        let asleep = asleep.strip_prefix("asleep: ").unwrap().to_owned();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, (warm, asleep))
    });
    each.collect()
}

#[test]
fn every_sample_has_the_class_that_its_file_names() {
    let samples = samples();
    assert!(samples.len() >= 45, "{}", samples.len());
    for (name, (warm, asleep)) in samples {
        let sample = fs::read_to_string(folder().join(&name).with_extension("in")).unwrap();
        assert_eq!(class(&sample, true), warm, "{name} of a server that works");
        assert_eq!(
            class(&sample, false),
            asleep,
            "{name} of a server that may be asleep"
        );
    }
}

#[test]
fn the_documentation_has_a_row_for_every_sample() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/servers.md");
    let page = fs::read_to_string(page).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut documented = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, _, status, _, class, name, _] = cells[..] else {
            panic!("{row}");
        };
        let (warm, asleep) = class.split_once(", ").unwrap_or((class, class));
        let name = name.trim_matches('`').to_owned();
        let sample = fs::read_to_string(folder().join(&name).with_extension("in")).unwrap();
        assert_eq!(sample.lines().next(), Some(status), "{name}");
        documented.insert(name, (warm.to_owned(), asleep.to_owned()));
    }
    assert_eq!(documented, samples());
}

#[test]
fn the_words_of_a_caller_do_not_make_a_working_server_cold_or_its_quota_empty() {
    for words in ["the model is cold", "x: your credit balance is too low"] {
        let sample = format!("400\n\n{{\"error\":{{\"message\":\"bad role `{words}`\"}}}}");
        assert_eq!(class(&sample, true), "client", "{words}");
    }
}
