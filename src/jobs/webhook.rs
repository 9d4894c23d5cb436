//! Webhooks of jobs and batches: signed as Standard Webhooks define it, and sent to public addresses only.
//!
//! A caller chooses the address, so a webhook must not reach what only this machine reaches. The host is resolved here, each of its addresses is
//! checked, and the connection goes to what was checked: a name that changes meanwhile changes nothing. Redirects are not followed, and no proxy is
//! used. The answer is not read.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use kebne_jobs::{Delivered, Delivery, JobsSettings};
use reqwest::{StatusCode, Url, header::RETRY_AFTER};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    backend::upstream::client_to, surface::error::ApiError, unix_time, webhook_signature::Signer,
};

/// The longest URL.
const URL_MAX: usize = 2048;
/// The lengths of a secret: Standard Webhooks wants 24 to 64 bytes, which base64 makes longer.
const SECRET: std::ops::RangeInclusive<usize> = 24..=128;

/// Where notices of a job or a batch are sent.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    /// The address.
    pub(crate) url: String,
    /// The secret with which notices are signed.
    pub(crate) secret: String,
}

impl Webhook {
    /// Checks what can be checked before the name of the host is resolved; returns the text that is kept.
    ///
    /// # Errors
    /// Returns a 400 that names `webhook`.
    pub(crate) fn checked(&self, settings: &JobsSettings) -> Result<String, ApiError> {
        let wrong = |message: String| ApiError::bad_request(Some("webhook"), message);
        if !SECRET.contains(&self.secret.len()) {
            let (least, most) = (SECRET.start(), SECRET.end());
            return Err(wrong(format!(
                "`secret` must have {least} to {most} characters"
            )));
        }
        self.target(settings).map_err(|why| wrong(why.to_owned()))?;
        serde_json::to_string(self).map_err(|_| wrong("it cannot be written".to_owned()))
    }

    /// Returns the URL, and `true` if its host may have any address.
    fn target(&self, settings: &JobsSettings) -> Result<(Url, bool), &'static str> {
        if self.url.len() > URL_MAX {
            return Err("the URL has more than 2048 bytes");
        }
        let url = Url::parse(&self.url).map_err(|_| "the URL is not valid")?;
        let host = url.host_str().ok_or("the URL has no host")?;
        let with_port = url
            .port_or_known_default()
            .map(|port| format!("{host}:{port}"));
        let mut listed = settings.webhook_hosts.iter();
        let is_listed = listed.any(|known| *known == host || Some(known) == with_port.as_ref());
        if url.scheme() != "https" && !(is_listed && url.scheme() == "http") {
            return Err("the URL must begin with `https://`");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL must not contain a user or a password");
        }
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        if !is_listed && address.is_ok_and(|address| !is_public(address)) {
            return Err("the address is not public");
        }
        Ok((url, is_listed))
    }
}

/// Sends a notice.
pub(super) async fn deliver(settings: &JobsSettings, delivery: &Delivery) -> Delivered {
    let notice = &delivery.notice;
    let Ok(webhook) = serde_json::from_str::<Webhook>(&notice.target) else {
        return Delivered::Refused;
    };
    let Ok((url, is_listed)) = webhook.target(settings) else {
        return Delivered::Refused;
    };
    let sent = tokio::time::timeout(
        settings.webhook_timeout.0,
        post(&webhook, (url, is_listed), (delivery, settings)),
    );
    let sent = sent.await.unwrap_or(Err("there was no answer in time"));
    sent.unwrap_or_else(|why| {
        let (of, attempt) = (&notice.of, delivery.attempt);
        tracing::debug!(of, attempt, why, "a webhook was not delivered");
        Delivered::Again(Duration::ZERO)
    })
}

