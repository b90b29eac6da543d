//! Names into addresses: by the system's resolver, and in a static program by one of our own.
//!
//! glibc's resolver loads the libraries that the host's `nsswitch.conf` names. In a static program
//! they are those of another C library than the one that is linked in, if they are there at all.
//!
//! Invariant: a name that does not exist is told apart from one that could not be asked for.

use std::net::IpAddr;

use super::failure::Failure;

/// The addresses of `host`, in the system's order; or what kind of failure it is, and its words.
#[cfg(not(target_feature = "crt-static"))]
pub(super) async fn look_up(host: &str) -> Result<Vec<IpAddr>, (Failure, String)> {
    let found = tokio::net::lookup_host((host, 0)).await;
    let found = found.map(|addresses| addresses.map(|address| address.ip()).collect());
    found.map_err(|error| {
        // "failed to lookup address information: Name or service not known"
        let error = error.to_string().rsplit(": ").next().unwrap_or_default().to_owned();
        // getaddrinfo's own texts, which do not depend on the locale here, are all that tells them
        // apart: std gives no code.
        let kind = match error.as_str() {
            "Name or service not known" | "No address associated with hostname" => {
                Failure::NoSuchName
            }
            _ => Failure::Resolve,
        };
        (kind, error)
    })
}

/// The addresses of `host`, of version 4 first, by `/etc/hosts` and the servers of
/// `/etc/resolv.conf`, which are read each time; or what kind of failure it is, and its words.
#[cfg(target_feature = "crt-static")]
pub(super) async fn look_up(host: &str) -> Result<Vec<IpAddr>, (Failure, String)> {
    use hickory_resolver::TokioResolver;
    use hickory_resolver::config::LookupIpStrategy;

    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: hickory_resolver::net::NetError| (Failure::Resolve, format!("{what}: {error}"))
    };
    let mut builder = TokioResolver::builder_tokio().map_err(failed("/etc/resolv.conf"))?;
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    let resolver = builder.build().map_err(failed("/etc/resolv.conf"))?;
    match resolver.lookup_ip(host).await {
        Ok(found) => Ok(found.iter().collect()),
        Err(error) if error.is_nx_domain() => {
            Err((Failure::NoSuchName, "Name or service not known".to_owned()))
        }
        Err(error) if error.is_no_records_found() => {
            Err((Failure::NoSuchName, "No address associated with hostname".to_owned()))
        }
        Err(error) => Err((Failure::Resolve, error.to_string())),
    }
}
