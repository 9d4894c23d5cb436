//! Chapter 9 against a model server over HTTP: runs the command that it is given, which runs the program in Scala, Java and
//! Kotlin, then the same in Rust, and writes what each answered and what it cost.
//!
//! usage: worked FILE COMMAND [ARGUMENT]...
//!
//! The command finds the server in `MODEL_URL`, and prints `worked NAME ANSWERED MILLISECONDS` for each program. Fails if a
//! program with fixed numbers answers all prompts, or the lane does not.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use actix_web::{App, HttpServer, web};
use model::Models;

mod model;
mod programs;

/// The end of a part of the program.
type Part = Result<(), Box<dyn Error>>;

const MS: Duration = Duration::from_millis(1);
const PROMPTS: usize = 100;

/// What one program did.
struct Run {
    name: String,
    /// The model that it called.
    model: String,
    answered: usize,
    milliseconds: u128,
}

#[actix_web::main]
async fn main() -> Part {
    let mut arguments = env::args().skip(1);
    let file = arguments.next().ok_or("usage: worked FILE COMMAND")?;
    let command: Vec<_> = arguments.collect();
    let models = Models::default();
    let data = web::Data::new(models.clone());
    let server = HttpServer::new(move || {
        let app = App::new().app_data(data.clone());
        app.route("/{program}/models/tiny", web::post().to(model::infer))
    });
    let server = server.workers(1).bind("127.0.0.1:0")?;
    let address = server.addrs()[0];
    let url = format!("http://{address}");
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);

    let mut runs = others(command, url.clone()).await?;
    let http = programs::http_client()?;
    let client = |model: &str| programs::Client::new(&http, format!("{url}/{model}/models/tiny"));
    let operators = timed("Rust", "rust", programs::operators(client("rust")));
    let lane = timed("Rust, `via_lane`", "lane", programs::lane(client("lane")));
    let (operators, lane) = futures_util::future::join(operators, lane).await;
    runs.extend([operators?, lane?]);
    handle.stop(false).await;
    fs::write(file, table(&runs, &models))?;
    check(&runs)
}

async fn timed(
    name: &str,
    model: &str,
    program: impl Future<Output = Result<usize, Box<dyn Error>>>,
) -> Result<Run, Box<dyn Error>> {
    let begun = Instant::now();
    let answered = program.await?;
    Ok(Run {
        name: name.to_owned(),
        model: model.to_owned(),
        answered,
        milliseconds: begun.elapsed().as_millis(),
    })
}

/// Runs the command, passes on what it prints, and reads the runs from it.
async fn others(command: Vec<String>, url: String) -> Result<Vec<Run>, Box<dyn Error>> {
    let output = web::block(move || {
        let mut words = command.into_iter();
        let program = words.next().ok_or_else(|| io::Error::other("no command"))?;
        let mut command = Command::new(program);
        command.args(words).env("MODEL_URL", url);
        command.stderr(Stdio::inherit()).output()
    });
    let output = output.await??;
    io::stdout().write_all(&output.stdout)?;
    if !output.status.success() {
        return Err(format!("the command failed: {}", output.status).into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut runs = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("worked ")) {
        let words: Vec<_> = line.split(' ').collect();
        let [name, answered, milliseconds] = words[..] else {
            return Err(format!("not three words: {line}").into());
        };
        runs.push(Run {
            name: name.to_owned(),
            model: name.to_lowercase(),
            answered: answered.parse()?,
            milliseconds: milliseconds.parse()?,
        });
    }
    // They run at the same time, and end in any order.
    let order = |run: &Run| {
        ["Scala", "Java", "Kotlin"]
            .iter()
            .position(|name| *name == run.name)
    };
    runs.sort_by_key(order);
    Ok(runs)
}

fn table(runs: &[Run], models: &Models) -> String {
    let mut table = String::from(
        "| program | answered, of 100 | calls | refused: loading | refused: too many | failed | seconds |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for run in runs {
        let counts = models.counts(&run.model);
        let seconds = Duration::from_millis(u64::try_from(run.milliseconds).unwrap_or(u64::MAX));
        let _never_fails = writeln!(
            table,
            "| {} | {} | {} | {} | {} | {} | {:.1} |",
            run.name,
            run.answered,
            counts.calls,
            counts.loading,
            counts.refused,
            counts.failed,
            seconds.as_secs_f64(),
        );
    }
    table
}

/// Fails unless the chapter's claims hold.
fn check(runs: &[Run]) -> Part {
    let Some((lane, fixed)) = runs.split_last() else {
        return Err("no program ran".into());
    };
    let names: Vec<_> = fixed.iter().map(|run| &*run.name).collect();
    if names != ["Scala", "Java", "Kotlin", "Rust"] {
        return Err(format!("these programs ran: {names:?}").into());
    }
    for run in fixed {
        if run.answered == 0 || run.answered >= PROMPTS {
            return Err(format!("{} answered {}", run.name, run.answered).into());
        }
    }
    if lane.answered != PROMPTS {
        return Err(format!("the lane answered {}", lane.answered).into());
    }
    Ok(())
}
