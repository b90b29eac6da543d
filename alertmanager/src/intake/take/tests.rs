//! Messages that are taken, and those that are not.
//!
//! Invariant: what is looked at is what dispatch would see.

use base::diagnostic::{Diagnostics, Spanned};
use serde_json::json;

use super::super::{SourceConfig, build_sources};
use super::*;

const TOKEN: &str = "0123456789abcdef";

async fn intake(dir: &std::path::Path, yaml: &str) -> (Intake, Alerts) {
    let state = State::open(&dir.join("state.db")).await.unwrap();
    let alerts = Alerts::default();
    let pushed = Pushed::open(state.clone(), alerts.clone(), Duration::ZERO).await.unwrap();
    let intake = Intake::open(state, alerts.clone(), pushed, &OwnMetrics::new()).await.unwrap();
    let mut diagnostics = Diagnostics::new("f.yml");
    let configs: Vec<Spanned<SourceConfig>> = base::yaml::read(yaml, &mut diagnostics).unwrap();
    intake.set_sources(build_sources(&configs, dir, &mut diagnostics));
    assert!(diagnostics.is_empty(), "{diagnostics}");
    (intake, alerts)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
}

fn bearer(token: &str) -> HeaderMap {
    let value = format!("Bearer {token}").parse().unwrap();
    HeaderMap::from_iter([("authorization".parse().unwrap(), value)])
}

fn shown(alerts: &Alerts) -> Vec<String> {
    let one = |alert: &Arc<Alert>| {
        let state = if alert.is_firing() { "firing" } else { "ended" };
        format!("{state} {}", alert.labels)
    };
    alerts.all().iter().map(one).collect()
}

const OWN: &str = "
- name: own
  token: 0123456789abcdef
  max_alerts: 2
  lasts: 1h
  each: /things
  status: '{{ .state }}'
  ignored: [starting]
  key: '{{ .id }}'
  labels: {alertname: '{{ .what }} failed', host: '{{ .on.host }}', size: '{{ .size }}'}
  annotations: {summary: '{{ .text }}'}
- {name: other, token: fedcba9876543210, kind: grafana}
";

#[tokio::test]
async fn a_mapping_fires_resolves_and_ignores() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, alerts) = intake(dir.path(), OWN).await;
    let send = async |things: Value, seconds: i64| {
        let body = json!({ "things": things }).to_string();
        let taken = intake.take("own", &bearer(TOKEN), body.as_bytes(), at(seconds)).await;
        taken.map(|t| (t.firing, t.resolved, t.ignored)).map_err(|error| error.to_string())
    };
    let thing = |id: i32, state: &str, size: i32| json!({"id": id, "state": state, "what": "backup", "on": {"host": "db1"}, "size": size});
    assert_eq!(
        send(json!([thing(1, "broken", 5), thing(2, "Starting", 5)]), 0).await,
        Ok((1, 0, 1))
    );
    let labels = |size| {
        format!(
            "{{alertname=\"backup failed\", host=\"db1\", key=\"1\", size=\"{size}\", source=\"own\"}}"
        )
    };
    assert_eq!(shown(&alerts), [format!("firing {}", labels(5))]);
    // With other labels it is still the same thing, by its key.
    assert_eq!(send(json!([thing(1, "broken", 6)]), 10).await, Ok((1, 0, 0)));
    assert_eq!(shown(&alerts), [format!("ended {}", labels(5)), format!("firing {}", labels(6))]);
    assert_eq!(send(json!([thing(1, "OK", 7), thing(9, "ok", 7)]), 20).await, Ok((0, 1, 0)));
    assert!(shown(&alerts).iter().all(|alert| alert.starts_with("ended")), "{alerts:?}");
    // More than it may: nothing of it is taken.
    let three = json!([thing(1, "x", 1), thing(2, "x", 1), thing(3, "x", 1)]);
    assert!(send(three, 30).await.unwrap_err().starts_with("more than 2 alerts"));
    assert!(shown(&alerts).iter().all(|alert| alert.starts_with("ended")), "{alerts:?}");
    assert_eq!(send(json!(5), 40).await, Err("there is no list at `/things`".to_owned()));
    // A part that is wrong: nothing of the rest is taken.
    let half = json!([thing(1, "x", 1), {"state": "x", "what": {"a": 1}, "on": 5}]);
    assert!(send(half, 50).await.is_err());
    assert!(shown(&alerts).iter().all(|alert| alert.starts_with("ended")), "{alerts:?}");
}

