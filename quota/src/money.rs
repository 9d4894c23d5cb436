//! Amounts of money.

use std::{fmt, iter::Sum};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Billionths per unit of the currency.
const NANO: u64 = 1_000_000_000;
/// The largest amount that can be given, in units. All amounts up to here can be added many times without saturating.
const UNITS_MAX: f64 = 1e6;

/// An amount of money in one currency, counted in billionths of its unit. Sums are exact; they saturate at about 18
/// billion units.
///
/// Settings and answers contain it as a number of units, such as `2.5`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(u64);

/// The reason why a number is not an amount of money.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("must be 0 to 1000000 with at most nine decimals")]
pub struct MoneyError;

impl Money {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Creates an amount of billionths.
    pub const fn from_nano(nano: u64) -> Self {
        Self(nano)
    }

    /// Returns the amount in billionths.
    pub const fn nano(self) -> u64 {
        self.0
    }

    /// Creates an amount of units, rounded to a billionth.
    ///
    /// # Errors
    /// Fails for a negative number, a number above a million, a number that is not finite, and a number above 0 that is
    /// less than half a billionth.
    pub fn from_units(units: f64) -> Result<Self, MoneyError> {
        if !(0.0..=UNITS_MAX).contains(&units) {
            return Err(MoneyError);
        }
        let nano = (units * 1e9).round();
        if units > 0.0 && nano < 1.0 {
            return Err(MoneyError);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole, not negative and below 2^53"
        )]
        Ok(Self(nano as u64))
    }

    /// Returns the amount in units, for display and statistics.
    pub fn units(self) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "only sums above nine million units lose their last billionths"
        )]
        let nano = self.0 as f64;
        nano / 1e9
    }

    /// Returns the sum.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Returns the difference, or zero if `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::saturating_add)
    }
}

impl fmt::Display for Money {
    /// Writes the amount in units without trailing zeros, such as `0.0000125`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, nano) = (self.0 / NANO, self.0 % NANO);
        if nano == 0 {
            return write!(formatter, "{units}");
        }
        let decimals = format!("{nano:09}");
        write!(formatter, "{units}.{}", decimals.trim_end_matches('0'))
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.units())
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let units = f64::deserialize(deserializer)?;
        Self::from_units(units).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_and_written_as_a_number_of_units() {
        for (text, nano, shown) in [
            ("0", 0, "0"),
            ("3", 3_000_000_000, "3"),
            ("0.075", 75_000_000, "0.075"),
            ("0.0375", 37_500_000, "0.0375"),
            ("0.000000001", 1, "0.000000001"),
            ("1000000", 1_000_000_000_000_000, "1000000"),
        ] {
            let money: Money = serde_json::from_str(text).unwrap();
            assert_eq!((money.nano(), money.to_string().as_str()), (nano, shown));
            let written = serde_json::to_string(&money).unwrap();
            assert_eq!(serde_json::from_str::<Money>(&written).unwrap(), money);
        }
        for text in ["-1", "1000001", "1e-12", "\"1\"", "null"] {
            assert!(serde_json::from_str::<Money>(text).is_err(), "{text}");
        }
        assert!(Money::from_units(f64::NAN).is_err());
    }
}
