//! An account that several gateways share, as the store holds it.
//!
//! Each gateway holds a block of each limit, which it uses without asking, and reports what it has used. The blocks together with what was
//! used never exceed a limit. Every method is one step of the store: a pure function of the state, the request and the store's time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Amount, Ask, Day, Grant, Kind, Limits, Period, Sums, Units, bucket::Bucket, units::whole,
};

mod exact;

/// Milliseconds after which the number of the last report of a silent gateway is forgotten: two days, so that a gateway that was cut off
/// for a night is still counted once.
const FORGOTTEN: u64 = 2 * 86_400_000;

/// One account. Times are those of the store, in milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SharedAccount {
    day: Day,
    #[serde(with = "exact")]
    today: Amount,
    #[serde(with = "exact")]
    month: Amount,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    /// The last fencing token.
    fence: u64,
    gateways: BTreeMap<String, Gateway>,
}

/// What is known of one gateway, by the name of its process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Gateway {
    /// The number of the last report that was added.
    sequence: u64,
    fence: u64,
    /// The end of the lease.
    until: u64,
    /// The time of its last request.
    seen: u64,
    /// The block. What a silent gateway holds of a limit per minute is used up, for all that is known.
    holds: Units,
    busy: Units,
    wants: Units,
}

impl Gateway {
    /// Returns what other gateways cannot have.
    fn keeps(&self, kind: Kind) -> i64 {
        if kind.is_rate() {
            self.holds.get(kind).max(0)
        } else {
            self.holds.get(kind).max(self.busy.get(kind)).max(0)
        }
    }
}

impl SharedAccount {
    /// Adds a report, and grants a block until `ttl` milliseconds from now. A report that was added before is not added again; one that
    /// arrives after a later one changes nothing.
    pub fn settle(&mut self, gateway: &str, ask: &Ask, ttl: u64, now: u64) -> Grant {
        self.roll(&ask.limits, now);
        let mut own = self.gateways.remove(gateway).unwrap_or_default();
        if ask.sequence >= own.sequence {
            if own.sequence < ask.acked {
                self.restore(&ask.known);
            }
            if ask.sequence > own.sequence {
                self.add(&ask.used);
                own.holds = own.holds.minus(ask.spent);
                own.sequence = ask.sequence;
            }
            self.renew(&mut own, ask, ttl, now);
        }
        let grant = self.grant(&own, ask, now);
        self.gateways.insert(gateway.to_owned(), own);
        grant
    }

    /// Returns what all gateways have used.
    pub fn sums(&self) -> Sums {
        Sums {
            day: self.day,
            today: self.today,
            month: self.month,
        }
    }

    /// Moves to the present: the day, the levels, and who is forgotten.
    fn roll(&mut self, limits: &Limits, now: u64) {
        let day = Day::of(now / 1000);
        if day > self.day {
            self.today = Amount::default();
            if day.start(Period::Month) > self.day.start(Period::Month) {
                self.month = Amount::default();
            }
            self.day = day;
        }
        let requests = limits.requests_per_minute.map(u64::from);
        follow(&mut self.requests, requests, now);
        follow(&mut self.tokens, limits.tokens_per_minute, now);
        let live = |gateway: &Gateway| now.saturating_sub(gateway.seen) < FORGOTTEN;
        self.gateways.retain(|_, gateway| live(gateway));
    }

    /// Takes the sums that a gateway knows, where they are larger: the store has lost what it had acknowledged.
    fn restore(&mut self, known: &Sums) {
        if known.day == self.day {
            self.today = larger(self.today, known.today);
        }
        if known.day.start(Period::Month) == self.day.start(Period::Month) {
            self.month = larger(self.month, known.month);
        }
    }

    /// Adds what was used. A gateway whose clock is ahead has used it today.
    fn add(&mut self, used: &[(Day, Amount)]) {
        for (day, amount) in used {
            let day = (*day).min(self.day);
            if day == self.day {
                self.today = self.today.plus(*amount);
            }
            if day.start(Period::Month) == self.day.start(Period::Month) {
                self.month = self.month.plus(*amount);
            }
        }
    }

