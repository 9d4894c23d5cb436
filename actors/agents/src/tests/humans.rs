//! Humans who approve, deny and answer.

use super::*;

fn spec() -> AgentSpec {
    AgentSpec {
        ask: vec!["pay".to_owned()],
        ask_human: true,
        ..AgentSpec::new("a", "m", "").tool("pay").tool("look")
    }
}

fn kit(script: &Script, pay: &Noting) -> Kit {
    let look = Noting::new(ToolSpec::new("look", "").read_only(), Duration::ZERO);
    Kit::default()
        .model("m", script.clone())
        .tool(pay.clone())
        .tool(look)
        .agent(spec())
}

fn pay() -> Noting {
    Noting::new(ToolSpec::new("pay", "Pays."), Duration::ZERO)
}

fn decision(approved: bool, answer: Option<&str>) -> Decision {
    Decision {
        approved,
        answer: answer.map(str::to_owned),
        by: "boss".to_owned(),
    }
}

#[actix::test]
async fn a_call_waits_for_its_approval_while_others_go_on_and_the_wait_costs_no_time() {
    tokio::time::pause();
    let script = Script::new([
        calls([("pay", json!({"euro": 5})), ("look", json!({}))]),
        say("Paid."),
    ]);
    let pay = pay();
    let world = World::new(kit(&script, &pay)).await;
    let id = world.start("a").await;
    let run = world.rests(&id).await;
    let waiting = run.waiting();
    assert_eq!(waiting.len(), 1);
    assert_eq!(
        (waiting[0].0.name.as_str(), waiting[0].1),
        ("pay", WaitsFor::Approval)
    );
    assert_eq!((pay.calls(), results(&run).len()), (0, 1));
    assert_eq!(world.agents.totals().await.unwrap().waiting, 1);
    // It holds no actor.
    tokio::time::sleep(Duration::from_hours(30)).await;
    assert_eq!(world.agents.counts().running(), 0);
    let call = waiting[0].0.id.clone();
    let wrong = world
        .agents
        .decide("ann", &id, "other", decision(true, None))
        .await;
    assert!(matches!(wrong, Err(AgentError::NotWaiting(_))));
    world
        .agents
        .decide("ann", &id, &call, decision(true, None))
        .await
        .unwrap();
    let run = world.ended(&id).await;
    assert_eq!((run.output(), pay.calls()), (Some("Paid."), 1));
    let again = world
        .agents
        .decide("ann", &id, &call, decision(true, None))
        .await;
    assert!(matches!(again, Err(AgentError::HasEnded)));
    world.system.terminate().await;
}

#[actix::test]
async fn a_denied_call_is_not_made_and_the_model_reads_why() {
    tokio::time::pause();
    let script = Script::new([calls([("pay", json!({}))]), say("Well.")]);
    let pay = pay();
    let world = World::new(kit(&script, &pay)).await;
    let id = world.start("a").await;
    let run = world.rests(&id).await;
    let call = run.waiting()[0].0.id.clone();
    let no = decision(false, Some("too dear"));
    world.agents.decide("ann", &id, &call, no).await.unwrap();
    let run = world.ended(&id).await;
    assert_eq!(results(&run), ["denied by a human: too dear"]);
    assert_eq!((run.output(), pay.calls()), (Some("Well."), 0));
    world.system.terminate().await;
}

#[actix::test]
async fn an_agent_asks_a_human_and_reads_the_answer() {
    tokio::time::pause();
    let question = calls([(ASK_HUMAN, json!({"question": "Which?"}))]);
    let script = Script::new([question, say("Thanks.")]);
    let world = World::new(kit(&script, &pay())).await;
    let id = world.start("a").await;
    let run = world.rests(&id).await;
    assert_eq!(run.waiting()[0].1, WaitsFor::Answer);
    let call = run.waiting()[0].0.id.clone();
    let missing = world
        .agents
        .decide("ann", &id, &call, decision(true, None))
        .await;
    assert!(matches!(missing, Err(AgentError::NeedsAnswer)));
    let answer = decision(true, Some("The red one."));
    world
        .agents
        .decide("ann", &id, &call, answer)
        .await
        .unwrap();
    assert_eq!(results(&world.ended(&id).await), ["The red one."]);
    world.system.terminate().await;
}

#[actix::test]
async fn a_run_that_waits_survives_the_process_and_can_be_cancelled() {
    tokio::time::pause();
    let store = Arc::new(MemoryStore::default());
    let clock = clock();
    let script = Script::new([calls([("pay", json!({}))])]);
    let pay = pay();
    let first = World::with(kit(&script, &pay), Arc::clone(&store), Arc::clone(&clock)).await;
    let (one, two) = (first.start("a").await, first.start("a").await);
    let call = first.rests(&one).await.waiting()[0].0.id.clone();
    first.rests(&two).await;
    first.system.terminate().await;
    let script = Script::new([say("Paid.")]);
    let second = World::with(kit(&script, &pay), store, clock).await;
    second
        .agents
        .decide("ann", &one, &call, decision(true, None))
        .await
        .unwrap();
    assert_eq!(second.ended(&one).await.output(), Some("Paid."));
    second.agents.cancel("ann", &two, "ann").await.unwrap();
    assert_eq!(ending(&second.ended(&two).await), Ending::Cancelled);
    second.system.terminate().await;
}
