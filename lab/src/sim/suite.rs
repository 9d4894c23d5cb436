//! The named scenarios, embedded from `scenarios/` at build.

use crate::sim::scenario::{Scenario, linear};

/// The reason why a scenario file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SuiteError {
    /// The file is not TOML, or not a scenario.
    #[error("scenario `{file}`: {source}")]
    Parse {
        /// The file.
        file: &'static str,
        /// The cause.
        source: Box<toml::de::Error>,
    },
    /// A value is not allowed.
    #[error("scenario `{name}`: `{key}` {problem}")]
    Value {
        /// The scenario.
        name: String,
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../scenarios/", $name)))),*]
    };
}

/// The names and texts of the files.
const FILES: &[(&str, &str)] = files![
    "s01-cold-ramp.toml",
    "s02-scale-to-zero.toml",
    "s03-step-drop.toml",
    "s04-step-rise.toml",
    "s05-brownout.toml",
    "s06-seed-faults.toml",
    "s07-rpm-retry-after.toml",
    "s08-tpm-headers.toml",
    "s09-rpm-silent.toml",
    "s10-hidden-queue.toml",
    "s11-autoscale.toml",
    "s12-flash-crowd.toml",
    "s13-heavy-tail.toml",
    "s13b-heavy-tail-blind.toml",
    "s14-flapping.toml",
    "s15-outage.toml",
    "s16-greedy-tenant.toml",
    "s16b-greedy-tenant-tenfold.toml",
    "s17-two-gateways.toml",
    "s17b-two-gateways-silent.toml",
    "s18-llm-batch.toml",
    "s19-nominal.toml",
    "s20-fault-bursts.toml",
    "s21-rpm-charged.toml",
    "s22-acceleration.toml",
    "s23-mixed-prompts.toml",
    "s24-bad-node.toml",
    "s25-diurnal.toml",
    "s26-foreign-client.toml",
    "s27-cold-holding.toml",
    "s28-cold-silent.toml",
    "s29-cold-proxy.toml",
    "s30-few-slots.toml",
    "s31-collapse.toml",
    "s32-closed-loop.toml",
    "s33-priorities.toml",
    "s34-connection-refused.toml",
    "s35-loud-collapse.toml",
    "s36-soak.toml",
    "s37-daily-quota.toml",
    "s38-restarts.toml",
    "s39-rpm-headers.toml",
    "s40-chance-refusals.toml",
    "s41-slow-attempts.toml",
    "s42-slow-down.toml",
    "s43-job-cold.toml",
    "s44-job-ramp.toml",
    "s45-job-surge.toml",
    "s46-engine-many-kinds.toml",
    "s47-busy-machine.toml",
    "s48-busy-machine-quick.toml",
];

/// Parses and checks every embedded scenario, in the order of their names.
pub(crate) fn named() -> Result<Vec<Scenario>, SuiteError> {
    FILES.iter().map(|(file, text)| parse(file, text)).collect()
}

/// Parses and checks one scenario.
pub(crate) fn parse(file: &'static str, text: &str) -> Result<Scenario, SuiteError> {
    let scenario: Scenario = toml::from_str(text).map_err(|source| SuiteError::Parse {
        file,
        source: Box::new(source),
    })?;
    check(&scenario)?;
    Ok(scenario)
}

/// Checks for values that would make a run meaningless or endless.
pub(crate) fn check(scenario: &Scenario) -> Result<(), SuiteError> {
    let backend = &scenario.backend;
    let sorted = |curve: &[(f64, f64)]| curve.windows(2).all(|w| matches!(w, [a, b] if a.0 <= b.0));
    let peak = |curve: &[(f64, f64)]| curve.iter().all(|point| point.1 >= 0.0);
    let checks = [
        (
            "duration",
            "must be 1 to 100000",
            (1.0..=100_000.0).contains(&scenario.duration),
        ),
        ("deadline", "must be more than 0", scenario.deadline > 0.0),
        ("timeout", "must be more than 0", scenario.timeout > 0.0),
        ("tenants", "must not be empty", !scenario.tenants.is_empty()),
        (
            "gateways",
            "must have one from time 0",
            scenario.gateways.first().is_some_and(|at| *at <= 0.0),
        ),
        (
            "tenants.rate",
            "must be in order of time and not negative",
            scenario
                .tenants
                .iter()
                .all(|t| sorted(&t.rate) && peak(&t.rate)),
        ),
        (
            "tenants.rate",
            "must be finite",
            scenario
                .tenants
                .iter()
                .all(|t| linear(&t.rate, 0.0).is_finite()),
        ),
        (
            "backend.slots",
            "must be in order of time, from 0, at least 1",
            sorted(&backend.slots)
                && !backend.slots.is_empty()
                && backend.slots.iter().all(|p| p.1 >= 1.0),
        ),
        ("work.mean", "must be more than 0", scenario.work.mean > 0.0),
        (
            "backend.quota.per_minute",
            "must be more than 0",
            backend
                .quota
                .is_none_or(|q| q.per_minute > 0.0 && q.burst >= 1.0),
        ),
        (
            "backend.faults",
            "must be shares from 0 to 0.95",
            (0.0..=0.95).contains(&backend.faults.share),
        ),
        (
            "backend.refusal_time",
            "must be more than 0",
            backend.refusal_time > 0.0,
        ),
    ];
    match checks.iter().find(|(_, _, fine)| !fine) {
        None => Ok(()),
        Some(&(key, problem, _)) => Err(SuiteError::Value {
            name: scenario.name.clone(),
            key,
            problem,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_embedded_and_valid() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let mut found: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        let embedded: Vec<&str> = FILES.iter().map(|file| file.0).collect();
        assert_eq!(found, embedded);
        let scenarios = named().unwrap();
        for (scenario, (file, _)) in scenarios.iter().zip(FILES) {
            let start = format!("{}-", scenario.name.to_lowercase());
            assert!(file.starts_with(&start), "{file} holds {}", scenario.name);
        }
    }

    #[test]
    fn a_key_that_does_not_exist_is_an_error_that_names_it() {
        let text = FILES[0].1.replace("deadline", "dead_line");
        let error = parse("x.toml", &text).unwrap_err().to_string();
        assert!(error.contains("dead_line"), "{error}");
    }

    #[test]
    fn slots_below_one_are_an_error_that_names_the_key() {
        let text = FILES[0].1.replace("[[0, 16]]", "[[0, 0]]");
        let error = parse("x.toml", &text).unwrap_err().to_string();
        assert!(error.contains("backend.slots"), "{error}");
    }
}