    /// Renews the lease of a gateway, which is not among the others.
    fn renew(&mut self, own: &mut Gateway, ask: &Ask, ttl: u64, now: u64) {
        let is_new = own.until <= now || own.fence == 0;
        if is_new {
            self.fence = self
                .fence
                .saturating_add(1)
                .max(ask.fence.saturating_add(1));
            own.fence = self.fence;
        }
        (own.busy, own.wants, own.seen) = (ask.busy, ask.wants, now);
        own.until = if ask.leaves {
            now
        } else {
            now.saturating_add(ttl)
        };
        for kind in Kind::ALL {
            let holds = if kind.is_limited(&ask.limits) {
                self.allot(kind, own, ask, now)
            } else {
                0
            };
            own.holds.set(kind, holds);
        }
    }

    /// Returns the block of a kind. That of a limit per minute is taken from its bucket.
    fn allot(&mut self, kind: Kind, own: &Gateway, ask: &Ask, now: u64) -> i64 {
        let mut held = own.holds.get(kind);
        let busy = ask.busy.get(kind);
        let others = self.kept_by_others(kind, now);
        let whole = match self.bucket(kind) {
            Some(bucket) => {
                // What was used beyond the block.
                bucket.take(held.saturating_neg().max(0).unsigned_abs());
                held = held.max(0);
                bucket.whole_units().saturating_add(held)
            }
            None => self.left(kind, &ask.limits).saturating_sub(others),
        };
        let wanted = self.share(kind, own, whole.saturating_add(others), now);
        let needed = [ask.needs, ask.call].map(|units| busy.saturating_add(units.get(kind)));
        // If there is not enough for all calls that wait, there may be for one. Calls at once come back only when they end, so nobody
        // takes more than its share of them.
        let fits = needed.into_iter().find(|needed| *needed <= whole);
        let wanted = match fits {
            Some(needed) if kind != Kind::AtOnce => wanted.max(needed),
            _ => wanted,
        };
        let granted = wanted.min(whole).max(0);
        if let Some(bucket) = self.bucket(kind) {
            bucket.give_back(held.saturating_sub(granted).max(0).unsigned_abs());
            bucket.take(granted.saturating_sub(held).max(0).unsigned_abs());
        }
        granted
    }

    /// Returns what a gateway may have of what is left and not used: all that it wants, or its fair share if all want more than that.
    fn share(&self, kind: Kind, own: &Gateway, left: i64, now: u64) -> i64 {
        let wants: Vec<i64> = self
            .live(now)
            .map(|other| other.wants.get(kind).max(0))
            .collect();
        let wanted = own.wants.get(kind).max(0);
        let all = wants
            .iter()
            .fold(wanted, |sum, want| sum.saturating_add(*want));
        if all <= left {
            return wanted;
        }
        let share = fair_share(left, wanted, wants);
        if kind == Kind::AtOnce {
            return share;
        }
        // Half of it stays with nobody, so that the last units are had by whoever needs them.
        share / 2
    }

    fn kept_by_others(&self, kind: Kind, now: u64) -> i64 {
        let kept = self.live(now).map(|other| other.keeps(kind));
        kept.fold(0, i64::saturating_add)
    }

    /// Returns the gateways with a lease.
    fn live(&self, now: u64) -> impl Iterator<Item = &Gateway> {
        let gateways = self.gateways.values();
        gateways.filter(move |gateway| gateway.until > now)
    }

    fn bucket(&mut self, kind: Kind) -> Option<&mut Bucket> {
        match kind {
            Kind::Requests => self.requests.as_mut(),
            Kind::TokensPerMinute => self.tokens.as_mut(),
            Kind::AtOnce | Kind::Tokens | Kind::Money => None,
        }
    }

    /// Returns what is left of a limit that is not one per minute, in blocks or free.
    fn left(&self, kind: Kind, limits: &Limits) -> i64 {
        match kind {
            Kind::AtOnce => limits.requests_at_once.map_or(i64::MAX, i64::from),
            _ => limits.left_of_budgets(kind, self.today, self.month),
        }
    }

