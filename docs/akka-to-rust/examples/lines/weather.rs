//! Chapter 25.

use std::str::FromStr;

use actix::{Actor, Handler, Message, MessageResult};
use actix_web::{
    App, HttpResponse,
    test::{TestRequest, call_service, init_service, read_body},
    web,
};
use kebne_actors::{ActorRef, ActorSystem, AskError, Context, Props};
use serde::Deserialize;

use crate::{MS, Part, say};

#[derive(Message)]
#[rtype(result = "usize")]
struct Record(f64);

#[derive(Clone, Copy, Deserialize, Message)]
#[rtype(result = "Option<f64>")]
#[serde(rename_all = "kebab-case")]
enum Function {
    Average,
    HighLow,
}

#[derive(Default)]
struct Station {
    readings: Vec<f64>,
}

impl Actor for Station {
    type Context = Context<Self>;
}

impl Handler<Record> for Station {
    type Result = usize;

    fn handle(&mut self, Record(value): Record, _: &mut Context<Self>) -> usize {
        self.readings.push(value);
        self.readings.len()
    }
}

impl Handler<Function> for Station {
    type Result = Option<f64>;

    fn handle(&mut self, function: Function, _: &mut Context<Self>) -> Option<f64> {
        let readings = || self.readings.iter().copied();
        let (high, low) = (readings().reduce(f64::max)?, readings().reduce(f64::min)?);
        let count = u32::try_from(self.readings.len()).ok()?;
        Some(match function {
            Function::Average => readings().sum::<f64>() / f64::from(count),
            Function::HighLow => high - low,
        })
    }
}

#[derive(Message)]
#[rtype(result = "ActorRef<Station>")]
struct StationOf(String);

struct Stations;

impl Actor for Stations {
    type Context = Context<Self>;
}

impl Handler<StationOf> for Stations {
    type Result = MessageResult<StationOf>;

    fn handle(&mut self, StationOf(id): StationOf, ctx: &mut Context<Self>) -> Self::Result {
        let known = ctx.child(&id);
        MessageResult(known.unwrap_or_else(|| ctx.spawn_child(Props::new(Station::default), &id)))
    }
}

type Service = web::Data<ActorRef<Stations>>;

fn unavailable(error: AskError) -> HttpResponse {
    match error {
        AskError::TimedOut => HttpResponse::GatewayTimeout().finish(),
        _ => HttpResponse::ServiceUnavailable().finish(),
    }
}

async fn record(id: web::Path<String>, body: String, stations: Service) -> HttpResponse {
    let Ok(value) = f64::from_str(&body) else {
        return HttpResponse::BadRequest().body("not a number");
    };
    let recorded = async {
        let station = stations.ask(StationOf(id.into_inner()), 500 * MS).await?;
        station.ask(Record(value), 500 * MS).await
    };
    match recorded.await {
        Ok(count) => HttpResponse::Accepted().body(format!("{count} recorded")),
        Err(error) => unavailable(error),
    }
}

#[derive(Deserialize)]
struct Query {
    function: Function,
}

async fn query(id: web::Path<String>, query: web::Query<Query>, stations: Service) -> HttpResponse {
    let asked = async {
        let station = stations.ask(StationOf(id.into_inner()), 500 * MS).await?;
        station.ask(query.function, 500 * MS).await
    };
    match asked.await {
        Ok(Some(value)) => HttpResponse::Ok().body(format!("{value:?}")),
        Ok(None) => HttpResponse::NotFound().body("nothing recorded"),
        Err(error) => unavailable(error),
    }
}

pub(crate) async fn run() -> Part {
    let system = ActorSystem::new("weather", 1);
    let stations = web::Data::new(system.spawn(Props::new(|| Stations), "stations"));
    let not_a_function = |error, _: &actix_web::HttpRequest| {
        let answer = HttpResponse::BadRequest().body("not a function");
        actix_web::error::InternalError::from_response(error, answer).into()
    };
    let app = App::new()
        .app_data(stations)
        .app_data(web::QueryConfig::default().error_handler(not_a_function))
        .route("/weather/{id}", web::post().to(record))
        .route("/weather/{id}", web::get().to(query));
    let app = init_service(app).await;
    let send = async |request: TestRequest| -> String {
        let response = call_service(&app, request.to_request()).await;
        let status = response.status().as_u16();
        let body = read_body(response).await;
        format!("{status} {}", String::from_utf8_lossy(&body))
    };
    let post = |value| {
        TestRequest::post()
            .uri("/weather/kiruna")
            .set_payload(value)
    };
    let get = |path: &str| TestRequest::get().uri(&format!("/weather/{path}"));
    let (first, second) = (send(post("-20")).await, send(post("-10.5")).await);
    say(&format!("25 two readings: {first}, {second}"))?;
    let answer = send(post("cold")).await;
    say(&format!("25 a reading that is not a number: {answer}"))?;
    let answer = send(get("kiruna?function=average")).await;
    say(&format!("25 the average: {answer}"))?;
    let answer = send(get("kiruna?function=high-low")).await;
    say(&format!("25 the difference: {answer}"))?;
    let answer = send(get("abisko?function=average")).await;
    say(&format!("25 a station without readings: {answer}"))?;
    let answer = send(get("kiruna?function=median")).await;
    say(&format!("25 a function that is not there: {answer}"))?;
    system.terminate().await;
    Ok(())
}
