//! Whether a kept answer may still be used.

use std::time::Duration;

use crate::Directives;

/// The state of a kept answer for a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It may be used.
    Fresh,
    /// It has expired, and the caller takes it nevertheless.
    Stale,
    /// It must not be used.
    Expired,
}

/// Returns the state of an answer of this age that is kept for `ttl`. An answer that has expired is used for at most `stale_max`, and only
/// if the caller allows it (`max-stale`).
pub fn freshness(
    age: Duration,
    ttl: Duration,
    stale_max: Duration,
    directives: &Directives,
) -> Freshness {
    if !directives.may_look() || directives.max_age.is_some_and(|most| age > most) {
        return Freshness::Expired;
    }
    let Some(over) = age.checked_sub(ttl) else {
        return Freshness::Fresh;
    };
    match directives.max_stale {
        Some(allowed) if over <= allowed && over < stale_max => Freshness::Stale,
        _ => Freshness::Expired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_fresh_then_stale_for_those_who_take_it_then_expired() {
        let seconds = Duration::from_secs;
        let of = |age, header: &str| {
            let directives = Directives::read(header);
            freshness(seconds(age), seconds(60), seconds(30), &directives)
        };
        assert_eq!(of(0, ""), Freshness::Fresh);
        assert_eq!(of(59, ""), Freshness::Fresh);
        assert_eq!(of(60, ""), Freshness::Expired);
        assert_eq!(of(60, "max-stale"), Freshness::Stale);
        assert_eq!(of(71, "max-stale=10"), Freshness::Expired);
        assert_eq!(of(90, "max-stale"), Freshness::Expired);
        assert_eq!(of(10, "max-age=9"), Freshness::Expired);
        assert_eq!(of(9, "max-age=9"), Freshness::Fresh);
        assert_eq!(of(70, "max-stale, max-age=60"), Freshness::Expired);
        assert_eq!(of(0, "no-cache"), Freshness::Expired);
        assert_eq!(of(0, "no-store"), Freshness::Expired);
    }
}
