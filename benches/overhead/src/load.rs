//! A closed loop of calls over some connections, each of which sends its next call when the last answer is complete.

use std::{
    net::Ipv4Addr,
    process::Command,
    str::FromStr,
    time::{Duration, Instant},
};

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
};

use crate::{Error, LOAD_CORE, gateway::KEY, own_program, upstream::PARTS};

/// Time that an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// The calls to make.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) port: u16,
    pub(crate) model: String,
    pub(crate) connections: usize,
    pub(crate) stream: bool,
    pub(crate) time: Duration,
}

/// What came of a load; times in seconds.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) calls: f64,
    pub(crate) parts: f64,
    pub(crate) errors: f64,
    pub(crate) seconds: f64,
    pub(crate) p50: f64,
    pub(crate) first_p50: f64,
    pub(crate) first_p99: f64,
}

/// The calls of one connection.
#[derive(Default)]
struct Calls {
    times: Vec<f64>,
    first_parts: Vec<f64>,
    parts: usize,
    errors: usize,
}

impl Load {
    /// Reads a load from arguments, as [`Load::in_process`] writes them.
    pub(crate) fn of(arguments: &[&str]) -> Result<Self, Error> {
        let [port, model, connections, stream, millis] = arguments else {
            return Err(Error::Failed("a load has five arguments".to_owned()));
        };
        Ok(Self {
            port: parse(port)?,
            model: (*model).to_owned(),
            connections: parse(connections)?,
            stream: parse(stream)?,
            time: Duration::from_millis(parse(millis)?),
        })
    }

    /// Makes the calls in a process of its own on the core of the load; returns its line.
    pub(crate) fn in_process(&self) -> Result<String, Error> {
        let output = Command::new("taskset")
            .args(["-c", LOAD_CORE, &own_program()?, "load"])
            .arg(self.port.to_string())
            .arg(&self.model)
            .arg(self.connections.to_string())
            .arg(self.stream.to_string())
            .arg(self.time.as_millis().to_string())
            .output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Makes the calls.
    pub(crate) fn run(self) -> Result<Measured, Error> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let begun = Instant::now();
        let all = runtime.block_on(async {
            let request = self.request();
            let ends = begun + self.time;
            let loops = (0..self.connections).map(|_| {
                let request = request.clone();
                tokio::spawn(async move { converse(self.port, &request, self.stream, ends).await })
            });
            let mut all = Calls::default();
            for each in loops.collect::<Vec<_>>() {
                match each.await {
                    Ok(calls) => all.add(calls),
                    Err(_) => all.errors += 1,
                }
            }
            all
        });
        Ok(all.measured(begun.elapsed()))
    }

    fn request(&self) -> String {
        let (model, stream) = (&self.model, self.stream);
        let body = format!(
            r#"{{"model":"{model}","messages":[{{"role":"user","content":"Order 48213 was sent eleven days ago and the tracking page still says that the parcel waits at the depot. What should I tell the customer?"}}],"temperature":0.2,"max_tokens":128,"stream":{stream}}}"#
        );
        let length = body.len();
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nauthorization: Bearer {KEY}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    }
}

fn parse<T: FromStr>(text: &str) -> Result<T, Error> {
    let wrong = |_| Error::Failed(format!("`{text}` is not an argument of a load"));
    text.parse().map_err(wrong)
}

/// Makes calls over one connection until the time is over; a lost connection is opened again.
async fn converse(port: u16, request: &str, stream: bool, ends: Instant) -> Calls {
    let mut calls = Calls::default();
    while Instant::now() < ends {
        let Ok(mut socket) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
            calls.errors += 1;
            return calls;
        };
        while Instant::now() < ends {
            let call = calls.call(&mut socket, request, stream);
            let answered = tokio::time::timeout(ANSWER_TIMEOUT, call).await;
            if !matches!(answered, Ok(Some(()))) {
                calls.errors += 1;
                break;
            }
        }
    }
    calls
}

