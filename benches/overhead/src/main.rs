//! Measures what Kebne adds to a call, beside nginx and a direct connection; see the README.

mod gateway;
mod load;
mod memory;
mod table;
mod upstream;

use std::{
    env, io,
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use gateway::Gateway;
use load::{Load, Measured};
use table::Row;

/// The core of the upstream and of the client.
const LOAD_CORE: &str = "1";
/// The ports of the upstream: without pauses, and with pauses between the parts of a stream.
const UPSTREAM: [u16; 2] = [19_301, 19_302];
/// The pause between two parts of a paced stream.
const PAUSE: Duration = Duration::from_millis(10);

/// Runs the arguments, the program first, with the largest number of open files that is allowed.
const OPEN_FILES: &str = r#"ulimit -n "$(ulimit -Hn)" && exec "$0" "$@""#;

/// Looks, 20 ms apart, at whether a program has stopped.
const STOPS: usize = 100;

/// The reason why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Failed(String),
}

/// A process that is stopped when it is dropped.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // By a signal first, so that a program with children stops them.
        let politely = format!("kill {}", self.0.id());
        Command::new("sh").args(["-c", &politely]).status().ok();
        for _ in 0..STOPS {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.0.kill().and_then(|()| self.0.wait()).ok();
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(text) => write(&mut io::stdout(), &text, ExitCode::SUCCESS),
        Err(error) => write(&mut io::stderr(), &error.to_string(), ExitCode::FAILURE),
    }
}

fn write(to: &mut impl io::Write, text: &str, code: ExitCode) -> ExitCode {
    match writeln!(to, "{text}") {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run() -> Result<String, Error> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["upstream"] => Err(upstream::serve(UPSTREAM, PAUSE)),
        ["load", rest @ ..] => Load::of(rest)?.run().map(|measured| measured.line()),
        ["crowd", rest @ ..] => Err(memory::crowd(rest)),
        ["memory"] => memory::compare(&mut io::stdout()),
        [] => compare("0"),
        ["--cores", cores] => compare(cores),
        _ => Err(Error::Failed(
            "usage: kebne-overhead [memory | --cores 0,1]".to_owned(),
        )),
    }
}

/// Measures the gateways in turn.
fn compare(cores: &str) -> Result<String, Error> {
    let _upstream = pinned(LOAD_CORE, &own_program()?, &["upstream"])?;
    gateway::await_port(UPSTREAM[1])?;
    let mut rows = vec![measure(None)?];
    for gateway in [Gateway::nginx(cores)?, Some(Gateway::kebne(cores)?)] {
        rows.extend(
            gateway
                .as_ref()
                .map(|gateway| measure(Some(gateway)))
                .transpose()?,
        );
    }
    Ok(table::text(&rows))
}

/// Loads one gateway, or the upstream itself.
fn measure(gateway: Option<&Gateway>) -> Result<Row, Error> {
    let [plain, paced] = gateway.map_or(UPSTREAM, |gateway| gateway.ports);
    let idle = gateway.map_or(0.0, Gateway::memory);
    let under = |load: Load| -> Result<(Measured, f64), Error> {
        let before = gateway.map_or(0.0, Gateway::cpu_seconds);
        let text = load.in_process()?;
        let measured = Measured::of(&text)?;
        let used = gateway.map_or(0.0, Gateway::cpu_seconds) - before;
        Ok((measured, used))
    };
    let load = |port, connections, stream, millis| Load {
        port,
        model: if port == paced { "paced" } else { "plain" }.to_owned(),
        connections,
        stream,
        time: Duration::from_millis(millis),
    };
    under(load(plain, 64, false, 1000))?;
    let (many, cpu) = under(load(plain, 64, false, 3000))?;
    let (one, _) = under(load(plain, 1, false, 2000))?;
    let (parts, _) = under(load(plain, 16, true, 3000))?;
    let (stream, _) = under(load(paced, 1, true, 4000))?;
    let (streams, streams_cpu) = under(load(paced, 64, true, 4000))?;
    let measured = [&many, &one, &parts, &stream, &streams];
    Ok(Row {
        name: gateway.map_or("direct", |gateway| gateway.name),
        cpu_per_call: cpu / many.calls,
        calls_per_second: many.calls / many.seconds,
        p50: one.p50,
        first_part: stream.first_p50,
        first_part_p99: streams.first_p99,
        cpu_per_stream: streams_cpu / streams.calls,
        parts_per_second: parts.parts / parts.seconds,
        memory: (idle, gateway.map_or(0.0, Gateway::peak_memory)),
        errors: measured.iter().map(|measured| measured.errors).sum(),
    })
}

/// Returns the path of this program.
fn own_program() -> Result<String, Error> {
    Ok(env::current_exe()?.to_string_lossy().into_owned())
}

/// Starts a program on some cores.
fn pinned(cores: &str, program: &str, arguments: &[&str]) -> Result<Running, Error> {
    let mut command = on_cores(cores, program, arguments);
    Ok(Running(command.spawn()?))
}

/// Returns the command that runs a program on some cores, with as many open files as it may have, and without input and output.
pub(crate) fn on_cores(cores: &str, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("taskset");
    command
        .args(["-c", cores, "sh", "-c", OPEN_FILES, program])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}
