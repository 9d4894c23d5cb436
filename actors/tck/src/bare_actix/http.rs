//! actix-web with its defaults.

use actix_web::{App, HttpServer};

use crate::{
    driver::{
        Offered,
        http::{HttpDriver, Server, Upstream},
    },
    http_app,
};

/// Serves with actix-web's defaults, on one worker.
#[derive(Debug)]
pub(super) struct BareHttp;

impl HttpDriver for BareHttp {
    fn serve(&self, upstream: Upstream) -> Offered<Box<dyn Server>> {
        http_app::run(move |listener| {
            let app = move || {
                let upstream = upstream.clone();
                App::new().configure(move |config| http_app::routes(config, &upstream))
            };
            let server = HttpServer::new(app).workers(1).disable_signals();
            let server = server.listen(listener)?.run();
            let handle = server.handle();
            actix_rt::spawn(server);
            Ok(handle)
        })
    }
}