#[tokio::test]
async fn a_source_ends_its_own_alerts_only_x50() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, alerts) = intake(dir.path(), OWN).await;
    let grafana = |status: &str, source: &str| {
        json!({"alerts": [{"status": status, "labels": {"alertname": "Hot", "source": source}}]})
            .to_string()
    };
    let other = bearer("fedcba9876543210");
    let fire = grafana("firing", "x");
    intake.take("other", &other, fire.as_bytes(), at(0)).await.unwrap();
    assert_eq!(shown(&alerts), ["firing {alertname=\"Hot\", source=\"other\"}"]);
    let refused =
        intake.take("other", &bearer(TOKEN), grafana("resolved", "x").as_bytes(), at(1)).await;
    assert!(matches!(refused, Err(IntakeError::Unproven(_))), "{refused:?}");
    let own = json!({"things": [{"what": "Hot", "state": "ok"}]}).to_string();
    intake.take("own", &bearer(TOKEN), own.as_bytes(), at(2)).await.unwrap();
    assert_eq!(shown(&alerts), ["firing {alertname=\"Hot\", source=\"other\"}"]);
    let unknown = intake.take("nobody", &other, b"{}", at(3)).await;
    assert!(matches!(unknown, Err(IntakeError::NotFound)), "{unknown:?}");
    for bad in ["", "{", "[1,2", "\u{0}", &"[".repeat(100_000)] {
        let refused = intake.take("other", &other, bad.as_bytes(), at(4)).await;
        assert!(matches!(refused, Err(IntakeError::Malformed(_))), "{refused:?}");
    }
    let over = grafana("resolved", "other");
    assert_eq!(intake.take("other", &other, over.as_bytes(), at(5)).await.unwrap().resolved, 1);
}

#[tokio::test]
async fn a_signed_message_is_taken_once_over_a_restart_too() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = "[{name: s, kind: sentry, signature: {secret: 0123456789abcdef}}]";
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, TOKEN.as_bytes());
    let signed = |body: &str| {
        let tag = ring::hmac::sign(&key, body.as_bytes());
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        HeaderMap::from_iter([("sentry-hook-signature".parse().unwrap(), hex.parse().unwrap())])
    };
    let fire = json!({"action": "triggered", "data": {"event": {"issue_id": "1", "title": "x"}}})
        .to_string();
    let end = json!({"action": "resolved", "data": {"issue": {"id": "1"}}}).to_string();
    {
        let (intake, alerts) = intake(dir.path(), yaml).await;
        let take = async |body: &str, seconds| {
            intake.take("s", &signed(body), body.as_bytes(), at(seconds)).await.unwrap()
        };
        assert_eq!(take(&fire, 0).await.firing, 1);
        assert_eq!(take(&end, 10).await.resolved, 1);
        assert!(take(&fire, 20).await.replayed);
        assert!(shown(&alerts)[0].starts_with("ended"));
        let forged = intake.take("s", &signed("other"), fire.as_bytes(), at(30)).await;
        assert!(matches!(forged, Err(IntakeError::Unproven(_))), "{forged:?}");
    }
    let (intake, alerts) = intake(dir.path(), yaml).await;
    assert!(intake.take("s", &signed(&fire), fire.as_bytes(), at(40)).await.unwrap().replayed);
    assert!(shown(&alerts).is_empty());
}
