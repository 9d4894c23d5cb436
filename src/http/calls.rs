//! The calls to models: one route per operation of a dialect, all served by the same stages.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Payload},
};

use crate::{
    http::{
        jobs::later::{Asked, Later},
        methods::{self, MethodRoute},
        request_id,
    },
    stages::{self, Arrival, Body, Head},
    state::State,
    surface::{Surface, functions::FUNCTIONS, openai::CHAT},
};

/// Creates the route of an operation, given by its path and its surface.
pub(super) fn post(operation: (&'static str, &'static dyn Surface)) -> MethodRoute {
    methods::post(
        move |http: HttpRequest, payload: Payload, state: Data<State>| -> _ {
            answer(operation, http, payload, state)
        },
    )
}

/// Creates the route that calls a function.
pub(super) fn call_function() -> MethodRoute {
    methods::post(
        async move |http: HttpRequest, payload: Payload, state: Data<State>| -> HttpResponse {
            let arrival = Arrival {
                surface: &FUNCTIONS,
                id: request_id::of(&http),
                head: Head::Request(http),
                body: Body::Coming(payload),
            };
            stages::serve(state, arrival).await
        },
    )
}

/// Creates the route that explains the decision of a route on a chat call.
pub(super) fn explain() -> MethodRoute {
    methods::post(
        async move |http: HttpRequest, payload: Payload, state: Data<State>| -> HttpResponse {
            let arrival = Arrival {
                surface: &CHAT,
                id: request_id::of(&http),
                head: Head::Request(http),
                body: Body::Coming(payload),
            };
            stages::explain(&state, arrival).await
        },
    )
}

async fn answer(
    operation: (&'static str, &'static dyn Surface),
    http: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> HttpResponse {
    if let Some(later) = Later::of(http.headers(), &state) {
        let asked = Asked {
            operation,
            http,
            payload,
        };
        // On the heap, because most calls are answered at once.
        return Box::pin(later.answer(state, asked)).await;
    }
    let arrival = Arrival {
        surface: operation.1,
        id: request_id::of(&http),
        head: Head::Request(http),
        body: Body::Coming(payload),
    };
    stages::serve(state, arrival).await
}
