//! What calls consume: their tokens, and the money that these cost.
//!
//! Prices are looked up once per call, by its model. The cost is computed once, when the call has ended, from the tokens
//! that the backend reported. What it did not report is estimated, and the result says so.

use std::{collections::HashMap, sync::Arc};

use kebne_lane::TrailReport;
use kebne_quota::{Money, Price, TokenCounts};
use kebne_wire::usage::Usage;

use crate::settings::Settings;

/// The prices of all models.
#[derive(Debug)]
pub struct Prices {
    by_model: HashMap<String, Arc<ModelPrice>>,
    currency: Arc<str>,
}

/// The prices of one model.
#[derive(Debug, Default)]
pub struct ModelPrice {
    /// The price at backends without a price of their own.
    own: Option<Price>,
    by_backend: Vec<(String, Price)>,
}

/// What is known of a call before it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The estimated tokens of its input.
    pub input: u32,
    /// `true` if its answer is generated token by token.
    pub generates: bool,
}

/// What a call has consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consumed {
    /// Tokens of input and output.
    pub tokens: u64,
    /// The cost; `None` if its model has no price.
    pub cost: Option<Money>,
    /// `true` if the backend did not report all of it.
    pub is_estimated: bool,
}

impl Prices {
    /// Reads the prices of the settings.
    pub fn new(settings: &Settings) -> Self {
        let at_backend = |name: &String| {
            let backend = settings.backends.iter().find(|each| each.name == *name)?;
            Some((name.clone(), backend.price?))
        };
        let models = settings.models.iter().map(|model| {
            let price = ModelPrice {
                own: model.price,
                by_backend: model.backend_names().filter_map(at_backend).collect(),
            };
            (model.name.clone(), price)
        });
        let mut by_model: Vec<_> = models.collect();
        if by_model.is_empty() {
            // Each backend is offered under its own name.
            let backends = settings.backends.iter().map(|backend| {
                let own = backend.price;
                let by_backend = Vec::new();
                (backend.name.clone(), ModelPrice { own, by_backend })
            });
            by_model = backends.collect();
        }
        let priced = by_model.into_iter().filter(|(_, price)| price.is_set());
        Self {
            by_model: priced
                .map(|(name, price)| (name, Arc::new(price)))
                .collect(),
            currency: settings.cost.currency.as_str().into(),
        }
    }

    /// Returns the price of a model, given by its own name.
    pub fn of(&self, model: &str) -> Option<&Arc<ModelPrice>> {
        self.by_model.get(model)
    }

    /// Returns the currency of all prices.
    pub fn currency(&self) -> &Arc<str> {
        &self.currency
    }

    /// Returns `true` if no model has a price.
    pub fn is_empty(&self) -> bool {
        self.by_model.is_empty()
    }
}

impl ModelPrice {
    fn is_set(&self) -> bool {
        self.own.is_some() || !self.by_backend.is_empty()
    }

    /// Returns the price at a backend.
    fn at(&self, backend: &str) -> Option<&Price> {
        let pattern = |name: &str| name.split('@').next() == backend.split('@').next();
        let by_backend = self.by_backend.iter();
        let exact = by_backend.clone().find(|(name, _)| name == backend);
        // A replica that was found later has the price of the others.
        let found = exact.or_else(|| by_backend.clone().find(|(name, _)| pattern(name)));
        found.map(|(_, price)| price).or(self.own.as_ref())
    }

    /// Returns the highest cost that a call with this many tokens can have at any backend.
    pub fn highest_cost(&self, input: u64, output: u64) -> Money {
        let prices = self.by_backend.iter().map(|(_, price)| price);
        let costs = prices
            .chain(&self.own)
            .map(|price| price.highest_cost(input, output));
        costs.max().unwrap_or_default()
    }
}

impl Consumed {
    /// Determines what a call that is answered, and is no call of a caller, has consumed at the backend `lane`.
    pub fn of_answer(
        answer: &serde_json::Value,
        asked: Asked,
        (price, lane): (Option<&ModelPrice>, &str),
    ) -> Self {
        Self::of_answered((&Usage::of_answer(answer), 0), asked, (price, lane))
    }

    /// Determines what an answer has consumed that another call was given.
    pub fn of_answered(
        usage: (&Usage, u32),
        asked: Asked,
        at: (Option<&ModelPrice>, &str),
    ) -> Self {
        let trail = TrailReport {
            answered: Some(tokio::time::Instant::now()),
            ..TrailReport::default()
        };
        Self::of(usage, asked, &trail, at)
    }

