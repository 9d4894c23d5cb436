//! The handlers that every HTTP server under test serves, and the thread that it runs on.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    thread,
    time::Duration,
};

use actix_web::{
    HttpResponse,
    dev::ServerHandle,
    web::{self, Bytes, Data, ServiceConfig},
};
use futures_util::{StreamExt, stream};

use crate::{
    case::Failure,
    driver::{
        Offered,
        http::{Server, Upstream},
    },
};

/// The size of one chunk of the flood.
const CHUNK: usize = 16 << 10;

/// Adds the handlers.
pub(crate) fn routes(config: &mut ServiceConfig, upstream: &Upstream) {
    config
        .app_data(Data::new(upstream.clone()))
        .route("/ok", web::get().to(ok))
        .route("/panic", web::get().to(panics))
        .route("/panic-later", web::get().to(panics_later))
        .route("/panic-in-body", web::get().to(panics_in_body))
        .route("/hang", web::get().to(hangs))
        .route("/idle-events", web::get().to(idle_events))
        .route("/busy-events", web::get().to(busy_events))
        .route("/flood", web::get().to(floods));
}

async fn ok() -> &'static str {
    "well"
}

#[expect(clippy::panic, reason = "what the cases are about")]
async fn panics() -> HttpResponse {
    panic!("as scripted")
}

#[expect(clippy::panic, reason = "what the cases are about")]
async fn panics_later() -> HttpResponse {
    tokio::time::sleep(Duration::from_millis(10)).await;
    panic!("as scripted")
}

async fn panics_in_body() -> HttpResponse {
    let body = stream::iter([1, 2]).map(|chunk| {
        assert!(chunk != 2, "as scripted");
        Ok::<_, Infallible>(Bytes::from_static(b"part"))
    });
    HttpResponse::Ok().streaming(body)
}

/// Waits for an upstream that never answers.
async fn hangs(upstream: Data<Upstream>) -> HttpResponse {
    let _call = upstream.begin();
    std::future::pending().await
}

fn event() -> Bytes {
    Bytes::from_static(b"data: 1\n\n")
}

/// Streams one event and then waits for an upstream that never goes on.
async fn idle_events(upstream: Data<Upstream>) -> HttpResponse {
    let call = upstream.begin();
    let events = stream::iter([event()]).chain(stream::pending());
    let body = events.map(move |event| {
        let _held = &call;
        Ok::<_, Infallible>(event)
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .streaming(body)
}

/// Streams an event each 20 ms.
async fn busy_events(upstream: Data<Upstream>) -> HttpResponse {
    let call = upstream.begin();
    let body = stream::unfold(call, |call| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((Ok::<_, Infallible>(event()), call))
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .streaming(body)
}

/// Streams as fast as it is read.
async fn floods(upstream: Data<Upstream>) -> HttpResponse {
    let call = upstream.begin();
    let body = stream::unfold(call, move |call| {
        upstream.produce(CHUNK);
        let chunk = Ok::<_, Infallible>(Bytes::from_static(&[b'x'; CHUNK]));
        std::future::ready(Some((chunk, call)))
    });
    HttpResponse::Ok().streaming(body)
}

/// A server on a thread of its own.
struct Running {
    address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Runs the server that `start` makes on a thread of its own.
pub(crate) fn run(
    start: impl FnOnce(TcpListener) -> io::Result<ServerHandle> + Send + 'static,
) -> Offered<Box<dyn Server>> {
    let cannot = |error: io::Error| Failure::Failed(format!("no server: {error}"));
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let (tell, told) = mpsc::channel();
    let serve = move || {
        actix_rt::System::new().block_on(async move {
            let handle = match start(listener) {
                Ok(handle) => handle,
                Err(error) => {
                    let _the_case_is_over = tell.send(Err(error));
                    return;
                }
            };
            let _the_case_is_over = tell.send(Ok(()));
            let _by_drop_or_word = stopped.await;
            handle.stop(false).await;
        });
    };
    let thread = thread::Builder::new()
        .name("http server".to_owned())
        .spawn(serve);
    let thread = thread.map_err(cannot)?;
    let started = told
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("its thread ended")));
    started.map_err(cannot)?;
    Ok(Box::new(Running {
        address,
        stop: Some(stop),
        thread: Some(thread),
    }))
}

impl Server for Running {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A server that panicked has failed its case already.
            let _ended = thread.join();
        }
    }
}
