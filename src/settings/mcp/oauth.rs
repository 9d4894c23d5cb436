//! The settings of tokens for an MCP server.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::settings::{SettingsError, Validate, join};

/// Credentials of the gateway itself, for which a server of tokens gives tokens (OAuth, the grant `client_credentials`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct McpOauthSettings {
    /// The URL of the server of tokens, such as `https://auth.example/token`.
    pub token_url: String,
    /// The id of the gateway there.
    pub client_id: String,
    /// The environment variable with its secret; either this or `client_secret_file`. Default none.
    pub client_secret_env: Option<String>,
    /// The file with its secret, which is read again when the settings are. Default none.
    pub client_secret_file: Option<PathBuf>,
    /// What the token is to permit. Default none.
    pub scopes: Vec<String>,
}

impl Validate for McpOauthSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let url = self.token_url.parse::<http::Uri>();
        let is_url = url.is_ok_and(|url| {
            matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some()
        });
        require(
            is_url,
            "token_url",
            "is not an `http://` or `https://` URL with a host",
        );
        require(!self.client_id.is_empty(), "client_id", "must not be empty");
        let secrets = usize::from(self.client_secret_env.is_some())
            + usize::from(self.client_secret_file.is_some());
        let message = "must be set, or `client_secret_env`: one of the two";
        require(secrets == 1, "client_secret_file", message);
        let is_scope =
            |scope: &String| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic());
        let message = "each must be printable ASCII characters without spaces";
        require(self.scopes.iter().all(is_scope), "scopes", message);
        errors
    }
}
