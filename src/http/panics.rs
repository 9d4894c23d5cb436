//! Answers 500 for a handler that panics, instead of closing the connection without an answer.
//!
//! A panic costs only its request: its future is dropped, so its call is cancelled and its permit is returned. A panic
//! after the head of a streamed answer closes the connection before the end of the body, so that the caller does not
//! take the answer as complete. With `panic = "abort"` panics cannot be caught.

use std::panic::AssertUnwindSafe;

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    middleware::Next,
};
use futures_util::FutureExt;

use crate::{
    http::request_id,
    surface::{self, error::ApiError},
};

/// Answers 500 for a handler that panics.
pub(super) async fn guard<B: MessageBody + 'static>(
    http: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let id = request_id::assign(&http);
    let path = http.path().to_owned();
    let call = AssertUnwindSafe(async move { next.call(http).await });
    let Ok(answer) = call.catch_unwind().await else {
        // The panic hook has logged the panic's message, which is not sent to the caller.
        tracing::error!(%path, request_id = %id, "a handler panicked");
        let error = ApiError::panicked();
        let mut response = error.response(surface::of_path(&path), &id, fastrand::f64());
        request_id::name(response.headers_mut(), &id);
        return Err(InternalError::from_response("a handler panicked", response).into());
    };
    answer.map(|mut answer| {
        request_id::name(answer.headers_mut(), &id);
        answer
    })
}

#[cfg(test)]
mod tests {
    use actix_web::{App, HttpResponse, middleware::from_fn, test, web};

    use super::*;

    async fn panics() -> HttpResponse {
        panic!("as scripted")
    }

    async fn waits_and_panics() -> HttpResponse {
        tokio::task::yield_now().await;
        panic!("as scripted")
    }

    #[actix::test]
    async fn a_request_without_an_id_gets_one_that_its_handler_knows_too() {
        let seen = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let note = std::sync::Arc::clone(&seen);
        let handler = move |http: actix_web::HttpRequest| {
            let note = std::sync::Arc::clone(&note);
            async move {
                *note.lock().unwrap() = request_id::of(&http).to_string();
                assert!(http.path() != "/panics", "as scripted");
                HttpResponse::NoContent().finish()
            }
        };
        let app = App::new()
            .wrap(from_fn(guard))
            .default_service(web::to(handler));
        let app = test::init_service(app).await;
        for path in ["/panics", "/well"] {
            let request = test::TestRequest::get().uri(path).to_request();
            let headers = match test::try_call_service(&app, request).await {
                Ok(response) => response.headers().clone(),
                Err(error) => error.error_response().headers().clone(),
            };
            let id = headers.get("x-request-id").unwrap().to_str().unwrap();
            assert!(id.starts_with("req_"), "{id}");
            assert_eq!(*seen.lock().unwrap(), id, "{path}");
        }
    }

    #[actix::test]
    async fn a_handler_that_panics_is_answered_with_its_request_id() {
        let app = App::new()
            .wrap(from_fn(guard))
            .route("/now", web::get().to(panics))
            .route("/later", web::get().to(waits_and_panics))
            .route("/well", web::get().to(HttpResponse::NoContent));
        let app = test::init_service(app).await;
        for path in ["/now", "/later"] {
            let request = test::TestRequest::get().uri(path);
            let request = request.insert_header(("x-request-id", "abc")).to_request();
            let error = test::try_call_service(&app, request).await.unwrap_err();
            let response = error.error_response();
            assert_eq!(response.status(), 500);
            assert_eq!(response.headers().get("x-request-id").unwrap(), "abc");
            let body = actix_web::body::to_bytes(response.into_body()).await.ok();
            let body: serde_json::Value = serde_json::from_slice(&body.unwrap()).unwrap();
            assert!(body["error"]["message"].is_string(), "{body}");
            assert!(!body.to_string().contains("as scripted"), "{body}");
        }
        let well = test::TestRequest::get().uri("/well").to_request();
        assert_eq!(test::call_service(&app, well).await.status(), 204);
    }
}
