//! Who we are to Amazon, and the role that we take on for a message.
//!
//! Source: Amazon's documentation of `AssumeRole`.
//!
//! Invariant: keys are read when they are used, so that rotated ones are taken up, and nothing is
//! kept of them.

use base::sample::Timestamp;
use base::secret::Secret;

use super::super::http::Service;
use super::super::notifier::DeliveryError;
use super::super::paging::form;
use crate::aws::{Credentials, Keys, given};

/// The version of the API of roles.
const VERSION: &str = "2011-06-15";
/// How long we have a role, in seconds: the shortest there is.
const ROLE_SECONDS: &str = "900";

/// Where they come from.
#[derive(Clone, Debug)]
pub(super) struct CredentialsSource {
    pub(super) keys: Keys,
    pub(super) role: Option<Role>,
}

/// A role that the keys may take on.
#[derive(Clone, Debug)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) external_id: String,
    /// Where roles are given, where it is not the address of the region.
    pub(super) url: Option<Secret>,
    /// Whether the region's address for FIPS is used.
    pub(super) fips: bool,
}

impl CredentialsSource {
    /// The credentials now.
    ///
    /// # Errors
    ///
    /// There are no keys, or the role is not given to us.
    pub(super) async fn get(
        &self,
        service: &Service,
        region: &str,
        now: Timestamp,
    ) -> Result<Credentials, DeliveryError> {
        let own = self.keys.read().map_err(DeliveryError::transient)?;
        match &self.role {
            Some(role) => role.assume(service, region, &own, now).await,
            None => Ok(own),
        }
    }
}

impl Role {
    /// Takes on the role.
    async fn assume(
        &self,
        service: &Service,
        region: &str,
        own: &Credentials,
        now: Timestamp,
    ) -> Result<Credentials, DeliveryError> {
        let china = if region.starts_with("cn-") { ".cn" } else { "" };
        let name = if self.fips { "sts-fips" } else { "sts" };
        let regional = || Secret::new(format!("https://{name}.{region}.amazonaws.com{china}/"));
        let url = self.url.clone().unwrap_or_else(regional);
        let mut fields = vec![
            ("Action", "AssumeRole"),
            ("Version", VERSION),
            ("RoleArn", self.arn.as_str()),
            ("RoleSessionName", "veilleur"),
            ("DurationSeconds", ROLE_SECONDS),
        ];
        if !self.external_id.is_empty() {
            fields.push(("ExternalId", self.external_id.as_str()));
        }
        let answer = super::post(service, &url, form(fields), "sts", region, own, now).await?;
        answer.taken(now)?;
        given(&answer.body).ok_or_else(|| {
            DeliveryError::transient("the answer to taking on the role holds no credentials")
        })
    }
}
