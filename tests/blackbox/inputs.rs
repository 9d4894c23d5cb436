//! Calls with images and other media go only to backends that take them.

use std::fs;

use serde_json::{Value, json};

use crate::{
    program::{CHAT, Program, folder},
    upstream::{upstream, whole},
};

fn with(part: &Value) -> Value {
    json!({"model": "simulated", "messages": [{"role": "user", "content": [
        {"type": "text", "text": "what is it?"}, part
    ]}]})
}

#[test]
fn a_backend_that_does_not_take_an_input_is_passed_over_and_none_is_a_clear_error() {
    let folder = folder();
    let (texts, _asked_texts) = upstream(|_| whole("from text"));
    let (images, asked) = upstream(|_| whole("from image"));
    let config = folder.path().join("kebne.toml");
    let text = format!(
        "[[backends]]\nname = \"text\"\nkind = \"openai\"\nbase_url = \"{texts}\"\ninputs = []\n[[backends]]\nname = \"image\"\nkind = \"openai\"\nbase_url = \"{images}\"\ninputs = [\"image\"]\n[[models]]\nname = \"simulated\"\nbackends = [\"text\", \"image\"]\n"
    );
    fs::write(&config, text).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let plain = json!({"model": "simulated", "messages": [{"role": "user", "content": "hi"}]});
    let answer = program.send("POST", CHAT, &[], &plain);
    assert!(answer.body.contains("from text"), "{}", answer.body);
    let image =
        with(&json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}));
    let answer = program.send("POST", CHAT, &[], &image);
    assert!(answer.body.contains("from image"), "{}", answer.body);
    let sent = asked.recv().unwrap();
    assert_eq!(
        sent["messages"], image["messages"],
        "the parts pass unchanged"
    );
    let message = json!({"model": "simulated", "max_tokens": 9, "messages": [{"role": "user", "content": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    ]}]});
    let answer = program.send("POST", "/v1/messages", &[], &message);
    assert!(answer.body.contains("from image"), "{}", answer.body);
    let sound =
        with(&json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}));
    let answer = program.send("POST", CHAT, &[], &sound);
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(
        answer.body.contains("unsupported_input") && answer.body.contains("`audio`"),
        "{}",
        answer.body
    );
}
