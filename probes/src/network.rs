//! What the probes over the network have in common: why they fail, and the metrics of
//! blackbox_exporter.
//!
//! Invariant: every failure of the client has a reason of its own.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base::diagnostic::{Diagnostics, Place};
use base::family::MetricFamily;
use base::http::client::Failure;
use regex::bytes::Regex;
use x509_parser::parse_x509_certificate;

use crate::text::shown_line;
use crate::{Outcome, Reason};

/// The reason that a failure of the client is.
pub(crate) fn reason_of(failure: Failure) -> Reason {
    match failure {
        Failure::Address => Reason::BadRedirect,
        Failure::NoSuchName => Reason::NoSuchName,
        Failure::Resolve => Reason::ResolveFailed,
        Failure::Refused => Reason::ConnectionRefused,
        Failure::Unreachable => Reason::Unreachable,
        Failure::Reset => Reason::ConnectionReset,
        Failure::Expired => Reason::CertificateExpired,
        Failure::WrongName => Reason::CertificateName,
        Failure::Untrusted => Reason::CertificateUntrusted,
        Failure::Tls => Reason::TlsFailed,
        Failure::Proxy => Reason::ProxyFailed,
        Failure::Barred => Reason::TargetNotAllowed,
        Failure::Protocol => Reason::ProtocolError,
    }
}

/// When the first of `chain`, certificates in DER, is past its time, in seconds since 1970.
pub(crate) fn earliest_expiry<C: AsRef<[u8]>>(chain: &[C]) -> Option<f64> {
    let end = |certificate: &C| {
        let (_, certificate) = parse_x509_certificate(certificate.as_ref()).ok()?;
        Some(certificate.validity().not_after.timestamp() as f64)
    };
    chain.iter().filter_map(end).reduce(f64::min)
}

/// Whether `address` is on this host or this link, where nothing from outside should lead.
pub(crate) fn is_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast()
        }
        IpAddr::V6(v6) => {
            let link_local = v6.segments()[0] & 0xffc0 == 0xfe80;
            // The metadata service of a large cloud.
            let metadata = v6.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254];
            v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || link_local || metadata
        }
    }
}

/// A regular expression; `regex` bounds what one costs, so that none can be a bomb (X25).
pub(crate) fn regex(pattern: &str, place: Place, diagnostics: &mut Diagnostics) -> Option<Regex> {
    match Regex::new(pattern) {
        Ok(regex) => Some(regex),
        Err(error) => {
            // The crate draws a picture over several lines; the last one says it.
            let text = error.to_string();
            let why =
                text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            diagnostics.report(place, format!("`{pattern}` is not a regular expression: {why}"));
            None
        }
    }
}

/// Why something is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) reason: Reason,
    pub(crate) summary: String,
}

impl Failed {
    pub(crate) fn new(reason: Reason, summary: impl Into<String>) -> Self {
        Self { reason, summary: summary.into() }
    }

    /// What came back is not the protocol; `said` is what came.
    pub(crate) fn protocol(protocol: &str, said: &[u8]) -> Self {
        let summary = match shown_line(said, 100) {
            said if said.is_empty() => format!("the answer is not {protocol}"),
            said => format!("the answer is not {protocol}: `{said}`"),
        };
        Self::new(Reason::ProtocolError, summary)
    }
}

/// Adds metrics to an outcome.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Vec<MetricFamily>);

impl Metrics {
    /// A gauge without labels.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.0.push(MetricFamily::gauge(name, help).with(&[], value));
    }

    /// A constant 1 whose labels are the news.
    pub(crate) fn info(&mut self, name: &str, help: &str, labels: &[(&'static str, String)]) {
        let mut family = MetricFamily::gauge(name, help);
        let labels = labels.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        family.add_pairs("", labels, 1.0);
        self.0.push(family);
    }

    /// When the chain that leads to somebody whom we trust ends; Go's zero time of one that nobody
    /// has verified, as blackbox_exporter tells it.
    pub(crate) fn chain_expiry(&mut self, expiry: f64, is_verified: bool) {
        const NEVER: f64 = -62_135_596_800.0;
        let name = "probe_ssl_last_chain_expiry_timestamp_seconds";
        let help = "Returns last SSL chain expiry in timestamp";
        self.gauge(name, help, if is_verified { expiry } else { NEVER });
    }

    /// The hash by which a change of address is seen: FNV-1a of its bytes; 0 where there is none.
    pub(crate) fn address_hash(&mut self, address: Option<IpAddr>) {
        let fold = |bytes: &[u8]| {
            bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
                (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
            })
        };
        let hash = address.map(|address| match address.to_canonical() {
            IpAddr::V4(v4) => fold(&v4.octets()),
            IpAddr::V6(v6) => fold(&v6.octets()),
        });
        let help =
            "Specifies the hash of IP address. It's useful to detect if the IP address changes.";
        self.gauge("probe_ip_addr_hash", help, hash.map_or(0.0, f64::from));
    }

    /// A family as it is.
    pub(crate) fn push(&mut self, family: MetricFamily) {
        self.0.push(family);
    }

    /// All of them, by name.
    pub(crate) fn into_families(mut self) -> Vec<MetricFamily> {
        self.0.sort_by(|a, b| a.name.cmp(&b.name));
        self.0
    }

    /// A gauge of the seconds that each phase took; what was not reached is 0, as with
    /// blackbox_exporter.
    pub(crate) fn phases(&mut self, name: &str, help: &str, phases: &[(&str, Option<Duration>)]) {
        let mut family = MetricFamily::gauge(name, help);
        for (phase, time) in phases {
            family.add(&[("phase", phase)], time.unwrap_or_default().as_secs_f64());
        }
        self.0.push(family);
    }

    /// What every probe over the network tells: how it went and how long it took.
    pub(crate) fn finish(
        mut self,
        mut outcome: Outcome,
        seconds: f64,
        resolve: Option<Duration>,
        peer: Option<SocketAddr>,
    ) -> Outcome {
        let success = if outcome.reason == Reason::None { 1.0 } else { 0.0 };
        self.gauge("probe_success", "Displays whether or not the probe was a success", success);
        self.gauge(
            "probe_duration_seconds",
            "Returns how long the probe took to complete in seconds",
            seconds,
        );
        let lookup = resolve.unwrap_or_default().as_secs_f64();
        self.gauge(
            "probe_dns_lookup_time_seconds",
            "Returns the time taken for probe dns lookup in seconds",
            lookup,
        );
        if let Some(peer) = peer {
            let protocol = if peer.is_ipv4() { 4.0 } else { 6.0 };
            self.gauge(
                "probe_ip_protocol",
                "Specifies whether probe ip protocol is IP4 or IP6",
                protocol,
            );
            self.address_hash(Some(peer.ip()));
        }
        outcome.families = self.0;
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_is_local() {
        let check =
            |text: &str, expected| assert_eq!(is_local(text.parse().unwrap()), expected, "{text}");
        check("127.0.0.1", true);
        check("127.9.9.9", true);
        check("169.254.169.254", true);
        check("::1", true);
        check("fe80::1", true);
        check("::ffff:127.0.0.1", true);
        check("fd00:ec2::254", true);
        check("0.0.0.0", true);
        check("10.0.0.1", false);
        check("192.0.2.1", false);
        check("2001:db8::1", false);
    }

    #[test]
    fn a_chain_is_as_good_as_its_first_end() {
        assert_eq!(earliest_expiry::<Vec<u8>>(&[]), None);
        assert_eq!(earliest_expiry(&[b"no certificate".to_vec()]), None);
    }
}
