//! Amazon's SNS: the envelope in which CloudWatch's alarms come.
//!
//! ```text
//! envelope ─▶ our topic? ─▶ recent? ─▶ signed by the certificate at *.amazonaws.com? ─▶ its message
//! subscription ─▶ the same ─▶ confirmed by us where the configuration says so, else by a person
//! ```
//!
//! Source: SNS's reference of message formats and of verifying signatures.
//!
//! Invariant: no address that a message names is asked unless it is https, at the host of SNS in some
//! region, and the topic is the configured one (X19).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::http::client::{Client, Origin, Phases};
use base::http::{Full, Request, Uri};
use base::sample::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};
use serde_json::Value;
use tokio::time::timeout;
use x509_parser::pem::parse_x509_pem;

use super::json::{text, time};

/// How old a message may be: SNS tries again for an hour.
const OLDEST: Duration = Duration::from_secs(3600);
/// How far its clock may be ahead.
const AHEAD: Duration = Duration::from_secs(300);
/// The longest that fetching may take, and the most that is read.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 64 << 10;
/// The most certificates that are kept; there is one a region at a time.
const MOST_KEPT: usize = 8;

/// How messages of a topic are checked.
#[derive(Clone, Debug)]
pub(super) struct Sns {
    pub(super) topic_arn: String,
    /// Whether we ask for messages ourselves when the topic offers to send them.
    pub(super) confirms: bool,
    /// The certificate, where it is not to be fetched.
    pub(super) certificate_file: Option<PathBuf>,
    pub(super) client: Client,
    pub(super) kept: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

/// What an envelope holds.
#[derive(Debug)]
pub(super) enum Envelope {
    /// A message.
    Message(Value),
    /// An offer to send messages, and the address at which it is accepted.
    Offer(Uri),
    /// That no more messages will be sent.
    Farewell,
}

/// Why an envelope is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is none.
    Malformed(String),
    /// It is not from the topic.
    NotTheirs(String),
    /// It cannot be known yet.
    Unknown(String),
}

impl Sns {
    /// Opens an envelope; gives what makes it one that cannot be sent twice.
    pub(super) async fn open(
        &self,
        body: &Value,
        now: Timestamp,
    ) -> Result<(Envelope, Vec<u8>), Refusal> {
        let kind = text(body, "/Type");
        let fields = signed_fields(&kind).ok_or_else(|| {
            Refusal::Malformed("this is no message of SNS: `Type` is missing".to_owned())
        })?;
        if text(body, "/TopicArn") != self.topic_arn {
            return Err(Refusal::NotTheirs("it is of another topic than `topic_arn`".to_owned()));
        }
        let sent = time(&text(body, "/Timestamp"));
        let sent = sent.ok_or_else(|| Refusal::Malformed("`Timestamp` is missing".to_owned()))?;
        if now.since(sent) > OLDEST || sent.since(now) > AHEAD {
            return Err(Refusal::NotTheirs("it was sent too long ago".to_owned()));
        }
        let malformed = || Refusal::Malformed("`Signature` is missing".to_owned());
        let signature = STANDARD.decode(text(body, "/Signature")).map_err(|_| malformed())?;
        let certificate = self.certificate(&text(body, "/SigningCertURL")).await?;
        let legacy = match text(body, "/SignatureVersion").as_str() {
            "1" => true,
            "2" => false,
            _ => {
                return Err(Refusal::Malformed("`SignatureVersion` is neither 1 nor 2".to_owned()));
            }
        };
        verify(&certificate, &to_be_signed(body, fields), &signature, legacy, now)?;
        let envelope = match kind.as_str() {
            "Notification" => {
                let message = serde_json::from_str(&text(body, "/Message"));
                Envelope::Message(
                    message.map_err(|error| Refusal::Malformed(format!("`Message`: {error}")))?,
                )
            }
            "SubscriptionConfirmation" => {
                let address = text(body, "/SubscribeURL");
                let uri = address_of_sns(&address);
                Envelope::Offer(uri.ok_or_else(|| {
                    Refusal::NotTheirs("`SubscribeURL` is no address of SNS".to_owned())
                })?)
            }
            _ => Envelope::Farewell,
        };
        Ok((envelope, signature))
    }

    async fn certificate(&self, address: &str) -> Result<Vec<u8>, Refusal> {
        if let Some(file) = &self.certificate_file {
            return std::fs::read(file).map_err(|error| {
                Refusal::Unknown(format!("cannot read {}: {error}", file.display()))
            });
        }
        let uri = address_of_sns(address).filter(|uri| uri.path().ends_with(".pem"));
        let uri = uri.ok_or_else(|| {
            Refusal::NotTheirs("`SigningCertURL` is no address of SNS".to_owned())
        })?;
        if let Some(kept) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(address) {
            return Ok(kept.clone());
        }
        let fetched = self.fetch(&uri).await;
        let fetched =
            fetched.map_err(|e| Refusal::Unknown(format!("the certificate of SNS: {e}")))?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(address.to_owned(), fetched.clone());
        Ok(fetched)
    }

