//! A scenario over sockets: simulated backend, gateway and load, each a process of its own.

use std::process::Command;

use serde_json::Value;

use crate::{
    program::{Program, folder},
    upstream::simulated,
};

/// The bounds are wide, because the machine may be busy: `kebne-lab agree` is what measures.
#[test]
fn a_load_through_the_gateway_serves_a_scenario_and_every_call_is_counted_once() {
    let scenario = ["--scenario", "S19", "--speed", "12"];
    let (_backend, upstream) = simulated(&scenario, &[]);
    let folder = folder();
    let config = folder.path().join("kebne.toml");
    let settings = format!(
        "[[backends]]\nname = \"b\"\nkind = \"openai\"\nbase_url = \"{upstream}\"\n\n[[models]]\nname = \"simulated\"\nbackends = [\"b\"]\n"
    );
    std::fs::write(&config, settings).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let output = Command::new(env!("CARGO_BIN_EXE_kebne"))
        .args(["load", "--json", "--law", "aimd", "--url"])
        .arg(format!("http://{}/v1", program.address))
        .args(scenario)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let load = &report["load"];
    let sum = |what: &str| -> u64 {
        let causes = load[what].as_object().unwrap();
        causes.values().map(|count| count.as_u64().unwrap()).sum()
    };
    let (offered, served) = (load["offered"].as_u64(), load["served"].as_u64());
    let ended = served.unwrap() + sum("shed") + sum("failed");
    assert_eq!(offered, Some(ended), "{report}");
    assert!(offered > Some(2000), "{report}");
    let goodput = report["scenario"]["goodput"].as_f64().unwrap();
    assert!(goodput > 0.7, "{report}");
    assert!(report["scenario"]["virtual_goodput"].as_f64() > Some(0.97));
    program.await_metric("kebne_in_flight{lane=\"b\"} 0.0");
}