async fn post(
    webhook: &Webhook,
    (url, is_listed): (Url, bool),
    (delivery, settings): (&Delivery, &JobsSettings),
) -> Result<Delivered, &'static str> {
    let host = url.host_str().ok_or("the URL has no host")?.to_owned();
    let port = url.port_or_known_default().ok_or("the URL has no port")?;
    let name = host.trim_matches(['[', ']']);
    let found = tokio::net::lookup_host((name, port)).await;
    let found: Vec<SocketAddr> = found.map_err(|_| "the host is not known")?.collect();
    if found.is_empty() || (!is_listed && !found.iter().all(|at| is_public(at.ip()))) {
        return Err("an address of the host is not public");
    }
    let tls = url.scheme() == "https";
    let client = client_to(settings.webhook_timeout.0, tls, (&host, &found));
    let client = client.map_err(|_| "no connection can be made")?;
    let (body, timestamp) = (body(delivery), unix_time::seconds());
    let signature = Signer::new(&webhook.secret).sign(&delivery.id, timestamp, &body);
    let request = client
        .post(url)
        .header("content-type", "application/json")
        .header("webhook-id", &delivery.id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signature.unwrap_or_default())
        .body(body);
    let answer = request.send().await.map_err(|_| "there was no answer")?;
    let wait = answer.headers().get(RETRY_AFTER);
    let wait = wait.and_then(|value| value.to_str().ok()?.parse().ok());
    Ok(match answer.status() {
        status if status.is_success() => Delivered::Done,
        StatusCode::GONE => Delivered::Refused,
        _ => Delivered::Again(wait.map_or(Duration::ZERO, Duration::from_secs)),
    })
}

/// Returns the body of a notice. It holds no text of a caller: the receiver asks for the rest with a key.
fn body(delivery: &Delivery) -> String {
    let notice = &delivery.notice;
    let at = std::time::UNIX_EPOCH + Duration::from_millis(notice.at);
    let kind = format!("{}.{}", notice.kind, name(&notice.kind, &notice.state));
    let data = json!({"id": notice.of, "object": notice.kind, "status": name(&notice.kind, &notice.state)});
    let timestamp = humantime::format_rfc3339_seconds(at).to_string();
    json!({"type": kind, "timestamp": timestamp, "data": data}).to_string()
}

/// Returns the name of a state: a batch that has all its results is `completed` in `OpenAI`'s API.
fn name<'a>(kind: &str, state: &'a str) -> &'a str {
    if kind == "batch" && state == "succeeded" {
        "completed"
    } else {
        state
    }
}

/// Returns `true` for an address that is reached over the Internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = matches!(
        (a, b, c),
        // This network, carriers' networks, protocol assignments, benchmarks, and what is reserved.
        (0 | 240.., ..) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99) | (198, 18..=19, _)
    );
    !(is_special
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(embedded) = embedded(address) {
        return is_public_v4(embedded);
    }
    let [first, second, ..] = address.segments();
    // Only 2000::/3 is given to the Internet; in it are Teredo and other protocol assignments, and documentation.
    let is_global = first & 0xe000 == 0x2000;
    is_global
        && !matches!(
            (first, second),
            (0x2001, 0..=0x01ff | 0x0db8) | (0x3fff, 0..=0x0fff)
        )
}

/// Returns the IPv4 address that an IPv6 address stands for: a mapped one, NAT64, or 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some(of(high, low)),
        [0x64, 0xff9b, .., high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a secret too.
        formatter.debug_struct("Webhook").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "172.32.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_webhook_is_refused_before_it_is_queued_if_it_can_never_be_sent() {
        let settings = JobsSettings {
            webhook_hosts: vec!["hooks.internal:8080".to_owned(), "10.0.0.7".to_owned()],
            ..JobsSettings::default()
        };
        let check = |url: &str| {
            let webhook = Webhook {
                url: url.to_owned(),
                secret: "s".repeat(24),
            };
            webhook.checked(&settings).is_ok()
        };
        for url in [
            "https://example.com/a?b=c",
            "http://hooks.internal:8080/",
            "http://10.0.0.7/x",
            "https://[2606:4700::1111]/",
        ] {
            assert!(check(url), "{url}");
        }
        for url in [
            "http://example.com/",
            "ftp://example.com/",
            "https://user@example.com/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://2130706433/",
            "https://0x7f.1/",
            "http://hooks.internal/",
            "http://hooks.internal:8081/",
            "example.com",
            "",
        ] {
            assert!(!check(url), "{url}");
        }
        let short = Webhook {
            url: "https://example.com/".to_owned(),
            secret: "short".to_owned(),
        };
        assert!(short.checked(&settings).is_err());
        assert!(!format!("{short:?}").contains("short"));
    }
}
