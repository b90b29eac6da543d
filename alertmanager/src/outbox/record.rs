//! How the outbox stands in the journal.
//!
//! ```text
//! Flush    what a receiver is told of a group; an intent, or what was told, refers to it
//! Intent   the message's id, the lane, the group, when and how often it was tried
//! Told     the lane, the group, the thread, when
//! ```
//!
//! Invariant: every record begins with the number of its form, so that a later one can read it.

use std::sync::Arc;

use base::labels::Labels;
use base::sample::Timestamp;

use super::{Answer, Flush, LaneGroup, LastTold, Reason};
use crate::alerts::Alert;
use crate::state::{Reader, put_alert, put_number, put_text, put_time};

/// The form that is written.
const FORM: u8 = 1;

/// What stands in an intent's record.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Intent {
    /// Names the message on the wire, also when it is tried again.
    pub(super) id: String,
    /// The receiver's lane.
    pub(super) lane: String,
    /// The group.
    pub(super) group_key: String,
    /// When it was decided.
    pub(super) created_at: Timestamp,
    /// How often it was tried.
    pub(super) attempts: u32,
    /// When it is due.
    pub(super) next_at: Timestamp,
    /// Why the last try failed.
    pub(super) last_error: String,
    /// Whether the service has refused it for good, and what replaced it since.
    pub(super) refused: bool,
}

pub(super) fn put_flush(to: &mut Vec<u8>, flush: &Flush) {
    to.push(FORM);
    put_text(to, &flush.receiver);
    put_text(to, flush.group_labels.as_encoded());
    put_text(to, flush.route_labels.as_encoded());
    put_text(to, flush.reason.as_str());
    for alerts in [&flush.alerts, &flush.kept] {
        put_number(to, alerts.len() as u64);
        alerts.iter().for_each(|alert| put_alert(to, alert));
    }
    put_text(to, &flush.answer.note);
    to.push(u8::from(flush.answer.is_missing));
    to.push(u8::from(flush.answer.is_wanted));
}

pub(super) fn flush(record: &[u8]) -> Option<Flush> {
    let mut reader = begin(record)?;
    Some(Flush {
        receiver: reader.text()?.to_owned(),
        group_labels: Labels::from_encoded(reader.text()?)?,
        route_labels: Labels::from_encoded(reader.text()?)?,
        reason: Reason::named(reader.text()?),
        alerts: alerts(&mut reader)?,
        kept: alerts(&mut reader)?,
        // Before there was more to it, the record ended here.
        answer: answer(&mut reader).unwrap_or_default(),
    })
}

fn answer(reader: &mut Reader<'_>) -> Option<Answer> {
    let note = reader.text()?.to_owned();
    Some(Answer { note, is_missing: reader.byte()? != 0, is_wanted: reader.byte()? != 0 })
}

fn alerts(reader: &mut Reader<'_>) -> Option<Vec<Arc<Alert>>> {
    (0..reader.count()?).map(|_| reader.alert().map(Arc::new)).collect()
}

pub(super) fn put_intent(to: &mut Vec<u8>, intent: &Intent, flush: u64) {
    put_key(to, &intent.lane, &intent.group_key, flush);
    put_text(to, &intent.id);
    put_time(to, intent.created_at);
    put_number(to, u64::from(intent.attempts));
    put_time(to, intent.next_at);
    put_text(to, &intent.last_error);
    to.push(u8::from(intent.refused));
}

/// The intent, and the id of its flush.
pub(super) fn intent(record: &[u8]) -> Option<(Intent, u64)> {
    let mut reader = begin(record)?;
    let (LaneGroup { lane, group_key }, flush) = key(&mut reader)?;
    let intent = Intent {
        id: reader.text()?.to_owned(),
        lane,
        group_key,
        created_at: reader.time()?,
        attempts: u32::try_from(reader.number()?).unwrap_or(u32::MAX),
        next_at: reader.time()?,
        last_error: reader.text()?.to_owned(),
        refused: reader.byte()? != 0,
    };
    Some((intent, flush))
}

/// What stands in the record of what was told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Noted {
    pub(super) thread: String,
    pub(super) reference: Option<String>,
    pub(super) at: Timestamp,
}

pub(super) fn put_told(to: &mut Vec<u8>, key: &LaneGroup, last: &LastTold, flush: u64) {
    put_key(to, &key.lane, &key.group_key, flush);
    put_text(to, &last.thread);
    put_time(to, last.at);
    to.push(u8::from(last.reference.is_some()));
    put_text(to, last.reference.as_deref().unwrap_or(""));
}

/// The lane and the group, what was noted, and the id of the flush.
pub(super) fn told(record: &[u8]) -> Option<(LaneGroup, Noted, u64)> {
    let mut reader = begin(record)?;
    let (key, flush) = key(&mut reader)?;
    let (thread, at) = (reader.text()?.to_owned(), reader.time()?);
    let (has_reference, reference) = (reader.byte()? != 0, reader.text()?);
    let reference = has_reference.then(|| reference.to_owned());
    Some((key, Noted { thread, reference, at }, flush))
}

