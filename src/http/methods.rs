//! Paths and their methods. Another method is answered with 405 and the list of allowed methods in `Allow`.

use actix_web::{
    FromRequest, Handler, HttpRequest, Responder, Route,
    dev::{AppService, HttpServiceFactory},
    guard,
    http::header::{ALLOW, HeaderValue},
    web,
};

use crate::{http::visit::respond, surface::error::ApiError};

/// A handler and the methods that call it.
pub(super) struct MethodRoute {
    methods: &'static str,
    /// Creates the route, once for each of its paths.
    route: Box<dyn Fn() -> Route>,
}

/// A path with its methods.
pub(super) struct Resource {
    path: &'static str,
    routes: Vec<MethodRoute>,
}

/// Creates the route of GET and of HEAD, which is the same without the body.
pub(super) fn get<F, Args>(handler: F) -> MethodRoute
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let route = move || {
        let either = guard::Any(guard::Get()).or(guard::Head());
        web::route().guard(either).to(handler.clone())
    };
    MethodRoute {
        methods: "GET, HEAD",
        route: Box::new(route),
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
        route: Box::new(move || web::post().to(handler.clone())),
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
        route: Box::new(move || web::delete().to(handler.clone())),
    }
}

/// Creates a path with one method; [`Resource::route`] adds others.
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

impl Resource {
    /// Returns the path, and the methods as in `Allow`.
    #[cfg(test)]
    pub(super) fn listed(&self) -> (&'static str, Vec<&'static str>) {
        let methods = self.routes.iter().map(|route| route.methods);
        (self.path, methods.collect())
    }

    /// Returns the service of the operation's own path. A path without parameters is compared as text, so these are
    /// registered before all others.
    pub(super) fn own(&self) -> impl HttpServiceFactory + use<> {
        self.service(vec![self.path.to_owned()])
    }

    /// Returns the service of the operation's other paths.
    pub(super) fn aliases(&self) -> impl HttpServiceFactory + use<> {
        self.service(aliases(self.path))
    }

    fn service(&self, paths: Vec<String>) -> Place {
        let methods: Vec<&str> = self.routes.iter().map(|route| route.methods).collect();
        Place {
            paths,
            routes: self.routes.iter().map(|route| (route.route)()).collect(),
            allow: HeaderValue::from_str(&methods.join(", ")).ok(),
        }
    }
}

/// The operations that Azure has under a deployment.
const DEPLOYED: [&str; 7] = [
    "chat/completions",
    "completions",
    "embeddings",
    "audio/speech",
    "audio/transcriptions",
    "audio/translations",
    "images/generations",
];

/// Returns the other paths of an operation: without `/v1`, and as in Azure: under `/openai`, and with the deployment
/// in place of a model.
fn aliases(path: &str) -> Vec<String> {
    let Some(short) = path.strip_prefix("/v1/") else {
        return Vec::new();
    };
    let mut paths = vec![
        format!("/{short}"),
        format!("/openai/v1/{short}"),
        format!("/openai/{short}"),
    ];
    if DEPLOYED.contains(&short) {
        paths.push(format!("/openai/deployments/{{deployment:.+}}/{short}"));
    }
    paths
}

/// A resource: some paths of an operation.
struct Place {
    paths: Vec<String>,
    routes: Vec<Route>,
    /// The value of `Allow`.
    allow: Option<HeaderValue>,
}

impl HttpServiceFactory for Place {
    fn register(self, config: &mut AppService) {
        if self.paths.is_empty() {
            return;
        }
        let allow = self.allow;
        let wrong_method = move |http: HttpRequest| {
            let mut response = respond(&http, Err(ApiError::method_not_allowed()));
            if let Some(allow) = &allow {
                response.headers_mut().insert(ALLOW, allow.clone());
            }
            std::future::ready(response)
        };
        let mut resource = if let [path] = self.paths.as_slice() {
            web::resource(path.as_str())
        } else {
            web::resource(self.paths)
        };
        for route in self.routes {
            resource = resource.route(route);
        }
        resource
            .default_service(web::to(wrong_method))
            .register(config);
    }
}
