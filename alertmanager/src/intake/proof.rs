//! How a source shows that it is the one: a token, or a signature over what it sends.
//!
//! Invariant: a secret is compared in a time that does not depend on how much of it is right.

use std::time::Duration;

use base::http::HeaderMap;
use base::http::access::SecretSource;
use base::sample::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac};

/// How far the time of a signed message may be from ours.
const TOLERANCE: Duration = Duration::from_secs(300);
/// Headers in which a token may stand, besides `Authorization`.
const TOKEN_HEADERS: [&str; 2] = ["x-veilleur-token", "x-gitlab-token"];

/// How a source shows that it is the one.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    /// A token, as `Authorization: Bearer`, as the password of `Basic`, or in a header of its own.
    Token(SecretSource),
    /// An HMAC with SHA-256 over the body.
    Signature(Signature),
}

/// A signature in a header.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    pub(super) secret: SecretSource,
    pub(super) header: String,
    /// What stands before the digits.
    pub(super) prefix: String,
    /// The header with the time, in seconds since the epoch, that is signed before the body and a
    /// colon.
    pub(super) timestamp_header: Option<String>,
}

/// Why a message is not theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It does not show what it should.
    Wrong,
    /// We cannot know: the file of the secret cannot be read.
    Unknown(String),
}

impl Proof {
    /// Checks a message; gives what makes it one that cannot be sent twice, if it is signed.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Option<Vec<u8>>, Doubt> {
        match self {
            Self::Token(token) => {
                let token = token.read().map_err(Doubt::Unknown)?;
                let token = token.expose();
                if token.is_empty() {
                    return Err(Doubt::Unknown("the token is empty".to_owned()));
                }
                let shown = shown_tokens(headers);
                let right =
                    shown.iter().filter(|shown| is_same(shown.as_bytes(), token.as_bytes()));
                if right.count() > 0 { Ok(None) } else { Err(Doubt::Wrong) }
            }
            Self::Signature(signature) => signature.check(headers, body, now).map(Some),
        }
    }
}

/// The tokens that a request shows.
fn shown_tokens(headers: &HeaderMap) -> Vec<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut shown: Vec<String> =
        TOKEN_HEADERS.iter().filter_map(|name| text(name)).map(str::to_owned).collect();
    if let Some((scheme, rest)) = text("authorization").and_then(|value| value.split_once(' ')) {
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" | "token" => shown.push(rest.trim().to_owned()),
            "basic" => {
                let plain =
                    STANDARD.decode(rest.trim()).ok().and_then(|b| String::from_utf8(b).ok());
                let password = plain.and_then(|plain| Some(plain.split_once(':')?.1.to_owned()));
                shown.extend(password);
            }
            _ => {}
        }
    }
    shown
}

/// Compares hashes: how long it takes tells nothing of the texts.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    digest::digest(&digest::SHA256, a).as_ref() == digest::digest(&digest::SHA256, b).as_ref()
}

impl Signature {
    fn check(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Vec<u8>, Doubt> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let shown =
            text(&self.header).and_then(|value| value.trim().strip_prefix(self.prefix.as_str()));
        let shown = shown.and_then(bytes).ok_or(Doubt::Wrong)?;
        let secret = self.secret.read().map_err(Doubt::Unknown)?;
        let mut signed = Vec::new();
        if let Some(name) = &self.timestamp_header {
            let time = text(name).ok_or(Doubt::Wrong)?;
            let seconds = time.parse::<i64>().ok().and_then(|s| s.checked_mul(1000));
            let at = Timestamp::from_millis(seconds.ok_or(Doubt::Wrong)?);
            if now.since(at).max(at.since(now)) > TOLERANCE {
                return Err(Doubt::Wrong);
            }
            signed.extend_from_slice(time.as_bytes());
            signed.push(b':');
        }
        signed.extend_from_slice(body);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        hmac::verify(&key, &signed, &shown).map_err(|_| Doubt::Wrong)?;
        Ok(shown)
    }
}

/// The bytes that hexadecimal digits, or base64, stand for.
fn bytes(text: &str) -> Option<Vec<u8>> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let pairs = text.as_bytes().chunks(2);
        return pairs
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
    }
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use base::secret::Secret;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_token_is_shown_in_one_of_the_usual_ways() {
        let proof = Proof::Token(SecretSource::Given(Secret::new("s3cret-and-long")));
        let check = |name: &'static str, value: &str, right: bool| {
            let got = proof.check(&headers(&[(name, value)]), b"", Timestamp::default());
            assert_eq!(got, if right { Ok(None) } else { Err(Doubt::Wrong) }, "{name}: {value}");
        };
        check("authorization", "Bearer s3cret-and-long", true);
        check("authorization", "bearer s3cret-and-long", true);
        check("authorization", "Basic YW55OnMzY3JldC1hbmQtbG9uZw==", true);
        check("x-gitlab-token", "s3cret-and-long", true);
        check("x-veilleur-token", "s3cret-and-long", true);
        check("x-veilleur-token", "s3cret-and-lonG", false);
        check("x-veilleur-token", "", false);
        check("authorization", "Bearer", false);
        check("authorization", "Basic ???", false);
        check("x-other", "s3cret-and-long", false);
        let missing = Proof::Token(SecretSource::File("/nonexistent/token".into()));
        assert!(matches!(
            missing.check(&headers(&[]), b"", Timestamp::default()),
            Err(Doubt::Unknown(_))
        ));
    }

    #[test]
    fn a_signature_is_over_the_body_and_the_time() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let secret = SecretSource::Given(Secret::new("key"));
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let hex = |text: &str| {
            let tag = hmac::sign(&key, text.as_bytes());
            tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let signature = |prefix: &str, timestamp_header: Option<&str>| {
            Proof::Signature(Signature {
                secret: secret.clone(),
                header: "x-signature".to_owned(),
                prefix: prefix.to_owned(),
                timestamp_header: timestamp_header.map(str::to_owned),
            })
        };
        let check = |proof: &Proof, given: &[(&'static str, &str)], right: bool| {
            let got = proof.check(&headers(given), b"{}", now);
            assert_eq!(got.is_ok(), right, "{given:?}: {got:?}");
        };
        let plain = signature("sha256=", None);
        check(&plain, &[("x-signature", &format!("sha256={}", hex("{}")))], true);
        check(&plain, &[("x-signature", &hex("{}"))], false);
        check(&plain, &[("x-signature", &format!("sha256={}", hex("{ }")))], false);
        check(&plain, &[("x-signature", "sha256=")], false);
        check(&plain, &[], false);
        let timed = signature("", Some("x-time"));
        let at = |time: &str| hex(&format!("{time}:{{}}"));
        check(&timed, &[("x-signature", &at("1700000000")), ("x-time", "1700000000")], true);
        check(&timed, &[("x-signature", &at("1699999701")), ("x-time", "1699999701")], true);
        // A message of long ago, or with another time than was signed.
        check(&timed, &[("x-signature", &at("1699999699")), ("x-time", "1699999699")], false);
        check(&timed, &[("x-signature", &at("1699999699")), ("x-time", "1700000000")], false);
        check(
            &timed,
            &[("x-signature", &at("9223372036854775807")), ("x-time", "9223372036854775807")],
            false,
        );
        check(&timed, &[("x-signature", &hex("{}"))], false);
    }
}
