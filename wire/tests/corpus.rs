//! The corpus: one pair of files for each quirk of a server, read in every cut; and bounded mutations of all of them.
//!
//! Each dialect has a folder. `<quirk>.in` holds the bytes of a stream. `<quirk>.out` holds what a caller gets, and in its
//! last line how the stream ended: `!end`, `!cut`, or what is wrong with it. For messages, `<quirk>.chat` is the same as
//! chat chunks. The folder `whole` holds answers in one piece.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot read its files must fail"
)]

use std::{fs, path::PathBuf};

use bytes::Bytes;
use kebne_wire::{
    answer::Answer,
    anthropic::{ChunkWriter, MessageFramer},
    encoding::Decoder as Decompressor,
    error::ErrorView,
    fold::Fold,
    framing::Framing,
    json, redact,
    request::{Endpoint, parse},
    responses::ResponseFramer,
    sniff,
    sse::Decoder,
    stream::{Framer, Problem},
    turn::NewTurn,
    whole,
};

const MAX: usize = 16 << 10;

/// The dialects of streams: the folder, the ending of the file with the result, and the number of quirks.
const DIALECTS: [(&str, &str, usize); 4] = [
    ("openai-chat", "out", 50),
    ("messages", "out", 20),
    ("messages", "chat", 20),
    ("responses", "out", 15),
];

/// Returns the name, the bytes and the result of each quirk.
fn corpus(folder: &str, result: &str) -> Vec<(String, Vec<u8>, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(folder);
    let files = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut inputs: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|kind| kind == "in"))
        .collect();
    inputs.sort();
    let pair = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let expected = fs::read_to_string(path.with_extension(result)).unwrap();
        (name, fs::read(&path).unwrap(), expected)
    };
    inputs.into_iter().map(pair).collect()
}

/// Makes the reader of a dialect.
fn framing(folder: &str, result: &str) -> Box<dyn Framing> {
    match (folder, result) {
        ("openai-chat", _) => Box::new(Framer::new(MAX, 1)),
        ("messages", "out") => Box::new(MessageFramer::new(MAX, None)),
        ("messages", _) => Box::new(MessageFramer::new(MAX, Some(ChunkWriter::new(true, 0)))),
        _ => Box::new(ResponseFramer::new(MAX)),
    }
}

/// Reads a stream in pieces; returns what a caller gets, and how it ended.
fn read(mut framing: Box<dyn Framing>, stream: &[u8], piece: usize) -> (Vec<u8>, &'static str) {
    let mut passed = Vec::new();
    for chunk in stream.chunks(piece.max(1)) {
        let events = framing.push(Bytes::copy_from_slice(chunk));
        passed.extend_from_slice(&events.unwrap_or_default());
    }
    passed.extend_from_slice(&framing.end().unwrap_or_default());
    (passed, ending(framing.problem(), framing.is_done()))
}

fn ending(problem: Option<&Problem>, is_whole: bool) -> &'static str {
    match problem {
        Some(Problem::Error(_)) => "!error",
        Some(Problem::TooLarge) => "!too-large",
        Some(Problem::Unreadable) => "!unreadable",
        Some(Problem::Empty) => "!empty",
        Some(Problem::Failed) => "!failed",
        None if is_whole => "!end",
        None | Some(Problem::Cut) => "!cut",
    }
}

#[test]
fn every_quirk_is_read_as_its_file_says_in_every_cut() {
    for (folder, result, count) in DIALECTS {
        let corpus = corpus(folder, result);
        assert!(corpus.len() >= count, "{folder}: {}", corpus.len());
        for (name, stream, expected) in corpus {
            let whole = stream.len().max(1);
            for piece in (1..=whole.min(64)).chain([whole]) {
                let (passed, end) = read(framing(folder, result), &stream, piece);
                let got = format!("{}{end}\n", String::from_utf8(passed).unwrap());
                assert_eq!(
                    got, expected,
                    "{folder}/{name}.{result} in pieces of {piece}"
                );
            }
        }
    }
}

