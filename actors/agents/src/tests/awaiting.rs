//! Callers that wait for their runs, and the places of runs.

use super::*;

fn start_of(agent: &str) -> Start {
    Start {
        agent: agent.to_owned(),
        messages: vec![Message::user("Go.")],
        ..Start::default()
    }
}

fn slow() -> Kit {
    let model = Script::new([calls([("slow", json!({}))]), say("Done.")]);
    let spec = ToolSpec::new("slow", "").idempotent();
    let tool = Noting::new(spec, Duration::from_secs(30));
    Kit::default()
        .model("m", model)
        .tool(tool)
        .agent(AgentSpec::new("a", "m", "").tool("slow"))
}

#[actix::test]
async fn a_run_ends_with_its_caller_even_while_it_is_being_created() {
    tokio::time::pause();
    let world = World::new(slow()).await;
    let attended = world.agents.attend("ann", start_of("a"), None).await;
    let attended = attended.unwrap();
    let id = attended.id().to_owned();
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(attended);
    let run = world.ended(&id).await;
    assert_eq!(ending(&run), Ending::Cancelled);
    // One that leaves at the first moment at which its call waits.
    let mut attending = Box::pin(world.agents.attend("ann", start_of("a"), None));
    tokio::select! {
        biased;
        _ = &mut attending => panic!("the store answers later"),
        () = std::future::ready(()) => {}
    }
    drop(attending);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let totals = world.agents.totals().await.unwrap();
    assert_eq!((totals.running, totals.ended), (0, 2));
    world.system.terminate().await;
}

#[actix::test]
async fn the_next_process_ends_the_run_of_a_connection_and_continues_that_of_a_job() {
    tokio::time::pause();
    let store = Arc::new(MemoryStore::default());
    let first = World::with(slow(), Arc::clone(&store), clock()).await;
    let chat = first.agents.attend("ann", start_of("a"), None);
    let chat = chat.await.unwrap();
    let job = first.agents.attend("ann", start_of("a"), Some("job_1"));
    let job = job.await.unwrap();
    let (of_chat, of_job) = (chat.id().to_owned(), job.id().to_owned());
    tokio::time::sleep(Duration::from_secs(1)).await;
    // As after a kill: nothing of it is told to the store.
    first.system.terminate().await;
    std::mem::forget((chat, job));
    let next = World::with(slow(), store, clock()).await;
    let again = next.agents.attend("ann", start_of("a"), Some("job_1"));
    let again = again.await.unwrap();
    assert_eq!(again.id(), of_job);
    assert_eq!(again.when_resting().await.unwrap().output(), Some("Done."));
    let run = next.ended(&of_chat).await;
    assert_eq!(ending(&run), Ending::Cancelled);
    assert_eq!(run.steps, 1);
    let totals = next.agents.totals().await.unwrap();
    assert_eq!((totals.running, totals.ended), (0, 2));
    next.system.terminate().await;
}

#[actix::test]
async fn while_the_process_stops_the_runs_go_on_that_callers_wait_for() {
    tokio::time::pause();
    let world = World::new(slow()).await;
    let other = world.start("a").await;
    let attended = world.agents.attend("ann", start_of("a"), None).await;
    let attended = attended.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.agents.drain();
    let run = attended.when_resting().await.unwrap();
    assert_eq!(run.output(), Some("Done."));
    world.agents.when_settled().await;
    let run = world.agents.run("ann", &other).await.unwrap();
    assert!(run.ended.is_none());
    world.system.terminate().await;
}

#[actix::test]
async fn tasks_have_the_places_of_the_runs_that_wait_for_them() {
    tokio::time::pause();
    let boss = Script::new([calls([("ask_worker", json!({"task": "one"}))])]);
    let worker = Script::new([say("Result.")]);
    let kit = Kit::default()
        .model("boss", boss)
        .model("worker", worker)
        .agent(AgentSpec {
            repeats_max: 2,
            ..AgentSpec::new("boss", "boss", "").agent("worker")
        })
        .agent(AgentSpec::new("worker", "worker", "Work."));
    let world = World::of_size(1, kit).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(world.start("boss").await);
    }
    let mut attended = Vec::new();
    for _ in 0..5 {
        let one = world.agents.attend("ann", start_of("boss"), None);
        attended.push(one.await.unwrap());
    }
    for one in attended {
        let run = one.when_resting().await.unwrap();
        assert_eq!(ending(&run), Ending::Looping);
    }
    for id in ids {
        assert_eq!(ending(&world.ended(&id).await), Ending::Looping);
    }
    world.system.terminate().await;
}

#[actix::test]
async fn who_waits_learns_at_once_that_a_run_waits_for_a_human() {
    tokio::time::pause();
    let model = Script::new([calls([("ask_human", json!({"question": "?"}))])]);
    let spec = AgentSpec {
        ask_human: true,
        ..AgentSpec::new("a", "m", "")
    };
    let world = World::new(Kit::default().model("m", model).agent(spec)).await;
    let began = tokio::time::Instant::now();
    for _ in 0..5 {
        let attended = world.agents.attend("ann", start_of("a"), None).await;
        let run = attended.unwrap().when_resting().await.unwrap();
        assert_eq!(run.waiting().len(), 1);
    }
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    world.system.terminate().await;
}
