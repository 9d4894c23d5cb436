//! The report of an erasure, and its signature.

use std::collections::BTreeMap;

use kebne_context::Keyring;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    privacy::{Erasable, Kept, Whose},
    surface::error::ApiError,
    unix_time,
};

/// The number of times that stores are asked to erase. Calls that run meanwhile may create something.
const ROUNDS_MAX: usize = 3;
/// What the signature is for.
const PURPOSE: &str = "erasure report";
const ALGORITHM: &str = "HMAC-SHA-256";

/// Who asked for an erasure.
#[derive(Clone, Debug)]
pub struct Who {
    /// The name of the key; empty without keys.
    pub key: String,
    /// The id of the request.
    pub request_id: String,
    /// The master key that signs the report.
    pub master: Option<Keyring>,
}

/// What one store did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreReport {
    /// The name of the store.
    pub store: &'static str,
    /// `false` if the store cannot tell users apart, so that it took no part.
    pub covered: bool,
    /// What was removed.
    pub removed: Kept,
    /// The tenant's key: `destroyed`, `kept` because it seals what is left, or `none`.
    pub key: &'static str,
    /// `true` if the log of the store's file holds nothing of it any more.
    pub log_emptied: bool,
    /// What is out of reach, such as files that a backend did not delete.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub out_of_reach: BTreeMap<&'static str, u64>,
    /// What was found when the store was looked through again.
    pub left: Kept,
    /// `true` if nothing was.
    pub verified: bool,
}

/// The report of an erasure.
#[derive(Clone, Debug, PartialEq)]
pub struct Report(Value);

impl Report {
    /// Returns the report as JSON.
    pub fn value(&self) -> &Value {
        &self.0
    }

    fn new(whose: &Whose, who: &Who, times: [u64; 2], stores: &[StoreReport]) -> Self {
        let id = format!("erasure_{}", who.request_id);
        let covered = || stores.iter().filter(|store| store.covered);
        let mut report = json!({
            "object": "privacy.erasure",
            "id": id,
            "tenant": whose.tenant,
            "user": whose.user,
            "requested_by": who.key,
            "request_id": who.request_id,
            "started_at": times[0],
            "ended_at": times[1],
            "stores": stores,
            "keys_destroyed": covered().filter(|store| store.key == "destroyed").count(),
            "verified": covered().all(|store| store.verified),
        });
        if let Some(master) = &who.master {
            let value = hex::encode(master.sign(PURPOSE, canonical(&report).as_bytes()));
            report["signature"] = json!({"algorithm": ALGORITHM, "value": value});
        }
        Self(report)
    }
}

/// Erases what stores keep of someone, looks again, and reports it.
///
/// # Errors
/// Returns the first error of a store. A part may be erased then, and a second call erases the rest.
pub async fn erase(
    stores: &[Box<dyn Erasable>],
    whose: &Whose,
    who: &Who,
) -> Result<Report, ApiError> {
    let started = unix_time::seconds();
    let mut reports: Vec<StoreReport> = Vec::new();
    for store in stores {
        let mut report = empty(store.name());
        report.covered = whose.user.is_none() || store.knows_users();
        if report.covered {
            erase_in(&**store, whose, &mut report).await?;
        }
        reports.push(report);
    }
    // Once more when all have erased, because one may have what another creates.
    for (store, report) in stores.iter().zip(&mut reports) {
        if report.covered {
            look_again(&**store, whose, report).await?;
        }
    }
    let times = [started, unix_time::seconds()];
    Ok(Report::new(whose, who, times, &reports))
}

fn empty(store: &'static str) -> StoreReport {
    StoreReport {
        store,
        covered: true,
        removed: Kept::default(),
        key: "none",
        log_emptied: true,
        out_of_reach: BTreeMap::new(),
        left: Kept::default(),
        verified: false,
    }
}

async fn erase_in(
    store: &dyn Erasable,
    whose: &Whose,
    report: &mut StoreReport,
) -> Result<(), ApiError> {
    for _ in 0..ROUNDS_MAX {
        let erased = store.erase(whose).await?;
        for (kind, count) in erased.removed.items {
            *report.removed.items.entry(kind).or_default() += count;
        }
        let removed = &mut report.removed;
        removed.bytes = removed.bytes.saturating_add(erased.removed.bytes);
        let oldest = removed.oldest.into_iter().chain(erased.removed.oldest);
        removed.oldest = oldest.min();
        let newest = removed.newest.into_iter().chain(erased.removed.newest);
        removed.newest = newest.max();
        for (kind, count) in erased.out_of_reach {
            *report.out_of_reach.entry(kind).or_default() += count;
        }
        if erased.key_erased {
            report.key = "destroyed";
        }
        report.log_emptied = erased.log_emptied;
        look_again(store, whose, report).await?;
        if report.verified {
            break;
        }
    }
    Ok(())
}

async fn look_again(
    store: &dyn Erasable,
    whose: &Whose,
    report: &mut StoreReport,
) -> Result<(), ApiError> {
    report.left = store.verify(whose).await?;
    let is_whole = whose.user.is_none();
    report.verified = report.left.is_empty() && !(is_whole && report.left.has_key);
    if report.left.has_key {
        report.key = "kept";
    }
    Ok(())
}

/// Returns `true` if one of the master keys has signed a report, and nothing was changed since.
pub fn has_signed(master: &Keyring, report: &Value) -> bool {
    let mut unsigned = report.clone();
    let signature = unsigned
        .as_object_mut()
        .and_then(|fields| fields.remove("signature"));
    let signature = signature.as_ref().and_then(|signature| {
        let is_ours = signature["algorithm"] == ALGORITHM;
        hex::decode(signature["value"].as_str().filter(|_| is_ours)?).ok()
    });
    signature.is_some_and(|signature| {
        master.has_signed(PURPOSE, canonical(&unsigned).as_bytes(), &signature)
    })
}

/// Returns JSON without white space, with the members of objects in the order of their names.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            let fields = sorted.into_iter().map(|(name, value)| {
                let name = Value::String(name.clone());
                format!("{name}:{}", canonical(value))
            });
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
}
