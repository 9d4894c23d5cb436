//! Staged incidents of a simulated model: it is put to sleep, gets more calls than it can take, or its lane hangs. The live
//! page has buttons for the first two.
//!
//! The calls are sent to this service over its own port, so that they are admitted, queued and counted like those of any
//! caller. One load runs at a time, and each is bounded in calls and time.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use actix_web::{HttpResponse, web::Data};
use kebne_lab::load::{self, Call, Plan, Target, Watcher};
use serde_json::json;

use crate::{
    backend::{SimulatedBackend, upstream},
    http::visit::Visit,
    settings::server::Scope,
    surface::{error::ApiError, presented_key},
};

/// The duration of an overload.
const OVERLOAD: Duration = Duration::from_secs(20);
/// Offered calls per call that the model can serve, in an overload.
const OVERLOAD_FACTOR: f64 = 2.5;
/// The least and the most calls per second of an overload. The most bounds what a model without a capacity gets.
const RATES: (f64, f64) = (2.0, 60.0);
/// The deadline of a call of an overload; short enough that some are refused.
const OVERLOAD_DEADLINE: Duration = Duration::from_secs(10);
/// The duration and rate of the calls that meet a cold start: about 12 callers.
const COLD_START: (Duration, f64) = (Duration::from_secs(3), 4.0);
/// The deadline of these calls, which all can be served after a cold start of some seconds.
const COLD_START_DEADLINE: Duration = Duration::from_secs(45);
/// The time for which a lane hangs: longer than the default of `alerts.rules.stuck_after`.
const HANG: Duration = Duration::from_secs(45);
/// Time to connect to this process.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The loads of this process.
#[derive(Clone, Debug)]
pub(super) struct Loads {
    address: SocketAddr,
    runs: Arc<AtomicBool>,
}

/// Notes the end of a load, also if it is dropped.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}

/// The results are in the metrics, and on the page.
struct Unwatched;

impl Watcher for Unwatched {
    fn ended(&self, _: &Call, _: usize) {}
}

impl Loads {
    /// Creates the loads of a service that listens at `address`.
    pub(super) fn new(address: SocketAddr) -> Self {
        let mut address = address;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        Self {
            address,
            runs: Arc::default(),
        }
    }

    /// Starts to send a plan's calls.
    fn start(&self, plan: Plan, target: Target) -> Result<(), ApiError> {
        if self.runs.swap(true, SeqCst) {
            let message =
                "the last load of the lab is still running; try again when its calls have ended";
            return Err(ApiError::conflict(message));
        }
        let running = Running(Arc::clone(&self.runs));
        actix_rt::spawn(async move {
            let _running = running;
            if let Err(error) = load::drive(&plan, &target, &Unwatched).await {
                tracing::warn!(%error, "a load of the lab was not sent");
            }
        });
        Ok(())
    }
}

/// `POST /lab/{backend}/cold-start`: puts a simulated model to sleep and sends it some calls, which wait until it has loaded.
pub(super) async fn cold_start(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    let model = simulated(&visit, &name)?;
    if !model.fall_asleep() {
        return Err(ApiError::bad_request(
            None,
            format!("the simulated model `{name}` has no cold start"),
        ));
    }
    let (duration, rate) = COLD_START;
    send(&visit, &name, rate, duration, COLD_START_DEADLINE)
}

/// `POST /lab/{backend}/overload`: sends a simulated model more calls than it can serve, for a while.
pub(super) async fn overload(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    let model = simulated(&visit, &name)?;
    let (least, most) = RATES;
    let rate = (OVERLOAD_FACTOR * model.calls_per_second()).clamp(least, most);
    send(&visit, &name, rate, OVERLOAD, OVERLOAD_DEADLINE)
}

/// `POST /lab/{backend}/hang`: blocks the actors of a simulated model's lane for a while, as an error in the program would.
pub(super) async fn hang(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    simulated(&visit, &name)?;
    if !visit.state.gateway.block(&name, HANG) {
        return Err(ApiError::internal("the thread of the lane has ended"));
    }
    let seconds = HANG.as_secs();
    Ok(HttpResponse::Accepted().json(json!({"backend": name, "seconds": seconds})))
}

fn simulated(visit: &Visit, name: &str) -> Result<Arc<SimulatedBackend>, ApiError> {
    let model = visit.state.gateway.simulated(name);
    model.ok_or_else(|| ApiError::not_found(format!("there is no simulated backend `{name}`")))
}

fn send(
    visit: &Visit,
    backend: &str,
    rate: f64,
    duration: Duration,
    deadline: Duration,
) -> Result<HttpResponse, ApiError> {
    visit.caller.require(Scope::Call)?;
    let loads = visit.http.app_data::<Data<Loads>>();
    let loads = loads.ok_or_else(|| ApiError::internal("this service has no lab"))?;
    let models = visit.state.live.models();
    let mut models = models.iter();
    let model = models.find(|model| model.backends.first().is_some_and(|first| first == backend));
    let model = model.ok_or_else(|| {
        ApiError::not_found(format!("no model begins with the backend `{backend}`"))
    })?;
    let planned = Plan::poisson((rate, rate), duration, deadline, fastrand::u64(..));
    let mut plan = planned.map_err(|error| ApiError::internal(error.to_string()))?;
    plan.stream = true;
    let url = format!("http://{}/v1", loads.address).parse();
    let target = Target {
        client: upstream::client(CONNECT_TIMEOUT, false)
            .map_err(|error| ApiError::internal(error.to_string()))?,
        url: url.map_err(|_| ApiError::internal("the address of this service is not a URL"))?,
        model: model.name.clone(),
        key: presented_key(visit.headers()).map(str::to_owned),
    };
    let calls = plan.calls.len();
    loads.start(plan, target)?;
    let seconds = duration.as_secs();
    Ok(HttpResponse::Accepted()
        .json(json!({"backend": backend, "model": model.name, "calls": calls, "seconds": seconds})))
}
