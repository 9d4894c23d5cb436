//! What the pages name exists: the tests of the map, the cases of the semantics, the pages that are linked.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files under `folder` of this extension.
fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if has(&path, extension) {
            found.push(path);
        }
    }
    Ok(found)
}

fn has(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// The names of all functions under `folder`.
fn functions(folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for file in files(folder, "rs")? {
        for line in fs::read_to_string(file)?.lines() {
            // A function, or a case of the suite that a macro writes.
            let name = match line.split_once("fn ") {
                Some((_, after)) => after
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next(),
                None => line.split_once(" => \"").map(|(before, _)| before.trim()),
            };
            names.extend(name.map(str::to_owned));
        }
    }
    Ok(names)
}

/// The text between backticks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_row_of_the_map_names_its_api_and_a_proof_that_exists_or_says_why_not() {
    let actors = here().join("../../actors");
    let mut proofs = functions(&actors).unwrap();
    proofs.extend(functions(&here().join("tests")).unwrap());
    let map = fs::read_to_string(here().join("00-map.md")).unwrap();
    let mut rows = 0;
    for row in map.lines().filter(|line| line.starts_with("| ")) {
        let columns: Vec<_> = row.trim_matches('|').split(" |").map(str::trim).collect();
        let [akka, kebne, proof, differs] = columns[..] else {
            panic!("not four columns: {row}");
        };
        if akka == "Akka" {
            continue;
        }
        rows += 1;
        if kebne == "—" {
            assert!(!differs.is_empty() && proof.is_empty(), "no reason: {row}");
            continue;
        }
        assert!(kebne.contains('`'), "no API: {row}");
        assert!(spans(proof).count() > 0, "no proof: {row}");
        for name in spans(proof) {
            assert!(proofs.contains(name), "no such test or case: `{name}`");
        }
    }
    assert!(rows > 80, "{rows} rows");
}

#[test]
fn every_rule_of_the_semantics_names_cases_that_exist() {
    let cases = functions(&here().join("../../actors/tck/src/cases")).unwrap();
    let page = fs::read_to_string(here().join("../semantics.md")).unwrap();
    let rules: Vec<_> = page.split("\n**").skip(1).collect();
    for (number, rule) in (1..).zip(&rules) {
        let begin: String = rule.chars().take(60).collect();
        assert!(
            rule.starts_with(&format!("{number}. ")),
            "not rule {number}: {begin}"
        );
        let (_, named) = rule.split_once("\nCases: ").expect(&begin);
        let named = named.lines().next().unwrap_or_default();
        assert!(spans(named).count() > 0, "no case: {begin}");
        for name in spans(named) {
            assert!(
                cases.contains(name),
                "rule {number}: no such case: `{name}`"
            );
        }
    }
    assert!(rules.len() >= 60, "{} rules", rules.len());
}

#[test]
fn every_linked_page_exists() {
    let mut links = 0;
    let mut pages = files(&here(), "md").unwrap();
    pages.push(here().join("../semantics.md"));
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for (_, after) in text
            .match_indices("](")
            .map(|(at, _)| text.split_at(at + 2))
        {
            let target = after.split([')', '#']).next().unwrap_or_default();
            // Other brackets are code, or lead out of the repository.
            if !has(Path::new(target), "md") || target.contains("://") {
                continue;
            }
            links += 1;
            let folder = page.parent().unwrap();
            assert!(folder.join(target).exists(), "{}: {target}", page.display());
        }
    }
    assert!(links > 20, "{links} links");
}

#[test]
fn the_book_lists_every_page() {
    let docs = here().join("..");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let mut pages = 0;
    for page in files(&docs, "md").unwrap() {
        let page = page.strip_prefix(&docs).unwrap().to_owned();
        // The Pekko project is no page, and the list does not list itself.
        if page == Path::new("SUMMARY.md") || page.starts_with("akka-to-rust/pekko") {
            continue;
        }
        pages += 1;
        let link = format!("]({})", page.display());
        assert!(summary.contains(&link), "{} is not listed", page.display());
    }
    assert!(pages > 30, "{pages} pages");
}

/// The lines of a text without their indentation, and without empty ones.
fn trimmed(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty()).collect()
}

#[test]
fn code_on_the_pages_that_is_not_run_from_them_is_that_of_the_programs() {
    let mut sources = Vec::new();
    let jvm = "pekko/src/main";
    let folders = [
        (jvm, "scala"),
        (jvm, "java"),
        (jvm, "kt"),
        ("examples", "rs"),
        ("steps", "rs"),
        ("tests", "rs"),
    ];
    for (folder, extension) in folders {
        for file in files(&here().join(folder), extension).unwrap() {
            sources.push(fs::read_to_string(file).unwrap());
        }
    }
    let sources: Vec<_> = sources.iter().map(|source| trimmed(source)).collect();
    let mut blocks = 0;
    let mut pages = files(&here(), "md").unwrap();
    pages.push(here().join("../from-actix-steps.md"));
    for page in pages {
        let name = page.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&page).unwrap();
        // Code begins and ends with a fence, so that every second part is code.
        for block in text.split("\n```").skip(1).step_by(2) {
            let (language, code) = block.split_once('\n').unwrap();
            if !["scala", "java", "kotlin", "rs"].contains(&language) {
                continue;
            }
            blocks += 1;
            // What an empty line separates may be apart in the file.
            let paragraphs: Vec<_> = code.split("\n\n").map(trimmed).collect();
            let in_source = |source: &Vec<&str>| {
                let mut parts = paragraphs.iter();
                parts.all(|part| source.windows(part.len()).any(|window| window == part))
            };
            assert!(sources.iter().any(in_source), "{name} has drifted:\n{code}");
        }
    }
    assert!(blocks > 30, "{blocks} blocks");
}

/// The rows of the table of a page, without its head.
fn rows(page: &str) -> Vec<Vec<String>> {
    let rows = page.lines().filter(|line| line.starts_with("| ")).skip(1);
    let cells = |row: &str| -> Vec<_> {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    rows.map(cells).collect()
}

#[test]
fn the_results_of_the_worked_example_are_those_that_its_page_states() {
    let results = rows(&fs::read_to_string(here().join("09-results.md")).unwrap());
    let names: Vec<_> = results.iter().map(|row| &*row[0]).collect();
    assert_eq!(
        names,
        ["Scala", "Java", "Kotlin", "Rust", "Rust, `via_lane`"]
    );
    let number = |row: &[String], column: usize| row[column].parse::<u32>().unwrap();
    let (lane, fixed) = results.split_last().unwrap();
    assert_eq!(number(lane, 1), 100);
    for row in fixed {
        // A third is lost, and more calls are made than by the lane.
        assert!((60..75).contains(&number(row, 1)), "{row:?}");
        assert!(number(row, 2) > number(lane, 2), "{row:?}");
    }
}
