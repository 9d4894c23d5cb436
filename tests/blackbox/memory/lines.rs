//! Export and import as JSON lines.

use serde_json::{Value, json};

use super::{Gate, MEMORY, await_items, dechunked, get, long, of, post, small_model, start};
use crate::{
    program::{Program, folder},
    upstream::{upstream, whole},
};

fn export(program: &Program, path: &str) -> String {
    let answer = program.send("GET", path, &[], &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.has("content-type: application/jsonl"));
    dechunked(&answer)
}

/// Returns the lines without what an import makes anew.
fn without_ids(lines: &str) -> Vec<Value> {
    let lines = lines.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        if line["type"] == "session" {
            for key in ["id", "created_at", "last_used_at"] {
                line.as_object_mut().unwrap().remove(key).unwrap();
            }
        }
        line
    });
    lines.collect()
}

#[test]
fn what_is_exported_can_be_imported_and_is_the_same() {
    let folder = folder();
    let (url, _requests) = upstream(|_| whole("fine"));
    let gate = Gate::default();
    gate.open();
    let (small, _asked) = small_model(gate);
    let program = start(folder.path(), &url, &small, MEMORY);
    let wanted = json!({"system_prompt": "Be brief.", "metadata": {"city": "Luleå"}});
    let id = post(&program, "/v1/sessions", &wanted)["id"].clone();
    let id = id.as_str().unwrap();
    for number in 1..=70 {
        program.chat(id, &long(&format!("turn {number} \u{2028} ü")));
    }
    await_items(&program, &of(id, "/summaries"));
    await_items(&program, &of(id, "/facts"));
    post(&program, &of(id, "/facts"), &json!({"text": "Likes tea"}));
    let other = program.session();
    program.chat(&other, "a short one");
    // Summaries are made until nothing is left to do.
    program.await_metric("kebne_memory_waiting 0.0");
    program.await_metric("kebne_memory_running 0.0");
    let one = export(&program, &of(id, "/export"));
    let lines = without_ids(&one);
    assert_eq!(lines[0], json!({"type": "kebne.sessions", "version": 1}));
    assert_eq!(
        lines.last().unwrap(),
        &json!({"type": "end", "sessions": 1})
    );
    let turns = lines.iter().filter(|line| line["type"] == "turn");
    assert_eq!(turns.count(), 70);
    let import = |lines: &str| {
        program
            .try_send("POST", "/v1/sessions/import", &[], lines)
            .unwrap()
    };
    let imported = import(&one);
    assert_eq!(imported.status, 200, "{}", imported.body);
    let made = imported.json()["data"][0].clone();
    assert_eq!((&made["from"], &made["turns"]), (&json!(id), &json!(70)));
    let copy = made["id"].as_str().unwrap();
    let again = export(&program, &of(copy, "/export"));
    assert_eq!(without_ids(&again), lines);
    let (before, after) = (get(&program, &of(id, "")), get(&program, &of(copy, "")));
    assert_eq!(
        (&before["tokens"], &before["turns"]),
        (&after["tokens"], &after["turns"])
    );
    assert!(program.chat(copy, "next").has("x-kebne-session-turn: 71"));
    // All sessions of the caller at once.
    let all = export(&program, "/v1/sessions/export");
    let last: Value = serde_json::from_str(all.lines().last().unwrap()).unwrap();
    assert_eq!(last, json!({"type": "end", "sessions": 3}));
    let imported = import(&all);
    assert_eq!(imported.json()["data"].as_array().unwrap().len(), 3);
}

#[test]
fn an_import_with_an_error_names_its_line_and_makes_nothing() {
    let folder = folder();
    let (url, _requests) = upstream(|_| whole("fine"));
    let program = start(folder.path(), &url, &url, "facts_max = 1");
    let begin = r#"{"type":"kebne.sessions","version":1}"#;
    let session = r#"{"type":"session","id":"s"}"#;
    let turn = r#"{"type":"turn","number":1,"messages":[{"role":"user","content":"a"}]}"#;
    let end = r#"{"type":"end","sessions":1}"#;
    let fact =
        r#"{"type":"fact","id":1,"by":"owner","text":"a","created_at_ms":1,"changed_at_ms":1}"#;
    let fact_2 = fact.replace("\"id\":1", "\"id\":2");
    let system = turn.replace("\"user\"", "\"system\"");
    let second = turn.replace("\"number\":1", "\"number\":1001");
    let summary = r#"{"type":"summary","through":2,"text":"a","created_at_ms":1}"#;
    for (lines, line, words) in [
        (vec![session], 1, "`kebne.sessions`"),
        (vec![begin, turn], 2, "cannot stand here"),
        (vec![begin, session, "[1]"], 3, "not a JSON object"),
        (vec![begin, session, turn, turn], 4, "`number`"),
        (vec![begin, session, &second], 3, "context.turns_max"),
        (vec![begin, session, "", &system], 4, "`system_prompt`"),
        (vec![begin, session, turn, summary], 4, "`through`"),
        (
            vec![begin, session, turn, fact, &fact_2],
            5,
            "context.memory.facts_max",
        ),
        (vec![begin, session, fact, turn], 4, "cannot stand here"),
        (vec![begin, session, turn], 4, "`end` is missing"),
        (
            vec![begin, session, turn, end, session],
            5,
            "cannot stand here",
        ),
        (
            vec![begin, r#"{"type":"session","id":"s","prompt":"nope"}"#],
            2,
            "`nope`",
        ),
        (
            vec![begin, r#"{"type":"session","id":"s","colour":1}"#],
            2,
            "colour",
        ),
        (
            vec![r#"{"type":"kebne.sessions","version":2}"#],
            1,
            "`version`",
        ),
    ] {
        let answer = program.try_send("POST", "/v1/sessions/import", &[], &lines.join("\n"));
        let answer = answer.unwrap();
        assert_eq!(answer.status, 400, "{lines:?}: {}", answer.body);
        let message = answer.json()["error"]["message"].clone();
        let message = message.as_str().unwrap();
        assert!(message.starts_with(&format!("line {line}: ")), "{message}");
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(get(&program, "/v1/sessions")["data"], json!([]));
    let whole = [begin, session, turn, fact, end].join("\n");
    let made = program
        .try_send("POST", "/v1/sessions/import", &[], &whole)
        .unwrap();
    assert_eq!(made.status, 200, "{}", made.body);
    assert_eq!(made.json()["data"][0]["facts"], 1);
}
