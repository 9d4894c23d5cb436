//! A gateway with shared accounts, as far as a test needs one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use actix::{Actor, Handler};
use kebne_accounts::{
    Accounts, AccountsSettings, BlocksState, Denied, Reservation, SharedHealth, SharedStore,
    Sharing, StoreError,
};
use kebne_actors::{ActorRef, ActorSystem, Context, Props, Spawn};
use kebne_quota::{Estimate, Limits, Money};
use kebne_redis::{Options, RedisAccounts};
use tokio::time::{Instant, sleep};

/// The time to live of leases.
pub(crate) const TTL: Duration = Duration::from_secs(1);
/// The most tokens of a call.
pub(crate) const TOKENS: u64 = 10;

struct Guardian;

impl Actor for Guardian {
    type Context = Context<Self>;
}

impl Handler<Spawn> for Guardian {
    type Result = ();

    fn handle(&mut self, spawn: Spawn, ctx: &mut Context<Self>) {
        spawn.perform(ctx);
    }
}

pub(crate) struct Gateway {
    pub(crate) accounts: Accounts,
    system: ActorSystem,
    _guardian: ActorRef<Guardian>,
}

impl Gateway {
    /// Starts a gateway whose clock is `ahead`.
    pub(crate) async fn start(options: &Options, name: &str, ahead: Duration) -> Self {
        let system = ActorSystem::new("test", 1);
        let guardian = system.spawn(Props::new(|| Guardian), "guardian");
        let options = options.clone();
        let open = move || match RedisAccounts::new(&options) {
            Ok(store) => Ok(Box::new(store) as Box<dyn SharedStore>),
            Err(error) => Err(StoreError(error.to_string())),
        };
        let mut sharing = Sharing::new(name.to_owned(), Arc::new(open));
        sharing.ttl = TTL;
        let clock = move || {
            let now = SystemTime::UNIX_EPOCH.elapsed().unwrap() + ahead;
            u64::try_from(now.as_millis()).unwrap()
        };
        let accounts = Accounts::shared(AccountsSettings::default(), Arc::new(clock), sharing);
        let thread = actix_rt::Arbiter::new().handle();
        accounts.start_under(&guardian, thread).await.unwrap();
        Self {
            accounts,
            system,
            _guardian: guardian,
        }
    }

    /// Ends it in order.
    pub(crate) async fn stop(self) {
        self.accounts.leave().await.unwrap();
        self.kill().await;
    }

    /// Ends it at once: it gives nothing back.
    pub(crate) async fn kill(self) {
        self.system.terminate().await;
    }

    pub(crate) async fn admit(&self, limits: &Limits) -> Result<Reservation, Denied> {
        let path = self.accounts.open("a", None, limits);
        let estimate = Estimate {
            tokens: TOKENS,
            money: Money::ZERO,
        };
        self.accounts.admit(&path, estimate).await
    }

    pub(crate) fn used(&self) -> (u64, u64) {
        let view = self.accounts.view("a").unwrap();
        (view.month.calls, view.month.tokens)
    }

    pub(crate) fn health(&self) -> SharedHealth {
        self.accounts.shared_health().unwrap()
    }

    pub(crate) async fn is(&self, state: BlocksState) {
        until(state.label(), || self.health().state == state).await;
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(20), "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// What calls of a load did.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) admitted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) tokens: AtomicU64,
    running: AtomicU64,
    pub(crate) at_once: AtomicU64,
    /// The longest wait of a call, in microseconds.
    pub(crate) longest: AtomicU64,
    is_over: AtomicBool,
}

impl Counts {
    pub(crate) fn admitted(&self) -> u64 {
        self.admitted.load(SeqCst)
    }
}

/// Makes calls at all gateways from `each` callers, each of which pauses between two calls, while `steps` goes on.
pub(crate) async fn under_load<T>(
    gateways: &[Gateway],
    limits: &Limits,
    each: usize,
    counts: &Counts,
    steps: impl Future<Output = T>,
) -> T {
    let callers = gateways.iter().enumerate().flat_map(|(number, gateway)| {
        // The first gateway has most of the calls.
        let callers = if number == 0 { 3 * each } else { each };
        (0..callers).map(move |caller| call(gateway, limits, counts, (number * 7 + caller) as u64))
    });
    let calls = futures_util::future::join_all(callers);
    let steps = async {
        let result = steps.await;
        counts.is_over.store(true, SeqCst);
        result
    };
    let (_, result) = tokio::join!(calls, steps);
    counts.is_over.store(false, SeqCst);
    result
}

async fn call(gateway: &Gateway, limits: &Limits, counts: &Counts, seed: u64) {
    let mut number = seed;
    while !counts.is_over.load(SeqCst) {
        number += 1;
        let began = Instant::now();
        let reserved = gateway.admit(limits).await;
        let took = u64::try_from(began.elapsed().as_micros()).unwrap();
        counts.longest.fetch_max(took, SeqCst);
        if let Ok(reservation) = reserved {
            counts.admitted.fetch_add(1, SeqCst);
            let running = counts.running.fetch_add(1, SeqCst) + 1;
            counts.at_once.fetch_max(running, SeqCst);
            sleep(Duration::from_millis(number % 20)).await;
            counts.running.fetch_sub(1, SeqCst);
            let tokens = number % (TOKENS + 1);
            reservation.settle(tokens, Money::ZERO);
            counts.tokens.fetch_add(tokens, SeqCst);
        } else {
            counts.refused.fetch_add(1, SeqCst);
        }
        sleep(Duration::from_millis(5)).await;
    }
}
