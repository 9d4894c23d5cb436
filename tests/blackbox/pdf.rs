//! PDF files in vector stores: their texts, and files that are made to take time and memory.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use flate2::{Compression, write::ZlibEncoder};
use serde_json::json;

use crate::{
    collections::{Caller, STORES, form},
    program::{Program, folder},
};

/// Returns a PDF file of these objects, the first of which is its catalog.
fn file(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut file = b"%PDF-1.5\n".to_vec();
    let mut offsets = Vec::new();
    for (number, object) in (1..).zip(objects) {
        offsets.push(file.len());
        file.extend(format!("{number} 0 obj\n").bytes());
        file.extend(object);
        file.extend(b"\nendobj\n");
    }
    let start = file.len();
    file.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).bytes());
    for offset in offsets {
        file.extend(format!("{offset:010} 00000 n \n").bytes());
    }
    let size = objects.len() + 1;
    file.extend(
        format!("trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n").bytes(),
    );
    file
}

fn stream(dictionary: &str, content: &[u8]) -> Vec<u8> {
    let mut stream = format!("<< /Length {} {dictionary} >>\nstream\n", content.len()).into_bytes();
    stream.extend(content);
    stream.extend(b"\nendstream");
    stream
}

fn deflated(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

const FONT: &str =
    "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>";

/// Returns a file whose pages have these contents.
fn pages(contents: &[Vec<u8>]) -> Vec<u8> {
    let kids: Vec<String> = (0..contents.len())
        .map(|at| format!("{} 0 R", 4 + 2 * at))
        .collect();
    let mut objects = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        format!(
            "<< /Type /Pages /Kids [{}] /Count {} >>",
            kids.join(" "),
            contents.len()
        )
        .into_bytes(),
        FONT.into(),
    ];
    for (at, content) in contents.iter().enumerate() {
        let content_at = 5 + 2 * at;
        objects.push(
            format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Resources << /Font << /F1 3 0 R >> \
                 /XObject << /X1 {content_at} 0 R >> >> /Contents {content_at} 0 R >>"
            )
            .into_bytes(),
        );
        objects.push(content.clone());
    }
    file(&objects)
}

/// Returns a page with lines of text.
fn text(lines: &[&str]) -> Vec<u8> {
    let mut shown = String::new();
    for line in lines {
        shown += &["(", line, ") Tj 0 -14 Td\n"].concat();
    }
    stream("", format!("BT /F1 12 Tf 50 700 Td\n{shown}ET").as_bytes())
}

/// What the child does with a file.
struct Read {
    code: Option<i32>,
    output: String,
    complaint: String,
    /// The most memory that it had, in MiB.
    memory: u64,
    took: Duration,
}

fn read(content: &[u8]) -> Read {
    let since = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kebne"))
        .arg("read-pdf")
        .env_clear()
        .env("MIMALLOC_ARENA_RESERVE", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let content = content.to_vec();
    let writing = std::thread::spawn(move || input.write_all(&content).ok());
    let status = format!("/proc/{}/status", child.id());
    let mut memory = 0;
    while child.try_wait().unwrap().is_none() {
        let shown = fs::read_to_string(&status).unwrap_or_default();
        let peak = shown.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<u64>().ok());
        memory = memory.max(peak.unwrap_or_default() >> 10);
        assert!(since.elapsed() < Duration::from_mins(1));
        std::thread::sleep(Duration::from_millis(5));
    }
    writing.join().unwrap();
    let ended = child.wait_with_output().unwrap();
    Read {
        code: ended.status.code(),
        output: String::from_utf8(ended.stdout).unwrap(),
        complaint: String::from_utf8(ended.stderr).unwrap(),
        memory,
        took: since.elapsed(),
    }
}

