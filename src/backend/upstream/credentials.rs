//! The headers of every call to a backend: those of the settings, and the one with the key.

use std::{collections::BTreeMap, path::Path};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use sha2::{Digest, Sha256};

use crate::{
    backend::BuildError,
    settings::{BackendKind, BackendSettings, Environment, secret_file},
};

/// Returns the header with the key.
pub(super) fn api_key(
    settings: &BackendSettings,
    environment: &dyn Environment,
) -> Result<Option<(HeaderName, HeaderValue)>, BuildError> {
    let (setting, key) = match (&settings.api_key_env, &settings.api_key_file) {
        (None, None) => return Ok(None),
        (Some(variable), _) => ("api_key_env", of_variable(settings, variable, environment)?),
        (None, Some(path)) => ("api_key_file", of_file(settings, "api_key_file", path)?),
    };
    let wrong = |reason: &str| BuildError::Setting {
        backend: settings.name.clone(),
        key: setting,
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
    let mut value = HeaderValue::try_from(value).map_err(|_| {
        let place = if setting == "api_key_file" {
            "file"
        } else {
            "value of the variable"
        };
        wrong(&format!(
            "the {place} has a character that cannot be sent in a header, such as a line break"
        ))
    })?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}

fn of_variable(
    settings: &BackendSettings,
    variable: &str,
    environment: &dyn Environment,
) -> Result<String, BuildError> {
    let key = environment
        .get(variable)
        .map_err(|error| BuildError::Setting {
            backend: settings.name.clone(),
            key: "api_key_env",
            reason: error.to_string(),
        })?
        .filter(|key| !key.trim().is_empty());
    key.ok_or_else(|| BuildError::NoKey {
        backend: settings.name.clone(),
        variable: variable.to_owned(),
    })
}

fn of_file(
    settings: &BackendSettings,
    key: &'static str,
    path: &Path,
) -> Result<String, BuildError> {
    secret_file::read(path).map_err(|error| BuildError::Setting {
        backend: settings.name.clone(),
        key,
        reason: error.to_string(),
    })
}

/// Adds the headers whose values are in files.
pub(super) fn add_headers_of_files(
    settings: &BackendSettings,
    headers: &mut HeaderMap,
) -> Result<(), BuildError> {
    const KEY: &str = "headers_file";
    let wrong = |reason: String| BuildError::Setting {
        backend: settings.name.clone(),
        key: KEY,
        reason,
    };
    for (name, path) in &settings.headers_file {
        let value = of_file(settings, KEY, path)?;
        let value = HeaderValue::try_from(value);
        let mut value = value.map_err(|_| {
            let path = path.display();
            wrong(format!("the file `{path}` has a character that cannot be sent in a header, such as a line break"))
        })?;
        value.set_sensitive(true);
        let name = HeaderName::try_from(name).map_err(|error| wrong(error.to_string()))?;
        headers.insert(name, value);
    }
    Ok(())
}

/// Returns a digest of the key with which a backend is called; that of no key if it cannot be read now.
pub(crate) fn digest_of_key(settings: &BackendSettings, environment: &dyn Environment) -> [u8; 32] {
    let key = api_key(settings, environment).ok().flatten();
    let key = key.map(|(_, value)| value);
    let key = key.as_ref().map(HeaderValue::as_bytes);
    Sha256::digest(key.unwrap_or_default()).into()
}

/// Returns a digest of the secrets that are in files, by which a change of them is seen; `None` if one cannot be read now.
pub(crate) fn digest_of_files(settings: &BackendSettings) -> Option<[u8; 32]> {
    let function = settings.function.iter();
    let paths = settings
        .api_key_file
        .iter()
        .chain(settings.headers_file.values())
        .chain(function.filter_map(|function| function.signing_secret_file.as_ref()))
        .chain(settings.mcp.iter().flat_map(|server| {
            let oauth = server.oauth.as_ref();
            let secret = oauth.and_then(|oauth| oauth.client_secret_file.as_ref());
            server.env_file.values().chain(secret)
        }));
    let mut digest = Sha256::new();
    for path in paths {
        let secret = secret_file::read(path).ok()?;
        digest.update(secret.len().to_le_bytes());
        digest.update(secret);
    }
    Some(digest.finalize().into())
}

pub(super) fn header_map(pairs: &BTreeMap<String, String>) -> Result<HeaderMap, http::Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok(headers)
}
