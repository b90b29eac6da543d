//! The `grpc` section of a module, as written.
//!
//! Invariant: the built module offers HTTP/2 and nothing else.

use std::collections::BTreeMap;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::tls::TlsConfig;
use base::secret::Secret;

use super::super::grpc::GrpcModule;
use super::{client, way};
use crate::grpc::metadata;

/// The section, as written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GrpcModuleConfig {
    service: String,
    tls: bool,
    tls_config: Option<Spanned<TlsConfig>>,
    ip_protocol_fallback: Option<bool>,
    preferred_ip_protocol: Option<Spanned<String>>,
    metadata: BTreeMap<String, Vec<Spanned<Secret>>>,
}

impl GrpcModuleConfig {
    /// The module, reporting everything that is wrong with it.
    pub(super) fn build(self, place: Place, diagnostics: &mut Diagnostics) -> Option<GrpcModule> {
        let way =
            way(self.preferred_ip_protocol.as_ref(), self.ip_protocol_fallback, None, diagnostics);
        let tls = match self.tls {
            true => {
                let client = client(self.tls_config.as_ref(), place, diagnostics)?.0;
                Some(client.with_protocols(&[b"h2"]))
            }
            false => None,
        };
        let mut all = base::http::HeaderMap::new();
        for (name, values) in self.metadata {
            for value in values {
                let one = metadata(&BTreeMap::from([(name.clone(), value)]), diagnostics);
                one.into_iter().for_each(|(name, value)| {
                    if let Some(name) = name {
                        all.append(name, value);
                    }
                });
            }
        }
        Some(GrpcModule { way, service: self.service, tls, metadata: all })
    }
}
