//! Paths with additional slashes: clients join a base URL and a path with two slashes, or end the path with one.

use std::{future::Future, rc::Rc};

use actix_web::{
    Error,
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
    middleware::NormalizePath,
};

/// Merges and trims slashes with [`NormalizePath`], which searches each path with a regular expression. Paths without
/// additional slashes, which are nearly all, skip the search.
pub(super) struct Normalize;

/// The service behind [`Normalize`].
pub(super) struct Normalized<S>
where
    Rc<S>: Service<ServiceRequest>,
    NormalizePath: Transform<Rc<S>, ServiceRequest>,
{
    service: Rc<S>,
    normalizing: <NormalizePath as Transform<Rc<S>, ServiceRequest>>::Transform,
}

impl<S, B> Transform<S, ServiceRequest> for Normalize
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    S::Future: 'static,
    B: MessageBody,
{
    type Response = ServiceResponse<B>;
    type Error = Error;
    type Transform = Normalized<S>;
    type InitError = ();
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Transform, ()>>>>;

    fn new_transform(&self, service: S) -> Self::Future {
        let service = Rc::new(service);
        Box::pin(async move {
            let normalizing = NormalizePath::trim().new_transform(Rc::clone(&service));
            Ok(Normalized {
                normalizing: normalizing.await?,
                service,
            })
        })
    }
}

impl<S, B> Service<ServiceRequest> for Normalized<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    S::Future: 'static,
    B: MessageBody,
{
    type Response = ServiceResponse<B>;
    type Error = Error;
    type Future = S::Future;

    forward_ready!(service);

    fn call(&self, http: ServiceRequest) -> S::Future {
        if has_slashes_too_many(http.path()) {
            self.normalizing.call(http)
        } else {
            self.service.call(http)
        }
    }
}

/// Returns `true` if a path has two slashes in a row, or ends with one.
fn has_slashes_too_many(path: &str) -> bool {
    let bytes = path.as_bytes();
    path.len() > 1 && (path.ends_with('/') || bytes.windows(2).any(|pair| *pair == [b'/', b'/']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_path_is_not_searched() {
        for (path, is_wrong) in [
            ("", false),
            ("/", false),
            ("/v1/models", false),
            ("/v1/models/", true),
            ("//", true),
            ("//v1/models", true),
            ("/v1//models", true),
        ] {
            assert_eq!(has_slashes_too_many(path), is_wrong, "{path}");
        }
    }
}
