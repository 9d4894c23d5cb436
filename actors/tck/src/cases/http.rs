//! L5: HTTP, where a handler panics and where a caller leaves.
//!
//! Sockets live in real time: these cases wait for what the server does and bound it from above, and where the bound is
//! tight they take the median of five callers. Sources: Pekko HTTP's `HttpServerSpec` and `ExceptionHandlingSpec`,
//! and the traps T11 and T12 of actix-web.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use socket2::SockRef;

use crate::{
    case::{
        Case, CaseResult, Failure,
        Stance::{Same, Trap},
        ensure,
    },
    cases,
    driver::{
        Offered,
        http::{HttpDriver, Server, Upstream, Watch},
    },
};

/// How long a case waits for what must happen.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How soon the upstream call of a caller who left must be dropped.
const PROMPT: Duration = Duration::from_millis(100);
/// What may lie between a server and a caller who does not read: the sockets' buffers and the server's own.
const IN_FLIGHT_MAX: u64 = 32 << 20;

/// The cases.
pub(super) const CASES: &[Case<dyn HttpDriver>] = cases![dyn HttpDriver, L5;
    a_handler_that_panics_is_answered_with_500_and_a_body => "T11; ExceptionHandlingSpec: 500 for an exception",
        Trap("actix-web closes the connection without a byte");
    a_handler_that_panics_after_it_waited_is_answered_too => "T11; ExceptionHandlingSpec: 500 for a failed future",
        Trap("actix-web closes the connection without a byte");
    a_connection_serves_on_after_a_handler_that_panicked => "T11; HttpServerSpec: the connection survives a failed handler",
        Trap("actix-web closes the connection without a byte");
    a_panic_costs_no_other_caller => "T11; ExceptionHandlingSpec: one request fails alone", Same;
    a_panic_in_a_streamed_answer_is_no_clean_end => "HttpServerSpec: a failing entity stream aborts the connection", Same;
    a_caller_who_closes_has_its_waiting_call_dropped => "T12; HttpServerSpec: cancellation when the client goes",
        Trap("actix-web lets the handler run to its end, for the caller might only have closed its half");
    a_caller_who_closes_its_half_has_its_waiting_call_dropped => "T12; HttpServerSpec: half-closed connections",
        Trap("actix-web lets the handler run to its end, for the caller might only have closed its half");
    a_caller_who_resets_has_its_waiting_call_dropped => "T12; HttpServerSpec: cancellation when the client resets", Same;
    a_caller_who_leaves_an_idle_stream_has_its_call_dropped => "T12; HttpServerSpec: cancel the response entity",
        Trap("actix-web notices only at a later write");
    a_caller_who_leaves_a_busy_stream_has_its_call_dropped => "T12; HttpServerSpec: cancel the response entity", Same;
    a_caller_who_stays_keeps_its_call => "T12; HttpServerSpec: no cancellation while the client waits", Same;
    a_caller_who_does_not_read_slows_its_upstream => "HttpServerSpec: backpressure of the response entity; Reactive Streams 1.1", Same;
];

/// A failed socket fails the case.
fn wire<T>(done: io::Result<T>) -> Offered<T> {
    done.map_err(|error| Failure::Failed(format!("the connection failed: {error}")))
}

struct Bench {
    server: Box<dyn Server>,
    watch: Watch,
}

fn bench(driver: &dyn HttpDriver) -> Offered<Bench> {
    let (upstream, watch) = Upstream::watched();
    let server = driver.serve(upstream)?;
    Ok(Bench { server, watch })
}

impl Bench {
    /// Connects and asks for a path.
    fn ask(&self, path: &str) -> Offered<TcpStream> {
        let mut socket = wire(TcpStream::connect(self.server.address()))?;
        wire(socket.set_read_timeout(Some(ANSWER_TIMEOUT)))?;
        request(&mut socket, path)?;
        Ok(socket)
    }

    /// Asks for a path and waits until its upstream call has begun.
    fn begin(&self, path: &str) -> Offered<TcpStream> {
        let socket = self.ask(path)?;
        ensure(self.watch.begins(ANSWER_TIMEOUT), || {
            format!("no call began for {path}")
        })?;
        Ok(socket)
    }

    /// Lets five callers leave, one after the other; the upstream call of each must be dropped, and promptly.
    fn leaves(
        &self,
        path: &str,
        streams: bool,
        leave: fn(&TcpStream) -> io::Result<()>,
    ) -> CaseResult {
        let mut took = Vec::new();
        for caller in 1..=5 {
            let mut socket = self.begin(path)?;
            if streams {
                wire(socket.read_exact(&mut [0; 16]))?;
            }
            let left = Instant::now();
            wire(leave(&socket))?;
            // A caller who closed only its half still holds its socket; one who is gone does not.
            let Some(dropped) = self.watch.drops(ANSWER_TIMEOUT) else {
                let why =
                    format!("caller {caller}: the call was not dropped in {ANSWER_TIMEOUT:?}");
                return Err(Failure::Failed(why));
            };
            took.push(dropped.saturating_duration_since(left));
        }
        took.sort_unstable();
        let median = took[took.len() / 2];
        ensure(median < PROMPT, || format!("dropped after {took:?}"))
    }
}

fn request(socket: &mut TcpStream, path: &str) -> CaseResult {
    let head = format!("GET {path} HTTP/1.1\r\nhost: tck\r\n\r\n");
    wire(socket.write_all(head.as_bytes()))
}

