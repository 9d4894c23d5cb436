//! `kebne health`: what health checks of containers ask.

use std::process::{Command, Output};

use crate::program::{Program, folder};

fn health(program: &Program, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kebne"))
        .arg("health")
        .args(arguments)
        .env("KEBNE__SERVER__LISTEN", program.address.to_string())
        .output()
        .unwrap()
}

#[test]
fn a_gateway_is_healthy_until_it_ends_and_ready_until_it_is_to_stop() {
    let folder = folder();
    // A key is not needed to ask.
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let keys = format!("[{{name = \"a\", hash = \"{hash}\"}}]");
    let variables = [
        ("KEBNE__SERVER__LAME_DUCK", "10m"),
        ("KEBNE__SERVER__KEYS", keys.as_str()),
    ];
    let mut program = Program::start(folder.path(), &variables);
    let ready = health(&program, &["--ready"]);
    assert_eq!(ready.stdout, b"ready\n");
    let url = format!("http://{}/v1", program.address);
    assert_eq!(health(&program, &["--url", &url]).stdout, b"healthy\n");
    program.signal("TERM");
    // The signal has taken effect when the gateway is not ready.
    let mut asked = 0;
    let not_ready = loop {
        let answer = health(&program, &["--ready"]);
        asked += 1;
        if !answer.status.success() || asked == 1000 {
            break answer;
        }
    };
    assert_eq!(not_ready.status.code(), Some(1));
    let complaint = String::from_utf8(not_ready.stderr).unwrap();
    assert!(complaint.contains("/readyz answers 503"), "{complaint}");
    assert_eq!(health(&program, &[]).stdout, b"healthy\n");
    program.signal("TERM");
    program.child.wait().unwrap();
    assert_eq!(health(&program, &[]).status.code(), Some(1));
}
