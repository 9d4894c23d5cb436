//! Kebne's HTTP service, with the suite's handlers in place of its own.

use kebne::settings::ServerSettings;

use crate::{
    driver::{
        Offered,
        http::{HttpDriver, Server, Upstream},
    },
    http_app,
};

/// Serves by the rules of Kebne's HTTP service, on one worker.
#[derive(Debug)]
pub(super) struct KebneHttp;

impl HttpDriver for KebneHttp {
    fn serve(&self, upstream: Upstream) -> Offered<Box<dyn Server>> {
        http_app::run(move |listener| {
            let settings = ServerSettings {
                workers: 1,
                ..ServerSettings::default()
            };
            kebne::http::serve(listener, &settings, move |config| {
                http_app::routes(config, &upstream);
            })
        })
    }
}
