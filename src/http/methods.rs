//! Paths and the methods that each knows. Another method is answered with 405 and the list of those in `Allow`.

use actix_web::{
    FromRequest, Handler, HttpRequest, Responder, Route,
    dev::{AppService, HttpServiceFactory},
    guard,
    http::header::{ALLOW, HeaderValue},
    web,
};

use crate::{http::admin::respond, surface::error::ApiError};

/// A handler and the methods that lead to it.
pub(super) struct MethodRoute {
    methods: &'static str,
    route: Route,
}

/// A path with its methods.
pub(super) struct Resource {
    path: &'static str,
    routes: Vec<MethodRoute>,
}

/// Creates the route of GET, and of HEAD, which is the same without the body.
pub(super) fn get<F, Args>(handler: F) -> MethodRoute
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let either = guard::Any(guard::Get()).or(guard::Head());
    MethodRoute {
        methods: "GET, HEAD",
        route: web::route().guard(either).to(handler),
    }
}

/// Creates the route of POST.
pub(super) fn post<F, Args>(handler: F) -> MethodRoute
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    MethodRoute {
        methods: "POST",
        route: web::post().to(handler),
    }
}

/// Creates the route of DELETE.
pub(super) fn delete<F, Args>(handler: F) -> MethodRoute
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    MethodRoute {
        methods: "DELETE",
        route: web::delete().to(handler),
    }
}

/// Creates a path that knows one method; [`Resource::route`] adds more.
pub(super) fn only(path: &'static str, route: MethodRoute) -> Resource {
    Resource {
        path,
        routes: vec![route],
    }
}

impl Resource {
    /// Adds a method.
    pub(super) fn route(mut self, route: MethodRoute) -> Self {
        self.routes.push(route);
        self
    }
}

/// Returns the paths of an operation: its own, without `/v1`, and as Azure has it: under `/openai`, and with the
/// deployment in place of a model.
fn paths(path: &str) -> Vec<String> {
    let mut paths = vec![path.to_owned()];
    let Some(short) = path.strip_prefix("/v1/") else {
        return paths;
    };
    paths.push(format!("/{short}"));
    paths.push(format!("/openai/v1/{short}"));
    if matches!(short, "chat/completions" | "completions" | "embeddings") {
        paths.push(format!("/openai/deployments/{{deployment}}/{short}"));
    }
    paths
}

impl HttpServiceFactory for Resource {
    fn register(self, config: &mut AppService) {
        let methods: Vec<&str> = self.routes.iter().map(|route| route.methods).collect();
        let allow = HeaderValue::from_str(&methods.join(", ")).ok();
        let wrong_method = move |http: HttpRequest| {
            let mut response = respond(&http, Err(ApiError::method_not_allowed()));
            if let Some(allow) = &allow {
                response.headers_mut().insert(ALLOW, allow.clone());
            }
            std::future::ready(response)
        };
        let mut resource = web::resource(paths(self.path));
        for route in self.routes {
            resource = resource.route(route.route);
        }
        resource
            .default_service(web::to(wrong_method))
            .register(config);
    }
}
