//! What a peer has shown of itself in a TLS handshake, as metrics.
//!
//! Invariant: a certificate that cannot be read leaves its metrics out, and fails nothing.

use base::http::client::TlsSession;
use ring::digest::{SHA256, digest};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::x509::X509Name;

use crate::network::{Metrics, earliest_expiry};

/// The attributes of a name in the order in which Go prints them.
const ATTRIBUTES: [(&str, &str); 9] = [
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.3", "CN"),
    ("2.5.4.17", "POSTALCODE"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.8", "ST"),
    ("2.5.4.7", "L"),
    ("2.5.4.11", "OU"),
    ("2.5.4.10", "O"),
    ("2.5.4.6", "C"),
];

/// Adds what `session` agreed on; `is_verified` where the chain leads to somebody that we trust.
pub(super) fn measure(session: &TlsSession, is_verified: bool, metrics: &mut Metrics) {
    let version = [("version", session.version.to_owned())];
    let help = "Returns the TLS version used or NaN when unknown";
    metrics.info("probe_tls_version_info", help, &version);
    let chain = &session.certificates;
    let Some(expiry) = earliest_expiry(chain) else { return };
    let help = "Returns last SSL chain expiry in unixtime";
    metrics.gauge("probe_ssl_earliest_cert_expiry", help, expiry);
    metrics.chain_expiry(expiry, is_verified);
    identity(session, metrics);
}

/// As [`measure`], of a session whose chain nobody has asked about: what gRPC tells.
pub(super) fn measure_leaf(session: &TlsSession, metrics: &mut Metrics) {
    let version = [("version", session.version.to_owned())];
    let help = "Returns the TLS version used or NaN when unknown";
    metrics.info("probe_tls_version_info", help, &version);
    if let Some(expiry) = earliest_expiry(&session.certificates) {
        let help = "Returns last SSL chain expiry in unixtime";
        metrics.gauge("probe_ssl_earliest_cert_expiry", help, expiry);
    }
    identity(session, metrics);
}

/// Who the peer is by its own certificate.
fn identity(session: &TlsSession, metrics: &mut Metrics) {
    let chain = &session.certificates;
    let Some(leaf) = chain.first() else { return };
    let Ok((_, certificate)) = parse_x509_certificate(leaf) else { return };
    let names = certificate.subject_alternative_name().ok().flatten();
    let names: Vec<&str> = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| if let GeneralName::DNSName(name) = name { Some(*name) } else { None })
        .collect();
    metrics.info(
        "probe_ssl_last_chain_info",
        "Contains SSL leaf certificate information",
        &[
            ("fingerprint_sha256", hex(digest(&SHA256, leaf).as_ref())),
            ("issuer", text_of(certificate.issuer())),
            ("serialnumber", hex(&certificate.tbs_certificate.serial.to_bytes_be())),
            ("subject", text_of(certificate.subject())),
            ("subjectalternative", names.join(",")),
        ],
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A name as Go prints it (RFC 2253).
fn text_of(name: &X509Name<'_>) -> String {
    let mut parts = Vec::new();
    for (oid, short) in ATTRIBUTES {
        let values: Vec<String> = name
            .iter_attributes()
            .filter(|attribute| attribute.attr_type().to_id_string() == oid)
            .filter_map(|attribute| attribute.as_str().ok())
            .map(|value| format!("{short}={}", escaped(value)))
            .collect();
        if !values.is_empty() {
            parts.push(values.join("+"));
        }
    }
    parts.join(",")
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.len().saturating_sub(1);
    for (at, c) in value.char_indices() {
        let escape = match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            '#' => at == 0,
            ' ' => at == 0 || at == last,
            _ => false,
        };
        if escape {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
