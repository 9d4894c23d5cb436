//! Tests of the samples.

use serde_json::Value;

use super::*;
/// A snapshot without lanes.
fn seen() -> Seen {
    Seen {
        gateway: GatewaySnapshot {
            actors: Vec::new(),
            dead_letters: 3,
            lanes: Vec::new(),
            restarts: std::collections::BTreeMap::new(),
            fallbacks: Vec::new(),
            health: Vec::new(),
            servers: Vec::new(),
            shares: Vec::new(),
        },
        draining: false,
        index_bytes: 0,
        uptime: Duration::from_secs(5),
        store: StoreHealth::Available,
        store_failures: 0,
        cache: None,
        memory: None,
        budgets: BTreeMap::new(),
        spent: SpentByKey::new(),
        routes: Vec::new(),
    }
}

fn data(event: &Bytes, name: &str) -> Value {
    let text = std::str::from_utf8(event).unwrap();
    let data = text
        .strip_prefix(&format!("event: {name}\ndata: "))
        .unwrap();
    serde_json::from_str(data.strip_suffix("\n\n").unwrap()).unwrap()
}

#[tokio::test]
async fn a_watcher_that_is_late_gets_the_newest_sample_only() {
    let live = Live::new(&Settings::default());
    let (past, mut watch) = live.follow();
    assert_eq!(data(&past, "history")["every_ms"], 1000);
    for _ in 0..100 {
        live.take(seen());
    }
    watch.changed().await.unwrap();
    let moment = watch.borrow_and_update().clone().unwrap();
    assert!(!watch.has_changed().unwrap());
    let sample = data(&moment.event(), "sample");
    assert_eq!(sample["dead_letters"], 3);
    assert_eq!(sample["models"][0]["backends"][0], "simulated");
    // The lane of the settings did not report.
    assert_eq!(sample["overall"]["level"], "bad");
}

#[tokio::test]
async fn all_watchers_share_the_bytes_of_a_sample() {
    let live = Live::new(&Settings::default());
    live.take(seen());
    let (one, two) = (live.watch().borrow().clone(), live.watch().borrow().clone());
    assert_eq!(one.unwrap().event().as_ptr(), two.unwrap().event().as_ptr());
}
