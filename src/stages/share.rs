//! The tenant, priority and weight of a call, from its key and its headers.
//!
//! A header cannot raise a call above the priority of its key. Such a header is an error instead of being clamped, so
//! that the caller finds out that it has a lower priority.

use std::collections::BTreeMap;

use actix_web::http::header::HeaderMap;

use crate::{
    caller::{Caller, tenant_number},
    settings::server::PRIORITY_MAX,
    stages::header::text,
    surface::error::ApiError,
    via,
};

/// The header with the priority; 0 is served first.
const PRIORITY: &str = "x-kebne-priority";
/// The header with a tenant below the key's tenant.
const TENANT: &str = "x-kebne-tenant";
/// Whether the caller waits while its model loads, as Hugging Face's clients send it.
const WAIT: &str = "x-wait-for-model";
/// The longest name of a tenant.
const TENANT_MAX: usize = 128;

/// The properties of a caller that the lanes use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    /// The number of the tenant. Calls of one tenant share its turn.
    pub(super) tenant: u64,
    /// The priority; 0 is served first.
    pub(super) priority: u8,
    /// The tenant's share relative to others.
    pub(super) weight: f64,
    /// `true` to refuse the call instead of holding it while the backend is cold.
    pub(super) refuse_when_cold: bool,
}

/// Returns the share of a call.
///
/// # Errors
/// Returns a 400 for an invalid header, and a 403 for one that the key does not allow. Both name the header.
pub(super) fn of(headers: &HeaderMap, caller: &Caller) -> Result<Share, ApiError> {
    Ok(Share {
        tenant: tenant(headers, caller)?,
        priority: priority(headers, caller)?,
        weight: caller.weight,
        refuse_when_cold: !waits(headers)?,
    })
}

/// Returns the headers that the calls have that are made because of a request: its priority, its tenant, and the gateways that it has come through.
///
/// # Errors
/// As [`of`].
pub(crate) fn origin(
    headers: &HeaderMap,
    caller: &Caller,
) -> Result<BTreeMap<String, String>, ApiError> {
    let share = of(headers, caller)?;
    let gateways = super::trace::gateways(headers);
    let through = via::before(gateways.as_deref());
    Ok(origin_of(share.priority, named_tenant(headers)?, through))
}

