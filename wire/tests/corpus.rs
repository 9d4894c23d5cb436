//! The corpus: one pair of files for each quirk of a server, read in every cut; and bounded mutations of all of them.
//!
//! `<quirk>.in` holds the bytes of a stream. `<quirk>.out` holds what a caller gets, and in its last line how the stream
//! ended: `!end`, `!cut`, or what is wrong with it.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot read its files must fail"
)]

use std::{fs, path::PathBuf};

use bytes::Bytes;
use kebne_wire::{
    answer::Answer,
    encoding::Decoder as Decompressor,
    error::ErrorView,
    fold::Fold,
    json, redact,
    request::{Endpoint, parse},
    sniff,
    sse::Decoder,
    stream::{Framer, Problem},
    turn::NewTurn,
    whole,
};

const MAX: usize = 16 << 10;

fn corpus() -> Vec<(String, Vec<u8>, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus/openai-chat");
    let files = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut inputs: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|kind| kind == "in"))
        .collect();
    inputs.sort();
    let pair = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let expected = fs::read_to_string(path.with_extension("out")).unwrap();
        (name, fs::read(&path).unwrap(), expected)
    };
    inputs.into_iter().map(pair).collect()
}

/// Reads a stream in pieces; returns what a caller gets, and how it ended.
fn read(stream: &[u8], piece: usize) -> (Vec<u8>, &'static str) {
    let mut framer = Framer::new(MAX, 1);
    let mut passed = Vec::new();
    for chunk in stream.chunks(piece.max(1)) {
        let events = framer.push(Bytes::copy_from_slice(chunk));
        passed.extend_from_slice(&events.unwrap_or_default());
    }
    let (events, is_whole) = framer.end();
    passed.extend_from_slice(&events.unwrap_or_default());
    let end = match framer.problem() {
        Some(Problem::Error(_)) => "!error",
        Some(Problem::TooLarge) => "!too-large",
        Some(Problem::Unreadable) => "!unreadable",
        Some(Problem::Empty) => "!empty",
        Some(Problem::Failed) => "!failed",
        None if is_whole => "!end",
        None => "!cut",
    };
    (passed, end)
}

#[test]
fn every_quirk_is_read_as_its_file_says_in_every_cut() {
    let corpus = corpus();
    assert!(corpus.len() >= 35, "{}", corpus.len());
    for (name, stream, expected) in corpus {
        for piece in 1..=stream.len().max(1) {
            let (passed, end) = read(&stream, piece);
            let got = format!("{}{end}\n", String::from_utf8(passed).unwrap());
            assert_eq!(got, expected, "{name} in pieces of {piece}");
        }
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_never_ends_cleanly() {
    for (name, stream, _) in corpus() {
        let text = String::from_utf8_lossy(&stream).into_owned();
        for cut in 0..stream.len() {
            let (_, end) = read(&stream[..cut], 7);
            let seen = text.get(..cut).unwrap_or_default();
            // Clean is only what had its last word: `[DONE]`, or a reason to finish.
            let may_end = seen.contains("[DONE]") || seen.contains("\"finish_reason\":\"stop\"");
            assert!(end != "!end" || may_end, "{name} cut at {cut}");
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

#[test]
fn mutations_of_the_corpus_break_no_parser() {
    let inputs: Vec<Vec<u8>> = corpus().into_iter().map(|(_, stream, _)| stream).collect();
    let mut chance = fastrand::Rng::with_seed(20);
    for _ in 0..1500 {
        let bytes = mutated(&mut chance, &inputs);
        let piece = chance.usize(1..64);
        let (passed, end) = read(&bytes, piece);
        let text = std::str::from_utf8(&passed).expect("what is passed on is text");
        assert!(passed.len() <= 4 * bytes.len() + 64, "{end}");
        assert_eq!(
            text.ends_with("data: [DONE]\n\n"),
            end == "!end",
            "{bytes:?}"
        );
        assert_eq!(
            (passed.clone(), end),
            read(&bytes, bytes.len()),
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
        drop(whole::check(Endpoint::Chat, body.clone()));
        drop(parse(Endpoint::Chat, body.clone(), "id".into()));
        drop(NewTurn::read(&body, MAX));
        drop(ErrorView::read(&bytes));
        drop(json::with_finite_numbers(&bytes));
        drop(redact::text(&String::from_utf8_lossy(&bytes)));
        drop(redact::url(&String::from_utf8_lossy(&bytes)));
        let _kind = sniff::kind_of(&bytes);
    }
}
