//! Prints what five gateways use of shared limits together, and the time that a call takes to be admitted.
//!
//! `cargo run --release -p kebne-redis --example shared_accounts -- redis://127.0.0.1:6379/0`

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "it prints a table, and ends at the first surprise"
)]
#![expect(dead_code, reason = "the tests use more of a gateway")]

#[path = "../tests/accounts/gateway.rs"]
mod gateway;

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, SystemTime},
};

use gateway::{Counts, Gateway, under_load};
use kebne_accounts::{Accounts, AccountsSettings};
use kebne_quota::{Budget, Estimate, Limits, Money, Period};
use kebne_redis::Options;
use tokio::time::{Instant, sleep};

/// The number of gateways, and of their callers.
const GATEWAYS: usize = 5;
const CALLERS: usize = 2;
/// How long each load lasts.
const LASTS: Duration = Duration::from_secs(10);

#[actix::main]
async fn main() {
    let url = std::env::args().nth(1);
    let url = url.unwrap_or_else(|| "redis://127.0.0.1:6379/0".to_owned());
    let life = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let options = |name: &str| Options {
        url: url.clone(),
        prefix: format!("kebne-example-{life}-{name}:"),
        ..Options::default()
    };
    println!("| limit | used / limit | calls | longest wait |");
    println!("|---|---|---|---|");
    for (name, limits) in limits() {
        let mut gateways = Vec::new();
        for number in 0..GATEWAYS {
            let ahead = Duration::from_secs(300 * number as u64);
            let (options, member) = (options(name), format!("{name}-{number}"));
            gateways.push(Gateway::start(&options, &member, ahead).await);
        }
        let (counts, began) = (Counts::default(), Instant::now());
        under_load(&gateways, &limits, CALLERS, &counts, sleep(LASTS)).await;
        let used = match (limits.requests_per_minute, limits.requests_at_once) {
            (Some(limit), _) => {
                let all = f64::from(limit) * (1.0 + began.elapsed().as_secs_f64() / 60.0);
                counts.admitted() as f64 / all
            }
            (_, Some(limit)) => counts.at_once.load(SeqCst) as f64 / f64::from(limit),
            _ => counts.tokens.load(SeqCst) as f64 / 10_000.0,
        };
        let calls = counts.admitted() + counts.refused.load(SeqCst);
        let longest = counts.longest.load(SeqCst) as f64 / 1000.0;
        println!("| {name} | {used:.4} | {calls} | {longest:.1} ms |");
        for gateway in gateways {
            gateway.stop().await;
        }
    }
    println!("\n| accounts | p50 | p99 | p99.9 |\n|---|---|---|---|");
    let wide = Limits {
        requests_per_minute: Some(1_000_000),
        tokens_per_minute: Some(1_000_000_000),
        requests_at_once: Some(1000),
        budgets: vec![budget(1_000_000_000)],
    };
    let clock = || u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let alone = Accounts::new(AccountsSettings::default(), Arc::new(clock));
    times("of one gateway", &alone, &wide).await;
    let gateway = Gateway::start(&options("times"), "times", Duration::ZERO).await;
    times("shared", &gateway.accounts, &wide).await;
    gateway.stop().await;
}

fn budget(tokens: u64) -> Budget {
    Budget {
        tokens: Some(tokens),
        money: None,
        per: Period::Month,
    }
}

fn limits() -> [(&'static str, Limits); 3] {
    let budget = Limits {
        budgets: vec![budget(10_000)],
        ..Limits::default()
    };
    let requests = Limits {
        requests_per_minute: Some(1200),
        ..Limits::default()
    };
    let at_once = Limits {
        requests_at_once: Some(8),
        ..Limits::default()
    };
    [
        ("budget of 10000 tokens", budget),
        ("1200 calls per minute", requests),
        ("8 calls at once", at_once),
    ]
}

/// Prints how long calls take to be admitted: one each millisecond, and settled some time later.
async fn times(name: &str, accounts: &Accounts, limits: &Limits) {
    let path = accounts.open("a", None, limits);
    let estimate = Estimate {
        tokens: 500,
        money: Money::ZERO,
    };
    let mut times = Vec::new();
    let mut running = std::collections::VecDeque::new();
    let began = Instant::now();
    while began.elapsed() < LASTS {
        let asked = std::time::Instant::now();
        let reservation = accounts.admit(&path, estimate).await.unwrap();
        times.push(asked.elapsed());
        running.push_back(reservation);
        if running.len() > 50
            && let Some(ended) = running.pop_front()
        {
            ended.settle(200, Money::ZERO);
        }
        sleep(Duration::from_millis(1)).await;
    }
    times.sort_unstable();
    let at = |permille: usize| times[times.len() * permille / 1000].as_secs_f64() * 1e6;
    let (p50, p99, p999) = (at(500), at(990), at(999));
    println!("| {name} | {p50:.1} µs | {p99:.1} µs | {p999:.1} µs |");
}
