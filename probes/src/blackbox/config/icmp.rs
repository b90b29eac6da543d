//! The `icmp` section of a module, as written.
//!
//! Invariant: the built module's packets can be sent.

use base::diagnostic::{Diagnostics, Spanned};

use super::super::icmp::IcmpModule;
use super::way;
use crate::icmp::socket::EchoOptions;

/// The hop limit where nothing is said.
const TTL: u8 = 64;
/// The payload where nothing is said: as many bytes as blackbox_exporter's.
const PAYLOAD: usize = 28;
/// The largest payload that a packet has room for.
const MAX_PAYLOAD: u64 = 65_000;

/// The section, as written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct IcmpModuleConfig {
    preferred_ip_protocol: Option<Spanned<String>>,
    ip_protocol_fallback: Option<bool>,
    source_ip_address: Option<Spanned<String>>,
    payload_size: Option<Spanned<u64>>,
    dont_fragment: bool,
    ttl: Option<Spanned<i64>>,
}

impl IcmpModuleConfig {
    /// The module, reporting everything that is wrong with it.
    pub(super) fn build(self, diagnostics: &mut Diagnostics) -> IcmpModule {
        let way = way(
            self.preferred_ip_protocol.as_ref(),
            self.ip_protocol_fallback,
            self.source_ip_address.as_ref(),
            diagnostics,
        );
        let ttl = self.ttl.map_or(TTL, |ttl| {
            let hops = u8::try_from(ttl.value).ok();
            if hops.is_none() {
                diagnostics
                    .report(&ttl, format!("a `ttl` of `{}` is not within 0 and 255", ttl.value));
            }
            // 0 is blackbox_exporter's word for what is usual.
            hops.filter(|hops| *hops > 0).unwrap_or(TTL)
        });
        let size = self.payload_size.filter(|size| size.value > 0);
        if let Some(size) = size.as_ref().filter(|size| size.value > MAX_PAYLOAD) {
            let message = format!("a `payload_size` of `{}` is over {MAX_PAYLOAD}", size.value);
            diagnostics.report(size, message);
        }
        let size = size.and_then(|size| usize::try_from(size.value).ok()).unwrap_or(PAYLOAD);
        let (source, whole) = (way.source, self.dont_fragment);
        IcmpModule { way, options: EchoOptions { size, hops: Some(ttl), source, whole } }
    }
}