    fn grant(&self, own: &Gateway, ask: &Ask, now: u64) -> Grant {
        let mut free = Units::default();
        for kind in Kind::ALL {
            let left = match kind {
                Kind::Requests => self.requests.as_ref().map_or(0, Bucket::whole_units),
                Kind::TokensPerMinute => self.tokens.as_ref().map_or(0, Bucket::whole_units),
                _ => {
                    let kept = self
                        .kept_by_others(kind, now)
                        .saturating_add(own.keeps(kind));
                    self.left(kind, &ask.limits).saturating_sub(kept)
                }
            };
            free.set(kind, left);
        }
        let others = u32::try_from(self.live(now).count()).unwrap_or(u32::MAX);
        Grant {
            sequence: own.sequence,
            fence: own.fence,
            holds: own.holds,
            free,
            gateways: others.saturating_add(1),
            sums: self.sums(),
            now,
            requests: self.requests,
            tokens: self.tokens,
        }
    }
}

/// Refills a bucket, and gives it another limit if it has changed.
fn follow(bucket: &mut Option<Bucket>, per_minute: Option<u64>, now: u64) {
    match (bucket.as_mut(), per_minute) {
        (Some(known), Some(limit)) => {
            known.refill(now);
            known.set_limit(limit);
        }
        (None, Some(limit)) => *bucket = Some(Bucket::new(limit, now)),
        (_, None) => *bucket = None,
    }
}

/// Divides `left` so that nobody gets more than it wants and the smallest share is as large as possible. Returns the share of who wants
/// `wanted`.
fn fair_share(left: i64, wanted: i64, mut others: Vec<i64>) -> i64 {
    others.sort_unstable();
    let mut rest = left.max(0);
    let mut count = whole(others.len() as u64).saturating_add(1);
    for other in others {
        let equal = rest / count;
        if other > equal || other >= wanted {
            break;
        }
        rest -= other;
        count -= 1;
    }
    // Of what cannot be divided nobody is kept out.
    let equal = rest / count + i64::from(rest % count > 0);
    wanted.min(equal)
}

fn larger(one: Amount, other: Amount) -> Amount {
    Amount {
        calls: one.calls.max(other.calls),
        tokens: one.tokens.max(other.tokens),
        money: one.money.max(other.money),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_divided_so_that_the_smallest_share_is_as_large_as_possible() {
        for (left, wanted, others, share) in [
            (10, 4, vec![], 4),
            (10, 9, vec![9], 5),
            (10, 9, vec![2], 8),
            (10, 2, vec![9, 9], 2),
            (10, 5, vec![1, 9], 5),
            (10, 5, vec![3, 9, 9], 3),
            (0, 5, vec![5], 0),
            (-4, 5, vec![5], 0),
            (1, 1, vec![1, 1], 1),
        ] {
            let found = fair_share(left, wanted, others.clone());
            assert_eq!(found, share, "{left} {wanted} {others:?}");
        }
    }

    #[test]
    fn a_report_counts_once_however_late_it_arrives_again() {
        let mut account = SharedAccount::default();
        let used = Amount {
            calls: 1,
            tokens: 70,
            ..Amount::default()
        };
        let noon = 1_773_576_000_000;
        let report = |sequence| Ask {
            sequence,
            acked: sequence - 1,
            used: vec![(Day::of(noon / 1000), used)],
            ..Ask::default()
        };
        for sequence in [1, 1, 2, 1, 2, 3, 2] {
            let grant = account.settle("a", &report(sequence), 2000, noon);
            assert!(grant.sequence >= sequence);
        }
        assert_eq!(account.sums().today.tokens, 210);
        // A lease that was over begins anew with a larger token.
        let (first, next) = (
            account.fence,
            account.settle("a", &report(4), 2000, noon + 3000),
        );
        assert!(next.fence > first);
        assert_eq!(account.sums().month.tokens, 280);
    }
}