    /// Accepts an offer.
    pub(super) async fn accept(&self, offer: &Uri) -> Result<(), String> {
        self.fetch(offer).await.map(drop)
    }

    async fn fetch(&self, uri: &Uri) -> Result<Vec<u8>, String> {
        let get = async {
            let origin = Origin::of(uri).map_err(|error| error.to_string())?;
            let request = Request::builder().uri(uri.clone()).body(Full::new(Bytes::new()));
            let request = request.map_err(|error| error.to_string())?;
            let mut phases = Phases::default();
            let mut connection = self
                .client
                .connect(&origin, &mut phases)
                .await
                .map_err(|error| error.to_string())?;
            let answer =
                connection.send(request, &mut phases).await.map_err(|error| error.to_string())?;
            if !answer.status().is_success() {
                return Err(format!("the answer was HTTP status {}", answer.status().as_u16()));
            }
            let (mut incoming, mut bytes) = (answer.into_body(), Vec::new());
            while let Some(piece) =
                connection.next(&mut incoming).await.map_err(|error| error.to_string())?
            {
                bytes.extend_from_slice(&piece);
                if bytes.len() > MAX_ANSWER {
                    return Err("the answer is too large".to_owned());
                }
            }
            Ok(bytes)
        };
        timeout(PATIENCE, get).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }
}

/// The fields that are signed, in their order.
fn signed_fields(kind: &str) -> Option<&'static [&'static str]> {
    match kind {
        "Notification" => {
            Some(&["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"])
        }
        "SubscriptionConfirmation" | "UnsubscribeConfirmation" => Some(&[
            "Message",
            "MessageId",
            "SubscribeURL",
            "Timestamp",
            "Token",
            "TopicArn",
            "Type",
        ]),
        _ => None,
    }
}

/// Each field's name and text on lines of their own; one that is not there is left out.
fn to_be_signed(body: &Value, fields: &[&str]) -> String {
    let there = fields.iter().filter_map(|name| Some((name, body[*name].as_str()?)));
    there.map(|(name, text)| format!("{name}\n{text}\n")).collect()
}

/// An https address at the host of SNS in some region.
fn address_of_sns(address: &str) -> Option<Uri> {
    let uri: Uri = address.parse().ok()?;
    let authority = uri.authority()?;
    let region = authority.host().strip_prefix("sns.")?;
    let region = region
        .strip_suffix(".amazonaws.com")
        .or_else(|| region.strip_suffix(".amazonaws.com.cn"))?;
    let is_region = !region.is_empty()
        && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    // Neither a port nor a user name.
    let is_plain = authority.as_str() == authority.host();
    (uri.scheme_str() == Some("https") && is_region && is_plain).then_some(uri)
}

