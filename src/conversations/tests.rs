use std::sync::Arc;

use kebne_actors::ActorSystem;
use kebne_context::{ContextLimits, ContextParts, MemoryStore, store::SessionStore};
use serde_json::json;

use super::*;
use crate::memory::ByteBudget;

fn room() -> Share {
    ByteBudget::new(1 << 30).share()
}

struct Bench {
    system: ActorSystem,
    context: ContextHandle,
    conversations: Conversations,
}

impl Bench {
    fn start(limits: ContextLimits) -> Self {
        let store = Arc::new(MemoryStore::default());
        let system = ActorSystem::new("test", 1);
        let parts = ContextParts {
            open: Arc::new(move || Ok(Arc::clone(&store) as Arc<dyn SessionStore>)),
            limits,
            clock: Arc::new(|| 1_000_000),
            former_owners: Vec::new(),
        };
        let context = ContextHandle::start(&system, parts);
        let conversations = Conversations::new(context.clone(), &ContextSettings::default());
        Self {
            system,
            context,
            conversations,
        }
    }

    /// Keeps an exchange, and returns the id of its response.
    async fn say(&self, previous: Option<&str>, text: &str) -> String {
        let id = new_id(previous).unwrap();
        let place = self.conversations.place("ann", &id, previous, (None, 1));
        let place = place.await.unwrap();
        let content = json!([{"type": "output_text", "text": format!("re {text}")}]);
        let message = json!({"type": "message", "role": "assistant", "content": content});
        let response = json!({"id": id, "previous_response_id": previous, "output": [message]});
        let request = json!({"model": "m", "input": text}).to_string();
        place.keep(response, request.into()).await.unwrap();
        id
    }

    async fn texts(&self, id: &str) -> Vec<String> {
        let history = self
            .conversations
            .history("ann", id, false, &mut room())
            .await
            .unwrap();
        let messages = history.messages().unwrap();
        messages
            .iter()
            .map(|message| message["content"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[actix::test]
async fn a_response_continues_the_ones_before_it_and_no_other_branch() {
    let bench = Bench::start(ContextLimits::default());
    let one = bench.say(None, "one").await;
    let two = bench.say(Some(&one), "two").await;
    let left = bench.say(Some(&two), "left").await;
    let right = bench.say(Some(&two), "right").await;
    let end = bench.say(Some(&left), "end").await;
    let shared = ["one", "re one", "two", "re two"];
    assert_eq!(
        bench.texts(&right).await,
        [&shared[..], &["right", "re right"]].concat()
    );
    let expected = [&shared[..], &["left", "re left", "end", "re end"]].concat();
    assert_eq!(bench.texts(&end).await, expected);
    let response = bench
        .conversations
        .read("ann", &two, &mut room())
        .await
        .unwrap();
    let response: Value = serde_json::from_slice(&response).unwrap();
    assert_eq!(response["previous_response_id"], one);
    bench.system.terminate().await;
}

#[actix::test]
async fn a_removed_response_is_gone_and_the_rest_goes_on() {
    let bench = Bench::start(ContextLimits::default());
    let one = bench.say(None, "one").await;
    let two = bench.say(Some(&one), "two").await;
    let conversations = &bench.conversations;
    conversations
        .remove("ann", &one, &mut room())
        .await
        .unwrap();
    let gone = ConversationError::NotFound(one.clone());
    assert_eq!(
        conversations.read("ann", &one, &mut room()).await,
        Err(gone.clone())
    );
    assert_eq!(
        conversations.remove("ann", &one, &mut room()).await,
        Err(gone.clone())
    );
    assert_eq!(
        conversations.history("ann", &one, false, &mut room()).await,
        Err(gone)
    );
    assert_eq!(bench.texts(&two).await, ["two", "re two"]);
    conversations
        .remove("ann", &two, &mut room())
        .await
        .unwrap();
    let next = new_id(Some(&two)).unwrap();
    let place = conversations
        .place("ann", &next, Some(&two), (None, 1))
        .await;
    assert_eq!(place.map(drop), Err(ConversationError::NotFound(two)));
    bench.system.terminate().await;
}

#[actix::test]
async fn another_owner_sees_nothing_and_sessions_stay_apart() {
    let bench = Bench::start(ContextLimits::default());
    let one = bench.say(None, "one").await;
    let not_found = ConversationError::NotFound(one.clone());
    assert_eq!(
        bench.conversations.read("bob", &one, &mut room()).await,
        Err(not_found.clone())
    );
    let next = new_id(Some(&one)).unwrap();
    let place = bench
        .conversations
        .place("bob", &next, Some(&one), (None, 1))
        .await;
    assert_eq!(place.map(drop), Err(not_found));
    let part = bench.context.list("ann", None, 9).await.unwrap();
    assert_eq!(part.items, []);
    for id in ["", "resp_", "sess_1", &one[..one.len() - 1]] {
        let error = bench
            .conversations
            .read("ann", id, &mut room())
            .await
            .unwrap_err();
        assert_eq!(error, ConversationError::NotFound(id.to_owned()));
    }
    bench.system.terminate().await;
}

#[actix::test]
async fn a_place_that_is_not_used_leaves_nothing_behind() {
    let limits = ContextLimits {
        sessions_max: 1,
        ..ContextLimits::default()
    };
    let bench = Bench::start(limits);
    for _ in 0..3 {
        let id = new_id(None).unwrap();
        let place = bench.conversations.place("ann", &id, None, (None, 1)).await;
        drop(place.unwrap());
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    }
    bench.say(None, "one").await;
    let id = new_id(None).unwrap();
    let full = bench
        .conversations
        .place("ann", &id, None, (None, 1))
        .await
        .map(drop);
    let expected = ConversationError::Context(StoreError::Full.into());
    assert_eq!(full, Err(expected));
    bench.system.terminate().await;
}

#[actix::test]
async fn the_oldest_responses_are_left_out_only_when_that_is_asked_for() {
    let bench = Bench::start(ContextLimits::default());
    let text = "word ".repeat(1500);
    let mut last = bench.say(None, "one").await;
    for _ in 0..2 {
        last = bench.say(Some(&last), &text).await;
    }
    let all = bench
        .conversations
        .history("ann", &last, false, &mut room())
        .await
        .unwrap();
    assert_eq!((all.turns(), all.left_out), (3, 0));
    let fitting = bench
        .conversations
        .history("ann", &last, true, &mut room())
        .await
        .unwrap();
    assert_eq!((fitting.turns(), fitting.left_out), (1, 2));
    bench.system.terminate().await;
}

#[actix::test]
async fn a_conversation_is_charged_before_it_is_read_and_refused_without_memory() {
    let bench = Bench::start(ContextLimits::default());
    let one = bench.say(None, "one").await;
    let page = ContextSettings::default().page_bytes_max.as_usize();
    let budget = ByteBudget::new(page);
    let mut room = budget.share();
    let history = bench.conversations.history("ann", &one, false, &mut room);
    assert_eq!(history.await.unwrap().size(), budget.taken());
    let mut second = budget.share();
    let refused = bench.conversations.history("ann", &one, false, &mut second);
    assert_eq!(refused.await, Err(ConversationError::NoMemory));
    drop(room);
    let history = bench.conversations.history("ann", &one, false, &mut second);
    assert_eq!(history.await.unwrap().turns(), 1);
    bench.system.terminate().await;
}
