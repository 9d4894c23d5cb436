//! The replicas that the SRV records of a name list.

use std::net::SocketAddr;

use domain::{
    base::{Name, Rtype, iana::Rcode},
    rdata::Srv,
    resolv::stub::{
        StubResolver,
        conf::{ResolvConf, ServerConf, Transport},
    },
};

/// Where a replica is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) priority: u16,
    pub(super) weight: u16,
}

/// Returns the targets of the records of a name. `server` is asked, by default those of `/etc/resolv.conf`.
///
/// # Errors
/// Returns what went wrong, for the log. A name without records is an empty list.
pub(super) async fn targets(name: &str, server: Option<SocketAddr>) -> Result<Vec<Target>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("`{name}` cannot be resolved: {error}");
    let question = name
        .parse::<Name<Vec<u8>>>()
        .map_err(|error| wrong(&error))?;
    let resolver = match server {
        Some(address) => {
            let mut settings = ResolvConf::new();
            settings
                .servers
                .push(ServerConf::new(address, Transport::UdpTcp));
            settings.finalize();
            StubResolver::from_conf(settings)
        }
        None => StubResolver::new(),
    };
    let answer = resolver.query((question, Rtype::SRV)).await;
    let message = answer.map_err(|error| wrong(&error))?.into_message();
    match message.header().rcode() {
        Rcode::NOERROR | Rcode::NXDOMAIN => {}
        other => return Err(wrong(&format!("the DNS server answers {other}"))),
    }
    let records = message.answer().map_err(|error| wrong(&error))?;
    let mut found = Vec::new();
    for record in records.limit_to_in::<Srv<_>>() {
        let record = record.map_err(|error| wrong(&error))?;
        let service = record.data();
        let host = service.target().to_string();
        // A target of "." says that there is no such service.
        let host = host.trim_end_matches('.').to_owned();
        if !host.is_empty() {
            found.push(Target {
                host,
                port: service.port(),
                priority: service.priority(),
                weight: service.weight(),
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
