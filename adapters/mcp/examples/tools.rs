//! Lists the tools of a server that is a program: `tools PROGRAM [ARGUMENT…]`.

use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use kebne_mcp::{Era, Hold, McpServer, Options, Pins, ProcessWay, Way};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let command = args.next().ok_or("usage: tools PROGRAM [ARGUMENT…]")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(list(command, args.collect()))
}

async fn list(command: String, args: Vec<String>) -> Result<(), Box<dyn std::error::Error>> {
    let kept = ["PATH", "HOME"].map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
    let environment: BTreeMap<_, _> = kept.into_iter().flatten().collect();
    let server = McpServer::new(Options {
        name: "example".to_owned(),
        way: Way::Process(ProcessWay {
            command,
            args,
            environment,
            cwd: None,
            stop_grace: Duration::from_secs(1),
            launcher: None,
        }),
        era: Era::Auto,
        tools: Vec::new(),
        hold: Hold::Nothing,
        start_timeout: Duration::from_mins(1),
        refresh: Duration::from_mins(5),
        answer_size_max: 4 << 20,
    });
    // Nothing is held, so nothing is written.
    let pins = Pins::new("unused".into());
    server.start(Arc::new(pins), || {});
    let due = Instant::now() + Duration::from_mins(1);
    while server.report().state == "starting" && Instant::now() < due {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let report = server.report();
    let mut output = std::io::stdout();
    if let Some(reason) = report.reason {
        return Err(reason.into());
    }
    for tool in report.tools {
        let hint = if tool.read_only { " (read-only)" } else { "" };
        writeln!(output, "{}{hint}: {}", tool.name, tool.description)?;
    }
    Ok(())
}
