//! Accounts in real servers, which are stopped, killed, emptied and started again while gateways use them.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod gateway;
#[expect(dead_code, reason = "the tests of leases use all of it")]
#[path = "../leases/server.rs"]
mod server;

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use gateway::{Counts, Gateway, TOKENS, TTL, under_load, until};
use kebne_accounts::{BlocksState, KeySpec, KeyStore as _, StoredKey, contract};
use kebne_quota::{Budget, Limits, Period};
use kebne_redis::{Options, RedisAccounts};
use server::{KINDS, Server};
use tokio::time::{Instant, sleep};

fn budget(tokens: u64) -> Limits {
    Limits {
        budgets: vec![Budget {
            tokens: Some(tokens),
            money: None,
            per: Period::Month,
        }],
        ..Limits::default()
    }
}

/// Starts gateways, of which every second one has a clock that is minutes ahead.
async fn fleet(options: &Options, count: usize) -> Vec<Gateway> {
    let mut gateways = Vec::new();
    for number in 0..count {
        let ahead = Duration::from_secs(420 * (number as u64 % 2));
        gateways.push(Gateway::start(options, &format!("gateway-{number}"), ahead).await);
    }
    gateways
}

async fn stop(gateways: Vec<Gateway>) {
    for gateway in gateways {
        gateway.stop().await;
    }
}

#[test]
fn they_keep_the_contract() {
    for kind in KINDS {
        let server = Server::start(kind);
        let connect = || RedisAccounts::new(&server.options()).unwrap();
        let kept = contract::check_keys(&mut connect(), &mut connect());
        assert_eq!(kept, Ok(()), "{kind}");
        let kept = contract::check_blocks(&mut connect(), &mut connect(), "contract");
        assert_eq!(kept, Ok(()), "{kind}");
    }
}

#[actix::test]
async fn five_gateways_use_a_budget_up_and_do_not_exceed_it() {
    for kind in KINDS {
        let server = Server::start(kind);
        let gateways = fleet(&server.options(), 5).await;
        let counts = Counts::default();
        let limits = budget(10_000);
        under_load(
            &gateways,
            &limits,
            4,
            &counts,
            sleep(Duration::from_secs(5)),
        )
        .await;
        let (used, refused) = (counts.tokens.load(SeqCst), counts.refused.load(SeqCst));
        println!("{kind}: {used} tokens of 10000, {counts:?}");
        assert!(used <= 10_000, "{kind}: {used}");
        // Each gateway may hold a few tokens, which are less than a call.
        assert!(
            used >= 10_000 - 2 * TOKENS && refused > 0,
            "{kind}: {used} {refused}"
        );
        let all = (counts.admitted(), used);
        for gateway in &gateways {
            let denied = gateway.admit(&limits).await;
            assert!(denied.is_err(), "{kind}");
            until("all know of all calls", || gateway.used() == all).await;
        }
        stop(gateways).await;
    }
}

#[actix::test]
async fn five_gateways_keep_limits_per_minute_and_of_calls_at_once() {
    let server = Server::start("valkey");
    let gateways = fleet(&server.options(), 5).await;
    let limits = Limits {
        requests_per_minute: Some(1200),
        requests_at_once: Some(12),
        ..Limits::default()
    };
    let (counts, began) = (Counts::default(), Instant::now());
    under_load(
        &gateways,
        &limits,
        4,
        &counts,
        sleep(Duration::from_secs(6)),
    )
    .await;
    let back = u64::try_from(began.elapsed().as_millis()).unwrap() * 1200 / 60_000;
    let (admitted, most) = (counts.admitted(), 1200 + back);
    println!("{admitted} calls of {most}, {counts:?}");
    assert!(admitted <= most, "{admitted} of {most}");
    assert!(admitted * 100 >= most * 90, "{admitted} of {most}");
    assert!(counts.at_once.load(SeqCst) <= 12, "{counts:?}");
    stop(gateways).await;
}