    /// Determines what an ended call has consumed at the backend `lane`.
    ///
    /// `usage` is what the backend reported, and `arrived` the number of tokens that were counted in its stream. A call
    /// without a report counts with these tokens and the estimate of its input if its answer had begun, or an attempt
    /// was still running when it ended; otherwise it has consumed nothing.
    pub fn of(
        (usage, arrived): (&Usage, u32),
        asked: Asked,
        trail: &TrailReport,
        (price, lane): (Option<&ModelPrice>, &str),
    ) -> Self {
        let has_run = || {
            let runs = trail.attempts.iter().any(|attempt| attempt.ended.is_none());
            trail.answered.is_some() || runs
        };
        let is_reported = usage.input.is_some() || usage.output.is_some();
        let price = price.and_then(|price| price.at(lane));
        if !is_reported && !has_run() {
            return Self {
                cost: price.map(|_| Money::ZERO),
                ..Self::default()
            };
        }
        let is_estimated = usage.input.is_none() || (asked.generates && usage.output.is_none());
        let generated = if asked.generates { arrived } else { 0 };
        let tokens = TokenCounts {
            input: usage.input.unwrap_or(asked.input.into()),
            cached: usage.cached.unwrap_or(0),
            cache_written: usage.cache_written.unwrap_or(0),
            image_input: usage.image_input.unwrap_or(0),
            audio_input: usage.audio_input.unwrap_or(0),
            output: usage.output.unwrap_or(generated.into()),
            image_output: usage.image_output.unwrap_or(0),
            audio_output: usage.audio_output.unwrap_or(0),
        };
        Self {
            tokens: tokens.total(),
            cost: price.map(|price| price.cost(&tokens)),
            is_estimated,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn settings() -> Settings {
        toml::from_str(
            "[cost]\ncurrency = 'EUR'\n\
             [[backends]]\nname = 'own'\n[backends.price]\ninput = 0\n\
             [[backends]]\nname = 'hosted'\n\
             [[models]]\nname = 'm'\nbackends = ['own', 'hosted']\n[models.price]\ninput = 2\noutput = 10\n\
             [[models]]\nname = 'free'\nbackends = ['hosted']",
        )
        .unwrap()
    }

    fn answered() -> TrailReport {
        TrailReport {
            answered: Some(Instant::now()),
            ..TrailReport::default()
        }
    }

    #[test]
    fn the_price_is_that_of_the_backend_that_answered() {
        let prices = Prices::new(&settings());
        assert_eq!(&**prices.currency(), "EUR");
        assert!(prices.of("free").is_none());
        let price = prices.of("m").unwrap();
        let usage = Usage {
            input: Some(1000),
            output: Some(100),
            ..Usage::default()
        };
        let asked = Asked::default();
        let at = |lane| Consumed::of((&usage, 0), asked, &answered(), (Some(price), lane));
        assert_eq!(at("hosted").cost.unwrap().to_string(), "0.003");
        assert_eq!(at("own").cost.unwrap(), Money::ZERO);
        assert_eq!((at("own").tokens, at("own").is_estimated), (1100, false));
        assert_eq!(price.highest_cost(1000, 100).to_string(), "0.003");
    }

    #[test]
    fn what_is_not_reported_is_estimated_once_a_backend_has_worked() {
        let asked = Asked {
            input: 50,
            generates: true,
        };
        let of = |usage: Usage, asked: Asked, trail: &TrailReport| {
            let consumed = Consumed::of((&usage, 7), asked, trail, (None, ""));
            (consumed.tokens, consumed.is_estimated)
        };
        let reported = |input, output| Usage {
            input,
            output,
            ..Usage::default()
        };
        assert_eq!(
            of(reported(Some(9), Some(3)), asked, &answered()),
            (12, false)
        );
        assert_eq!(of(reported(None, Some(3)), asked, &answered()), (53, true));
        assert_eq!(of(Usage::default(), asked, &answered()), (57, true));
        assert_eq!(
            of(Usage::default(), asked, &TrailReport::default()),
            (0, false)
        );
        let embeddings = Asked {
            generates: false,
            ..asked
        };
        assert_eq!(
            of(reported(Some(9), None), embeddings, &answered()),
            (9, false)
        );
    }
}