/// What a lane may have been told of a group by messages the first of which was `message`.
pub(super) fn put_in_flight(
    to: &mut Vec<u8>,
    key: &LaneGroup,
    alerts: &[Arc<Alert>],
    message: &LastTold,
) {
    put_key(to, &key.lane, &key.group_key, 0);
    put_number(to, alerts.len() as u64);
    alerts.iter().for_each(|alert| put_alert(to, alert));
    put_text(to, &message.receiver);
    put_text(to, message.group_labels.as_encoded());
    put_text(to, &message.thread);
    put_time(to, message.at);
}

/// The lane and the group, the alerts, and the message, as if it had told nothing.
pub(super) fn in_flight(record: &[u8]) -> Option<(LaneGroup, Vec<Arc<Alert>>, LastTold)> {
    let mut reader = begin(record)?;
    let (key, _) = key(&mut reader)?;
    let alerts = alerts(&mut reader)?;
    // Before there was more to it, the record ended here.
    let receiver = match reader.text() {
        Some(receiver) => receiver.to_owned(),
        None => key.lane.rsplitn(3, '/').last().unwrap_or_default().to_owned(),
    };
    let message = LastTold {
        receiver,
        group_labels: reader.text().and_then(Labels::from_encoded).unwrap_or_else(Labels::empty),
        thread: reader.text().unwrap_or_default().to_owned(),
        at: reader.time().unwrap_or(Timestamp::MIN),
        reference: None,
        firing: Vec::new(),
    };
    Some((key, alerts, message))
}

fn put_key(to: &mut Vec<u8>, lane: &str, group_key: &str, flush: u64) {
    to.push(FORM);
    put_text(to, lane);
    put_text(to, group_key);
    put_number(to, flush);
}

fn key(reader: &mut Reader<'_>) -> Option<(LaneGroup, u64)> {
    let (lane, group_key) = (reader.text()?.to_owned(), reader.text()?.to_owned());
    Some((LaneGroup { lane, group_key }, reader.number()?))
}

fn begin(record: &[u8]) -> Option<Reader<'_>> {
    let mut reader = Reader::new(record);
    (reader.byte()? == FORM).then_some(reader)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        let at = Timestamp::from_millis;
        let alert = |name: &str| {
            Arc::new(Alert {
                labels: Labels::from_pairs([("alertname", name)]),
                annotations: BTreeMap::new(),
                starts_at: at(1),
                ended: None,
                stale_since: None,
                generator_url: String::new(),
            })
        };
        let key = LaneGroup { lane: "ops/mail/0".to_owned(), group_key: "{}:{}".to_owned() };
        let mut bytes = Vec::new();
        let mut reasons = vec![Reason::First, Reason::NewAlerts, Reason::Resolved, Reason::Repeat];
        reasons.extend([Reason::Escalated, Reason::Acknowledged, Reason::Unacknowledged]);
        for reason in reasons {
            let message = Flush {
                receiver: "ops".to_owned(),
                group_labels: Labels::from_pairs([("a", "b")]),
                route_labels: Labels::empty(),
                reason,
                alerts: vec![alert("x"), alert("y")],
                kept: vec![alert("z")],
                answer: Answer { note: "n".to_owned(), is_missing: true, is_wanted: true },
            };
            bytes.clear();
            put_flush(&mut bytes, &message);
            assert_eq!(flush(&bytes), Some(message.clone()));
            // As it was written before.
            let length = bytes.len() - 4;
            let before = Flush { answer: Answer::default(), ..message };
            assert_eq!(flush(&bytes[..length]), Some(before));
        }
        let intended = Intent {
            id: "i".to_owned(),
            lane: key.lane.clone(),
            group_key: key.group_key.clone(),
            created_at: at(5),
            attempts: 3,
            next_at: at(7),
            last_error: "no".to_owned(),
            refused: true,
        };
        bytes.clear();
        put_intent(&mut bytes, &intended, 9);
        assert_eq!(intent(&bytes), Some((intended.clone(), 9)));
        bytes.clear();
        for reference in [None, Some("r".to_owned())] {
            let flush = Flush {
                receiver: String::new(),
                group_labels: Labels::empty(),
                route_labels: Labels::empty(),
                reason: Reason::First,
                alerts: Vec::new(),
                kept: Vec::new(),
                answer: Answer::default(),
            };
            let last = LastTold::by(&flush, "t".to_owned(), reference.clone(), at(8));
            bytes.clear();
            put_told(&mut bytes, &key, &last, 10);
            let noted = Noted { thread: "t".to_owned(), reference, at: at(8) };
            assert_eq!(told(&bytes), Some((key.clone(), noted, 10)));
        }
        bytes.clear();
        let message = LastTold {
            thread: "t".to_owned(),
            reference: None,
            at: at(8),
            receiver: "ops".to_owned(),
            group_labels: Labels::from_pairs([("a", "b")]),
            firing: Vec::new(),
        };
        put_in_flight(&mut bytes, &key, &[alert("x")], &message);
        let expected = (key.clone(), vec![alert("x")], message.clone());
        assert_eq!(in_flight(&bytes), Some(expected));
        // As it was written before.
        bytes.clear();
        put_key(&mut bytes, &key.lane, &key.group_key, 0);
        put_number(&mut bytes, 0);
        let (_, alerts, message) = in_flight(&bytes).unwrap();
        assert_eq!((alerts, message.receiver.as_str()), (Vec::new(), "ops"));
        bytes.clear();
        put_intent(&mut bytes, &intended, 9);
        bytes[0] = 9;
        assert_eq!(intent(&bytes), None, "a form that is not known");
    }
}
