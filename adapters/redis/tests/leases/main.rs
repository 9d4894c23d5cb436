//! Leases in real servers, which are stopped, killed, cut off and started again while gateways renew.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod fleet;
mod proxy;
mod server;

use std::time::Duration;

use fleet::{Fleet, TTL, leases};
use kebne_redis::{Options, RedisConnection, RedisLeases};
use kebne_shares::{CapacityLease as _, LaneKey, LeaseError, LeaseState, Renewal, contract};
use proxy::{Network, Proxy};
use server::{KINDS, Server, options};

#[tokio::test]
async fn they_keep_the_contract() {
    for kind in KINDS {
        let server = Server::start(kind);
        let connect = || {
            let connection = RedisConnection::new(&server.options()).unwrap();
            RedisLeases::new(connection, contract::TTL)
        };
        let (one, other) = (connect(), connect());
        let kept = contract::check(&[&one, &other], "contract").await;
        assert_eq!(kept, Ok(()), "{kind}");
    }
}

#[tokio::test]
async fn without_a_server_a_renewal_fails_soon_and_later_it_succeeds() {
    let mut server = Server::start("redis");
    server.kill();
    let leases = leases(&server.options());
    let lane = LaneKey::new("a");
    let renewal = Renewal::default();
    let renewed =
        tokio::time::timeout(Duration::from_secs(2), leases.renew(&lane, "one", &renewal));
    let renewed = renewed.await.unwrap();
    assert!(
        matches!(renewed, Err(LeaseError::Unavailable(_))),
        "{renewed:?}"
    );
    server.restart();
    let mut tries = 0;
    while let Err(error) = leases.renew(&lane, "one", &renewal).await {
        tries += 1;
        assert!(tries < 50, "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn something_else_under_the_key_is_an_error_or_begins_anew() {
    let server = Server::start("valkey");
    let client = redis::Client::open(server.options().url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let leases = leases(&server.options());
    let set = redis::cmd("LPUSH")
        .arg("kebne:lease:{a}")
        .arg("x")
        .to_owned();
    set.exec_async(&mut connection).await.unwrap();
    let renewed = leases
        .renew(&LaneKey::new("a"), "one", &Renewal::default())
        .await;
    assert!(
        matches!(renewed, Err(LeaseError::Damaged(_))),
        "{renewed:?}"
    );
    let set = redis::cmd("SET").arg("kebne:lease:{b}").arg("x").to_owned();
    set.exec_async(&mut connection).await.unwrap();
    let holds = Renewal {
        holds: 3,
        queued: 9,
        level: 12.0,
        serves: true,
        ..Renewal::default()
    };
    let renewed = leases.renew(&LaneKey::new("b"), "one", &holds).await;
    assert_eq!(renewed.unwrap().lease.share, 3, "it holds what it held");
}

#[tokio::test]
async fn what_is_kept_expires() {
    let server = Server::start("redis");
    let leases = leases(&server.options());
    leases
        .renew(&LaneKey::new("a"), "one", &Renewal::default())
        .await
        .unwrap();
    let client = redis::Client::open(server.options().url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let left = redis::cmd("PTTL").arg("kebne:lease:{a}").to_owned();
    let left: i64 = left.query_async(&mut connection).await.unwrap();
    assert!((80_000_000..=86_400_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_wrong_password_is_said() {
    let server = Server::start("redis");
    let wrong = Options {
        password: Some("hunter2".to_owned()),
        ..server.options()
    };
    let lane = LaneKey::new("a");
    let refused = leases(&wrong)
        .renew(&lane, "one", &Renewal::default())
        .await;
    let Err(LeaseError::Unavailable(reason)) = refused else {
        panic!("{refused:?}");
    };
    assert!(!reason.contains("hunter2"), "{reason}");
}

/// While the server is stopped the gateways go on: first with their leases, then with a fair part. When it continues they return to
/// their leases, and nothing is given twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_and_continues() {
    for kind in KINDS {
        let server = Server::start(kind);
        let fleet = Fleet::start(&server.options(), 3);
        fleet.settled([8, 8, 8]).await;
        server.signal("STOP");
        tokio::time::sleep(TTL / 2).await;
        fleet.assert_shares(8..=8);
        tokio::time::sleep(2 * TTL).await;
        fleet.assert_states(LeaseState::Over);
        fleet.assert_shares(8..=8);
        server.signal("CONT");
        fleet.settled([8, 8, 8]).await;
        fleet.assert_states(LeaseState::Held);
        assert!(fleet.most() <= 24, "{kind}: {}", fleet.most());
    }
}

/// A server that is killed and has lost everything: nobody gets more than it used until all have reported.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_has_lost_everything() {
    for kind in KINDS {
        let mut server = Server::start(kind);
        let fleet = Fleet::start(&server.options(), 3);
        fleet.settled([8, 8, 8]).await;
        server.kill();
        tokio::time::sleep(2 * TTL).await;
        fleet.assert_states(LeaseState::Over);
        fleet.assert_shares(8..=8);
        server.restart();
        fleet.settled([8, 8, 8]).await;
        assert!(fleet.most() <= 24, "{kind}: {}", fleet.most());
        server.kill();
        server.restart();
        fleet.settled([8, 8, 8]).await;
        assert!(fleet.most() <= 24, "{kind}: {}", fleet.most());
    }
}

/// One gateway is cut off from the server. It keeps its fair part, and the others share what is left of its lease only after it is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_cut_off() {
    for network in [Network::Cuts, Network::Holds] {
        let server = Server::start("valkey");
        let proxy = Proxy::start(server.port()).await;
        let mut fleet = Fleet::start(&server.options(), 2);
        fleet.join(&options(proxy.port()));
        fleet.settled([8, 8, 8]).await;
        proxy.set(network);
        tokio::time::sleep(3 * TTL).await;
        assert_eq!(fleet.shares(), [12, 12, 8], "{network:?}");
        assert_eq!(fleet.states()[2], LeaseState::Over, "{network:?}");
        proxy.set(Network::Passes);
        fleet.settled([8, 8, 8]).await;
        fleet.assert_states(LeaseState::Held);
    }
}

/// A slow network costs nothing as long as a renewal comes back before the lease is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_network() {
    let server = Server::start("redis");
    let proxy = Proxy::start(server.port()).await;
    let fleet = Fleet::start(&options(proxy.port()), 3);
    fleet.settled([8, 8, 8]).await;
    proxy.set(Network::Delays(Duration::from_millis(40)));
    tokio::time::sleep(2 * TTL).await;
    // A single renewal may be late; a lease is never over.
    assert!(!fleet.states().contains(&LeaseState::Over));
    fleet.assert_shares(8..=8);
    assert!(fleet.most() <= 24);
}