/// Returns the headers that the calls have that are made because of a call.
pub(super) fn origin_of(
    priority: u8,
    tenant: Option<&str>,
    through: Option<String>,
) -> BTreeMap<String, String> {
    let headers = [
        (PRIORITY, Some(priority.to_string())),
        (TENANT, tenant.map(str::to_owned)),
        ("via", through),
    ];
    let headers = headers.into_iter();
    headers
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

fn priority(headers: &HeaderMap, caller: &Caller) -> Result<u8, ApiError> {
    let Some(text) = text(headers, PRIORITY)? else {
        return Ok(caller.priority);
    };
    let asked = text.trim().parse::<u8>().ok();
    let asked = asked
        .filter(|asked| *asked <= PRIORITY_MAX)
        .ok_or_else(|| {
            let message = format!("`{PRIORITY}` must be a whole number from 0 to {PRIORITY_MAX}");
            ApiError::bad_request(Some(PRIORITY), message)
        })?;
    if asked < caller.priority {
        let best = caller.priority;
        let message = format!("`{PRIORITY}` must be at least {best} for this key");
        return Err(ApiError::not_allowed(PRIORITY, message));
    }
    Ok(asked)
}

/// Returns the tenant below the key's tenant that the caller names.
///
/// # Errors
/// Returns a 400 if the header is not plain text.
pub(super) fn named_tenant(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    text(headers, TENANT)
}

fn tenant(headers: &HeaderMap, caller: &Caller) -> Result<u64, ApiError> {
    let Some(name) = named_tenant(headers)? else {
        return Ok(caller.tenant_number);
    };
    let plain = name.bytes().all(|byte| byte.is_ascii_graphic());
    if name.is_empty() || name.len() > TENANT_MAX || !plain {
        let message =
            format!("`{TENANT}` must be 1 to {TENANT_MAX} printable characters without spaces");
        return Err(ApiError::bad_request(Some(TENANT), message));
    }
    if !caller.names_tenants {
        let message = format!("`{TENANT}` is not allowed for this key");
        return Err(ApiError::not_allowed(TENANT, message));
    }
    Ok(tenant_number(&[&caller.tenant, name]))
}

fn waits(headers: &HeaderMap) -> Result<bool, ApiError> {
    let Some(text) = text(headers, WAIT)? else {
        return Ok(true);
    };
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => {
            let message = format!("`{WAIT}` must be `true` or `false`");
            Err(ApiError::bad_request(Some(WAIT), message))
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn caller(tenant: &str) -> Caller {
        Caller::of_tenant(tenant, 2, 3.0)
    }

    fn with(headers: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            let name = HeaderName::try_from(*name).unwrap();
            (name, HeaderValue::try_from(*value).unwrap())
        };
        headers.iter().map(pair).collect()
    }

    #[test]
    fn a_call_without_headers_has_what_its_key_gives_it() {
        let share = of(&with(&[]), &caller("a")).unwrap();
        assert_eq!((share.priority, share.weight), (2, 3.0));
        assert!(!share.refuse_when_cold);
        let same = of(&with(&[(PRIORITY, "9")]), &caller("a")).unwrap();
        assert_eq!((same.tenant, same.priority), (share.tenant, 9));
        assert_ne!(of(&with(&[]), &caller("b")).unwrap().tenant, share.tenant);
    }

    #[test]
    fn calls_because_of_a_request_keep_its_priority_tenant_and_gateways() {
        let headers = with(&[(PRIORITY, "9"), (TENANT, "T5"), ("via", "1.1 a")]);
        let kept = origin(&headers, &caller("a")).unwrap();
        let kept: Vec<(&str, &str)> = kept.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(kept, [("via", "1.1 a"), (PRIORITY, "9"), (TENANT, "T5")]);
        let kept = origin(&with(&[]), &caller("a")).unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[PRIORITY], "2");
        assert!(origin(&with(&[(PRIORITY, "1")]), &caller("a")).is_err());
    }

    #[test]
    fn a_named_tenant_is_another_one_of_its_own_key_only() {
        let tenant = |key: &str, name: &str| {
            let share = of(&with(&[(TENANT, name)]), &caller(key)).unwrap();
            share.tenant
        };
        assert_eq!(tenant("a", "x"), tenant("a", "x"));
        assert_ne!(tenant("a", "x"), tenant("a", "y"));
        assert_ne!(tenant("a", "x"), tenant("b", "x"));
        assert_ne!(tenant("a", "bc"), tenant("ab", "c"));
    }

    #[test]
    fn bad_and_forbidden_values_name_the_header() {
        let long = "x".repeat(TENANT_MAX + 1);
        for (name, value, status) in [
            (PRIORITY, "high", 400),
            (PRIORITY, "-1", 400),
            (PRIORITY, "10", 400),
            (PRIORITY, "256", 400),
            (PRIORITY, "1", 403),
            (TENANT, "", 400),
            (TENANT, "a b", 400),
            (TENANT, &long, 400),
            (WAIT, "maybe", 400),
        ] {
            let error = of(&with(&[(name, value)]), &caller("a")).unwrap_err();
            assert_eq!(error.status().as_u16(), status, "{name}: {value}");
            assert_eq!(error.body()["error"]["param"], name, "{value}");
            assert!(
                error.body()["error"]["message"]
                    .as_str()
                    .unwrap()
                    .contains(name)
            );
        }
        let mut silent = caller("a");
        silent.names_tenants = false;
        let error = of(&with(&[(TENANT, "x")]), &silent).unwrap_err();
        assert_eq!(
            (error.status().as_u16(), error.reason()),
            (403, "not_allowed")
        );
        let refuses = of(&with(&[(WAIT, "false")]), &silent).unwrap();
        assert!(refuses.refuse_when_cold);
    }
}
