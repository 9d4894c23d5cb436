//! Exercise 13. A provider is dead for a minute. Callers may wait for it for less than 15 s in all, with fewer than 15 calls, and must reach
//! it again within 15 s of its recovery.

use std::{cell::Cell, time::Duration};

use tokio::time::{Instant, sleep};

/// Answers nothing for ten seconds at a time while it is dead.
struct Provider {
    dead_until: Instant,
    calls: Cell<u32>,
}

impl Provider {
    async fn call(&self) -> Result<u32, &'static str> {
        self.calls.set(self.calls.get() + 1);
        if Instant::now() < self.dead_until {
            sleep(Duration::from_secs(10)).await;
            return Err("no answer");
        }
        Ok(42)
    }
}

struct Client {
    provider: Provider,
}

impl Client {
    fn new(provider: Provider) -> Self {
        Self { provider }
    }

    async fn get(&self) -> Option<u32> {
        self.provider.call().await.ok()
    }
}

// The check: leave it as it is.

pub(crate) async fn check() {
    tokio::time::pause();
    let minute = Duration::from_mins(1);
    let client = Client::new(Provider {
        dead_until: Instant::now() + minute,
        calls: Cell::new(0),
    });
    let end = Instant::now() + minute;
    let mut waited = Duration::ZERO;
    while Instant::now() < end {
        let begun = Instant::now();
        assert_eq!(client.get().await, None);
        waited += begun.elapsed();
        sleep(Duration::from_millis(100)).await;
    }
    let calls = client.provider.calls.get();
    assert!(
        waited < Duration::from_secs(15),
        "exercise 13: callers waited {waited:?} for a dead provider"
    );
    assert!(calls < 15, "exercise 13: {calls} calls to a dead provider");
    sleep(Duration::from_secs(15)).await;
    assert_eq!(
        client.get().await,
        Some(42),
        "exercise 13: it is used again when it lives"
    );
}
