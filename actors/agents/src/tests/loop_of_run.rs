//! The loop of a run: answers, calls at once, and all the ways in which it ends.

use super::*;

fn kit(script: &Script, tool: &Noting, spec: AgentSpec) -> Kit {
    Kit::default()
        .model("m", script.clone())
        .tool(tool.clone())
        .agent(spec)
}

fn tool() -> Noting {
    let spec = ToolSpec::new("work", "Works.").read_only();
    Noting::new(spec, Duration::from_secs(1))
}

fn spec() -> AgentSpec {
    AgentSpec::new("a", "m", "You work.").tool("work")
}

#[actix::test]
async fn calls_of_one_answer_are_carried_out_at_once_within_the_bound_and_their_results_are_read() {
    tokio::time::pause();
    let lines = (0..5).map(|at| ("work", json!({"part": at})));
    let script = Script::new([calls(lines), say("Done.")]);
    let tool = tool();
    let world = World::new(kit(&script, &tool, spec())).await;
    let id = world.start("a").await;
    let run = world.ended(&id).await;
    assert_eq!(run.output(), Some("Done."));
    assert_eq!((run.steps, run.usage.tokens()), (2, 15));
    assert_eq!(tool.calls(), 5);
    assert_eq!(tool.busy_max.load(SeqCst), 4);
    assert_eq!(results(&run).len(), 5);
    let asks = script.asks.lock().unwrap().clone();
    assert_eq!(asks[0].tools[0].name, "work");
    let first = Message::System {
        text: "You work.".to_owned(),
    };
    assert_eq!(asks[1].messages[0], first);
    assert_eq!(asks[1].messages.len(), 1 + 1 + 1 + 5);
    let kinds: Vec<&str> = world.store.all_events()[0]
        .1
        .iter()
        .map(|event| event.what.kind())
        .collect();
    assert_eq!(kinds.first(), Some(&"began"));
    assert_eq!(kinds.last(), Some(&"ended"));
    let tally = world.agents.counts().tally();
    assert_eq!(
        (tally.started, tally.steps, tally.ended[&Ending::Completed]),
        (1, 2, 1)
    );
    assert_eq!(tally.calls["done"], 5);
    world.system.terminate().await;
}

#[actix::test]
async fn the_same_call_with_the_same_result_again_and_again_is_a_loop() {
    tokio::time::pause();
    let script = Script::new([
        calls([("work", json!({"a": 1, "b": 2}))]),
        calls([("work", json!({"b": 2, "a": 1}))]),
        calls([("work", json!({"a": 1, "b": 2}))]),
    ]);
    let world = World::new(kit(&script, &tool(), spec())).await;
    let id = world.start("a").await;
    let run = world.ended(&id).await;
    assert_eq!(ending(&run), Ending::Looping);
    assert_eq!(run.steps, 3);
    world.system.terminate().await;
}

#[actix::test]
async fn a_run_without_progress_is_stalled() {
    tokio::time::pause();
    let script = Script::new([say("")]);
    let world = World::new(kit(&script, &tool(), spec())).await;
    let id = world.start("a").await;
    let run = world.ended(&id).await;
    assert_eq!((ending(&run), script.asked()), (Ending::Stalled, 2));
    let fails = (0..9).map(|at| calls([("work", json!({"fail": at}))]));
    let script = Script::new(fails);
    let world = World::new(kit(&script, &tool(), spec())).await;
    let id = world.start("a").await;
    assert_eq!(ending(&world.ended(&id).await), Ending::Stalled);
    assert_eq!(script.asked(), 5);
    world.system.terminate().await;
}

#[actix::test]
async fn each_budget_ends_a_run_with_its_own_reason() {
    tokio::time::pause();
    let endless = || (0..1000).map(|at| calls([("work", json!({"at": at}))]));
    let with = |change: fn(&mut AgentSpec)| {
        let mut spec = spec();
        change(&mut spec);
        spec
    };
    for (spec, expected) in [
        (with(|spec| spec.steps_max = 4), Ending::StepsUsed),
        (with(|spec| spec.tokens_max = 40), Ending::TokensUsed),
        (
            with(|spec| spec.time_max = HumanDuration::from_secs(3)),
            Ending::TimeUsed,
        ),
    ] {
        let script = Script::new(endless());
        let world = World::new(kit(&script, &tool(), spec)).await;
        let id = world.start("a").await;
        assert_eq!(ending(&world.ended(&id).await), expected);
        assert!(script.asked() <= 4, "{expected:?}");
        world.system.terminate().await;
    }
    let money = Reply {
        usage: Usage {
            cost: Money::from_nano(600),
            ..Usage::default()
        },
        ..Reply::call("1", "work", &json!({}))
    };
    let script = Script::new([Line::Say(money)]);
    let spec = AgentSpec {
        cost_max: Some(Money::from_nano(1000)),
        ..spec()
    };
    let world = World::new(kit(&script, &tool(), spec)).await;
    let id = world.start("a").await;
    assert_eq!(ending(&world.ended(&id).await), Ending::CostUsed);
    assert_eq!(script.asked(), 2);
    world.system.terminate().await;
}

