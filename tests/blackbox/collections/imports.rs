//! Imports of documents by their names.

use std::fs;

use serde_json::{Value, json};

use super::{Caller, LAKE, MOUNTAIN, STORES, assert_refused, form, form_with};
use crate::program::{Program, folder};

#[test]
fn an_import_is_found_by_its_names_and_what_is_wrong_is_told() {
    let folder = folder();
    let program = Program::start(
        folder.path(),
        &[("KEBNE__COLLECTIONS__COLLECTIONS_MAX", "1")],
    );
    let caller = Caller {
        program: &program,
        key: None,
    };
    let id = caller.post(STORES, &json!({}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("{STORES}/{id}/documents");
    let import = |files: &[(&str, &str)]| {
        let answer = caller.send_form(&path, &form(None, files));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let list = answer.json()["data"].clone();
        let each = list.as_array().unwrap().iter();
        each.map(|each| each["unchanged"].as_bool().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        import(&[("a.md", LAKE), ("b.md", MOUNTAIN)]),
        [false, false]
    );
    assert_eq!(
        import(&[("a.md", LAKE), ("b.md", "A lake too.")]),
        [true, false]
    );
    assert_eq!(caller.await_read(&id)["file_counts"]["total"], 2);
    assert!(!caller.found(&id, "mountain").is_empty());
    let folders = [("docs/a/x.md", "Reindeer."), ("docs/b/x.md", "Lemmings.")];
    assert_eq!(import(&folders), [false, false]);
    assert_eq!(import(&folders), [true, true]);
    assert_eq!(caller.await_read(&id)["file_counts"]["total"], 4);
    assert_eq!(caller.found(&id, "lemmings")[0], "docs/b/x.md");
    import(&[("c.pdf", "%PDF-1.7")]);
    caller.await_read(&id);
    let failed = caller.get(&format!("{STORES}/{id}/files?filter=failed"));
    assert_eq!(failed["data"][0]["last_error"]["code"], "invalid_file");
    what_is_wrong_is_told(&caller, &id);
}

fn what_is_wrong_is_told(caller: &Caller<'_>, id: &str) {
    let search = format!("{STORES}/{id}/search");
    for (path, body, param) in [
        (
            STORES,
            json!({"metadata": {"a": "x".repeat(513)}}),
            "metadata",
        ),
        (
            STORES,
            json!({"expires_after": {"anchor": "last_active_at", "days": 0}}),
            "expires_after",
        ),
        (
            STORES,
            json!({"file_expires_after": {"anchor": "created_at", "days": 4000}}),
            "file_expires_after",
        ),
        (
            search.as_str(),
            json!({"query": "a", "ranking_options": {"hybrid_search": {"embedding_weight": 0, "text_weight": 0}}}),
            "ranking_options",
        ),
        (search.as_str(), json!({"query": ""}), "query"),
        (
            search.as_str(),
            json!({"query": "a", "max_num_results": 51}),
            "max_num_results",
        ),
        (
            search.as_str(),
            json!({"query": "a", "ranking_options": {"score_threshold": 2}}),
            "ranking_options",
        ),
    ] {
        let answer = caller.call("POST", path, &body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        assert_eq!(answer.json()["error"]["param"], param, "{body}");
    }
    let full = caller.call("POST", STORES, &json!({}));
    assert_eq!(full.code(), (429, "collections_full".to_owned()));
    let elsewhere = caller.send_form("/v1/files", &form(Some("fine-tune"), &[("a.jsonl", "{}")]));
    assert_eq!(elsewhere.status, 404, "{}", elsewhere.body);
}

#[test]
fn the_three_commands_of_the_page_import_a_folder_ask_about_it_and_show_the_sources() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/collections.md")).unwrap();
    let section = page.split("## Three commands").nth(1).unwrap();
    let block = section.split("```sh\n").nth(1).unwrap();
    let block = block.split("```").next().unwrap();
    // A command begins at the start of a line; what follows it is indented.
    let mut commands: Vec<String> = Vec::new();
    for line in block.lines() {
        match commands.last_mut() {
            Some(last) if line.starts_with(' ') => last.extend(["\n", line]),
            _ => commands.push(line.to_owned()),
        }
    }
    assert_eq!(commands.len(), 3, "{commands:?}");
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let run = |script: &str| {
        let script = script.replace("127.0.0.1:8080", &program.address.to_string());
        let mut shell = std::process::Command::new("sh");
        let done = shell
            .args(["-euc", &script])
            .current_dir(root)
            .output()
            .unwrap();
        assert!(done.status.success(), "{script}: {done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    let id = run(&[commands[0].as_str(), "\nprintf %s \"$ID\""].concat());
    assert!(id.starts_with("vs_"), "{id}");
    let with_id = |command: &str| format!("ID={id}\n{command}");
    let imported: Value = serde_json::from_str(&run(&with_id(&commands[1]))).unwrap();
    assert!(
        imported["data"].as_array().unwrap().len() > 10,
        "{imported}"
    );
    let caller = Caller {
        program: &program,
        key: None,
    };
    let counts = caller.await_read(&id)["file_counts"].clone();
    assert_eq!(counts["completed"], counts["total"], "{counts}");
    let answer: Value = serde_json::from_str(&run(&with_id(&commands[2]))).unwrap();
    let results = answer["output"][0]["results"].as_array().unwrap();
    let names: Vec<&str> = results
        .iter()
        .map(|result| result["filename"].as_str().unwrap())
        .collect();
    assert!(
        !names.is_empty() && names.iter().all(|name| name.contains(".md")),
        "{answer}"
    );
    assert_eq!(answer["output"][1]["type"], "message", "{answer}");
}

#[test]
fn an_import_has_attributes_and_a_strategy_and_says_what_it_kept() {
    let folder = folder();
    let program = Program::start(folder.path(), &[("KEBNE__COLLECTIONS__FILES_MAX", "3")]);
    let caller = Caller {
        program: &program,
        key: None,
    };
    let id = caller.post(STORES, &json!({}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("{STORES}/{id}/documents");
    let strategy = json!({"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 0}});
    let strategy = strategy.to_string();
    let fields = [
        ("attributes", r#"{"region": "north", "rank": 1}"#),
        ("chunking_strategy", strategy.as_str()),
    ];
    let two = [("lake.md", LAKE), ("mountain.md", MOUNTAIN)];
    let answer = caller.send_form(&path, &form_with(&fields, &two));
    assert_eq!(answer.status, 200, "{}", answer.body);
    for document in answer.json()["data"].as_array().unwrap() {
        assert_eq!(document["attributes"]["region"], "north", "{document}");
        let rules = &document["chunking_strategy"]["static"];
        assert_eq!(rules["max_chunk_size_tokens"], 200, "{document}");
    }
    caller.await_read(&id);
    let filter = json!({"type": "eq", "key": "region", "value": "north"});
    let found = json!({"query": "lake", "filters": filter});
    let found = caller.post(&format!("{STORES}/{id}/search"), &found);
    assert_eq!(found["data"][0]["filename"], "lake.md", "{found}");
    // Without the fields, documents that are there keep theirs; with them, they get others.
    let again = caller.send_form(&path, &form(None, &two[..1])).json();
    assert_eq!(again["data"][0]["attributes"]["region"], "north", "{again}");
    let south = [("attributes", r#"{"region": "south"}"#)];
    let again = caller
        .send_form(&path, &form_with(&south, &two[..1]))
        .json();
    assert_eq!(again["data"][0]["attributes"], json!({"region": "south"}));
    for (fields, files, param) in [
        (vec![("attributes", "[1]")], &two[..], "attributes"),
        (
            vec![("attributes", "{\"a\": null}")],
            &two[..],
            "attributes",
        ),
        (
            vec![("chunking_strategy", "1")],
            &two[..],
            "chunking_strategy",
        ),
        (vec![("zzz", "1")], &two[..], "zzz"),
        (vec![("file", "no file")], &two[..], "file"),
        (vec![], &[("a.md", "one"), ("./a.md", "two")][..], "file"),
    ] {
        let answer = caller.send_form(&path, &form_with(&fields, files));
        assert_refused(&answer, param, &format!("{fields:?}"));
    }
    // The third file is the last.
    let answer = caller.send_form(
        &path,
        &form(None, &[("c.md", "Reindeer."), ("d.md", "Elks.")]),
    );
    assert_eq!(answer.status, 429, "{}", answer.body);
    let kept = answer.json()["error"]["kept_file_ids"].clone();
    let kept = kept.as_array().unwrap();
    assert_eq!(kept.len(), 1, "{}", answer.body);
    let shown = caller.get(&format!("/v1/files/{}", kept[0].as_str().unwrap()));
    assert_eq!(shown["filename"], "c.md");
}
