//! Exercise 14. A provider takes 100 rows a second, and 100 at once. Requests have different numbers of rows; send them as fast as it
//! allows and no faster.

use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use kebne_streams::{FlowExt, Pace};
use tokio::time::Instant;

/// A request with so many rows.
struct Request {
    rows: u64,
}

/// The provider takes 100 rows a second, and 100 at once.
fn paced(requests: impl Stream<Item = Request>) -> impl Stream<Item = Request> {
    let pace = Pace::new(10, Duration::from_secs(1)).unwrap();
    requests.throttle(pace)
}

// The check: leave it as it is.

pub(crate) async fn check() {
    tokio::time::pause();
    let requests = [100, 50, 1, 1, 1, 1, 200, 46].map(|rows| Request { rows });
    let begun = Instant::now();
    let mut paced = std::pin::pin!(paced(stream::iter(requests)));
    let mut sent = 0;
    let mut last = Duration::ZERO;
    while let Some(request) = paced.next().await {
        last = begun.elapsed();
        sent += request.rows;
        let allowed = 100.0 + last.as_secs_f64() * 100.0 + 1.0;
        #[expect(clippy::cast_precision_loss, reason = "a few hundred rows")]
        let sent = sent as f64;
        assert!(
            sent <= allowed,
            "exercise 14: {sent} rows after {last:?}, more than {allowed}"
        );
    }
    assert!(
        last <= Duration::from_secs(4),
        "exercise 14: it took {last:?}, longer than the rows need"
    );
}
