//! The command line as a user sees it.

use std::collections::BTreeMap;

use super::*;

/// Runs the program with an environment of its own; returns code, output and complaints.
fn kebne(arguments: &[&str], variables: &[(&str, &str)]) -> (ExitCode, String, String) {
    let pairs = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let environment: BTreeMap<String, String> = pairs.collect();
    let (mut output, mut complaints) = (Vec::new(), Vec::new());
    let arguments = std::iter::once(&"kebne").chain(arguments);
    let code = run(arguments, &environment, &mut output, &mut complaints);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (code, text(output), text(complaints))
}

#[test]
fn check_prints_settings_that_can_be_read_again_and_says_who_set_what() {
    let (code, output, _) = kebne(&["check"], &[("KEBNE__LOG__FORMAT", "json")]);
    assert_eq!(code, ExitCode::Success);
    assert!(
        output.contains("# log.format <- KEBNE__LOG__FORMAT"),
        "{output}"
    );
    let settings: crate::settings::Settings = toml::from_str(&output).unwrap();
    assert_eq!(settings.log.format, crate::settings::LogFormat::Json);
}

#[test]
fn check_of_wrong_settings_ends_with_code_3_and_prints_nothing_else() {
    let variables = [
        ("KEBNE__LOG__FORMAT", "jsn"),
        ("KEBNE__SERVER__LISTENN", "x"),
    ];
    let (code, output, complaints) = kebne(&["check"], &variables);
    assert_eq!((code, output.as_str()), (ExitCode::Settings, ""));
    assert!(
        complaints.contains("log.format: unknown value `jsn`"),
        "{complaints}"
    );
    assert!(
        complaints.contains("server.listenn: unknown key"),
        "{complaints}"
    );
}

/// Runs `check` on a file with these settings; returns its code and complaints, the folder of the file left out.
fn check_of(text: &str, variables: &[(&str, &str)], command: &str) -> (ExitCode, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kebne.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    let (code, output, complaints) = kebne(&[command, "--config", &path], variables);
    assert!(code == ExitCode::Success || output.is_empty(), "{output}");
    let folder = format!("{}/", folder.path().display());
    (code, complaints.replace(&folder, ""))
}

#[test]
fn what_serve_cannot_start_with_is_an_error_of_check_with_its_line() {
    const KEY: &str =
        "[[backends]]\nname = 'b'\nkind = 'openai'\nbase_url = 'http://a'\napi_key_env = 'B_KEY'";
    const FILE: &str = "[context]\nkey_env = 'C_KEY'\n";
    let swapped = KEY.replace("B_KEY", "plain-key-1");
    let url = KEY.replace("http://a", "http://127.0.0.1:99999");
    let template = "[[backends]]\nname = 'h'\nkind = 'huggingface'\nbase_url = 'http://a'\nchat_template = '{{ x'";
    let table = [
        (
            KEY,
            vec![],
            "kebne.toml:5:15: backends[0].api_key_env: the environment variable `B_KEY` is not set",
        ),
        (
            KEY,
            vec![("B_KEY", "  ")],
            "kebne.toml:5:15: backends[0].api_key_env: the environment variable `B_KEY` is not set",
        ),
        (
            KEY,
            vec![("B_KEY", "a\nb")],
            "kebne.toml:5:15: backends[0].api_key_env: the value of the variable has a character that",
        ),
        (
            swapped.as_str(),
            vec![],
            "kebne.toml:5:15: backends[0].api_key_env: the environment variable is not set; the value must be the \
             name of a variable",
        ),
        (
            url.as_str(),
            vec![("B_KEY", "k")],
            "kebne.toml:4:12: backends[0].base_url: ",
        ),
        (
            template,
            vec![],
            "kebne.toml:5:17: backends[0].chat_template: ",
        ),
        (
            FILE,
            vec![("C_KEY", "zz")],
            "kebne.toml:2:11: context.key_env: the environment variable `C_KEY` of `context.key_env` must be 64",
        ),
    ];
    for (text, variables, expected) in table {
        for command in ["check", "serve"] {
            let (code, complaints) = check_of(text, &variables, command);
            assert_eq!(code, ExitCode::Settings, "{command}: {complaints}");
            let expected = format!("error: the settings are wrong:\n{expected}");
            assert!(
                complaints.starts_with(&expected),
                "{command}: {complaints}\n{expected}"
            );
        }
    }
    let (code, complaints) = check_of(KEY, &[("B_KEY", "k")], "check");
    assert_eq!(code, ExitCode::Success, "{complaints}");
}