impl Calls {
    /// Makes one call; `None` if there was no whole answer.
    async fn call(&mut self, socket: &mut TcpStream, request: &str, stream: bool) -> Option<()> {
        let begun = Instant::now();
        socket.set_nodelay(true).ok()?;
        socket.write_all(request.as_bytes()).await.ok()?;
        let mut read = Vec::with_capacity(16_384);
        let mut first = None;
        loop {
            if socket.read_buf(&mut read).await.ok()? == 0 || !read.starts_with(b"HTTP/1.1 200") {
                return None;
            }
            if stream && first.is_none() && memmem::find(&read, b"data: ").is_some() {
                first = Some(begun.elapsed().as_secs_f64());
            }
            if is_whole(&read, stream) {
                break;
            }
        }
        self.times.push(begun.elapsed().as_secs_f64());
        if stream {
            let parts = memmem::find_iter(&read, b"\"content\":\"depot").count();
            if parts != PARTS || memmem::find(&read, b"[DONE]").is_none() {
                return None;
            }
            self.parts += parts;
        }
        self.first_parts.extend(first);
        Some(())
    }

    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.first_parts.extend(other.first_parts);
        self.parts += other.parts;
        self.errors += other.errors;
    }

    fn measured(mut self, took: Duration) -> Measured {
        self.times.sort_by(f64::total_cmp);
        self.first_parts.sort_by(f64::total_cmp);
        Measured {
            calls: real(self.times.len()),
            parts: real(self.parts),
            errors: real(self.errors),
            seconds: took.as_secs_f64(),
            p50: quantile(&self.times, 50),
            first_p50: quantile(&self.first_parts, 50),
            first_p99: quantile(&self.first_parts, 99),
        }
    }
}

/// Returns `true` if the bytes hold a whole answer.
fn is_whole(read: &[u8], stream: bool) -> bool {
    if stream {
        return read.ends_with(b"0\r\n\r\n");
    }
    let Some(head) = memmem::find(read, b"\r\n\r\n") else {
        return false;
    };
    let text = String::from_utf8_lossy(&read[..head]).to_ascii_lowercase();
    let length = text
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next());
    let length = length.and_then(|length| length.parse::<usize>().ok());
    length.is_some_and(|length| read.len() >= head + 4 + length)
}

fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

pub(crate) fn real(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

impl Measured {
    /// Writes the numbers on one line.
    pub(crate) fn line(&self) -> String {
        let Self {
            calls,
            parts,
            errors,
            seconds,
            p50,
            first_p50,
            first_p99,
        } = self;
        format!("{calls} {parts} {errors} {seconds} {p50} {first_p50} {first_p99}")
    }

    /// Reads the numbers from a line.
    pub(crate) fn of(line: &str) -> Result<Self, Error> {
        let numbers: Vec<f64> = line
            .split_whitespace()
            .filter_map(|text| text.parse().ok())
            .collect();
        let [calls, parts, errors, seconds, p50, first_p50, first_p99] = numbers[..] else {
            return Err(Error::Failed("the load wrote no numbers".to_owned()));
        };
        Ok(Self {
            calls,
            parts,
            errors,
            seconds,
            p50,
            first_p50,
            first_p99,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let calls = Calls {
            times: vec![0.5, 0.25, 1.0],
            parts: 7,
            errors: 1,
            ..Calls::default()
        };
        let line = calls.measured(Duration::from_secs(2)).line();
        assert_eq!(line, "3 7 1 2 0.5 NaN NaN");
        assert_eq!(Measured::of(&line).unwrap().line(), line);
        assert!(Measured::of("1 2").is_err());
    }

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert!(is_whole(answer, false));
        assert!(!is_whole(&answer[..answer.len() - 1], false));
        assert!(is_whole(b"2\r\nab\r\n0\r\n\r\n", true));
    }
}