/// Reads one answer with a content length; returns its status and its body.
fn answer(socket: &mut TcpStream) -> Offered<(u16, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        let read = wire(socket.read(&mut byte))?;
        ensure(read == 1, || {
            format!("the connection was cut after {} bytes", head.len())
        })?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    wire(socket.read_exact(&mut body))?;
    Ok((
        status.unwrap_or(0),
        String::from_utf8_lossy(&body).into_owned(),
    ))
}

fn is_500(answer: &(u16, String)) -> CaseResult {
    let (status, body) = answer;
    ensure(*status == 500 && !body.is_empty(), || {
        format!("answered {status} with `{body}`")
    })
}

fn is_well(answer: &(u16, String)) -> CaseResult {
    ensure(*answer == (200, "well".to_owned()), || {
        format!("answered {answer:?}")
    })
}

async fn a_handler_that_panics_is_answered_with_500_and_a_body(
    driver: &dyn HttpDriver,
) -> CaseResult {
    let bench = bench(driver)?;
    is_500(&answer(&mut bench.ask("/panic")?)?)
}

async fn a_handler_that_panics_after_it_waited_is_answered_too(
    driver: &dyn HttpDriver,
) -> CaseResult {
    let bench = bench(driver)?;
    is_500(&answer(&mut bench.ask("/panic-later")?)?)
}

async fn a_connection_serves_on_after_a_handler_that_panicked(
    driver: &dyn HttpDriver,
) -> CaseResult {
    let bench = bench(driver)?;
    let mut socket = bench.ask("/panic")?;
    is_500(&answer(&mut socket)?)?;
    request(&mut socket, "/ok")?;
    is_well(&answer(&mut socket)?)
}

async fn a_panic_costs_no_other_caller(driver: &dyn HttpDriver) -> CaseResult {
    let bench = bench(driver)?;
    let mut waiting = wire(TcpStream::connect(bench.server.address()))?;
    wire(waiting.set_read_timeout(Some(ANSWER_TIMEOUT)))?;
    for path in ["/panic", "/panic-later"] {
        // Whatever the caller of it gets: an answer, or a connection that is cut.
        let mut text = [0; 64];
        let _seen = bench.ask(path)?.read(&mut text);
    }
    request(&mut waiting, "/ok")?;
    is_well(&answer(&mut waiting)?)?;
    is_well(&answer(&mut bench.ask("/ok")?)?)
}

async fn a_panic_in_a_streamed_answer_is_no_clean_end(driver: &dyn HttpDriver) -> CaseResult {
    let bench = bench(driver)?;
    let mut socket = bench.ask("/panic-in-body")?;
    let mut seen = Vec::new();
    let ended = socket.read_to_end(&mut seen);
    let text = String::from_utf8_lossy(&seen);
    let waited = ended.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    ensure(!waited && !text.ends_with("0\r\n\r\n"), || {
        format!("it ended as if whole, or not at all: {text:?}")
    })
}

async fn a_caller_who_closes_has_its_waiting_call_dropped(driver: &dyn HttpDriver) -> CaseResult {
    bench(driver)?.leaves("/hang", false, |socket| socket.shutdown(Shutdown::Both))
}

async fn a_caller_who_closes_its_half_has_its_waiting_call_dropped(
    driver: &dyn HttpDriver,
) -> CaseResult {
    bench(driver)?.leaves("/hang", false, |socket| socket.shutdown(Shutdown::Write))
}

async fn a_caller_who_resets_has_its_waiting_call_dropped(driver: &dyn HttpDriver) -> CaseResult {
    let bench = bench(driver)?;
    let socket = bench.begin("/hang")?;
    wire(SockRef::from(&socket).set_linger(Some(Duration::ZERO)))?;
    let left = Instant::now();
    drop(socket);
    let dropped = bench.watch.drops(ANSWER_TIMEOUT);
    let took = dropped.map(|dropped| dropped.saturating_duration_since(left));
    ensure(took.is_some_and(|took| took < PROMPT * 5), || {
        format!("dropped after {took:?}")
    })
}

async fn a_caller_who_leaves_an_idle_stream_has_its_call_dropped(
    driver: &dyn HttpDriver,
) -> CaseResult {
    bench(driver)?.leaves("/idle-events", true, |socket| {
        socket.shutdown(Shutdown::Both)
    })
}

async fn a_caller_who_leaves_a_busy_stream_has_its_call_dropped(
    driver: &dyn HttpDriver,
) -> CaseResult {
    bench(driver)?.leaves("/busy-events", true, |socket| {
        socket.shutdown(Shutdown::Both)
    })
}

async fn a_caller_who_stays_keeps_its_call(driver: &dyn HttpDriver) -> CaseResult {
    let bench = bench(driver)?;
    let _waiting = bench.begin("/hang")?;
    let dropped = bench.watch.drops(PROMPT * 3);
    ensure(dropped.is_none(), || "its call was dropped".to_owned())
}

async fn a_caller_who_does_not_read_slows_its_upstream(driver: &dyn HttpDriver) -> CaseResult {
    let bench = bench(driver)?;
    let _stalled = bench.begin("/flood")?;
    // Production must stop: the same count over a while, and a bounded one.
    let since = Instant::now();
    let mut produced = bench.watch.produced();
    while since.elapsed() < ANSWER_TIMEOUT {
        std::thread::sleep(PROMPT);
        let now = bench.watch.produced();
        if now == produced && now > 0 {
            return ensure(now <= IN_FLIGHT_MAX, || {
                format!("{now} bytes for a caller who read none")
            });
        }
        produced = now;
    }
    Err(Failure::Failed(format!(
        "still producing after {produced} bytes"
    )))
}
