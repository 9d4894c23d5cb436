//! The hooks of a server as requests and commands.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use http::HeaderMap;
use kebne_servers::{CommandHook, CommandSettings, Hook, Hooks};
use reqwest::{Client, Method, Url};

use crate::{
    backend::{BuildError, upstream},
    gateway::owned::launcher,
    settings::{BackendSettings, BaseUrl, Environment, HookSettings, HooksSettings},
    via,
};

/// The time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A request.
struct HttpHook {
    client: Client,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<String>,
}

impl Hook for HttpHook {
    fn run(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        let mut request = self
            .client
            .request(self.method.clone(), self.url.clone())
            .headers(self.headers.clone());
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        Box::pin(async move {
            // The address may hold a secret.
            let answer = request.send().await;
            let answer = answer.map_err(|error| error.without_url().to_string())?;
            let status = answer.status();
            status
                .is_success()
                .then_some(())
                .ok_or_else(|| format!("status {}", status.as_u16()))
        })
    }
}

/// Makes the hooks of a backend.
pub(super) fn build(
    backend: &BackendSettings,
    hooks: &HooksSettings,
    environment: &dyn Environment,
) -> Result<Hooks, BuildError> {
    let wrong = |key: &'static str| {
        move |reason: String| BuildError::Setting {
            backend: backend.name.clone(),
            key,
            reason,
        }
    };
    let sleep = hooks.sleep.as_ref();
    let sleep = sleep.map(|sleep| {
        let sleep = hook(sleep, backend, environment);
        sleep.map_err(wrong("hooks.sleep"))
    });
    Ok(Hooks {
        wake: hook(&hooks.wake, backend, environment).map_err(wrong("hooks.wake"))?,
        sleep: sleep.transpose()?,
    })
}

fn hook(
    settings: &HookSettings,
    backend: &BackendSettings,
    environment: &dyn Environment,
) -> Result<Arc<dyn Hook>, String> {
    if let Some(command) = &settings.command {
        let variable = |name: &str| environment.get(name).ok().flatten();
        let command = CommandSettings {
            command: command.clone(),
            args: settings.args.clone(),
            pass_env: settings.pass_env.clone(),
        };
        let launcher = launcher(environment);
        return Ok(Arc::new(CommandHook::new(&command, variable, launcher)));
    }
    let url = settings.url.as_ref().map_or("", BaseUrl::expose);
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    let client = if settings.as_backend {
        upstream::client_as(backend, &url, environment)?
    } else {
        let made = upstream::client(CONNECT_TIMEOUT, url.scheme() == "https");
        made.map_err(|error| error.without_url().to_string())?
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let name = http::HeaderName::try_from(name.as_str()).map_err(|error| error.to_string())?;
        let value = http::HeaderValue::try_from(value.as_str());
        headers.insert(name, value.map_err(|error| error.to_string())?);
    }
    if let Some(variable) = &settings.key_env {
        let key = environment
            .get(variable)
            .map_err(|error| error.to_string())?;
        let key = key.ok_or_else(|| "the variable of `key_env` is not set".to_owned())?;
        let value = http::HeaderValue::try_from(format!("Bearer {}", key.trim()));
        let mut value = value.map_err(|_| "the key is not a value of a header".to_owned())?;
        value.set_sensitive(true);
        headers.insert(http::header::AUTHORIZATION, value);
    }
    headers.insert(http::header::VIA, via::own());
    Ok(Arc::new(HttpHook {
        client,
        method: Method::from_bytes(settings.method.as_bytes())
            .map_err(|error| error.to_string())?,
        url,
        headers,
        body: settings.body.clone(),
    }))
}
