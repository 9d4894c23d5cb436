//! What the gateway holds in memory for each connection, waiting call, stream and session.

use std::{
    io::{self, BufRead, BufReader, Write as _},
    net::Ipv4Addr,
    process::Stdio,
    thread,
    time::Duration,
};

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
    task::JoinSet,
};

use crate::{
    Error, LOAD_CORE, Running,
    gateway::{self, Gateway, KEY},
    load::real,
    on_cores, own_program, pinned,
    upstream::HELD,
};

/// Connections and waiting calls of one crowd.
const CROWD: usize = 10_000;
/// Streams that run: the gateway holds two connections for each, and may have no more than 20,000 open files.
const STREAMS: usize = 5_000;
/// Sessions with one turn each.
const SESSIONS: usize = 10_000;
/// Members of a crowd that come at the same time.
const AT_ONCE: usize = 64;
/// Time between the coming of a crowd and the measurement: what only its coming took is given back.
const SETTLE: Duration = Duration::from_secs(3);

/// What each member of a crowd does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Has read an answer, and keeps its connection.
    Connection,
    /// Calls a model whose lane has one slot, so that all calls but one wait.
    WaitingCall,
    /// The same, with a call that asks for a stream.
    WaitingStream,
    /// Has read the first part of a stream that does not go on.
    Stream,
    /// Creates a session and makes a call of it.
    Session,
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::Connection, "idle connection"),
    (Kind::WaitingCall, "waiting call"),
    (Kind::WaitingStream, "waiting stream"),
    (Kind::Stream, "running stream"),
    (Kind::Session, "session of one turn"),
];

impl Kind {
    fn name(self) -> &'static str {
        KINDS
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, name)| name)
    }

    fn named(name: &str) -> Option<Self> {
        let (kind, _) = KINDS.iter().find(|(_, each)| *each == name)?;
        Some(*kind)
    }

    /// Returns the request of a member; for a session, the one that creates it.
    fn request(self) -> String {
        match self {
            Self::Connection => "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".to_owned(),
            Self::WaitingCall => call("one", false, ""),
            Self::WaitingStream => call("one", true, ""),
            Self::Stream => call("many", true, ""),
            Self::Session => post("/v1/sessions", "{}", ""),
        }
    }
}

fn call(model: &str, stream: bool, header: &str) -> String {
    let body = format!(
        r#"{{"model":"{model}","messages":[{{"role":"user","content":"Order 48213 was sent eleven days ago. What should I tell the customer?"}}],"max_tokens":128,"stream":{stream}}}"#
    );
    post("/v1/chat/completions", &body, header)
}

fn post(path: &str, body: &str, header: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nauthorization: Bearer {KEY}\r\n{header}content-length: {length}\r\n\r\n{body}"
    )
}

/// Measures both gateways, and writes each line of the table when it is known.
pub(crate) fn compare(out: &mut impl io::Write) -> Result<String, Error> {
    let _upstream = pinned(LOAD_CORE, &own_program()?, &["upstream"])?;
    gateway::await_port(HELD)?;
    writeln!(out, "gateway   each                    count       KiB")?;
    for kind in [Kind::Connection, Kind::Stream] {
        if let Some(nginx) = Gateway::nginx("0")? {
            writeln!(out, "{}", measured(&nginx, kind)?)?;
        }
    }
    for (kind, _) in KINDS {
        writeln!(out, "{}", measured(&Gateway::kebne("0")?, kind)?)?;
    }
    Ok(String::new())
}

/// Returns the line of one kind. Each needs a gateway that has just been started, because the memory of an earlier crowd would be used again.
fn measured(gateway: &Gateway, kind: Kind) -> Result<String, Error> {
    let count = match kind {
        Kind::Session => SESSIONS,
        Kind::Stream => STREAMS,
        _ => CROWD,
    };
    let before = gateway.heap();
    let _crowd = gather(gateway, kind, count)?;
    thread::sleep(SETTLE);
    let each = (gateway.heap() - before) * 1024.0 / real(count);
    let (name, each_name) = (gateway.name, kind.name());
    Ok(format!(
        "{name:<8}  {each_name:<20}  {count:>7}  {each:>8.2}\n"
    ))
}

