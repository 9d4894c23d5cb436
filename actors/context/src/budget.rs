//! The budget of tokens of a call: how many tokens each part may take that is put before the caller's own messages.
//!
//! A pure rule. The lead and the caller's messages are always sent and are not parts here; what they leave of the budget is
//! divided among the summary, the facts, what was retrieved from collections, the recalled turns, and the history.
//!
//! The parts come in this order of precedence. First each part gets what it wants up to the least that its rule guarantees;
//! then each gets more, up to the most that its rule permits, as long as tokens are left. No part gets more than it wants,
//! and all together never get more than is left.

/// One value for each part of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts<T> {
    /// The summary of older turns.
    pub summary: T,
    /// The facts of the session.
    pub facts: T,
    /// The passages of collections.
    pub retrieval: T,
    /// The older turns that are recalled.
    pub recall: T,
    /// The newest turns.
    pub history: T,
}

/// The rule of one part, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The tokens that the part gets before any other part gets more than its own least.
    pub least: u64,
    /// The largest number of tokens of the part.
    pub most: u64,
}

impl Bounds {
    /// A part that gets what the parts before it leave.
    pub const REST: Self = Self {
        least: 0,
        most: u64::MAX,
    };

    /// Returns the rule of a part of at most `most` tokens to which nothing is guaranteed.
    pub fn at_most(most: u64) -> Self {
        Self { least: 0, most }
    }
}

impl<T> Parts<T> {
    /// Returns the values in the order of precedence.
    fn ordered(self) -> [T; 5] {
        [
            self.summary,
            self.facts,
            self.retrieval,
            self.recall,
            self.history,
        ]
    }

    fn of([summary, facts, retrieval, recall, history]: [T; 5]) -> Self {
        Self {
            summary,
            facts,
            retrieval,
            recall,
            history,
        }
    }
}

impl Parts<u64> {
    /// Returns the sum of all parts.
    pub fn sum(self) -> u64 {
        self.ordered().into_iter().fold(0, u64::saturating_add)
    }
}

/// Divides the tokens that the lead and the caller's messages leave. `own` are the tokens of these; `wanted` are the tokens
/// that each part could use, `u64::MAX` if that is not known.
pub fn divide(tokens_max: u64, own: u64, rules: Parts<Bounds>, wanted: Parts<u64>) -> Parts<u64> {
    let mut left = tokens_max.saturating_sub(own);
    let mut granted = [0; 5];
    let claims = Parts {
        summary: claim(rules.summary, wanted.summary),
        facts: claim(rules.facts, wanted.facts),
        retrieval: claim(rules.retrieval, wanted.retrieval),
        recall: claim(rules.recall, wanted.recall),
        history: claim(rules.history, wanted.history),
    };
    let claims = claims.ordered();
    for (least, granted) in claims.iter().map(|(least, _)| least).zip(&mut granted) {
        *granted = left.min(*least);
        left -= *granted;
    }
    for (most, granted) in claims.iter().map(|(_, most)| most).zip(&mut granted) {
        let more = left.min(most.saturating_sub(*granted));
        *granted += more;
        left -= more;
    }
    Parts::of(granted)
}

/// Returns the least and the most that a part can get.
fn claim(rule: Bounds, wanted: u64) -> (u64, u64) {
    let most = wanted.min(rule.most);
    (most.min(rule.least), most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts<T: std::fmt::Debug + Clone + 'static>(
        part: impl Strategy<Value = T> + 'static,
    ) -> impl Strategy<Value = Parts<T>> {
        let part = part.boxed();
        proptest::array::uniform5(part).prop_map(Parts::of)
    }

    fn bounds() -> impl Strategy<Value = Bounds> {
        let most = prop_oneof![0_u64..200, Just(u64::MAX)];
        (0_u64..100, most).prop_map(|(least, most)| Bounds { least, most })
    }

    fn wanted() -> impl Strategy<Value = u64> {
        prop_oneof![0_u64..300, Just(u64::MAX)]
    }

    fn zipped<T, U>(one: Parts<T>, other: Parts<U>) -> impl Iterator<Item = (T, U)> {
        one.ordered().into_iter().zip(other.ordered())
    }

    proptest! {
        #[test]
        fn all_parts_together_never_exceed_what_is_left(
            (tokens_max, own) in (0_u64..1000, 0_u64..1200), rules in parts(bounds()), wanted in parts(wanted()),
        ) {
            let granted = divide(tokens_max, own, rules, wanted);
            prop_assert!(granted.sum() <= tokens_max.saturating_sub(own));
        }

        #[test]
        fn no_part_gets_more_than_it_wants_or_may_have(
            (tokens_max, own) in (0_u64..1000, 0_u64..1200), rules in parts(bounds()), wanted in parts(wanted()),
        ) {
            let granted = divide(tokens_max, own, rules, wanted);
            for ((granted, rule), wanted) in zipped(granted, rules).zip(wanted.ordered()) {
                prop_assert!(granted <= wanted.min(rule.most));
            }
        }

        #[test]
        fn nothing_is_left_while_a_part_could_use_it(
            (tokens_max, own) in (0_u64..1000, 0_u64..1200), rules in parts(bounds()), wanted in parts(wanted()),
        ) {
            let granted = divide(tokens_max, own, rules, wanted);
            let is_used_up = granted.sum() == tokens_max.saturating_sub(own);
            for ((granted, rule), wanted) in zipped(granted, rules).zip(wanted.ordered()) {
                prop_assert!(is_used_up || granted == wanted.min(rule.most));
            }
        }

        #[test]
        fn a_guaranteed_least_is_kept_if_all_of_them_fit(
            own in 0_u64..100, rules in parts(bounds()), wanted in parts(wanted()), more in 0_u64..300,
        ) {
            let least = zipped(rules, wanted).map(|(rule, wanted)| rule.least.min(rule.most).min(wanted));
            let least: Vec<u64> = least.collect();
            let tokens_max = own + least.iter().sum::<u64>() + more;
            let granted = divide(tokens_max, own, rules, wanted);
            for (granted, least) in granted.ordered().into_iter().zip(least) {
                prop_assert!(granted >= least);
            }
        }

        #[test]
        fn a_larger_budget_takes_nothing_from_any_part(
            (tokens_max, more, own) in (0_u64..1000, 0_u64..500, 0_u64..500),
            rules in parts(bounds()), wanted in parts(wanted()),
        ) {
            let small = divide(tokens_max, own, rules, wanted);
            let large = divide(tokens_max + more, own, rules, wanted);
            for (small, large) in zipped(small, large) {
                prop_assert!(small <= large);
            }
        }
    }

    #[test]
    fn the_history_gets_the_rest_and_keeps_its_least() {
        let rules = Parts {
            summary: Bounds::at_most(100),
            facts: Bounds::at_most(50),
            retrieval: Bounds::at_most(1000),
            recall: Bounds::at_most(0),
            history: Bounds {
                least: 200,
                most: u64::MAX,
            },
        };
        let wanted = Parts {
            summary: 80,
            facts: 90,
            retrieval: 600,
            recall: 70,
            history: u64::MAX,
        };
        let granted = divide(2000, 500, rules, wanted);
        let expected = Parts {
            summary: 80,
            facts: 50,
            retrieval: 600,
            recall: 0,
            history: 770,
        };
        assert_eq!(granted, expected);
        // Of a small budget the history keeps its least, and the last of the others gives way.
        let granted = divide(1000, 500, rules, wanted);
        assert_eq!((granted.retrieval, granted.history), (170, 200));
        // The caller's own messages may leave nothing.
        assert_eq!(divide(500, 600, rules, wanted), Parts::default());
    }
}