/// While the server is stopped calls go on, and when it continues all of them count once.
#[actix::test]
async fn a_server_that_is_stopped_and_continues() {
    for kind in KINDS {
        let server = Server::start(kind);
        let gateways = fleet(&server.options(), 3).await;
        let (counts, limits) = (Counts::default(), budget(1_000_000));
        under_load(&gateways, &limits, 3, &counts, async {
            sleep(Duration::from_secs(1)).await;
            server.signal("STOP");
            for gateway in &gateways {
                gateway.is(BlocksState::Over).await;
            }
            let before = counts.admitted();
            sleep(TTL).await;
            assert!(counts.admitted() > before + 50, "{kind}: {counts:?}");
            server.signal("CONT");
            for gateway in &gateways {
                gateway.is(BlocksState::Held).await;
            }
        })
        .await;
        assert_eq!(counts.refused.load(SeqCst), 0, "{kind}");
        let all = (counts.admitted(), counts.tokens.load(SeqCst));
        for gateway in &gateways {
            // A call that ends without having used anything.
            drop(gateway.admit(&limits).await.unwrap());
        }
        for gateway in &gateways {
            let expected = (all.0 + 3, all.1);
            until("all count once", || gateway.used() == expected).await;
        }
        stop(gateways).await;
    }
}

/// A server that is killed and has lost everything gets the sums and the keys back.
#[actix::test]
async fn a_server_that_is_killed_and_has_lost_everything() {
    for kind in KINDS {
        let mut server = Server::start(kind);
        let gateways = fleet(&server.options(), 3).await;
        let (counts, limits) = (Counts::default(), budget(1_000_000));
        let key = StoredKey {
            id: "k".to_owned(),
            hash: "00".repeat(32),
            old: None,
            created_at: 0,
            spec: KeySpec::default(),
        };
        gateways[0].accounts.put_key(key.clone()).await.unwrap();
        let since = Instant::now();
        for gateway in &gateways {
            until("the key is everywhere", || {
                gateway.accounts.keys().contains_key("k")
            })
            .await;
        }
        assert!(
            since.elapsed() < Duration::from_secs(2),
            "{kind}: {:?}",
            since.elapsed()
        );
        under_load(&gateways, &limits, 3, &counts, async {
            sleep(Duration::from_secs(1)).await;
            server.kill();
            for gateway in &gateways {
                gateway.is(BlocksState::Over).await;
            }
            let before = counts.admitted();
            sleep(TTL).await;
            assert!(counts.admitted() > before + 50, "{kind}: {counts:?}");
            server.restart();
            for gateway in &gateways {
                gateway.is(BlocksState::Held).await;
            }
        })
        .await;
        assert_eq!(counts.refused.load(SeqCst), 0, "{kind}");
        let (calls, tokens) = (counts.admitted(), counts.tokens.load(SeqCst));
        for gateway in &gateways {
            drop(gateway.admit(&limits).await.unwrap());
            gateway.accounts.flush().await.unwrap();
        }
        let found = gateways[2].used();
        println!("{kind}: {found:?} of {:?}", (calls + 3, tokens));
        // The last report of each gateway before the loss may be unknown to the others: some 250 ms of calls.
        assert!(
            found.0 <= calls + 3 && found.0 * 100 >= calls * 80,
            "{found:?} {calls}"
        );
        assert!(
            found.1 <= tokens && found.1 * 100 >= tokens * 80,
            "{found:?} {tokens}"
        );
        until("the key is in the store", || {
            let mut store = RedisAccounts::new(&server.options()).unwrap();
            store.keys().unwrap() == [key.clone()]
        })
        .await;
        stop(gateways).await;
    }
}

/// A gateway that is killed leaves its block to the others when its lease is over; what it had reported stays used.
#[actix::test]
async fn a_gateway_that_is_killed_with_a_block() {
    let server = Server::start("redis");
    let mut gateways = fleet(&server.options(), 3).await;
    let (counts, limits) = (Counts::default(), budget(4_000));
    under_load(
        &gateways,
        &limits,
        3,
        &counts,
        sleep(Duration::from_millis(600)),
    )
    .await;
    let killed = gateways.remove(0);
    killed.accounts.flush().await.unwrap();
    killed.kill().await;
    sleep(TTL + TTL / 2).await;
    under_load(
        &gateways,
        &limits,
        6,
        &counts,
        sleep(Duration::from_secs(4)),
    )
    .await;
    let used = counts.tokens.load(SeqCst);
    assert!((4_000 - 2 * TOKENS..=4_000).contains(&used), "{used}");
    stop(gateways).await;
}
