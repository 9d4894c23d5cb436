//! `kebne check`: the effective settings, and the place that set each value.
//!
//! The output is TOML that can be used as a settings file again, except that secrets are masked. Comments explain which
//! backends each model asks.

pub mod live;
mod routes;

use std::{collections::BTreeMap, io::Write, path::Path};

use kebne_wire::redact;
use toml::{Table, Value};

use crate::{
    cli::CommandError,
    gateway, guards,
    settings::{Environment, Origin, load},
};

/// Written in place of a secret.
const MASK: &str = "********";

/// Keys whose values are secret or can contain secrets. The name of an environment variable that holds a key
/// (`key_env`) is not a secret.
const SECRETS: [&str; 10] = [
    "keys",
    "key",
    "hash",
    "secret",
    "password",
    "headers",
    "wake_headers",
    // Of a process and of a hook.
    "env",
    "body",
    // The address of a webhook often holds a token in its path.
    "url",
];

/// Validates the settings, makes what the service would make of them, and prints them.
///
/// # Errors
/// Fails if the settings are wrong or the output cannot be written.
pub fn run(
    config: Option<&Path>,
    environment: &dyn Environment,
    output: &mut dyn Write,
) -> Result<(), CommandError> {
    let loaded = load::load(config, environment)?;
    let mut errors = gateway::check(&loaded.settings, environment);
    errors.extend(guards::check(&loaded.settings, environment));
    loaded.refuse(errors)?;
    let mut tree = Table::try_from(&loaded.settings)?;
    mask(&mut tree);
    write!(output, "{}", toml::to_string(&tree)?)?;
    write_origins(&loaded.origins, output)?;
    routes::write(&loaded.settings, output)?;
    Ok(())
}

/// Replaces every text under a secret key.
fn mask(table: &mut Table) {
    for (key, value) in table.iter_mut() {
        if SECRETS.contains(&key.as_str()) {
            mask_all(value);
            continue;
        }
        match value {
            Value::String(url) if ["base_url", "proxy"].contains(&key.as_str()) => {
                *url = redact::url(url);
            }
            Value::Array(urls) if key == "urls" => redact_all(urls),
            // Its `key` is the name of a file.
            Value::Table(_) if key == "tls" => {}
            Value::Table(inner) => mask(inner),
            Value::Array(items) => items
                .iter_mut()
                .filter_map(Value::as_table_mut)
                .for_each(mask),
            _ => {}
        }
    }
}

/// Removes the secrets from a list of URLs.
fn redact_all(urls: &mut [Value]) {
    for url in urls {
        if let Value::String(url) = url {
            *url = redact::url(url);
        }
    }
}

/// Replaces every text in a value; keys and numbers stay readable.
fn mask_all(value: &mut Value) {
    match value {
        Value::String(text) => MASK.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(mask_all),
        Value::Table(table) => table.iter_mut().for_each(|(_, inner)| mask_all(inner)),
        _ => {}
    }
}

/// Lists, as comments, the values that are not defaults.
fn write_origins(
    origins: &BTreeMap<String, Origin>,
    output: &mut dyn Write,
) -> std::io::Result<()> {
    let set: Vec<_> = origins
        .iter()
        .filter(|(_, origin)| **origin != Origin::Default)
        .collect();
    if set.is_empty() {
        return writeln!(output, "\n# Every value is the default.");
    }
    writeln!(
        output,
        "\n# Set by a file or by the environment; every other value is the default:"
    )?;
    for (path, origin) in set {
        writeln!(output, "# {path} <- {origin}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_at_any_depth_and_nothing_else_is() {
        let mut tree: Table = r#"
            name = "open"
            [server]
            keys = [{ name = "a", hash = "h" }]
            tls = { cert = "cert.pem", key = "key.pem" }
            [[backends]]
            key_env = "MODEL_KEY"
            base_url = "https://ann:passw0rd@host/v1?sig=abc"
            proxy = "http://ann:passw0rd@proxy:3128"
            headers = { authorization = "Bearer x" }
        "#
        .parse()
        .unwrap();
        mask(&mut tree);
        let text = toml::to_string(&tree).unwrap();
        assert!(
            !text.contains("Bearer") && !text.contains("\"h\"") && !text.contains("passw0rd"),
            "{text}"
        );
        assert!(
            text.contains("MODEL_KEY")
                && text.contains("key.pem")
                && text.contains("open")
                && text.contains("host/v1?sig=***"),
            "{text}"
        );
    }
}
