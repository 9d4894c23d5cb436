//! Signals: what stops the program, in which order, and what does not.

use std::{
    fs::OpenOptions,
    io::{Read, Write},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::program::{CHAT, Program, folder, send_signal};

/// Time in which something happens that takes no time by itself; wide, because the machine may be busy.
const SOON: Duration = Duration::from_secs(20);

fn call(program: &Program) -> u16 {
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    program.send("POST", CHAT, &[], &body).status
}

/// Waits until `/readyz` answers with a status; returns what the body says.
fn await_ready(program: &Program, status: u16) -> Value {
    let since = Instant::now();
    loop {
        let answer = program.send("GET", "/readyz", &[], &Value::Null);
        if answer.status == status {
            return answer.json()["status"].clone();
        }
        assert!(since.elapsed() < SOON, "still {}", answer.body);
    }
}

fn await_end(program: &mut Program) -> ExitStatus {
    let since = Instant::now();
    loop {
        if let Some(status) = program.child.try_wait().unwrap() {
            return status;
        }
        assert!(since.elapsed() < SOON, "still running");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_hangup_does_not_stop_the_program() {
    let folder = folder();
    let mut program = Program::start(folder.path(), &[]);
    for _ in 0..3 {
        program.signal("HUP");
        assert_eq!(call(&program), 200);
    }
    assert_eq!(await_ready(&program, 200), "ready");
    assert_eq!(program.terminate(), Some(0));
}

#[test]
fn a_lame_duck_is_not_ready_and_serves_and_a_second_signal_ends_it_at_once() {
    let folder = folder();
    let long = [("KEBNE__SERVER__LAME_DUCK", "10m")];
    let mut program = Program::start(folder.path(), &long);
    assert_eq!(await_ready(&program, 200), "ready");
    program.signal("TERM");
    assert_eq!(await_ready(&program, 503), "draining");
    for _ in 0..3 {
        assert_eq!(call(&program), 200);
    }
    // A hangup is not a second signal.
    program.signal("HUP");
    assert_eq!(call(&program), 200);
    program.signal("INT");
    assert_eq!(await_end(&mut program).code(), Some(0));
}

#[test]
fn after_the_lame_duck_time_new_calls_are_refused_and_the_admitted_ones_are_answered() {
    let folder = folder();
    let variables = [
        ("KEBNE__SERVER__LAME_DUCK", "1s"),
        // The call is held while the model loads.
        ("KEBNE__BACKENDS__0__SIMULATION__COLD_START", "6s"),
    ];
    let mut program = Program::start(folder.path(), &variables);
    std::thread::scope(|scope| {
        let held = scope.spawn(|| call(&program));
        program.await_metric(r#"kebne_calls_live{lane="simulated"} 1.0"#);
        program.signal("TERM");
        assert_eq!(await_ready(&program, 503), "draining");
        let since = Instant::now();
        loop {
            let body = json!({"model": "simulated", "messages": []});
            let waits = [("x-wait-for-model", "false")];
            let answer = program.send("POST", CHAT, &waits, &body);
            assert_eq!(answer.status, 503, "{}", answer.body);
            if answer.code().1 == "draining" {
                break;
            }
            assert!(since.elapsed() < SOON, "{}", answer.body);
        }
        assert_eq!(held.join().unwrap(), 200);
    });
    assert_eq!(await_end(&mut program).code(), Some(0));
}

/// Nobody reads the log: its pipe is full after some lines.
#[test]
fn a_log_that_nobody_reads_holds_up_neither_calls_nor_the_stop() {
    let folder = folder();
    let mut command = Program::command(folder.path(), &[]);
    let mut program = Program::spawn_with(&mut command, std::process::Stdio::piped());
    // A line per call, together more than the 64 KiB of a pipe.
    for _ in 0..600 {
        assert_eq!(call(&program), 200);
    }
    assert_eq!(await_ready(&program, 200), "ready");
    program.ask_to_stop();
    assert!(await_end(&mut program).success());
}

#[test]
fn signals_that_other_tools_send_do_not_stop_the_program() {
    let folder = folder();
    let mut program = Program::start(folder.path(), &[]);
    for name in ["USR1", "USR2", "ALRM", "XFSZ"] {
        program.signal(name);
        assert_eq!(call(&program), 200, "{name}");
    }
    assert_eq!(program.terminate(), Some(0));
}

/// The settings are a pipe, so that the program reads them until the test has written them.
#[test]
fn signals_during_the_start_have_the_same_effect_as_later() {
    let folder = folder();
    let config = folder.path().join("kebne.toml");
    let made = Command::new("mkfifo").arg(&config).status().unwrap();
    assert!(made.success());
    let mut command = Program::command(folder.path(), &[]);
    let mut child = command
        .arg("--config")
        .arg(&config)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Opening it succeeds once the program reads it.
    let mut pipe = OpenOptions::new().write(true).open(&config).unwrap();
    for name in ["HUP", "USR1", "ALRM", "TERM"] {
        send_signal(name, child.id());
    }
    assert_eq!(child.try_wait().unwrap(), None);
    pipe.write_all(b"# the defaults\n").unwrap();
    drop(pipe);
    let mut output = String::new();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_to_string(&mut output).unwrap();
    assert!(output.starts_with("kebne on http://"), "{output}");
    assert_eq!(child.wait().unwrap().code(), Some(0), "stopped by SIGTERM");
}
