use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const PLACE: Place<'_> = Place {
    owner: "a",
    tenant: "",
    model: "m",
    operation: "chat",
    streamed: false,
    guards: "",
    headers: &[],
};

fn read(body: &str) -> Canonical {
    Canonical::read(body.as_bytes(), &[]).unwrap()
}

fn key(body: &str) -> Key {
    PLACE.key(&read(body))
}

#[test]
fn order_and_white_space_and_writing_do_not_count() {
    let one = r#"{"model":"m","temperature":0,"messages":[{"role":"user","content":"Ä\n"}],"x":{"b":1,"a":[1,2]}}"#;
    let other = r#" { "x" : {"a":[1.0, 2e0],"b":1}, "messages" : [ {"content":"\u00c4\u000a","role":"user"} ],
        "temperature":0.0, "model":"alias", "stream": true }"#;
    assert_eq!(key(one), key(other));
}

#[test]
fn everything_else_counts() {
    let bodies = [
        r#"{"messages":[{"role":"user","content":"a"}]}"#,
        r#"{"messages":[{"role":"user","content":"A"}]}"#,
        r#"{"messages":[{"role":"user","content":"a "}]}"#,
        r#"{"messages":[{"role":"system","content":"a"}]}"#,
        r#"{"messages":[{"role":"user","content":["a"]}]}"#,
        r#"{"messages":[{"role":"user","content":"a"}],"temperature":0}"#,
        r#"{"messages":[{"role":"user","content":"a"}],"temperature":0.1}"#,
        r#"{"messages":[{"role":"user","content":"a"}],"temperature":null}"#,
        r#"{"messages":[{"role":"user","content":"a"}],"temperature":"0"}"#,
        r#"{"messages":[{"role":"user","content":"a"}],"unknown":1}"#,
        r#"{"messages":[{"role":"user","content":"a"}],"unknown":true}"#,
        r#"{"messages":[{"role":"user","content":"a"}],"user":"x"}"#,
        r#"{"messages":[{"role":"user","content":"a"}],"seed":12345678901234567890}"#,
        r#"{"messages":[{"role":"user","content":"a"}],"seed":12345678901234567891}"#,
        r#"{"messages":[{"role":"user","content":"a"},{"role":"user","content":"a"}]}"#,
        r#"{"messages":[{"role":"user","content":"\ud800"}]}"#,
        r#"{"messages":[{"role":"user","content":"\ud801"}]}"#,
        r#"{"messages":[{"role":"user","content":"a","content":"b"}]}"#,
        r#"{"messages":[{"role":"user","content":"b","content":"a"}]}"#,
        r#"{"input":"a"}"#,
        r#"{"input":["a"]}"#,
        r#"{"input":["a",""]}"#,
    ];
    let keys: std::collections::BTreeSet<Key> = bodies.iter().map(|body| key(body)).collect();
    assert_eq!(keys.len(), bodies.len());
}

