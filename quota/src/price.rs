//! The price of a model's tokens.

use kebne_settings::{SettingsError, Validate};
use serde::{Deserialize, Serialize};

use crate::Money;

/// Tokens for which a price is given.
const TOKENS_PER_PRICE: u128 = 1_000_000;

/// The price of a million tokens of each kind, in units of the currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Price {
    /// Tokens of the input; 0 to 1000000. Default: 0.
    pub input: Option<Money>,
    /// Tokens of the input that the server had in its cache; 0 to 1000000. Default: as `input`.
    pub cached_input: Option<Money>,
    /// Tokens of the input that the server wrote to its cache; 0 to 1000000. Default: as `input`.
    pub cache_write: Option<Money>,
    /// Tokens of images in the input; 0 to 1000000. Default: as `input`.
    pub image_input: Option<Money>,
    /// Tokens of sound in the input; 0 to 1000000. Default: as `input`.
    pub audio_input: Option<Money>,
    /// Tokens of the output; 0 to 1000000. Default: 0.
    pub output: Option<Money>,
    /// Tokens of images in the output; 0 to 1000000. Default: as `output`.
    pub image_output: Option<Money>,
    /// Tokens of sound in the output; 0 to 1000000. Default: as `output`.
    pub audio_output: Option<Money>,
}

/// The tokens of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// All tokens of the input.
    pub input: u64,
    /// Those of the input that the server had in its cache.
    pub cached: u64,
    /// Those of the input that the server wrote to its cache.
    pub cache_written: u64,
    /// Those of images in the input.
    pub image_input: u64,
    /// Those of sound in the input.
    pub audio_input: u64,
    /// All tokens of the output.
    pub output: u64,
    /// Those of images in the output.
    pub image_output: u64,
    /// Those of sound in the output.
    pub audio_output: u64,
}

impl TokenCounts {
    /// Returns the tokens of input and output together.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

impl Price {
    /// Returns the cost of a call, rounded up to a billionth once.
    ///
    /// The parts of input and output have their own prices; the rest has the price of text. Parts that together exceed
    /// the whole are counted up to the whole, in the order image, sound, cached, written to the cache.
    pub fn cost(&self, tokens: &TokenCounts) -> Money {
        let input = sum(
            tokens.input,
            self.input.unwrap_or_default(),
            &[
                (tokens.image_input, self.image_input),
                (tokens.audio_input, self.audio_input),
                (tokens.cached, self.cached_input),
                (tokens.cache_written, self.cache_write),
            ],
        );
        let output = sum(
            tokens.output,
            self.output.unwrap_or_default(),
            &[
                (tokens.image_output, self.image_output),
                (tokens.audio_output, self.audio_output),
            ],
        );
        let nano = input.saturating_add(output).div_ceil(TOKENS_PER_PRICE);
        Money::from_nano(u64::try_from(nano).unwrap_or(u64::MAX))
    }

    /// Returns the highest cost that a call with at most this many tokens of input and output can have.
    pub fn highest_cost(&self, input: u64, output: u64) -> Money {
        let highest = |prices: &[Option<Money>]| prices.iter().flatten().max().copied();
        let dearest = Self {
            input: highest(&[
                self.input,
                self.cached_input,
                self.cache_write,
                self.image_input,
                self.audio_input,
            ]),
            output: highest(&[self.output, self.image_output, self.audio_output]),
            ..Self::default()
        };
        dearest.cost(&TokenCounts {
            input,
            output,
            ..TokenCounts::default()
        })
    }
}

/// Returns the cost of `whole` tokens in billionths times [`TOKENS_PER_PRICE`]; a part without a price of its own has the
/// price of the rest.
fn sum(whole: u64, price: Money, parts: &[(u64, Option<Money>)]) -> u128 {
    let mut rest = whole;
    let mut sum = 0_u128;
    for &(tokens, own) in parts {
        let tokens = tokens.min(rest);
        rest -= tokens;
        sum = sum.saturating_add(product(tokens, own.unwrap_or(price)));
    }
    sum.saturating_add(product(rest, price))
}

fn product(tokens: u64, price: Money) -> u128 {
    u128::from(tokens).saturating_mul(u128::from(price.nano()))
}

impl Validate for Price {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        if self.input.is_some() || self.output.is_some() {
            return Vec::new();
        }
        let message = "needs `input` or `output`, the price of a million tokens";
        vec![SettingsError::new(path, message)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(units: f64) -> Money {
        Money::from_units(units).unwrap()
    }

    #[test]
    fn each_kind_of_token_has_its_own_price() {
        let price = Price {
            input: Some(money(2.0)),
            cached_input: Some(money(0.5)),
            cache_write: Some(money(2.5)),
            image_input: Some(money(5.0)),
            audio_input: Some(money(40.0)),
            output: Some(money(10.0)),
            image_output: Some(money(30.0)),
            audio_output: Some(money(80.0)),
        };
        let tokens = TokenCounts {
            input: 1_000,
            cached: 100,
            cache_written: 200,
            image_input: 300,
            audio_input: 50,
            output: 100,
            image_output: 10,
            audio_output: 20,
        };
        // 350 * 2 + 100 * 0.5 + 200 * 2.5 + 300 * 5 + 50 * 40 + 70 * 10 + 10 * 30 + 20 * 80 millionths
        assert_eq!(price.cost(&tokens).to_string(), "0.00735");
        let plain = Price {
            input: Some(money(2.0)),
            output: Some(money(10.0)),
            ..Price::default()
        };
        assert_eq!(plain.cost(&tokens).to_string(), "0.003");
    }

    #[test]
    fn a_part_of_a_billionth_counts_as_one() {
        let price = Price {
            input: Some(money(0.000_000_001)),
            ..Price::default()
        };
        let tokens = |input| TokenCounts {
            input,
            ..TokenCounts::default()
        };
        assert_eq!(price.cost(&tokens(1)).nano(), 1);
        assert_eq!(price.cost(&tokens(1_000_001)).nano(), 2);
        assert_eq!(price.cost(&tokens(0)), Money::ZERO);
    }

    #[test]
    fn a_price_without_input_and_output_is_an_error() {
        assert_eq!(Price::default().validate("p")[0].path, "p");
        let free = Price {
            input: Some(Money::ZERO),
            ..Price::default()
        };
        assert_eq!(free.validate("p"), []);
    }

    fn prices() -> impl Strategy<Value = Price> {
        proptest::array::uniform8(proptest::option::of(0_u64..=1 << 40)).prop_map(|nano| {
            let prices = nano.map(|nano| nano.map(Money::from_nano));
            Price {
                input: prices[0],
                cached_input: prices[1],
                cache_write: prices[2],
                image_input: prices[3],
                audio_input: prices[4],
                output: prices[5],
                image_output: prices[6],
                audio_output: prices[7],
            }
        })
    }

    proptest! {
        #[test]
        fn no_call_costs_more_than_the_highest_cost_of_its_tokens(
            price in prices(),
            counts in proptest::array::uniform8(0_u64..1 << 30),
        ) {
            let [input, cached, cache_written, image_input, audio_input, output, image_output, audio_output] = counts;
            let tokens = TokenCounts {
                input, cached, cache_written, image_input, audio_input, output, image_output, audio_output,
            };
            prop_assert!(price.cost(&tokens) <= price.highest_cost(input, output));
        }
    }
}
