//! How the commands in the actions of alerts reach this service from its own machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use kebne_monitor::Access;

use crate::settings::ServerSettings;

/// What a command needs where keys are set: the key is not written into it.
const KEY: &str = " -H \"authorization: Bearer $KEBNE_API_KEY\"";
/// The certificate is that of another name than the address, and what is asked does not leave the machine.
const OWN_MACHINE: &str = " -k";
/// What a command needs where callers must show a certificate.
const CERTIFICATE: &str = " --cert \"$KEBNE_CERT\" --key \"$KEBNE_KEY\"";

/// Returns the access to a service that listens at an address.
pub(super) fn access(address: SocketAddr, settings: &ServerSettings) -> Access {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let here = SocketAddr::new(ip, address.port());
    let has_tls = !settings.tls.cert.as_os_str().is_empty();
    let shows_certificate = has_tls && !settings.tls.client_ca.as_os_str().is_empty();
    let has_keys = !settings.keys.is_empty();
    let needed = [
        (has_tls, OWN_MACHINE),
        (shows_certificate, CERTIFICATE),
        (has_keys, KEY),
    ];
    let needed = needed.into_iter().filter(|(is_needed, _)| *is_needed);
    let curl = needed.fold("curl".to_owned(), |curl, (_, argument)| curl + argument);
    let scheme = if has_tls { "https" } else { "http" };
    Access {
        curl: curl.into(),
        base: format!("{scheme}://{here}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::server::KeySettings;

    #[test]
    fn commands_reach_the_service_from_its_own_machine() {
        let mut settings = ServerSettings::default();
        let of = |address: &str, settings: &ServerSettings| {
            let access = access(address.parse().unwrap(), settings);
            format!("{} {}", access.curl, access.base)
        };
        let plain = of("127.0.0.1:8080", &settings);
        assert_eq!(plain, "curl http://127.0.0.1:8080");
        assert_eq!(of("0.0.0.0:81", &settings), "curl http://127.0.0.1:81");
        assert_eq!(of("[::]:81", &settings), "curl http://[::1]:81");
        settings.keys = vec![KeySettings::default()];
        settings.tls.cert = "cert.pem".into();
        assert_eq!(
            of("10.0.0.5:443", &settings),
            "curl -k -H \"authorization: Bearer $KEBNE_API_KEY\" https://10.0.0.5:443"
        );
    }
}
