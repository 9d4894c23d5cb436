//! Chapter 21: the service as it is, on actix-web.

use actix::{Actor, Handler, Message, ResponseFuture};
use actix_web::{
    App, HttpResponse,
    http::StatusCode,
    test::{TestRequest, call_service, init_service, read_body},
    web,
};
use kebne_actors::{ActorRef, ActorSystem, AskError, Context, Props};

use crate::{MS, Part, say};

#[derive(Message)]
#[rtype(result = "String")]
struct GetPrice(String);

struct Prices;

impl Actor for Prices {
    type Context = Context<Self>;
}

impl Handler<GetPrice> for Prices {
    type Result = ResponseFuture<String>;

    fn handle(&mut self, GetPrice(item): GetPrice, _: &mut Context<Self>) -> Self::Result {
        match item.parse::<u32>() {
            Ok(number) => Box::pin(async move { (number * 10).to_string() }),
            // It does not answer for what it does not know.
            Err(_) => Box::pin(std::future::pending()),
        }
    }
}

async fn price(item: web::Path<String>, prices: web::Data<ActorRef<Prices>>) -> HttpResponse {
    match prices.ask(GetPrice(item.into_inner()), 500 * MS).await {
        Ok(price) => HttpResponse::Ok().body(price),
        Err(AskError::TimedOut) => HttpResponse::GatewayTimeout().finish(),
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

pub(crate) async fn run() -> Part {
    let system = ActorSystem::new("prices", 1);
    let prices = web::Data::new(system.spawn(Props::new(|| Prices), "prices"));
    let app = App::new()
        .app_data(prices)
        .route("/price/{item}", web::get().to(price));
    let app = init_service(app).await;
    let get = async |path: &str| -> (StatusCode, String) {
        let request = TestRequest::get().uri(path).to_request();
        let response = call_service(&app, request).await;
        let status = response.status();
        let body = read_body(response).await;
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    let (status, body) = get("/price/7").await;
    say(&format!("21 the price of 7: {} {body}", status.as_u16()))?;
    let (status, _) = get("/cost/7").await;
    say(&format!("21 a path that is not there: {}", status.as_u16()))?;
    let (status, _) = get("/price/tea").await;
    say(&format!(
        "differs: 21 an actor that does not answer in time: {}",
        status.as_u16()
    ))?;
    system.terminate().await;
    Ok(())
}