#[test]
fn a_place_counts_and_cannot_be_shifted() {
    let body = read(r#"{"input":"a"}"#);
    let places = [
        PLACE,
        Place {
            owner: "b",
            ..PLACE
        },
        Place {
            tenant: "a",
            owner: "",
            ..PLACE
        },
        Place {
            tenant: "t",
            ..PLACE
        },
        Place {
            model: "n",
            ..PLACE
        },
        Place {
            operation: "embeddings",
            ..PLACE
        },
        Place {
            streamed: true,
            ..PLACE
        },
        Place {
            guards: "g",
            ..PLACE
        },
        Place {
            headers: &[("a", b"b")],
            ..PLACE
        },
        Place {
            headers: &[("a", b"c")],
            ..PLACE
        },
        Place {
            headers: &[("ab", b"")],
            ..PLACE
        },
        Place {
            headers: &[("a", b"b"), ("c", b"d")],
            ..PLACE
        },
    ];
    let keys: std::collections::BTreeSet<Key> =
        places.iter().map(|place| place.key(&body)).collect();
    assert_eq!(keys.len(), places.len());
    assert_eq!(PLACE.group(&body), None);
    let turned = Place {
        headers: &[("c", b"d"), ("a", b"b")],
        ..PLACE
    };
    assert!(keys.contains(&turned.key(&body)));
    let chat = read(r#"{"messages":[{"role":"user","content":"a"}]}"#);
    assert_ne!(turned.group(&chat), PLACE.group(&chat));
}

#[test]
fn ignored_members_do_not_count() {
    let ignored = ["user".to_owned()];
    let of = |body: &str| PLACE.key(&Canonical::read(body.as_bytes(), &ignored).unwrap());
    assert_eq!(of(r#"{"input":"a","user":"x"}"#), of(r#"{"input":"a"}"#));
    // The rules see them nevertheless.
    let ignored = ["web_search_options".to_owned(), "store".to_owned()];
    let body = br#"{"input":"a","store":true,"web_search_options":{}}"#;
    let facts = Canonical::read(body, &ignored).unwrap().facts;
    assert!(facts.searches && facts.stores);
    // Only at the top.
    assert_ne!(
        of(r#"{"input":"a","o":{"user":"x"}}"#),
        of(r#"{"input":"a","o":{}}"#)
    );
}

#[test]
fn a_group_differs_in_all_but_the_last_question() {
    let chat = |system: &str, question: &str| {
        json!({"temperature": 0, "messages": [
            {"role": "system", "content": system}, {"role": "user", "content": question}]})
        .to_string()
    };
    let group = |body: &str| PLACE.group(&read(body));
    assert_eq!(group(&chat("s", "a")), group(&chat("s", "b")));
    assert!(group(&chat("s", "a")).is_some());
    assert_ne!(group(&chat("s", "a")), group(&chat("t", "a")));
    assert_eq!(read(&chat("s", "a")).question.as_deref(), Some("a"));
    let parts = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]}"#;
    assert_eq!(read(parts).question.as_deref(), Some("a"));
    for none in [
        r#"{"messages":[{"role":"assistant","content":"a"}]}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a","x":1}]}]}"#,
        r#"{"messages":[]}"#,
        r#"{"messages":7}"#,
        r#"{"prompt":"a"}"#,
    ] {
        assert_eq!((group(none), read(none).question), (None, None), "{none}");
    }
}

#[test]
fn facts_are_read() {
    let of = |body: &str| read(body).facts;
    assert_eq!(of(r#"{"temperature":0.5}"#).temperature, Some(0.5));
    assert_eq!(of(r#"{"temperature":null}"#).temperature, None);
    assert!(of(r#"{"tools":[{}]}"#).has_tools && !of(r#"{"tools":[]}"#).has_tools);
    assert!(of(r#"{"functions":[1]}"#).has_tools);
    assert!(of(r#"{"store":true}"#).stores && !of(r#"{"store":false}"#).stores);
    assert!(of(r#"{"n":2}"#).many && !of(r#"{"n":1}"#).many);
    let image = |url: &str| {
        json!({"messages": [{"role": "user", "content":
            [{"type": "image_url", "image_url": {"url": url}}]}]})
        .to_string()
    };
    assert!(of(&image("https://a.example/b.png")).refers);
    for address in [
        "file:///a.png",
        "FTP://a/b",
        "//a.example/b",
        " https://a",
        "gs://a",
        "a.png",
    ] {
        assert!(of(&image(address)).refers, "{address}");
    }
    let escaped = r#"{"input":[{"image_url":"\u0068ttp://a"}]}"#;
    assert!(of(escaped).refers);
    for inside in ["data:image/png;base64,AA", "DATA:,a", ""] {
        assert!(!of(&image(inside)).refers, "{inside}");
    }
    assert!(of(r#"{"file_ids":["f"]}"#).refers);
    assert!(of(r#"{"messages":[{"role":"user","content":"a","file_ids":["f"]}]}"#).refers);
    assert!(
        of(r#"{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"f"}}]}]}"#)
            .refers
    );
}

#[test]
fn what_lets_a_server_search_is_seen() {
    let of = |body: &str| read(body).facts.searches;
    for body in [
        r#"{"web_search_options":{}}"#,
        r#"{"plugins":[{"id":"web"}]}"#,
        r#"{"data_sources":[{"type":"azure_search"}]}"#,
        r#"{"search_parameters":{"mode":"auto"}}"#,
        r#"{"enable_search":true}"#,
        r#"{"tools":[{"type":"function","function":{}},{"type":"web_search_20250305"}]}"#,
        r#"{"tools":[{"type":"file_search"}]}"#,
        r#"{"tools":[{"google_search":{}}]}"#,
        r#"{"tools":[{"type":"builtin_function","function":{"name":"$web_search"}}]}"#,
    ] {
        assert!(of(body), "{body}");
    }
    for body in [
        r#"{"web_search_options":null}"#,
        r#"{"plugins":[]}"#,
        r#"{"enable_search":false}"#,
        r#"{"tools":[{"type":"function","function":{"name":"search"}}]}"#,
        r#"{"tools":[{"name":"search","input_schema":{}}]}"#,
        r#"{"tools":[]}"#,
    ] {
        assert!(!of(body), "{body}");
    }
}

#[test]
fn what_is_not_an_object_or_too_deep_is_unreadable() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(80), "]".repeat(80));
    for body in ["", "[]", "7", "{", deep.as_str()] {
        assert_eq!(
            Canonical::read(body.as_bytes(), &[]),
            Err(Unreadable),
            "{body}"
        );
    }
}

/// A JSON value of a few levels.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c\"\\\\]{0,2}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// Writes a value with its members in the opposite order and with white space.
fn otherwise(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let members = map.iter().rev();
            let members = members.map(|(name, value)| {
                format!("{} :\n{}", Value::from(name.as_str()), otherwise(value))
            });
            format!("{{ {} }}", members.collect::<Vec<_>>().join(" , "))
        }
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(otherwise).collect();
            format!("[ {} ]", items.join("\t,"))
        }
        other => other.to_string(),
    }
}

proptest! {
    #[test]
    fn equal_bodies_have_one_key_and_others_have_others(left in value(), right in value()) {
        let body = |value: &Value| json!({"input": value}).to_string();
        prop_assert_eq!(key(&body(&left)), key(&format!("{{\"input\" : {} }}", otherwise(&left))));
        prop_assert_eq!(left == right, key(&body(&left)) == key(&body(&right)));
    }
}