#[actix::test]
async fn a_hanging_model_is_ended_by_the_time_of_the_run() {
    tokio::time::pause();
    let script = Script::new([Line::Hang]);
    let world = World::new(kit(&script, &tool(), spec())).await;
    let id = world.start("a").await;
    assert_eq!(ending(&world.ended(&id).await), Ending::TimeUsed);
    world.system.terminate().await;
}

#[actix::test]
async fn a_model_that_may_be_asked_again_is_and_one_that_may_not_ends_the_run() {
    tokio::time::pause();
    let again = Line::Fail(ModelError::again("loading", Duration::from_secs(2)));
    let script = Script::new([again.clone(), again.clone(), say("Here.")]);
    let world = World::new(kit(&script, &tool(), spec())).await;
    let id = world.start("a").await;
    assert_eq!(world.ended(&id).await.output(), Some("Here."));
    for (line, asks) in [(again, 8), (Line::Fail(ModelError::last("no")), 1)] {
        let script = Script::new([line]);
        let world = World::new(kit(&script, &tool(), spec())).await;
        let id = world.start("a").await;
        let run = world.ended(&id).await;
        assert_eq!((ending(&run), script.asked()), (Ending::Failed, asks));
    }
    world.system.terminate().await;
}

#[actix::test]
async fn a_call_that_is_not_possible_is_an_error_that_the_model_reads() {
    tokio::time::pause();
    let mut bad = Reply::call("1", "work", &json!({}));
    bad.calls[0].arguments = "[1".to_owned();
    let script = Script::new([
        calls([("nothing", json!({}))]),
        Line::Say(bad),
        calls((0..20).map(|at| ("work", json!({"at": at})))),
        say("Done."),
    ]);
    let tool = tool();
    let world = World::new(kit(&script, &tool, spec())).await;
    let id = world.start("a").await;
    let run = world.ended(&id).await;
    let results = results(&run);
    assert_eq!(results[0], "error: there is no tool `nothing`");
    assert_eq!(results[1], "error: the arguments are not a JSON object");
    assert_eq!((results.len(), tool.calls()), (22, 16));
    assert!(results.contains(&"error: at most 16 calls at once"));
    assert_eq!(run.output(), Some("Done."));
    world.system.terminate().await;
}

#[actix::test]
async fn a_run_is_cancelled_while_its_tool_works() {
    tokio::time::pause();
    let script = Script::new([calls([("work", json!({}))]), say("Done.")]);
    let slow = Noting::new(
        ToolSpec::new("work", "Works.").read_only(),
        Duration::from_secs(50),
    );
    let world = World::new(kit(&script, &slow, spec())).await;
    let id = world.start("a").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.agents.cancel("ann", &id, "ann").await.unwrap();
    let run = world.ended(&id).await;
    assert_eq!((ending(&run), script.asked()), (Ending::Cancelled, 1));
    // Once more changes nothing.
    let same = world.agents.cancel("ann", &id, "ann").await.unwrap();
    assert_eq!(same.seq, run.seq);
    let other = world.agents.cancel("bob", &id, "bob").await;
    assert!(matches!(
        other,
        Err(AgentError::Store(StoreError::NotFound("run")))
    ));
    world.system.terminate().await;
}

#[actix::test]
async fn a_slow_tool_is_an_error_if_it_may_be_repeated_and_else_unknown() {
    tokio::time::pause();
    for (spec_of_tool, expected) in [
        (
            ToolSpec::new("work", "Works.").read_only(),
            "error: no result within 60 s",
        ),
        (
            ToolSpec::new("work", "Works."),
            "unknown: no result within 60 s. It may or may not have been carried out",
        ),
    ] {
        let script = Script::new([calls([("work", json!({}))]), say("Done.")]);
        let slow = Noting::new(spec_of_tool, Duration::from_secs(100));
        let world = World::new(kit(&script, &slow, spec())).await;
        let id = world.start("a").await;
        assert_eq!(results(&world.ended(&id).await), [expected]);
        world.system.terminate().await;
    }
}

/// Calls the tool once.
struct Twice;
impl Model for Twice {
    fn ask<'a>(&'a self, ask: &'a Ask) -> Work<'a, Result<Reply, ModelError>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(match ask.step {
                1 => Reply::call("1", "work", &json!({})),
                _ => Reply::text("Done."),
            })
        })
    }
}

#[actix::test]
async fn a_thousand_agents_work_at_once() {
    tokio::time::pause();
    let tool = tool();
    let kit = Kit::default()
        .model("m", Twice)
        .tool(tool.clone())
        .agent(spec());
    let world = World::new(kit).await;
    let mut ids = Vec::new();
    for _ in 0..1000 {
        ids.push(world.start("a").await);
    }
    for id in &ids {
        assert_eq!(world.ended(id).await.output(), Some("Done."));
    }
    assert_eq!(tool.calls(), 1000);
    // The actors count what the store has told already.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        world.agents.counts().tally().ended[&Ending::Completed],
        1000
    );
    world.system.terminate().await;
}
