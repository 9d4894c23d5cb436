//! Exercise 21. Answers of two services differ in their time, which does not matter, and in the order of their fields. All else must be
//! equal.

/// An answer of one of the services: fields `name=value`, separated by `;`.
fn same(old: &str, new: &str) -> bool {
    old == new
}

// The check: leave it as it is.

pub(crate) async fn check() {
    tokio::task::yield_now().await;
    let old = "price=10;currency=EUR;time=12:00:01";
    for (new, expected) in [
        ("price=10;currency=EUR;time=12:00:01", true),
        ("price=10;currency=EUR;time=12:00:02", true),
        ("currency=EUR;time=12:00:02;price=10", true),
        ("price=11;currency=EUR;time=12:00:01", false),
        ("price=10;time=12:00:01", false),
        ("price=10;price=10;currency=EUR;time=12:00:01", false),
    ] {
        assert_eq!(same(old, new), expected, "exercise 21: {new}");
    }
}
