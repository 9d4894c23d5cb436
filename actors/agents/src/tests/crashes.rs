//! Actors that panic, and processes that end at any step.

use super::*;

#[actix::test]
async fn an_agent_that_panics_is_restarted_by_its_supervisor_and_the_run_goes_on() {
    tokio::time::pause();
    let script = Script::new([
        calls([("work", json!({}))]),
        Line::Panic,
        Line::Panic,
        say("Done."),
    ]);
    let tool = Noting::new(ToolSpec::new("work", ""), Duration::ZERO);
    let kit = Kit::default()
        .model("m", script.clone())
        .tool(tool.clone())
        .agent(AgentSpec::new("a", "m", "").tool("work"));
    let world = World::new(kit).await;
    let id = world.start("a").await;
    let run = world.ended(&id).await;
    assert_eq!(run.output(), Some("Done."));
    // What was confirmed before is not done again.
    assert_eq!((script.asked(), tool.calls(), run.steps), (4, 1, 2));
    world.system.terminate().await;
}

#[actix::test]
async fn an_agent_that_panics_too_often_is_ended_as_crashed() {
    tokio::time::pause();
    let kit = Kit::default()
        .model("m", Script::new([Line::Panic]))
        .agent(AgentSpec::new("a", "m", ""));
    let world = World::new(kit).await;
    let id = world.start("a").await;
    assert_eq!(ending(&world.ended(&id).await), Ending::Crashed);
    world.system.terminate().await;
}

#[actix::test]
async fn a_tool_that_panics_is_an_error_of_its_call() {
    tokio::time::pause();
    let bad = |spec: ToolSpec| FnTool::new(spec, |_| panic!("as the test says"));
    let script = Script::new([
        calls([("reads", json!({})), ("writes", json!({}))]),
        say("Done."),
    ]);
    let kit = Kit::default()
        .model("m", script)
        .tool(bad(ToolSpec::new("reads", "").read_only()))
        .tool(bad(ToolSpec::new("writes", "")))
        .agent(AgentSpec::new("a", "m", "").tool("reads").tool("writes"));
    let world = World::new(kit).await;
    let id = world.start("a").await;
    let run = world.ended(&id).await;
    let mut found = results(&run);
    found.sort_unstable();
    assert_eq!(found[0], "error: the tool has failed");
    assert!(found[1].starts_with("unknown: "), "{found:?}");
    assert_eq!(run.output(), Some("Done."));
    world.system.terminate().await;
}

/// A model that does what the conversation says, not what was said before: so it can be asked again after a crash.
struct Worker {
    rounds: u32,
    time: Duration,
}

impl Model for Worker {
    fn ask<'a>(&'a self, ask: &'a Ask) -> Work<'a, Result<Reply, ModelError>> {
        Box::pin(async move {
            tokio::time::sleep(self.time).await;
            let is_answer = |message: &&Message| matches!(message, Message::Assistant { .. });
            let round = ask.messages.iter().filter(is_answer).count();
            if round >= self.rounds as usize {
                return Ok(Reply::text("Done."));
            }
            let arguments = json!({"round": round});
            Ok(Reply::calls([
                ("a", "again", &arguments),
                ("b", "once", &arguments),
                ("c", "again", &arguments),
            ]))
        })
    }
}

/// Returns a number below `most` that follows from a state.
fn next(random: &mut u64, most: u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random % most
}

/// Counts the calls of a tool and how many of them are different.
fn different(tool: &Noting) -> (usize, usize) {
    let mut keys = tool.keys.lock().unwrap().clone();
    let all = keys.len();
    keys.sort();
    keys.dedup();
    (all, keys.len())
}

/// The process ends at a random moment, again and again, and the next one goes on with the same store: nothing is lost, no call of a tool that must not
/// be repeated is made twice, and each call of an idempotent tool has one key.
#[actix::test]
async fn whenever_the_process_ends_nothing_is_lost_and_nothing_is_done_twice() {
    tokio::time::pause();
    for seed in 0..200_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let ms = Duration::from_millis(20);
        let again = Noting::new(ToolSpec::new("again", "").idempotent(), ms);
        let once = Noting::new(ToolSpec::new("once", ""), ms);
        let (store, clock) = (Arc::new(MemoryStore::default()), clock());
        let on_hold = seed % 4 == 0;
        let kit = || {
            let spec = AgentSpec {
                unknown: if on_hold {
                    OnUnknown::Hold
                } else {
                    OnUnknown::Report
                },
                ..AgentSpec::new("a", "m", "").tool("again").tool("once")
            };
            Kit::default()
                .model(
                    "m",
                    Worker {
                        rounds: 4,
                        time: ms,
                    },
                )
                .tool(again.clone())
                .tool(once.clone())
                .agent(spec)
        };
        let mut id = None;
        for _ in 0..4 {
            let world = World::with(kit(), Arc::clone(&store), Arc::clone(&clock)).await;
            if id.is_none() {
                id = Some(world.start("a").await);
            }
            tokio::time::sleep(Duration::from_millis(next(&mut random, 120))).await;
            world.system.terminate().await;
            // The lease passes.
            tokio::time::sleep(Duration::from_secs(16)).await;
        }
        let id = id.unwrap();
        let world = World::with(kit(), Arc::clone(&store), clock).await;
        loop {
            let run = world.rests(&id).await;
            if run.ended.is_some() {
                break;
            }
            for (call, why) in run.waiting() {
                assert_eq!(why, WaitsFor::Repetition, "seed {seed}");
                let no = Decision::default();
                world.agents.decide("ann", &id, &call.id, no).await.unwrap();
            }
        }
        let run = world.ended(&id).await;
        assert_eq!(run.output(), Some("Done."), "seed {seed}");
        assert_eq!(results(&run).len(), 12, "seed {seed}");
        let (calls, made) = different(&once);
        assert_eq!(calls, made, "seed {seed}");
        assert_eq!(different(&again).1, 8, "seed {seed}");
        let results = results(&run);
        let unknown = results
            .iter()
            .filter(|text| text.starts_with("unknown"))
            .count();
        assert!(made + unknown >= 4, "seed {seed}");
        world.system.terminate().await;
    }
}

#[actix::test]
async fn a_process_that_stops_in_order_gives_its_runs_back_at_once() {
    tokio::time::pause();
    let (store, clock) = (Arc::new(MemoryStore::default()), clock());
    let tool = Noting::new(ToolSpec::new("once", ""), Duration::from_secs(2));
    let kit = |script: &Script| {
        Kit::default()
            .model("m", script.clone())
            .tool(tool.clone())
            .agent(AgentSpec::new("a", "m", "").tool("once"))
    };
    let script = Script::new([calls([("once", json!({}))]), say("too late")]);
    let first = World::with(kit(&script), Arc::clone(&store), Arc::clone(&clock)).await;
    let id = first.start("a").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    first.agents.drain();
    first.agents.when_settled().await;
    assert_eq!(script.asked(), 1);
    first.system.terminate().await;
    let script = Script::new([say("Done.")]);
    let second = World::with(kit(&script), store, clock).await;
    let began = tokio::time::Instant::now();
    let run = second.ended(&id).await;
    assert!(began.elapsed() < Duration::from_secs(6));
    assert_eq!((run.output(), tool.calls()), (Some("Done."), 1));
    assert_eq!(results(&run), ["once is done"]);
    second.system.terminate().await;
}
