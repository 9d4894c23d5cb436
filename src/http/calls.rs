//! The calls to models: one route per operation of a dialect, all served by the same stages.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Payload},
};

use crate::{
    http::{
        methods::{self, MethodRoute},
        request_id,
    },
    stages::{self, Arrival},
    state::State,
    surface::Surface,
};

/// Creates the route of an operation.
pub(super) fn post(surface: &'static dyn Surface) -> MethodRoute {
    methods::post(
        move |http: HttpRequest, payload: Payload, state: Data<State>| -> _ {
            answer(surface, http, payload, state)
        },
    )
}

async fn answer(
    surface: &'static dyn Surface,
    http: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> HttpResponse {
    let id = request_id::of(&http);
    let arrival = Arrival {
        surface,
        id,
        http,
        payload,
    };
    stages::serve(state, arrival).await
}