#[test]
fn a_taken_address_is_named_and_nothing_is_announced() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, output, complaints) = kebne(&["serve", "--listen", &address], &[]);
    assert_eq!((code, output.as_str()), (ExitCode::Failure, ""));
    let expected = format!("error: cannot listen on {address}: ");
    assert!(complaints.starts_with(&expected), "{complaints}");
}

#[test]
fn wrong_usage_ends_with_code_2() {
    let (code, output, complaints) = kebne(&["chekc"], &[]);
    assert_eq!((code, output.as_str()), (ExitCode::Usage, ""));
    assert!(complaints.contains("chekc"), "{complaints}");
}

#[test]
fn help_names_every_exit_code_and_version_the_package() {
    let (code, output, _) = kebne(&["--help"], &[]);
    assert_eq!(code, ExitCode::Success);
    for number in [
        ExitCode::Success,
        ExitCode::Failure,
        ExitCode::Usage,
        ExitCode::Settings,
    ] {
        assert!(output.contains(&format!("{} ", number as u8)), "{output}");
    }
    let (_, version, _) = kebne(&["--version"], &[]);
    assert_eq!(version, format!("kebne {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn simulate_names_the_presets_that_there_are_and_a_port_that_is_taken() {
    let (code, _, complaints) = kebne(&["simulate", "--port", "0", "--preset", "fast"], &[]);
    assert_eq!(code, ExitCode::Usage);
    assert!(
        complaints.contains("`default`, `plan` and `instant`"),
        "{complaints}"
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, output, complaints) = kebne(&["simulate", "--port", &port], &[]);
    assert_eq!((code, output.as_str()), (ExitCode::Failure, ""));
    assert!(
        complaints.contains(&format!(
            "cannot serve the simulated model on 127.0.0.1:{port}: "
        )),
        "{complaints}"
    );
}

/// Returns the commands of the README's shell blocks.
fn readme_commands() -> Vec<String> {
    let readme = include_str!("../../README.md").replace("\\\n", "");
    let blocks = readme.split("```sh\n").skip(1);
    blocks
        .flat_map(|block| block.split("```").next().unwrap_or_default().lines())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_of_the_readme_is_one_that_works() {
    let commands = readme_commands();
    assert!(commands.len() >= 2, "{commands:?}");
    for command in commands {
        let Some(rest) = command.strip_prefix("cargo run --release") else {
            // The call with curl is made by tests/service.rs, against the program itself.
            if !command.starts_with("curl -N ") {
                let ci = include_str!("../../.ci/run");
                assert!(
                    ci.lines().any(|line| line == command),
                    "CI does not run {command}"
                );
            }
            continue;
        };
        let arguments: Vec<&str> = rest.trim_start_matches(" --").split_whitespace().collect();
        let program = std::iter::once("kebne").chain(arguments.iter().copied());
        if let Ok(cli) = Cli::try_parse_from(program)
            && matches!(
                cli.command,
                None | Some(Command::Serve { .. } | Command::Lab(lab::LabCommand::Simulate { .. }))
            )
        {
            // It serves until it is told to stop.
            continue;
        }
        let (code, output, complaints) = kebne(&arguments, &[]);
        assert_eq!(
            (code, complaints.as_str()),
            (ExitCode::Success, ""),
            "{command}"
        );
        assert!(!output.is_empty(), "{command}");
    }
}

#[test]
fn the_error_that_the_readme_shows_is_the_one_that_is_printed() {
    let readme = include_str!("../../README.md");
    let shown = readme.lines().find(|line| line.contains("LISTENN"));
    let shown = shown.unwrap();
    let (_, _, complaints) = kebne(&["check"], &[("KEBNE__SERVER__LISTENN", "x")]);
    let (path, _) = shown.split_once("; allowed").unwrap();
    assert!(complaints.contains(path), "{complaints}");
    let origin = "(from KEBNE__SERVER__LISTENN)";
    assert!(
        shown.ends_with(origin) && complaints.contains(origin),
        "{complaints}"
    );
}

#[test]
fn the_table_that_the_readme_shows_is_the_one_that_is_printed() {
    let readme = include_str!("../../README.md");
    let shown = readme.split("demo --fast").nth(1).unwrap();
    let shown = shown.split("```text\n").nth(1).unwrap();
    let shown = shown.split("```").next().unwrap();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, output, _) = kebne(&["demo", "--fast"], &[]);
    let printed: Vec<String> = output.lines().map(words).collect();
    assert!(shown.lines().count() >= 6, "{shown}");
    for line in shown.lines().map(words) {
        assert!(printed.contains(&line), "`{line}` is not in:\n{output}");
    }
}

#[test]
fn a_load_on_another_machine_and_a_scenario_that_cannot_be_played_are_wrong_usage() {
    let (code, _, complaints) = kebne(&["load", "--url", "http://192.0.2.1/v1"], &[]);
    assert_eq!(code, ExitCode::Usage);
    assert!(
        complaints.contains("must name this machine"),
        "{complaints}"
    );
    for (name, why) in [
        ("S17", "several gateways"),
        ("S999", "the scenario `S999` does not exist"),
    ] {
        let (code, _, complaints) = kebne(&["load", "--scenario", name], &[]);
        assert_eq!(code, ExitCode::Usage);
        assert!(complaints.contains(why), "{complaints}");
    }
    let missing = ["load", "--key-env", "NOT_SET"];
    let (code, _, complaints) = kebne(&missing, &[]);
    assert_eq!(code, ExitCode::Usage);
    assert!(complaints.contains("`NOT_SET`"), "{complaints}");
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let names: Vec<String> = <Cli as clap::CommandFactory>::command()
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name().to_owned())
        .collect();
    assert!(names.contains(&"serve".to_owned()), "{names:?}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("man");
    let (code, output, _) = kebne(&["man", "--folder", path.to_str().unwrap()], &[]);
    assert_eq!((code, output.as_str()), (ExitCode::Success, ""));
    let (_, page, _) = kebne(&["man"], &[]);
    for name in names {
        for shell in ["bash", "zsh", "fish"] {
            let (code, text, _) = kebne(&["completions", shell], &[]);
            assert_eq!(code, ExitCode::Success);
            assert!(text.contains(&name), "{shell} lacks {name}");
        }
        assert!(page.contains(&name), "{page}");
        let own = std::fs::read_to_string(path.join(format!("kebne-{name}.1"))).unwrap();
        assert!(own.starts_with(".ie") || own.contains(".TH"), "{own}");
    }
    let (code, _, complaints) = kebne(&["completions", "tcsh"], &[]);
    assert_eq!(code, ExitCode::Usage);
    assert!(complaints.contains("bash"), "{complaints}");
}

#[test]
fn a_gateway_that_does_not_answer_is_not_healthy() {
    // Nothing listens on a port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://user:secret@{}", listener.local_addr().unwrap());
    drop(listener);
    let (code, output, complaints) = kebne(&["health", "--url", &url], &[]);
    assert_eq!((code, output.as_str()), (ExitCode::Failure, ""));
    assert!(
        complaints.contains("/healthz does not answer"),
        "{complaints}"
    );
    assert!(!complaints.contains("secret"), "{complaints}");
}
