//! Agents that give tasks to agents, and hand conversations over.

use super::*;

#[actix::test]
async fn a_task_is_a_run_of_its_own_whose_use_counts_for_the_one_above() {
    tokio::time::pause();
    let boss = Script::new([
        calls([
            ("ask_worker", json!({"task": "one"})),
            ("ask_worker", json!({"task": "two"})),
        ]),
        say("All done."),
    ]);
    let worker = Script::new([Line::Say(Reply::text("Result.").using(100, 10))]);
    let kit = Kit::default()
        .model("boss", boss.clone())
        .model("worker", worker.clone())
        .agent(AgentSpec::new("boss", "boss", "").agent("worker"))
        .agent(AgentSpec::new("worker", "worker", "Work."));
    let world = World::new(kit).await;
    let id = world.start("boss").await;
    let run = world.ended(&id).await;
    assert_eq!(run.output(), Some("All done."));
    assert_eq!(results(&run), ["Result.", "Result."]);
    // 15 for the calls, and 110 for each task.
    assert_eq!(run.usage.tokens(), 15 + 2 * 110);
    let page = PageQuery {
        limit: 10,
        agent: Some("worker".to_owned()),
        after: None,
    };
    let tasks = world.agents.runs("ann", page).await.unwrap().runs;
    assert_eq!(tasks.len(), 2);
    let task = world.agents.run("ann", &tasks[0].id).await.unwrap();
    assert_eq!(task.began.parent.as_deref(), Some(&*id));
    assert_eq!(task.began.depth, 1);
    // Tasks that work at once share what is left.
    assert_eq!(task.began.budget.tokens, (200_000 - 15) / 2);
    world.system.terminate().await;
}

#[actix::test]
async fn tasks_are_bounded_in_depth_and_end_with_the_run_that_gave_them() {
    tokio::time::pause();
    // Each gives the task to the other, until none may.
    let (one, two) = (
        Script::new([calls([("ask_two", json!({"task": "x"}))]), say("one")]),
        Script::new([calls([("ask_one", json!({"task": "x"}))]), say("two")]),
    );
    let kit = Kit::default()
        .model("one", one.clone())
        .model("two", two.clone())
        .agent(AgentSpec::new("one", "one", "").agent("two"))
        .agent(AgentSpec::new("two", "two", "").agent("one"));
    let world = World::new(kit).await;
    let id = world.start("one").await;
    assert!(world.ended(&id).await.ended.is_some());
    let depths = world.store.all_events();
    let deepest = depths
        .iter()
        .filter_map(|(_, events)| match &events[0].what {
            RunEvent::Began(began) => Some(began.depth),
            _ => None,
        });
    assert!(deepest.max().unwrap() <= 3);
    world.system.terminate().await;

    let boss = Script::new([calls([("ask_worker", json!({"task": "x"}))])]);
    let kit = Kit::default()
        .model("boss", boss)
        .model("worker", Script::new([Line::Hang]))
        .agent(AgentSpec::new("boss", "boss", "").agent("worker"))
        .agent(AgentSpec::new("worker", "worker", ""));
    let world = World::new(kit).await;
    let id = world.start("boss").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.agents.cancel("ann", &id, "ann").await.unwrap();
    world.ended(&id).await;
    let page = PageQuery {
        limit: 10,
        agent: Some("worker".to_owned()),
        after: None,
    };
    let task = world.agents.runs("ann", page).await.unwrap().runs[0]
        .id
        .clone();
    assert_eq!(ending(&world.ended(&task).await), Ending::Cancelled);
    world.system.terminate().await;
}

#[actix::test]
async fn a_conversation_is_handed_to_another_agent() {
    tokio::time::pause();
    let desk = Script::new([calls([("hand_to_billing", json!({}))])]);
    let billing = Script::new([say("Billing here.")]);
    let kit = Kit::default()
        .model("desk", desk)
        .model("billing", billing.clone())
        .agent(AgentSpec::new("desk", "desk", "Be a desk.").hand_off("billing"))
        .agent(AgentSpec::new("billing", "billing", "Be billing."));
    let world = World::new(kit).await;
    let id = world.start("desk").await;
    let run = world.ended(&id).await;
    assert_eq!(run.output(), Some("Billing here."));
    assert_eq!(run.spec.name, "billing");
    let asks = billing.asks.lock().unwrap().clone();
    let first = Message::System {
        text: "Be billing.".to_owned(),
    };
    assert_eq!(asks[0].messages[0], first);
    assert_eq!(asks[0].messages[1], Message::user("Go."));
    world.system.terminate().await;
}

