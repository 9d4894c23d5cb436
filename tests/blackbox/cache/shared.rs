//! Calls at the same moment that are one call.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{
    EVENTS, ON, PRICE, STOP, ask, await_hit, configured, count, header, numbered, outcome, piece,
    program, question,
};
use crate::{
    program::{Answer, CHAT, Program, folder},
    upstream::upstream_that,
};

/// Makes `callers` calls at once; returns their answers.
fn at_once(program: &Program, callers: usize, body: &Value) -> Vec<Answer> {
    let (address, body) = (program.address, body.to_string());
    let barrier = Arc::new(Barrier::new(callers));
    let threads: Vec<_> = (0..callers)
        .map(|_| {
            let (barrier, body) = (Arc::clone(&barrier), body.clone());
            thread::spawn(move || {
                barrier.wait();
                Program::exchange(address, "POST", CHAT, &[], &body).unwrap()
            })
        })
        .collect();
    threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect()
}

#[test]
fn two_hundred_callers_at_once_are_one_call() {
    let folder = folder();
    let (url, requests) = upstream_that(|number, socket| {
        thread::sleep(Duration::from_millis(500));
        socket.write_all(numbered(number).as_bytes())
    });
    let program = program(folder.path(), &url, &[ON, PRICE].concat());
    let answers = at_once(&program, 200, &question("a"));
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (200, &answers[0].body));
    }
    assert_eq!(count(&requests), 1);
    let of = |wanted: &str| {
        answers
            .iter()
            .filter(|answer| outcome(answer) == wanted)
            .count()
    };
    assert_eq!(of("miss"), 1);
    assert_eq!(of("coalesced") + of("hit"), 199);
    program.await_metric(r#"kebne_requests_total{model="m",ending="success"} 200"#);
    program.await_metric(r#"kebne_cost_total{model="m",currency="USD",basis="reported"} 0.003"#);
    program.await_metric("kebne_cache_flights 0.0");
}

/// A stream of which each part waits for the test.
fn stepwise() -> (String, mpsc::Receiver<Value>, mpsc::Sender<String>) {
    let (send, steps) = mpsc::channel::<String>();
    let steps = std::sync::Mutex::new(steps);
    let (url, requests) = upstream_that(move |_, socket| {
        socket.write_all(EVENTS.as_bytes())?;
        let steps = steps.lock().unwrap();
        for step in steps.iter() {
            if step.is_empty() {
                break;
            }
            socket.write_all(step.as_bytes())?;
        }
        Ok(())
    });
    (url, requests, send)
}

/// A caller of a stream that reads as the test says.
struct Reader {
    socket: TcpStream,
    read: String,
}

impl Reader {
    fn begin(program: &Program, body: &Value) -> Self {
        let body = body.to_string();
        let mut socket = TcpStream::connect(program.address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let length = body.len();
        write!(socket, "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        Self {
            socket,
            read: String::new(),
        }
    }

    fn until(&mut self, text: &str) {
        let mut part = [0; 4096];
        while !self.read.contains(text) {
            let read = self.socket.read(&mut part).unwrap();
            assert!(read > 0, "no `{text}` in {}", self.read);
            self.read
                .push_str(std::str::from_utf8(&part[..read]).unwrap());
        }
    }

    /// Returns the lines of data of the whole stream.
    fn rest(mut self) -> Vec<String> {
        self.socket.read_to_string(&mut self.read).unwrap();
        data(&self.read)
    }
}

fn data(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with("data:"));
    lines.map(str::to_owned).collect()
}

fn streamed(text: &str) -> Value {
    let mut body = question(text);
    body["stream"] = true.into();
    body
}

#[test]
fn a_stream_is_shared_while_it_runs_and_replayed_when_it_is_kept() {
    let folder = folder();
    let (url, requests, send) = stepwise();
    let program = program(folder.path(), &url, ON);
    let mut first = Reader::begin(&program, &streamed("a"));
    send.send(piece("one")).unwrap();
    first.until("one");
    let mut second = Reader::begin(&program, &streamed("a"));
    second.until("one");
    assert!(
        second.read.contains("x-kebne-cache: coalesced"),
        "{}",
        second.read
    );
    send.send(piece("two")).unwrap();
    first.until("two");
    second.until("two");
    send.send(STOP.to_owned()).unwrap();
    send.send(String::new()).unwrap();
    let (first, second) = (first.rest(), second.rest());
    assert_eq!(first, second);
    assert_eq!(first.last().unwrap(), "data: [DONE]");
    assert_eq!(first.len(), 4);
    let hit = await_hit(&program, CHAT, &[], &streamed("a"));
    assert_eq!(data(&hit.body), first);
    assert_eq!(header(&hit, "content-type"), Some("text/event-stream"));
    assert_eq!(count(&requests), 1);
}

#[test]
fn the_one_that_makes_the_call_may_leave_and_the_others_get_their_answer() {
    let folder = folder();
    let (url, requests, send) = stepwise();
    let program = program(folder.path(), &url, &[ON, PRICE].concat());
    let mut first = Reader::begin(&program, &streamed("a"));
    send.send(piece("one")).unwrap();
    first.until("one");
    let mut second = Reader::begin(&program, &streamed("a"));
    second.until("one");
    drop(first);
    program.await_metric("kebne_cache_flights 1.0");
    send.send(piece("two")).unwrap();
    second.until("two");
    send.send(STOP.to_owned()).unwrap();
    send.send(String::new()).unwrap();
    assert_eq!(second.rest().len(), 4);
    assert_eq!(count(&requests), 1);
    program.await_metric(r#"kebne_requests_total{model="m",ending="cancelled"} 1"#);
    program.await_metric(r#"kebne_requests_total{model="m",ending="success"} 1"#);
    // Their answer is kept.
    await_hit(&program, CHAT, &[], &streamed("a"));
}

#[test]
fn when_all_have_left_the_call_is_cancelled() {
    let folder = folder();
    let server = crate::upstream::silent_after(format!("{EVENTS}{}", piece("one")));
    let program = program(folder.path(), &server.url, ON);
    let mut first = Reader::begin(&program, &streamed("a"));
    first.until("one");
    let mut second = Reader::begin(&program, &streamed("a"));
    second.until("one");
    drop(first);
    assert!(
        server
            .closed
            .recv_timeout(Duration::from_millis(300))
            .is_err()
    );
    drop(second);
    server.closed.recv_timeout(Duration::from_secs(20)).unwrap();
    program.await_metric("kebne_cache_flights 0.0");
    program.await_metric(r#"kebne_requests_total{model="m",ending="cancelled"} 2"#);
}

#[test]
fn a_call_that_fails_is_made_by_one_of_the_others() {
    let folder = folder();
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, peak) = (Arc::clone(&running), Arc::clone(&most));
    let (url, requests) = upstream_that(move |number, socket| {
        peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
        thread::sleep(Duration::from_millis(300));
        let answer = match number {
            1 => "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
            number => numbered(number),
        };
        now.fetch_sub(1, SeqCst);
        socket.write_all(answer.as_bytes())
    });
    let config = configured(folder.path(), &url, ON);
    let text = fs::read_to_string(&config).unwrap();
    let limits = "[backends.limits]\nattempts_max = 1\n[[models]]";
    fs::write(&config, text.replacen("[[models]]", limits, 1)).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    // The backend is known to serve.
    assert_eq!(ask(&program, &question("before")).status, 200);
    let answers = at_once(&program, 20, &question("a"));
    let failed = answers.iter().filter(|answer| answer.status >= 500).count();
    let served: Vec<&Answer> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .collect();
    let bodies: Vec<&String> = answers.iter().map(|answer| &answer.body).collect();
    assert_eq!((failed, served.len()), (1, 19), "{bodies:?}");
    assert!(served.iter().all(|answer| answer.body.contains("answer 2")));
    assert_eq!(count(&requests), 3);
    assert_eq!(most.load(SeqCst), 1, "never two at once");
}

#[test]
fn a_leader_whose_time_passes_does_not_take_the_others_with_it() {
    let folder = folder();
    let (url, requests) = upstream_that(|number, socket| {
        if number == 1 {
            thread::sleep(Duration::from_secs(2));
        }
        socket.write_all(numbered(number).as_bytes())
    });
    let program = program(folder.path(), &url, ON);
    assert_eq!(ask(&program, &question("before")).status, 200);
    assert_eq!(count(&requests), 1);
    let (address, body) = (program.address, question("a").to_string());
    let call = move |deadline: &str| {
        let headers = [("x-kebne-deadline-ms", deadline)];
        Program::exchange(address, "POST", CHAT, &headers, &body).unwrap()
    };
    let leader = thread::spawn({
        let call = call.clone();
        move || call("500")
    });
    requests.recv_timeout(Duration::from_secs(20)).unwrap();
    let follower = call("60000");
    assert_eq!(leader.join().unwrap().status, 504);
    assert_eq!(follower.status, 200, "{}", follower.body);
    assert!(follower.body.contains("answer 2"));
    assert_eq!(count(&requests), 1);
}
