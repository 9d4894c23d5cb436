//! Canaries, shadows and services.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{ask, chat, explained, models, start};
use crate::{
    program::{CHAT, SESSION, folder},
    upstream::{asked_raw, silent_after, upstream, whole},
};

#[test]
fn a_share_goes_to_the_canary_always_the_same() {
    let (folder, (url, requests)) = (folder(), upstream(|_| whole("ok")));
    let route = "[[routes]]\nname = \"support\"\ndefault = \"small\"\n[[routes.rules]]\nname = \"all\"\ntarget = \"small\"\n\
        canary = { model = \"large\", share = 0.5 }\n";
    let program = start(folder.path(), &models(&url, route));
    let model = |headers: &[(&str, &str)], text: &str| {
        let body = chat(text, json!({}));
        let answer = program.send("POST", CHAT, headers, &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        asked_raw(&requests)["model"].as_str().unwrap().to_owned()
    };
    let texts: Vec<String> = (0..60).map(|number| format!("question {number}")).collect();
    let first: Vec<String> = texts.iter().map(|text| model(&[], text)).collect();
    let canaries = first.iter().filter(|model| *model == "large").count();
    assert!((12..=48).contains(&canaries), "{canaries} of 60");
    for (text, before) in texts.iter().zip(&first).take(10) {
        assert_eq!(&model(&[], text), before, "{text}");
    }
    for _ in 0..4 {
        let session = program.session();
        let own = [(SESSION, session.as_str())];
        let before = model(&own, "one");
        for text in ["two", "three"] {
            assert_eq!(model(&own, text), before);
        }
    }
}

#[test]
fn a_shadow_that_hangs_harms_nobody_and_one_that_answers_is_measured() {
    let (folder, (url, _requests)) = (folder(), upstream(|_| whole("ok")));
    let hangs = silent_after(String::new());
    let (candidate, copies) = upstream(|_| whole("copy"));
    let route = |name: &str, model: &str| {
        format!(
            "[[routes]]\nname = \"{name}\"\ndefault = \"small\"\n[[routes.rules]]\nname = \"all\"\ntarget = \"small\"\n\
             shadow = {{ model = \"{model}\", share = 1.0 }}\n"
        )
    };
    let more = format!(
        "[[backends]]\nname = \"h\"\nkind = \"openai\"\nbase_url = \"{}\"\n[[models]]\nname = \"hangs\"\nbackends = [\"h\"]\n\
         [[backends]]\nname = \"c\"\nkind = \"openai\"\nbase_url = \"{candidate}\"\n[[models]]\nname = \"new\"\nbackends = [\"c\"]\n{}{}",
        hangs.url,
        route("support", "hangs"),
        route("measured", "new")
    );
    let mut program = start(folder.path(), &models(&url, &more));
    let body = json!({"model": "measured", "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "Hi"}]});
    let answer = program.send("POST", CHAT, &[], &body);
    assert!(answer.has("x-kebne-route: measured/all"), "{}", answer.head);
    let copy = asked_raw(&copies);
    assert_eq!((&copy["model"], copy.get("stream")), (&json!("new"), None));
    assert_eq!(copy["messages"], body["messages"]);
    program.await_metric(
        "kebne_route_shadows_total{route=\"measured\",model=\"new\",ending=\"success\"} 1",
    );
    let since = Instant::now();
    for number in 0..20 {
        ask(&program, &format!("question {number}"));
    }
    assert!(
        since.elapsed() < Duration::from_secs(15),
        "{:?}",
        since.elapsed()
    );
    program.await_metric(
        "kebne_route_shadows_total{route=\"support\",model=\"hangs\",ending=\"dropped\"} 4",
    );
    // A service that stops does not wait for copies.
    let since = Instant::now();
    assert_eq!(program.terminate(), Some(0));
    assert!(
        since.elapsed() < Duration::from_secs(10),
        "{:?}",
        since.elapsed()
    );
}

#[test]
fn a_service_is_called_like_a_model() {
    let (folder, (url, _requests)) = (folder(), upstream(|_| whole("ok")));
    let (service, asked) = upstream(|_| whole("from the service"));
    let route = format!(
        "[[routes]]\nname = \"support\"\ndefault = \"small\"\n[[routes.rules]]\nname = \"faq\"\n\
         when = {{ languages = [\"en\"] }}\nservice = {{ url = \"{service}\", model = \"answers\" }}\n"
    );
    let program = start(folder.path(), &models(&url, &route));
    let answer = ask(&program, "How do I reset my password?");
    assert!(answer.body.contains("from the service"), "{}", answer.body);
    assert!(answer.has("x-kebne-lane: support-faq"), "{}", answer.head);
    assert_eq!(asked_raw(&asked)["model"], "answers");
    let why = explained(
        &program,
        &[],
        &chat("How do I reset my password?", json!({})),
    );
    let target = json!({"kind": "service", "model": "support-faq"});
    assert_eq!(why["target"], target);
}
