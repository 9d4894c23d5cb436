//! The division of a number of calls among gateways by what each of them could use.

/// Divides `calls` among gateways that could use `demands` calls each; returns one share per demand.
///
/// Max-min fairness in whole calls: nobody gets more than it could use while another one that could use more has less. What
/// nobody can use now is divided evenly, so that a burst finds room before the next division. The calls that do not divide
/// evenly go to the gateways in their order from `turn` on, so that turns that follow each other give each of them its part.
///
/// The sum of the shares is `calls` if there is a gateway, and each share is at least `min(demand, calls / gateways)`.
pub fn divide(calls: u32, demands: &[u32], turn: u64) -> Vec<u32> {
    let count = u64::try_from(demands.len()).unwrap_or(u64::MAX);
    if count == 0 {
        return Vec::new();
    }
    let level = water_level(calls, demands);
    let mut shares: Vec<u32> = demands.iter().map(|demand| level.min(*demand)).collect();
    let used: u32 = shares
        .iter()
        .fold(0, |sum, share| sum.saturating_add(*share));
    let mut left = calls.saturating_sub(used);
    let first = usize::try_from(turn % count).unwrap_or(0);
    let order = || (first..demands.len()).chain(0..first);
    // At most one more call each, for those that could use it.
    for index in order() {
        let wants = demands.get(index).copied().unwrap_or(0);
        if let Some(share) = shares
            .get_mut(index)
            .filter(|share| left > 0 && **share < wants)
        {
            *share += 1;
            left -= 1;
        }
    }
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let (each, more) = (left / count, left % count);
    for (place, index) in order().enumerate() {
        let one_more = u32::from(u32::try_from(place).is_ok_and(|place| place < more));
        if let Some(share) = shares.get_mut(index) {
            *share += each + one_more;
        }
    }
    shares
}

/// Returns the largest number of calls that every gateway can have, up to its demand, without exceeding `calls` in all.
fn water_level(calls: u32, demands: &[u32]) -> u32 {
    let needs = |level: u32| -> u64 {
        let each = demands.iter().map(|demand| u64::from(level.min(*demand)));
        each.sum()
    };
    let (mut low, mut high) = (0, calls);
    while low < high {
        let middle = high - (high - low) / 2;
        if needs(middle) <= u64::from(calls) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn calls_go_to_those_who_can_use_them() {
        assert_eq!(divide(24, &[12, 12], 0), [12, 12]);
        assert_eq!(divide(24, &[2, 100], 0), [2, 22]);
        assert_eq!(divide(24, &[100, 100, 3], 0), [11, 10, 3]);
        assert_eq!(divide(24, &[100, 100, 3], 1), [10, 11, 3]);
        assert_eq!(
            divide(10, &[0, 0], 0),
            [5, 5],
            "what nobody needs is divided"
        );
        assert_eq!(divide(10, &[1, 4], 0), [4, 6]);
        assert_eq!(divide(10, &[], 3), [0; 0]);
    }

    #[test]
    fn turns_give_each_gateway_its_part_of_too_few_calls() {
        let mut sums = [0; 5];
        for turn in 0..5 {
            let shares = divide(2, &[9; 5], turn);
            assert_eq!(shares.iter().sum::<u32>(), 2);
            for (sum, share) in sums.iter_mut().zip(shares) {
                *sum += share;
            }
        }
        assert_eq!(sums, [2; 5]);
    }

    proptest! {
        #[test]
        fn a_division_is_exact_and_max_min_fair(
            calls in 0_u32..500, demands in proptest::collection::vec(0_u32..200, 1..12), turn: u64,
        ) {
            let shares = divide(calls, &demands, turn);
            prop_assert_eq!(shares.iter().sum::<u32>(), calls);
            let each = calls / u32::try_from(demands.len()).unwrap();
            for (share, demand) in shares.iter().zip(&demands) {
                prop_assert!(*share >= each.min(*demand), "{:?} of {:?}", shares, demands);
            }
            // Nobody has two calls more than one that could use more, unless all have what they need.
            let unmet: Vec<u32> =
                shares.iter().zip(&demands).filter(|(share, demand)| share < demand).map(|pair| *pair.0).collect();
            if let Some(least) = unmet.iter().min() {
                for share in &shares {
                    prop_assert!(*share <= least + 1, "{:?} of {:?}", shares, demands);
                }
            }
        }
    }
}
