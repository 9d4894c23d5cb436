//! Removals while the disk is full. The disk is a small one in memory, which only the program under test sees.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{World, is_in, settings};
use crate::program::{Program, folder};

/// The size of the disk: four times the largest reserve, and some more.
const DISK: &str = "size=128m";
/// The settings: small documents need a small reserve.
const SETTINGS: &str = "[collections]\nfile_size_max = \"1MiB\"\n[jobs]\nresult_size_max = \"1MiB\"\n[cache]\nstore = \"sqlite\"\n[log.audit]\naccesses = true\nfile = \"audit.jsonl\"\n";

/// Starts the program in a folder with a disk of its own.
fn start(world: PathBuf, config: &std::path::Path) -> Program {
    let mut command = Command::new("unshare");
    let mount = format!("mount -t tmpfs -o {DISK} none . && cd \"$PWD\" && exec \"$0\" \"$@\"");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount])
        .arg(env!("CARGO_BIN_EXE_kebne"))
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(config)
        .current_dir(world)
        .env("KEBNE__SERVER__LAME_DUCK", "0s")
        .env("KEBNE_CONTEXT_KEY", super::KEY)
        .stdout(Stdio::piped());
    Program::spawn_with(&mut command, Stdio::inherit())
}

#[test]
fn everything_can_be_removed_while_the_disk_is_full() {
    let (folder, beside) = (folder(), folder());
    let config = settings(beside.path(), SETTINGS);
    let program = start(folder.path().to_owned(), &config);
    let world = World { folder, program };
    let (ann, bob) = (world.fill("ann"), world.fill("bob"));
    let prompt = json!({"name": "p", "template": "{{ input }}"});
    world.fine("root", "POST", "/v1/prompts", &prompt);
    // The program's disk, seen from here.
    let disk = PathBuf::from(format!("/proc/{}/cwd", world.program.child.id()));
    let fill = || {
        let mut file = fs::File::create(disk.join("full")).unwrap();
        let block = vec![7; 1 << 16];
        while file.write_all(&block).is_ok() {}
        // The last bytes too.
        while file.write_all(&[7]).is_ok() {}
    };
    fill();
    let more = json!({"messages": [{"role": "user", "content": "x".repeat(100_000)}]});
    let path = format!("/v1/sessions/{}/turns", bob.session);
    let refused = world.send("bob", "POST", &path, &more);
    assert!(refused.status >= 400, "the disk is not full");
    // One thing of each kind. What a removal leaves free is used up at once.
    let fact = format!("/v1/sessions/{}/facts/{}", bob.session, bob.fact);
    world.fine("bob", "DELETE", &fact, &Value::Null);
    fill();
    let rewind = format!("/v1/sessions/{}/rewind", bob.session);
    world.fine("bob", "POST", &rewind, &json!({"turn": 0}));
    for path in [
        format!("/v1/responses/{}", bob.response),
        format!("/v1/vector_stores/{}/files/{}", bob.store, bob.file),
        format!("/v1/files/{}", bob.file),
        format!("/v1/vector_stores/{}", bob.store),
        format!("/v1/sessions/{}", bob.session),
    ] {
        fill();
        let removed = world.send("bob", "DELETE", &path, &Value::Null);
        assert_eq!(removed.status, 200, "{path}: {}", removed.body);
    }
    fill();
    world.fine("root", "DELETE", "/v1/prompts/p", &Value::Null);
    let report = world.fine("ann", "DELETE", "/v1/privacy/data", &Value::Null);
    assert_eq!(report["verified"], true, "{report}");
    for store in report["stores"].as_array().unwrap() {
        assert_eq!(store["log_emptied"], true, "{report}");
    }
    let path = format!("/v1/sessions/{}", ann.session);
    assert_eq!(world.send("ann", "GET", &path, &Value::Null).status, 404);
    for file in fs::read_dir(disk.join("kebne-data")).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert!(!is_in(&bytes, "ann-wrote-this"));
    }
}