#[test]
fn the_pages_of_a_pdf_file_are_found_with_their_numbers() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let caller = Caller {
        program: &program,
        key: None,
    };
    let id = caller.post(STORES, &json!({}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let first = text(&["Reindeer walk to the", "mountains in spring."]);
    let second = text(&["The lake freezes in December."]);
    let pdf = String::from_utf8(pages(&[first, second])).unwrap();
    let path = format!("{STORES}/{id}/documents");
    let answer = caller.send_form(&path, &form(None, &[("north/guide.pdf", &pdf)]));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let store = caller.await_read(&id);
    assert_eq!(store["file_counts"]["completed"], 1, "{store}");
    let search = format!("{STORES}/{id}/search");
    let found = caller.post(&search, &json!({"query": "when does the lake freeze?"}));
    let best = &found["data"][0];
    assert_eq!(best["filename"], "north/guide.pdf");
    assert_eq!(best["content"][0]["text"], "The lake freezes in December.");
    let found = caller.post(&search, &json!({"query": "reindeer"}));
    let text = &found["data"][0]["content"][0]["text"];
    assert_eq!(text, "Reindeer walk to the\nmountains in spring.");
}

#[test]
fn a_file_that_is_made_to_harm_takes_neither_memory_nor_time() {
    let zeros = deflated(&vec![b' '; 100 << 20]);
    let bomb = pages(&[stream("/Filter /FlateDecode", &zeros)]);
    let twice = deflated(&deflated(&vec![0; 100 << 20]));
    let nested_bomb = pages(&[stream("/Filter [/FlateDecode /FlateDecode]", &twice)]);
    // The form is its own content.
    let form_loop = stream(
        "/Type /XObject /Subtype /Form",
        b"BT /F1 9 Tf (again) Tj ET /X1 Do /X1 Do /X1 Do",
    );
    let form_loop = pages(&[form_loop]);
    let tree_loop = file(&[
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [2 0 R 2 0 R 2 0 R] /Count 3000000 >>".to_vec(),
    ]);
    let deep = [vec![b'['; 3 << 20], vec![b']'; 3 << 20]].concat();
    let deep = file(&[b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(), deep]);
    let deep_content = pages(&[stream("", &[vec![b'['; 3 << 20], b" TJ".to_vec()].concat())]);
    let cut = pages(&[text(&["Half of it."])]);
    let cut = cut[..cut.len() / 2].to_vec();
    let names = [
        "bomb",
        "nested bomb",
        "form loop",
        "tree loop",
        "deep",
        "deep content",
        "cut",
    ];
    let files = [
        bomb,
        nested_bomb,
        form_loop,
        tree_loop,
        deep,
        deep_content,
        cut,
    ];
    for (name, file) in names.into_iter().zip(files) {
        let read = read(&file);
        let Read {
            code,
            output,
            complaint,
            memory,
            took,
        } = read;
        let shown = format!(
            "{name}: {} bytes, code {code:?}, {memory} MiB, {took:?}, {} bytes of text, {complaint}",
            file.len(),
            output.len()
        );
        assert!(memory < 800, "{shown}");
        assert!(took < Duration::from_secs(50), "{shown}");
        assert!(output.len() < 1 << 20, "{shown}");
    }
}

#[test]
fn a_pdf_file_that_takes_long_stops_nobody_and_fails() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let caller = Caller {
        program: &program,
        key: None,
    };
    let id = caller.post(STORES, &json!({}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    // The tokenizer is made with the first text.
    let path = format!("{STORES}/{id}/documents");
    let answer = caller.send_form(&path, &form(None, &[("a.md", "Reindeer.")]));
    assert_eq!(answer.status, 200, "{}", answer.body);
    caller.await_read(&id);
    // Each page has one million operators.
    let slow = "q Q ".repeat(1 << 20);
    let slow: String = hex(&deflated(slow.as_bytes()));
    let slow = stream("/Filter [/ASCIIHexDecode /FlateDecode]", slow.as_bytes());
    let slow = String::from_utf8(pages(&vec![slow; 400])).unwrap();
    let answer = caller.send_form(&path, &form(None, &[("slow.pdf", &slow)]));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let since = Instant::now();
    let answer = caller.send_form(&path, &form(None, &[("b.md", "The lake freezes.")]));
    assert_eq!(answer.status, 200, "{}", answer.body);
    loop {
        if caller.found(&id, "lake").contains(&"b.md".to_owned()) {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(50));
    }
    let store = caller.await_read(&id);
    assert_eq!(store["file_counts"]["failed"], 1, "{store}");
    let failed = caller.get(&format!("{STORES}/{id}/files?filter=failed"));
    let error = &failed["data"][0]["last_error"];
    // Its time or its memory ends first, depending on the machine.
    assert_eq!(error["code"], "invalid_file", "{error}");
}

fn hex(bytes: &[u8]) -> String {
    let mut text = hex::encode(bytes);
    text.push('>');
    text
}
