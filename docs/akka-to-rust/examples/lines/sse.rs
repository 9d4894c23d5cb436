//! Chapter 24. Its sockets are real, and so is its time.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, web};
use futures_util::{Stream, StreamExt, stream};
use kebne_streams::FlowExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};

use crate::{MS, Part, SECOND, say, words};

fn events(tokens: impl Stream<Item = String> + 'static) -> HttpResponse {
    let events = tokens
        .map(|token| format!("data: {token}\n\n").into())
        .keep_alive(300 * MS, || ":\n\n".to_owned().into())
        .map(Ok::<_, Infallible>);
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .streaming(events)
}

/// A model whose tokens are there at once; it counts them, and its end is seen when it is dropped.
#[derive(Clone)]
struct Model {
    produced: Arc<AtomicU32>,
    ended: Arc<watch::Sender<bool>>,
}

struct Ends(Arc<watch::Sender<bool>>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

impl Model {
    fn tokens(&self) -> impl Stream<Item = String> + use<> {
        let (produced, ends) = (Arc::clone(&self.produced), Ends(Arc::clone(&self.ended)));
        let filling = ".".repeat(1000);
        stream::iter(0..1_000_000).map(move |number| {
            let _until_it_is_dropped = &ends;
            produced.fetch_add(1, SeqCst);
            format!("{number} {filling}")
        })
    }
}

fn serve(model: Option<Model>) -> Result<(SocketAddr, ServerHandle), std::io::Error> {
    let server = HttpServer::new(move || {
        let model = model.clone();
        let answer = move || {
            let response = match &model {
                Some(model) => events(model.tokens()),
                None => events(stream::pending()),
            };
            std::future::ready(response)
        };
        App::new().route("/events", web::get().to(answer))
    });
    let server = server.workers(1).disable_signals().bind("127.0.0.1:0")?;
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Ok((address, handle))
}

/// A client that reads only when it is told to.
struct Client(TcpStream);

impl Client {
    async fn new(address: SocketAddr) -> std::io::Result<Self> {
        let mut socket = TcpStream::connect(address).await?;
        let request = b"GET /events HTTP/1.1\r\nHost: test\r\n\r\n";
        socket.write_all(request).await?;
        Ok(Self(socket))
    }

    async fn read_until(&mut self, done: impl Fn(&str) -> bool) -> std::io::Result<String> {
        let mut text = String::new();
        let mut bytes = vec![0; 16384];
        while !done(&text) {
            let read = timeout(3 * SECOND, self.0.read(&mut bytes)).await??;
            if read == 0 {
                return Err(std::io::Error::other("the server closed the connection"));
            }
            text += &String::from_utf8_lossy(&bytes[..read]);
        }
        Ok(text)
    }
}

/// The numbers of the events in a text.
fn numbers(text: &str) -> Vec<&str> {
    let events = text.split("data: ").skip(1);
    events
        .filter_map(|event| event.split_once(' ').map(|(number, _)| number))
        .collect()
}

pub(crate) async fn run() -> Part {
    tokio::time::resume();
    let model = Model {
        produced: Arc::default(),
        ended: Arc::new(watch::channel(false).0),
    };
    let (address, server) = serve(Some(model.clone()))?;
    let mut client = Client::new(address).await?;
    // Until nothing was made for half a second.
    let (mut last, mut now, mut rounds) = (0, 0, 0);
    while (now == 0 || now != last) && rounds < 40 {
        sleep(500 * MS).await;
        last = now;
        now = model.produced.load(SeqCst);
        rounds += 1;
    }
    let stops = now > 0 && now == last && now < 1_000_000;
    say(&format!(
        "24 while its client reads nothing the model stops: {stops}"
    ))?;
    let text = client.read_until(|text| numbers(text).len() >= 5).await?;
    let read = words(numbers(&text).into_iter().take(5));
    say(&format!("24 then it reads: {read}"))?;
    drop(client);
    let mut ended = model.ended.subscribe();
    let ended = timeout(Duration::from_secs(20), ended.wait_for(|ended| *ended));
    let ended = ended.await.is_ok();
    say(&format!(
        "24 the client leaves, and the model ends: {ended}"
    ))?;

    let (address, silent) = serve(None)?;
    let mut waiting = Client::new(address).await?;
    let body = |text: &str| text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    let heartbeat = |text: &str| body(text).is_some_and(|body| body.contains("\n\n"));
    let text = body(&waiting.read_until(heartbeat).await?).unwrap_or_default();
    let line = text
        .lines()
        .find(|line| line.contains(':'))
        .unwrap_or("none");
    say(&format!("differs: 24 a heartbeat is the line `{line}`"))?;
    drop(waiting);
    server.stop(false).await;
    silent.stop(false).await;
    tokio::time::pause();
    Ok(())
}