#[test]
fn whole_answers_are_read_as_their_files_say() {
    let corpus = corpus("whole", "out");
    assert!(corpus.len() >= 15, "{}", corpus.len());
    for (name, body, expected) in corpus {
        let got = match whole::check(Endpoint::Chat, body.into(), "") {
            Ok(whole) => format!("{}!end\n", String::from_utf8(whole.body.to_vec()).unwrap()),
            Err(problem) => format!("{}\n", ending(Some(&problem), false)),
        };
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_never_ends_cleanly() {
    // Clean is only what had its last word: the last event, or a reason to finish.
    let last_words = |folder: &str| match folder {
        "openai-chat" => ["[DONE]", "\"finish_reason\":"],
        "messages" => ["message_stop", "message_stop"],
        _ => ["response.completed", "response.incomplete"],
    };
    for (folder, result, _) in DIALECTS {
        for (name, stream, _) in corpus(folder, result) {
            for cut in 0..stream.len() {
                let (_, end) = read(framing(folder, result), &stream[..cut], 7);
                let seen = String::from_utf8_lossy(&stream[..cut]);
                let may_end = last_words(folder).iter().any(|word| seen.contains(word));
                assert!(end != "!end" || may_end, "{folder}/{name} cut at {cut}");
            }
        }
    }
}

/// Changes some bytes: flips, removes, repeats, and joins with another input.
fn mutated(chance: &mut fastrand::Rng, inputs: &[Vec<u8>]) -> Vec<u8> {
    let pick = |chance: &mut fastrand::Rng| inputs[chance.usize(..inputs.len())].clone();
    let mut bytes = pick(chance);
    for _ in 0..chance.usize(1..6) {
        let at = chance.usize(..=bytes.len());
        match chance.u8(..5) {
            0 if at < bytes.len() => bytes[at] = chance.u8(..),
            1 => bytes.truncate(at),
            2 => {
                let end = chance.usize(at..=bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            3 => {
                let other = pick(chance);
                bytes.splice(at.., other);
            }
            _ => {
                let words: [&[u8]; 8] = [
                    b"\r",
                    b"\n\n",
                    b"data:",
                    b"[DONE]",
                    b"{",
                    b"\"",
                    b"\\",
                    b"-Infinity",
                ];
                let word = words[chance.usize(..words.len())];
                bytes.splice(at..at, word.iter().copied());
            }
        }
    }
    bytes.truncate(64 << 10);
    bytes
}

/// Returns the bytes of every quirk of every dialect.
fn all_inputs() -> Vec<Vec<u8>> {
    let folders = ["openai-chat", "messages", "responses", "whole"];
    let all = folders.into_iter().flat_map(|folder| corpus(folder, "out"));
    all.map(|(_, stream, _)| stream).collect()
}

#[test]
fn mutated_streams_of_every_dialect_read_the_same_in_every_cut_and_end_cleanly_only_when_complete()
{
    let inputs = all_inputs();
    let mut chance = fastrand::Rng::with_seed(21);
    for _ in 0..1500 {
        let bytes = mutated(&mut chance, &inputs);
        for (folder, result, _) in DIALECTS {
            let piece = chance.usize(1..64);
            let (passed, end) = read(framing(folder, result), &bytes, piece);
            let at_once = read(framing(folder, result), &bytes, bytes.len());
            assert_eq!(
                (&passed, end),
                (&at_once.0, at_once.1),
                "{folder}.{result}: {bytes:?}"
            );
            let text = std::str::from_utf8(&passed).expect("what is passed on is text");
            // A chat chunk repeats the id and the model of the message.
            let most = if result == "chat" { 600 } else { 4 } * bytes.len() + 600;
            assert!(passed.len() <= most, "{folder}.{result}: {}", passed.len());
            let has_end = match (folder, result) {
                ("openai-chat", _) | (_, "chat") => text.ends_with("data: [DONE]\n\n"),
                ("messages", _) => text.contains("message_stop"),
                _ => text.contains("response.completed") || text.contains("response.incomplete"),
            };
            assert!(end != "!end" || has_end, "{folder}.{result}: {bytes:?}");
        }
    }
}

#[test]
fn mutations_of_the_corpus_break_no_parser() {
    let inputs = all_inputs();
    let mut chance = fastrand::Rng::with_seed(20);
    for _ in 0..1500 {
        let bytes = mutated(&mut chance, &inputs);
        let piece = chance.usize(1..64);
        let (passed, end) = read(framing("openai-chat", "out"), &bytes, piece);
        let text = std::str::from_utf8(&passed).expect("what is passed on is text");
        assert!(passed.len() <= 4 * bytes.len() + 64, "{end}");
        assert_eq!(
            text.ends_with("data: [DONE]\n\n"),
            end == "!end",
            "{bytes:?}"
        );
        assert_eq!(
            (passed.clone(), end),
            read(framing("openai-chat", "out"), &bytes, bytes.len()),
            "{bytes:?}"
        );
        let body = Bytes::from(bytes.clone());
        let mut fold = Fold::new(Endpoint::Chat, MAX, MAX, 1);
        fold.push(body.clone());
        let folded = fold.finish().ok().flatten();
        assert_eq!(folded.is_some(), end == "!end", "{bytes:?}");
        let mut answer = Answer::default();
        answer.feed(&passed, MAX);
        drop(answer.finish());
        let mut decoder = Decoder::new(MAX);
        drop(decoder.push(body.clone()));
        if let Ok(Some(mut gzip)) = Decompressor::new("gzip", MAX) {
            drop(gzip.push(&bytes).and_then(|_| gzip.finish()));
        }
        drop(whole::check(Endpoint::Chat, body.clone(), ""));
        drop(parse(Endpoint::Chat, body.clone(), "id".into()));
        drop(NewTurn::read(&body, MAX));
        drop(ErrorView::read(&bytes));
        drop(json::with_finite_numbers(&bytes));
        drop(redact::text(&String::from_utf8_lossy(&bytes)));
        drop(redact::url(&String::from_utf8_lossy(&bytes)));
        let _kind = sniff::kind_of(&bytes);
    }
}