fn verify(
    certificate: &[u8],
    signed: &str,
    signature: &[u8],
    legacy: bool,
    now: Timestamp,
) -> Result<(), Refusal> {
    let unreadable = |_| Refusal::Unknown("the certificate of SNS cannot be read".to_owned());
    let (_, pem) = parse_x509_pem(certificate).map_err(|_| unreadable(()))?;
    let certificate = pem.parse_x509().map_err(|_| unreadable(()))?;
    let (validity, seconds) = (certificate.validity(), now.millis() / 1000);
    if seconds < validity.not_before.timestamp() || seconds > validity.not_after.timestamp() {
        return Err(Refusal::NotTheirs("the certificate of SNS is not valid now".to_owned()));
    }
    let algorithm = match legacy {
        true => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        false => &RSA_PKCS1_2048_8192_SHA256,
    };
    let key = &certificate.public_key().subject_public_key.data;
    UnparsedPublicKey::new(algorithm, key)
        .verify(signed.as_bytes(), signature)
        .map_err(|_| Refusal::NotTheirs("the signature is wrong".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use base::http::tls::TlsConfig;
    use serde_json::json;

    use super::*;

    const ARN: &str = "arn:aws:sns:eu-west-1:123456789012:alarms";

    #[test]
    fn only_addresses_of_sns_are_asked_x19() {
        let check = |address: &str, known: bool| {
            assert_eq!(address_of_sns(address).is_some(), known, "{address}");
        };
        check("https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem", true);
        check("https://sns.cn-north-1.amazonaws.com.cn/x.pem", true);
        check("http://sns.eu-west-1.amazonaws.com/x.pem", false);
        check("https://sns.eu-west-1.amazonaws.com.evil.example/x.pem", false);
        check("https://sns.eu-west-1.evil.example/x.pem", false);
        check("https://evil.example/sns.eu-west-1.amazonaws.com", false);
        check("https://sns.eu-west-1.amazonaws.com:8443/x.pem", false);
        check("https://user@sns.eu-west-1.amazonaws.com/x.pem", false);
        check("https://sns.a.b.amazonaws.com/x.pem", false);
        check("https://sns..amazonaws.com/x.pem", false);
        check("https://s3.eu-west-1.amazonaws.com/x.pem", false);
        check("https://169.254.169.254/latest/meta-data", false);
        check("file:///etc/passwd", false);
    }

    fn openssl(dir: &Path, arguments: &[&str]) {
        let done = Command::new("openssl").current_dir(dir).args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Signs an envelope as SNS does.
    fn signed(dir: &Path, mut body: Value, version: &str) -> Value {
        let fields = signed_fields(body["Type"].as_str().unwrap()).unwrap();
        std::fs::write(dir.join("signed"), to_be_signed(&body, fields)).unwrap();
        let hash = if version == "1" { "-sha1" } else { "-sha256" };
        openssl(dir, &["dgst", hash, "-sign", "key.pem", "-out", "signature", "signed"]);
        body["Signature"] = json!(STANDARD.encode(std::fs::read(dir.join("signature")).unwrap()));
        body["SignatureVersion"] = json!(version);
        body
    }

    #[tokio::test]
    async fn an_envelope_is_opened_only_if_it_is_signed_recent_and_of_the_topic() {
        let dir = tempfile::tempdir().unwrap();
        openssl(
            dir.path(),
            &[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-keyout",
                "key.pem",
                "-out",
                "cert.pem",
                "-days",
                "36500",
                "-subj",
                "/CN=sns.amazonaws.com",
            ],
        );
        let sns = Sns {
            topic_arn: ARN.to_owned(),
            confirms: false,
            certificate_file: Some(dir.path().join("cert.pem")),
            client: Client::new(&TlsConfig::default()).unwrap(),
            kept: Arc::default(),
        };
        // The certificate is valid from now on.
        let at = std::time::SystemTime::UNIX_EPOCH;
        let since = dir.path().metadata().unwrap().modified().unwrap().duration_since(at).unwrap();
        let now = Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap() + 60_000);
        let sent = jiff::Timestamp::from_millisecond(now.millis()).unwrap().to_string();
        let notification = json!({
            "Type": "Notification", "MessageId": "m1", "TopicArn": ARN, "Subject": "ALARM",
            "Message": "{\"AlarmName\":\"a\"}", "Timestamp": sent,
            "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/x.pem",
        });
        for version in ["1", "2"] {
            let body = signed(dir.path(), notification.clone(), version);
            let (envelope, _) = sns.open(&body, now).await.unwrap();
            assert!(matches!(envelope, Envelope::Message(m) if m["AlarmName"] == "a"), "{version}");
        }
        let body = signed(dir.path(), notification.clone(), "2");
        let refused = async |change: &dyn Fn(&mut Value), at: Timestamp| {
            let mut body = body.clone();
            change(&mut body);
            sns.open(&body, at).await.map(drop).unwrap_err()
        };
        let theirs = |why: &str| Refusal::NotTheirs(why.to_owned());
        let day = Duration::from_secs(86_400);
        let wrong = theirs("the signature is wrong");
        assert_eq!(refused(&|b| b["Message"] = json!("{}"), now).await, wrong);
        assert_eq!(refused(&|b| b["SignatureVersion"] = json!("1"), now).await, wrong);
        assert_eq!(refused(&|b| b["Signature"] = json!("AAAA"), now).await, wrong);
        let other = theirs("it is of another topic than `topic_arn`");
        assert_eq!(
            refused(&|b| b["TopicArn"] = json!("arn:aws:sns:eu-west-1:1:x"), now).await,
            other
        );
        let old = theirs("it was sent too long ago");
        assert_eq!(refused(&|_| {}, now + day).await, old);
        assert_eq!(refused(&|_| {}, now - day).await, old);
        assert!(matches!(refused(&|b| b["Type"] = json!("x"), now).await, Refusal::Malformed(_)));
        assert!(matches!(
            refused(&|b| b["Signature"] = json!("?"), now).await,
            Refusal::Malformed(_)
        ));
        assert!(matches!(
            refused(&|b| b["SignatureVersion"] = json!("3"), now).await,
            Refusal::Malformed(_)
        ));

        let offer = |address: &str| {
            json!({
                "Type": "SubscriptionConfirmation", "MessageId": "m2", "Token": "t", "TopicArn": ARN,
                "Message": "You have chosen to subscribe", "SubscribeURL": address, "Timestamp": sent,
                "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/x.pem",
            })
        };
        let good = signed(
            dir.path(),
            offer("https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription"),
            "2",
        );
        assert!(matches!(sns.open(&good, now).await.unwrap().0, Envelope::Offer(_)));
        let bad = signed(dir.path(), offer("https://169.254.169.254/"), "2");
        let refusal = sns.open(&bad, now).await.map(drop).unwrap_err();
        assert_eq!(refusal, theirs("`SubscribeURL` is no address of SNS"));
        // Without a certificate of our own its address must be one of SNS, too.
        let fetching = Sns { certificate_file: None, ..sns.clone() };
        let mut body = body.clone();
        body["SigningCertURL"] = json!("https://evil.example/x.pem");
        let refusal = fetching.open(&body, now).await.map(drop).unwrap_err();
        assert_eq!(refusal, theirs("`SigningCertURL` is no address of SNS"));
    }
}
