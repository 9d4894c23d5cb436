//! The metrics of calls with prompts, by version.

use std::sync::atomic::AtomicU64;

use kebne_context::prompts::Chosen;
use kebne_lane::Ending;
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::{
    metrics::{
        labels::{ByPrompt, ByPromptAndEnding, ByPromptAndKind},
        names, real, register,
    },
    prompt_calls::VersionCalls,
};

/// Billionths of the currency.
const NANO: f64 = 1e9;

/// Registers what was counted of each version.
pub(super) fn register_all(registry: &mut Registry, versions: &[(Chosen, VersionCalls)]) {
    let calls = Family::<ByPromptAndEnding, Counter>::default();
    let tokens = Family::<ByPromptAndKind, Counter>::default();
    let cost = Family::<ByPrompt, Counter<f64, AtomicU64>>::default();
    let seconds = Family::<ByPrompt, Counter<f64, AtomicU64>>::default();
    for (Chosen { name, version }, counted) in versions {
        let (prompt, version) = (name.clone(), version.clone());
        for (ending, count) in Ending::ALL.iter().zip(counted.endings) {
            if count > 0 {
                let labels = ByPromptAndEnding {
                    prompt: prompt.clone(),
                    version: version.clone(),
                    ending: ending.label(),
                };
                calls.get_or_create(&labels).inc_by(count);
            }
        }
        for (kind, count) in [
            ("input", counted.input_tokens),
            ("output", counted.output_tokens),
        ] {
            let labels = ByPromptAndKind {
                prompt: prompt.clone(),
                version: version.clone(),
                kind,
            };
            tokens.get_or_create(&labels).inc_by(count);
        }
        let labels = ByPrompt { prompt, version };
        cost.get_or_create(&labels)
            .inc_by(real(counted.cost_nano) / NANO);
        seconds
            .get_or_create(&labels)
            .inc_by(counted.time.as_secs_f64());
    }
    register(registry, &names::PROMPT_CALLS, calls);
    register(registry, &names::PROMPT_TOKENS, tokens);
    register(registry, &names::PROMPT_COST, cost);
    register(registry, &names::PROMPT_SECONDS, seconds);
}
