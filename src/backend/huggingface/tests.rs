//! Shapes, translations, and the client against the simulated server.

use super::*;
use crate::{
    backend::{
        ModelBackend,
        wire::{SimulatedServer, attempt, build, canned, chat, read, try_once, whole},
    },
    llm::StreamItem,
};

fn hugging_face(server: &SimulatedServer, more: &str) -> ModelBackend {
    build(
        &format!("kind = 'huggingface'\nmodel = 'org/tiny'\n{more}"),
        server.address,
        "",
    )
}

#[tokio::test]
async fn a_chat_is_answered_whole_and_as_a_stream_of_one_chunk() {
    let server = SimulatedServer::start("preset = 'instant'");
    let backend = hugging_face(&server, "");
    let answer = try_once(&backend, chat(false)).await.unwrap();
    assert!(answer.tokens.is_some());
    let body = whole(answer);
    assert_eq!(
        (&body["model"], &body["object"]),
        (&json!("m"), &json!("chat.completion"))
    );
    let text = body["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(
        text.starts_with("You said: “user: hello assistant:”"),
        "{text}"
    );
    let (events, last) = read(try_once(&backend, chat(true)).await.unwrap()).await;
    assert!(matches!(last, StreamItem::End));
    assert!(
        events.contains("You said") && events.ends_with("data: [DONE]\n\n"),
        "{events}"
    );
    let body = r#"{"model":"m","prompt":"once","max_tokens":2}"#.to_owned();
    let body = whole(
        try_once(&backend, attempt(Endpoint::Completions, body, false))
            .await
            .unwrap(),
    );
    assert_eq!(
        (
            &body["choices"][0]["text"],
            &body["choices"][0]["finish_reason"]
        ),
        (&json!("You said: "), &json!("length"))
    );
}

#[tokio::test]
async fn a_loading_model_is_cold_and_a_wake_can_be_held_instead() {
    let server = SimulatedServer::start(
        "preset = 'instant'\ncold_start = '300ms'\ncold_start_spread = 0.0\ncold_estimate = '20s'\ncapacity_start = 8\ncapacity = 8",
    );
    let failure = try_once(&hugging_face(&server, ""), chat(false))
        .await
        .unwrap_err();
    assert_eq!(
        failure.outcome,
        Outcome::Cold {
            estimated: Some(std::time::Duration::from_secs(20))
        }
    );
    let mut wake = chat(false);
    wake.wake = true;
    try_once(&hugging_face(&server, "wait_for_model = true"), wake)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_request_is_translated_and_goes_to_the_models_path() {
    let (address, served) =
        canned("HTTP/1.1 200 OK\r\ncontent-length: 25\r\n\r\n[{\"generated_text\":\"ok\"}]").await;
    let settings = "kind = 'huggingface'\nchat_template = '{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}'";
    let body = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"temperature":0,"top_p":1,"stop":"x","max_tokens":5}"#;
    try_once(
        &build(settings, address, "/api"),
        attempt(Endpoint::Chat, body.to_owned(), false),
    )
    .await
    .unwrap();
    let request = served.await.unwrap();
    let (head, sent) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /api/models/m HTTP/1.1"), "{head}");
    assert!(!head.contains("x-wait-for-model"), "{head}");
    let expected = json!({
        "inputs": "<user>a",
        "parameters": {"return_full_text": false, "max_new_tokens": 5, "do_sample": false, "stop": ["x"]},
    });
    assert_eq!(serde_json::from_str::<Value>(sent).unwrap(), expected);
}

#[test]
fn a_bound_may_be_absent_or_written_with_a_fraction() {
    for (body, expected) in [
        (r#"{"max_tokens":-1}"#, Value::Null),
        (r#"{"max_tokens":10.0}"#, json!(10)),
        (
            r#"{"max_tokens":10,"max_completion_tokens":-1}"#,
            Value::Null,
        ),
        (
            r#"{"max_tokens":10,"max_completion_tokens":null}"#,
            json!(10),
        ),
    ] {
        let asked: Asked = serde_json::from_str(body).unwrap();
        assert_eq!(parameters(&asked)["max_new_tokens"], expected, "{body}");
    }
}

#[test]
fn every_shape_of_answer_is_read() {
    let text = |text: &str| Generated {
        text: text.to_owned(),
        cut: false,
        tokens: None,
    };
    let shapes = [
        (r#"[{"generated_text":"a"}]"#, text("a")),
        (r#"{"generated_text":"a"}"#, text("a")),
        (r#"[[{"generated_text":"a"}]]"#, text("a")),
        (r#"["a"]"#, text("a")),
        (r#"{"generated_text":"prompt and more"}"#, text(" and more")),
        (
            r#"[{"generated_text":"a","details":{"finish_reason":"length","generated_tokens":3}}]"#,
            Generated {
                text: "a".to_owned(),
                cut: true,
                tokens: Some(3),
            },
        ),
    ];
    for (body, expected) in shapes {
        assert_eq!(
            generated(&Bytes::from_static(body.as_bytes()), "prompt").unwrap(),
            expected,
            "{body}"
        );
    }
    for body in ["", "[]", "3", "{}", "<html>"] {
        let failure = generated(&Bytes::from_static(body.as_bytes()), "prompt").unwrap_err();
        assert_eq!(failure.outcome, Outcome::Unusable, "{body}");
    }
    let failure = generated(
        &Bytes::from_static(br#"{"error":"Model x is currently loading","estimated_time":9.5}"#),
        "",
    )
    .unwrap_err();
    assert_eq!(
        failure.outcome,
        Outcome::Cold {
            estimated: Some(std::time::Duration::from_millis(9500))
        }
    );
}

#[tokio::test]
async fn optional_fields_may_be_null() {
    let server = SimulatedServer::start("preset = 'instant'");
    let backend = hugging_face(&server, "");
    let body = r#"{"model":"m","messages":[{"role":"user","content":"a"}],"max_tokens":null,
        "temperature":null,"stop":null,"n":null,"tools":null}"#;
    let answer = try_once(&backend, attempt(Endpoint::Chat, body.to_owned(), false)).await;
    assert_eq!(whole(answer.unwrap())["object"], "chat.completion");
}

#[tokio::test]
async fn what_the_dialect_cannot_do_is_refused_by_name() {
    let backend = build("kind = 'huggingface'", ([127, 0, 0, 1], 9).into(), "");
    let cases = [
        (
            Endpoint::Embeddings,
            r#"{"model":"m","input":"a"}"#,
            "embeddings",
        ),
        (
            Endpoint::Chat,
            r#"{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[{}]}"#,
            "`tools`",
        ),
        (
            Endpoint::Chat,
            r#"{"model":"m","messages":[{"role":"user","content":"a"}],"n":2}"#,
            "`n`",
        ),
        (
            Endpoint::Chat,
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#,
            "text parts",
        ),
        (
            Endpoint::Completions,
            r#"{"model":"m","prompt":["a","b"]}"#,
            "`prompt`",
        ),
    ];
    for (endpoint, body, word) in cases {
        let failure = try_once(&backend, attempt(endpoint, body.to_owned(), false))
            .await
            .unwrap_err();
        assert_eq!(failure.outcome, Outcome::Client, "{body}");
        assert!(failure.message.contains(word), "{failure}");
    }
}
