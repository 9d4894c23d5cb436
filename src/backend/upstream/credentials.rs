//! The headers of every call to a backend: those of the settings, and the one with the key.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    backend::BuildError,
    settings::{BackendKind, BackendSettings, Environment},
};

/// Returns the header with the key.
pub(super) fn api_key(
    settings: &BackendSettings,
    environment: &dyn Environment,
) -> Result<Option<(HeaderName, HeaderValue)>, BuildError> {
    let Some(variable) = &settings.api_key_env else {
        return Ok(None);
    };
    let key = environment
        .get(variable)
        .map_err(|error| BuildError::Setting {
            backend: settings.name.clone(),
            key: "api_key_env",
            reason: error.to_string(),
        })?
        .filter(|key| !key.trim().is_empty());
    let key = key.ok_or_else(|| BuildError::NoKey {
        backend: settings.name.clone(),
        variable: variable.clone(),
    })?;
    let wrong = |reason: &str| BuildError::Setting {
        backend: settings.name.clone(),
        key: "api_key_env",
        reason: reason.to_owned(),
    };
    let (name, value) = match &settings.api_key_header {
        Some(name) => (
            HeaderName::try_from(name).map_err(|_| wrong("the name of the header is not valid"))?,
            key.trim().to_owned(),
        ),
        None if settings.kind == BackendKind::Anthropic => {
            (HeaderName::from_static("x-api-key"), key.trim().to_owned())
        }
        None => (header::AUTHORIZATION, format!("Bearer {}", key.trim())),
    };
    let mut value =
        HeaderValue::try_from(value).map_err(|_| wrong("the value of the variable has a character that cannot be sent in a header, such as a line break"))?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}

pub(super) fn header_map(pairs: &BTreeMap<String, String>) -> Result<HeaderMap, http::Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok(headers)
}
