use std::{collections::BTreeSet, fs, path::Path};

use super::*;

/// Texts in the sources of errors that look like codes and are not: types of errors that always have a code, and fields.
const NO_CODES: [&str; 4] = [
    "estimated_time",
    "service_unavailable_error",
    "timeout_error",
    "previous_response_id",
];

/// Precedes the tables in the documentation.
const MARK: &str =
    "<!-- What follows is written by `KEBNE_WRITE_DOCS=1 cargo test -p kebne --lib reasons`. -->\n";

/// Returns the files that choose codes: the only ones that can call `ApiError::code`, and the causes of attempts.
fn sources() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![
        root.join("src/surface/error.rs"),
        root.join("src/backend/reason.rs"),
    ];
    for entry in fs::read_dir(root.join("src/surface/error")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && !path.ends_with("reasons.rs") {
            paths.push(path);
        }
    }
    assert!(paths.len() >= 6, "{paths:?}");
    let text = |path| fs::read_to_string(path).unwrap();
    paths.into_iter().map(text).collect()
}

/// Returns the texts in quotes of a source without its tests and comments.
fn quoted(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]").next().unwrap();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines
        .flat_map(|line| line.split('"').skip(1).step_by(2).map(str::to_owned))
        .collect()
}

/// Returns the codes of the sources: whatever is given to `code` as a text, and every text that looks like a code.
fn used() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in sources() {
        let code = source.split("#[cfg(test)]").next().unwrap();
        for part in code.split(".code(\"").skip(1) {
            found.insert(part.split('"').next().unwrap().to_owned());
        }
        found.extend(quoted(&source).into_iter().filter(|text| {
            text.contains('_')
                && text
                    .chars()
                    .all(|each| each.is_ascii_lowercase() || each == '_')
                && !NO_CODES.contains(&text.as_str())
        }));
    }
    found
}

#[test]
fn every_reason_code_is_listed_once_and_nothing_else() {
    let listed: Vec<_> = all().map(|reason| reason.code.to_owned()).collect();
    let set: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(set.len(), listed.len(), "a code is listed twice");
    let used = used();
    let missing: Vec<_> = used.difference(&set).collect();
    assert!(
        missing.is_empty(),
        "not listed in `reasons.rs`: {missing:?}"
    );
    // `draining` and `conflict` have no underscore; they are found as texts.
    let texts: BTreeSet<_> = sources().iter().flat_map(|source| quoted(source)).collect();
    let unused: Vec<_> = set.difference(&texts).collect();
    assert!(unused.is_empty(), "listed and not used: {unused:?}");
}

#[test]
fn the_documentation_has_the_tables_that_the_code_writes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating/reasons.md");
    let page = fs::read_to_string(path).unwrap();
    let (before, written) = page.split_once(MARK).unwrap();
    if std::env::var_os("KEBNE_WRITE_DOCS").is_some() {
        fs::write(path, [before, MARK, &reference()].concat()).unwrap();
    } else {
        assert_eq!(written, reference());
    }
}