/// Starts a crowd in a process of its own, and waits until all have come; they leave when the process is dropped.
fn gather(gateway: &Gateway, kind: Kind, count: usize) -> Result<Running, Error> {
    let (port, count) = (gateway.held.to_string(), count.to_string());
    let program = own_program()?;
    let mut process = on_cores(LOAD_CORE, &program, &["crowd", &port, kind.name(), &count])
        .stdout(Stdio::piped())
        .spawn()?;
    let output = process.stdout.take().map(BufReader::new);
    let process = Running(process);
    let line = output.and_then(|output| output.lines().next());
    match line.transpose()?.as_deref() {
        Some(HAVE_COME) => Ok(process),
        _ => Err(Error::Failed(format!(
            "{} {count} x {}: not all have come",
            gateway.name,
            kind.name()
        ))),
    }
}

/// What a crowd writes when it is complete.
const HAVE_COME: &str = "all have come";

/// Is the process of a crowd: returns only if a member cannot come.
pub(crate) fn crowd(arguments: &[&str]) -> Error {
    let wrong = || Error::Failed(format!("{arguments:?} is not a crowd"));
    let [port, kind, count] = arguments else {
        return wrong();
    };
    let (Ok(port), Some(kind), Ok(count)) = (port.parse(), Kind::named(kind), count.parse()) else {
        return wrong();
    };
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return error.into(),
    };
    runtime.block_on(async {
        match come(port, kind, count).await {
            Ok(_members) => {
                if let Err(error) = writeln!(io::stdout(), "{HAVE_COME}") {
                    return error.into();
                }
                std::future::pending().await
            }
            Err(error) => error.into(),
        }
    })
}

/// Returns the connections of the members, in which their calls are.
async fn come(port: u16, kind: Kind, count: usize) -> io::Result<Vec<TcpStream>> {
    let mut coming = JoinSet::new();
    let mut members = Vec::new();
    let mut left = count;
    // Members with a session share connections; each other member has its own.
    let (tasks, each) = match kind {
        Kind::Session => (AT_ONCE, count.div_ceil(AT_ONCE)),
        _ => (count, 1),
    };
    for _ in 0..tasks {
        let members_of_task = each.min(left);
        left -= members_of_task;
        while coming.len() >= AT_ONCE {
            members.extend(joined(&mut coming).await?);
        }
        coming.spawn(async move {
            let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
            for _ in 0..members_of_task {
                member(&mut socket, kind).await?;
            }
            Ok(socket)
        });
    }
    while !coming.is_empty() {
        members.extend(joined(&mut coming).await?);
    }
    Ok(members)
}

async fn joined(coming: &mut JoinSet<io::Result<TcpStream>>) -> io::Result<Option<TcpStream>> {
    let Some(joined) = coming.join_next().await else {
        return Ok(None);
    };
    joined.map_err(io::Error::other)?.map(Some)
}

/// Makes one member's call, up to the point at which it is counted.
async fn member(socket: &mut TcpStream, kind: Kind) -> io::Result<()> {
    socket.write_all(kind.request().as_bytes()).await?;
    match kind {
        Kind::Connection => answer(socket, b"}").await.map(drop),
        Kind::Stream => answer(socket, b"data: ").await.map(drop),
        Kind::WaitingCall | Kind::WaitingStream => Ok(()),
        Kind::Session => {
            let created = answer(socket, b"}").await?;
            let id = created.split("\"id\":\"").nth(1);
            let id = id.and_then(|rest| rest.split('"').next());
            let id = id.ok_or_else(|| io::Error::other(created.clone()))?;
            let request = call("plain", false, &format!("x-kebne-session: {id}\r\n"));
            socket.write_all(request.as_bytes()).await?;
            answer(socket, b"total_tokens").await.map(drop)
        }
    }
}

/// Reads until the answer is a success that contains `mark` and has been read as far as it has come.
async fn answer(socket: &mut TcpStream, mark: &[u8]) -> io::Result<String> {
    let mut read = Vec::with_capacity(4096);
    loop {
        if socket.read_buf(&mut read).await? == 0 || !read.starts_with(b"HTTP/1.1 20") {
            let text = String::from_utf8_lossy(&read).into_owned();
            return Err(io::Error::other(text));
        }
        let head = memmem::find(&read, b"\r\n\r\n");
        if head.is_some_and(|head| memmem::find(&read[head..], mark).is_some()) {
            return Ok(String::from_utf8_lossy(&read).into_owned());
        }
    }
}
