//! Shares of calls. Whoever has the same identity is always on the same side.

/// Returns the number of an identity, such as a session, or a key and its question. The same parts give the same number on each machine and
/// with each version.
pub fn identity(parts: &[&str]) -> u64 {
    // FNV-1a with 64 bits; the parts are separated by a byte that no text has.
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    parts.iter().fold(0xcbf2_9ce4_8422_2325, |hash, part| {
        step(part.as_bytes().iter().fold(hash, step), &0xff)
    })
}

/// Returns `true` for the share of all identities that a purpose selects, from 0 to 1. A larger share contains a smaller one, and the
/// selections of two purposes are independent.
pub(crate) fn selects(share: f64, identity: u64, purpose: &[&str]) -> bool {
    position(identity, purpose) < share
}

/// Returns a number from 0 to less than 1, evenly distributed over identities.
fn position(own: u64, purpose: &[&str]) -> f64 {
    // The finalizer of SplitMix64, so that near identities are far from each other.
    let mut hash = own ^ identity(purpose).rotate_left(32);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact in a float")]
    let position = (hash >> 11) as f64 / (1_u64 << 53) as f64;
    position
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_share_of_identities_is_the_share() {
        let count = 100_000;
        for share in [0.0, 0.01, 0.05, 0.5, 1.0] {
            let chosen = (0..count)
                .filter(|number| selects(share, identity(&[&number.to_string()]), &["r", "canary"]))
                .count();
            let found = f64::from(u32::try_from(chosen).unwrap()) / f64::from(count);
            // Five standard deviations.
            let width = 5.0 * (share * (1.0 - share) / f64::from(count)).sqrt();
            assert!((found - share).abs() <= width, "{share}: {found}");
        }
    }

    #[test]
    fn two_purposes_are_independent() {
        let both = (0..100_000_u32)
            .filter(|number| {
                let own = identity(&[&number.to_string()]);
                selects(0.5, own, &["r", "canary"]) && selects(0.5, own, &["r", "shadow"])
            })
            .count();
        assert!((24_000..26_000).contains(&both), "{both}");
    }

    #[test]
    fn parts_are_kept_apart() {
        assert_ne!(identity(&["ab", "c"]), identity(&["a", "bc"]));
    }

    proptest! {
        #[test]
        fn a_larger_share_contains_a_smaller_one(text in ".{0,20}", small in 0.0..1.0_f64, more in 0.0..1.0_f64) {
            let own = identity(&[&text]);
            if selects(small, own, &["x"]) {
                prop_assert!(selects(small + more, own, &["x"]));
            }
        }
    }
}
