//! A lane in front of a call that has nothing to do with language models: a geocoder that answers four at
//! a time and refuses the rest. Run it with `cargo run -p kebne-lane --example embed`.

use std::{io, net::TcpListener, sync::Arc, time::Duration};

use actix_web::{App, HttpResponse, HttpServer, dev::Server, web};
use kebne_actors::ActorSystem;
use kebne_lane::{
    Answer, Attempt, Backend, CallError, CallOptions, Failure, LaneBuilder, LaneHandle, Outcome,
};
use tokio::{sync::Semaphore, time::sleep};

pub(crate) struct Geocoder(Semaphore);

impl Backend for Geocoder {
    type Request = String;
    type Response = usize;

    async fn attempt(&self, attempt: Attempt<String>) -> Result<Answer<usize>, Failure> {
        let full = |_| Failure::new(Outcome::Limit, "all seats are taken");
        let _seat = self.0.try_acquire().map_err(full)?;
        sleep(Duration::from_millis(20)).await;
        Ok(Answer::complete(attempt.request.len()))
    }
}

async fn locate(place: web::Path<String>, lane: web::Data<LaneHandle<Geocoder>>) -> HttpResponse {
    let options = CallOptions::within(Duration::from_secs(30)).idempotent();
    match lane.call(place.into_inner(), options).await {
        Ok(reply) => HttpResponse::Ok().body(format!("{} degrees", reply.complete())),
        Err(CallError::Refused { retry_after, .. }) => {
            let seconds = retry_after.map_or(1, |after| after.as_secs() + 1);
            let mut unavailable = HttpResponse::ServiceUnavailable();
            unavailable.insert_header(("retry-after", seconds)).finish()
        }
        Err(error) => HttpResponse::BadGateway().body(error.to_string()),
    }
}

pub(crate) async fn serve(listener: TcpListener) -> io::Result<(Server, LaneHandle<Geocoder>)> {
    let system = ActorSystem::new("embed", 1);
    let backend = Arc::new(Geocoder(Semaphore::new(4)));
    let lane = LaneBuilder::new("geocoder", backend);
    let lane = lane.start(&system).await.map_err(io::Error::other)?;
    let data = web::Data::new(lane.clone());
    let app = move || {
        App::new()
            .app_data(data.clone())
            .route("/{place}", web::get().to(locate))
    };
    let server = HttpServer::new(app).workers(1).listen(listener)?;
    Ok((server.run(), lane))
}

#[actix::main]
async fn main() -> io::Result<()> {
    serve(TcpListener::bind("127.0.0.1:8090")?).await?.0.await
}