#[actix::test]
async fn owners_have_agents_of_their_own() {
    tokio::time::pause();
    let script = Script::new([say("Hello.")]);
    let kit = Kit::default()
        .model("m", script)
        .agent(AgentSpec::new("shared", "m", ""));
    let world = World::new(kit).await;
    let mine = AgentSpec::new("mine", "m", "");
    assert!(world.agents.put("ann", mine.clone()).await.unwrap());
    assert!(!world.agents.put("ann", mine.clone()).await.unwrap());
    let taken = world
        .agents
        .put("ann", AgentSpec::new("shared", "m", ""))
        .await;
    assert!(matches!(taken, Err(AgentError::OfSettings(_))));
    let bad = world
        .agents
        .put("ann", AgentSpec::new("a b", "m", ""))
        .await;
    assert!(matches!(bad, Err(AgentError::Invalid(_))));
    assert!(world.agents.find("bob", "mine").await.unwrap().is_none());
    let id = world.start("mine").await;
    world.agents.remove("ann", "mine").await.unwrap();
    // The run keeps it.
    assert_eq!(world.ended(&id).await.output(), Some("Hello."));
    let start = Start {
        agent: "mine".to_owned(),
        ..Start::default()
    };
    let gone = world.agents.start("ann", start).await;
    assert!(matches!(gone, Err(AgentError::NoAgent(_))));
    let erased = world.agents.erase("ann").await.unwrap();
    assert_eq!((erased.removed.runs, erased.removed.agents), (1, 0));
    assert!(world.agents.held("ann").await.unwrap().is_empty());
    world.system.terminate().await;
}

fn team(combine: Combine, answers: [&str; 3]) -> (Kit, Script) {
    let merger = Script::new([say("merged")]);
    let mut spec = AgentSpec::new("panel", "merger", "Merge.");
    spec.combine = combine;
    let mut kit = Kit::default().model("merger", merger.clone());
    for (at, answer) in answers.into_iter().enumerate() {
        let (agent, model) = (format!("agent{at}"), format!("model{at}"));
        let line = if answer.is_empty() {
            Line::Fail(ModelError::last("no"))
        } else {
            say(answer)
        };
        kit = kit
            .model(&model, Script::new([line]))
            .agent(AgentSpec::new(&agent, &model, ""));
        spec = spec.agent(&agent);
    }
    (kit.agent(spec), merger)
}

#[actix::test]
async fn a_team_votes_and_the_most_frequent_answer_counts() {
    tokio::time::pause();
    for (answers, expected) in [
        (["Paris", "Lyon", "paris."], "Paris"),
        (["", "Lyon", ""], "Lyon"),
    ] {
        let (kit, merger) = team(Combine::Vote, answers);
        let world = World::new(kit).await;
        let id = world.start("panel").await;
        assert_eq!(world.ended(&id).await.output(), Some(expected));
        assert_eq!(merger.asked(), 0);
        world.system.terminate().await;
    }
    let (kit, _) = team(Combine::Vote, ["", "", ""]);
    let world = World::new(kit).await;
    let id = world.start("panel").await;
    assert_eq!(ending(&world.ended(&id).await), Ending::Failed);
    world.system.terminate().await;
}

#[actix::test]
async fn a_team_merges_its_answers_by_its_model() {
    tokio::time::pause();
    let (kit, merger) = team(Combine::Merge, ["one", "two", "three"]);
    let world = World::new(kit).await;
    let id = world.start("panel").await;
    let run = world.ended(&id).await;
    assert_eq!((run.output(), merger.asked()), (Some("merged"), 1));
    let mut found = results(&run);
    found.sort_unstable();
    assert_eq!(found, ["one", "three", "two"]);
    assert!(merger.asks.lock().unwrap()[0].tools.is_empty());
    world.system.terminate().await;
}
