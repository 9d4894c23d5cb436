//! The proxy through which a backend is reached: that of its settings, or that of the environment.
//!
//! The variables are those of other programs: `HTTPS_PROXY` for `https` URLs, `HTTP_PROXY` for `http` ones, `ALL_PROXY` for
//! both, and the exceptions in `NO_PROXY`; each in lower case too. A server on this machine is always reached directly,
//! because a proxy elsewhere would look for it on its own machine.

use std::net::IpAddr;

use hyper_util::client::proxy::matcher::Matcher;
use kebne_wire::redact;
use reqwest::{Proxy, Url};

use crate::settings::{BackendSettings, BaseUrl, Environment, backend::NO_PROXY};

/// A proxy.
#[derive(Clone, Debug)]
pub(super) struct Through {
    pub(super) proxy: Proxy,
    /// The address as it is shown, without a password.
    pub(super) shown: String,
    /// The address with it.
    pub(super) address: BaseUrl,
    /// The setting or the variable that names it.
    pub(super) named_by: String,
}

impl Through {
    /// Returns the proxy for a URL; `None` if its server is reached directly.
    ///
    /// # Errors
    /// Returns the reason why the proxy cannot be used.
    pub(super) fn of(
        settings: &BackendSettings,
        url: &Url,
        environment: &dyn Environment,
    ) -> Result<Option<Self>, String> {
        match &settings.proxy {
            Some(proxy) if proxy.expose() == NO_PROXY => Ok(None),
            Some(proxy) => Self::new(proxy.expose(), "proxy".to_owned()).map(Some),
            None => Self::of_environment(url, environment),
        }
    }

    /// Returns `true` if the proxy itself is reached with TLS.
    pub(super) fn has_tls(&self) -> bool {
        self.address.expose().starts_with("https://")
    }

    fn of_environment(url: &Url, environment: &dyn Environment) -> Result<Option<Self>, String> {
        let variable = |name: &str| -> Result<Option<(String, String)>, String> {
            for name in [name.to_lowercase(), name.to_owned()] {
                let value = environment.get(&name).map_err(|error| error.to_string())?;
                if let Some(value) = value.filter(|value| !value.trim().is_empty()) {
                    return Ok(Some((name, value.trim().to_owned())));
                }
            }
            Ok(None)
        };
        let own = match url.scheme() {
            "https" => "HTTPS_PROXY",
            _ => "HTTP_PROXY",
        };
        let named = match variable(own)? {
            None => variable("ALL_PROXY")?,
            named => named,
        };
        let Some((name, proxy)) = named.filter(|_| !is_this_machine(url)) else {
            return Ok(None);
        };
        let exceptions = variable("NO_PROXY")?.map_or_else(String::new, |(_, value)| value);
        let matcher = Matcher::builder().all("http://p").no(exceptions).build();
        let is_wanted = url
            .as_str()
            .parse()
            .is_ok_and(|url| matcher.intercept(&url).is_some());
        if is_wanted {
            Self::new(&proxy, name).map(Some)
        } else {
            Ok(None)
        }
    }

    fn new(address: &str, named_by: String) -> Result<Self, String> {
        let shown = redact::url(address);
        let proxy = Proxy::all(address);
        let proxy =
            proxy.map_err(|_| format!("`{shown}` ({named_by}) is not the URL of a proxy"))?;
        Ok(Self {
            proxy,
            shown,
            address: BaseUrl::new(address),
            named_by,
        })
    }
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Returns who names the proxy of a URL, and its address as it is shown.
    fn found(
        url: &str,
        proxy: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Option<(String, String)> {
        let settings = BackendSettings {
            proxy: proxy.map(BaseUrl::new),
            ..BackendSettings::default()
        };
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let environment: BTreeMap<String, String> = variables.collect();
        let through = Through::of(&settings, &Url::parse(url).unwrap(), &environment).unwrap();
        through.map(|through| (through.named_by, through.shown))
    }

    #[test]
    fn the_environment_names_the_proxy_unless_the_settings_do() {
        let both = [
            ("HTTPS_PROXY", "http://s:1"),
            ("http_proxy", "http://h:1"),
            ("NO_PROXY", "a.example,10.0.0.0/8"),
        ];
        let some = |name: &str, shown: &str| Some((name.to_owned(), shown.to_owned()));
        for (url, expected) in [
            ("https://model/v1", some("HTTPS_PROXY", "http://s:1")),
            ("http://model/v1", some("http_proxy", "http://h:1")),
            ("https://a.example/v1", None),
            ("https://b.a.example/v1", None),
            ("https://10.1.2.3/v1", None),
            ("https://11.1.2.3/v1", some("HTTPS_PROXY", "http://s:1")),
            ("https://localhost:8000/v1", None),
            ("https://127.0.0.1:8000/v1", None),
            ("http://[::1]:8000/v1", None),
        ] {
            assert_eq!(found(url, None, &both), expected, "{url}");
            assert_eq!(found(url, Some("none"), &both), None, "{url}");
            let own = found(url, Some("http://ann:secret@p:1"), &both).unwrap();
            assert_eq!(own.0, "proxy");
            assert!(
                own.1.contains("p:1") && !own.1.contains("secret"),
                "{}",
                own.1
            );
        }
        let all = [("ALL_PROXY", "socks5h://all:1"), ("HTTP_PROXY", "")];
        for url in ["https://model/v1", "http://model/v1"] {
            assert_eq!(found(url, None, &all), some("ALL_PROXY", "socks5h://all:1"));
        }
        assert_eq!(found("https://model/v1", None, &[]), None);
        assert_eq!(
            found("https://model/v1", None, &[("HTTP_PROXY", "http://h:1")]),
            None
        );
    }
}
