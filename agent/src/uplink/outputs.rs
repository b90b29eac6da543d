//! What checks say, on its way to an evaluator of ours: beside the samples, never among them.
//!
//! An evaluator answers every message of samples with a header that no other store knows; only who
//! has done so is told. What is old is of no interest: nothing waits here but the knowledge of what
//! the receiver has been told, and what it has not is asked of the checks again.
//!
//! Invariant: a text is sent again only where it has changed, or the receiver has lost it.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use base::backoff::Backoff;
use base::exposition::{CONTENT_TYPE_TEXT, OUTPUTS_HEADER, encode_output};
use base::family::LabelPairs;
use base::http::HeaderMap;
use base::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use base::labels::{Labels, LabelsBuilder};
use base::sample::Timestamp;
use hyper::body::Bytes;

/// A request has no more than this, and one text.
const MOST_BYTES: usize = 256 << 10;
/// The labels by which the evaluator finds the text of a check.
const FOUND_BY: [&str; 3] = ["job", "instance", "check"];
/// The delays after failures: samples are not to be held up for long by what only explains them.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(300);

/// What the receiver knows.
#[derive(Debug)]
pub(super) struct Outputs {
    /// The labels of what has none of that name.
    labels: Vec<(String, String)>,
    /// What it calls itself; nothing where it is no evaluator.
    receiver: Option<HeaderValue>,
    /// Whether it has not taken what was sent last: it is not told then, but remembers.
    is_away: bool,
    /// A hash of what it was told of each check.
    told: HashMap<Labels, u64>,
    not_before: Timestamp,
    backoff: Backoff,
}

/// What goes in one request.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) body: Bytes,
    /// What it tells; of a check that is gone, nothing.
    tells: Vec<(Labels, Option<u64>)>,
}

impl Post {
    /// Of how many checks it tells.
    pub(super) fn count(&self) -> u64 {
        self.tells.len() as u64
    }
}

/// By which the receiver knows what it is.
pub(super) fn headers() -> HeaderMap {
    let pairs = [
        (CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_TEXT)),
        (HeaderName::from_static(OUTPUTS_HEADER), HeaderValue::from_static("1")),
    ];
    pairs.into_iter().collect()
}

impl Outputs {
    /// Nothing is told yet; every text gets those of `labels` whose names it has not.
    pub(super) fn new(labels: &[(String, String)]) -> Self {
        Self {
            labels: labels.to_vec(),
            receiver: None,
            is_away: false,
            told: HashMap::new(),
            not_before: Timestamp::MIN,
            backoff: Backoff::new(FIRST_DELAY, LONGEST_DELAY),
        }
    }

    /// Notes what the receiver of samples calls itself: another has been told nothing. Returns whether
    /// it is another, or was away.
    pub(super) fn receiver_is(&mut self, name: Option<&HeaderValue>) -> bool {
        let was_away = std::mem::take(&mut self.is_away);
        if self.receiver.as_ref() == name {
            return was_away;
        }
        self.receiver = name.cloned();
        self.told.clear();
        self.not_before = Timestamp::MIN;
        self.backoff.reset();
        true
    }

    /// Notes that the receiver of samples did not take any.
    pub(super) fn receiver_is_away(&mut self) {
        self.is_away = true;
    }

    /// Whether the receiver wants to be told, and has not failed to take it just now.
    pub(super) fn may_be_told(&self, now: Timestamp) -> bool {
        self.receiver.is_some() && !self.is_away && now >= self.not_before
    }

    /// What the receiver does not know of what the checks `said`.
    pub(super) fn news(&self, said: Vec<(LabelPairs, String)>) -> Vec<Post> {
        let mut gone = self.told.clone();
        let (mut posts, mut body, mut tells) = (Vec::new(), String::new(), Vec::new());
        let mut add = |labels: Labels, text: &str, hash: Option<u64>| {
            encode_output(&labels, text, &mut body);
            tells.push((labels, hash));
            if body.len() >= MOST_BYTES {
                let (body, tells) = (std::mem::take(&mut body), std::mem::take(&mut tells));
                posts.push(Post { body: body.into(), tells });
            }
        };
        for (pairs, text) in said {
            let (labels, hash) = (self.found_by(&pairs), hash_of(&text));
            if gone.remove(&labels) != Some(hash) {
                add(labels, &text, Some(hash));
            }
        }
        for labels in gone.into_keys() {
            add(labels, "", None);
        }
        if !tells.is_empty() {
            posts.push(Post { body: body.into(), tells });
        }
        posts
    }

    /// Notes what the receiver has taken, or will never take.
    pub(super) fn told(&mut self, post: Post) {
        self.backoff.reset();
        for (labels, hash) in post.tells {
            match hash {
                Some(hash) => self.told.insert(labels, hash),
                None => self.told.remove(&labels),
            };
        }
    }

    /// Notes that it was not told at `now`, and may be later.
    pub(super) fn not_before(&mut self, now: Timestamp) {
        self.not_before = now + self.backoff.next_delay();
    }

    fn found_by(&self, pairs: &LabelPairs) -> Labels {
        let mut builder = LabelsBuilder::default();
        for name in FOUND_BY {
            let own = pairs.iter().find(|(own, _)| own == name).map(|(_, value)| value);
            let ours = || self.labels.iter().find(|(ours, _)| ours == name).map(|(_, value)| value);
            if let Some(value) = own.or_else(ours) {
                builder.set(name, value);
            }
        }
        builder.build()
    }
}

fn hash_of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn outputs() -> Outputs {
        let labels = [("instance", "h"), ("job", "j")];
        Outputs::new(&labels.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }

    fn said(texts: &[(&str, &str)]) -> Vec<(LabelPairs, String)> {
        let one = |&(check, text): &(&str, &str)| {
            let pairs: LabelPairs =
                vec![("check".into(), check.to_owned()), ("team".into(), "x".to_owned())];
            (pairs, text.to_owned())
        };
        texts.iter().map(one).collect()
    }

    /// Sends what is news; returns it.
    fn send(outputs: &mut Outputs, texts: &[(&str, &str)]) -> String {
        let posts = outputs.news(said(texts));
        let body = |post: &Post| String::from_utf8(post.body.to_vec()).unwrap();
        let bodies: String = posts.iter().map(body).collect();
        posts.into_iter().for_each(|post| outputs.told(post));
        bodies
    }

    fn line(check: &str, text: &str) -> String {
        format!("# OUTPUT {{check=\"{check}\",instance=\"h\",job=\"j\"}} {text}\n")
    }

    #[test]
    fn only_what_is_news_is_told_and_what_is_gone_is_emptied() {
        let mut outputs = outputs();
        outputs.receiver_is(Some(&HeaderValue::from_static("1")));
        let both = [("a", "fine"), ("b", "full\n/var")];
        assert_eq!(send(&mut outputs, &both), line("a", "fine") + &line("b", "full\\n/var"));
        assert_eq!(send(&mut outputs, &both), "");
        assert_eq!(send(&mut outputs, &[("a", "bad"), both[1]]), line("a", "bad"));
        assert_eq!(send(&mut outputs, &[("a", "bad")]), line("b", ""));
        assert_eq!(send(&mut outputs, &[("a", "bad")]), "");
        // One that was started again, or another, knows nothing.
        outputs.receiver_is(Some(&HeaderValue::from_static("2")));
        assert_eq!(send(&mut outputs, &[("a", "bad")]), line("a", "bad"));
    }

    #[test]
    fn nobody_is_told_who_has_not_asked_and_who_failed_not_at_once() {
        let mut outputs = outputs();
        assert!(!outputs.may_be_told(NOW));
        assert!(outputs.receiver_is(Some(&HeaderValue::from_static("1"))));
        assert!(!outputs.receiver_is(Some(&HeaderValue::from_static("1"))), "nothing is new");
        assert!(outputs.may_be_told(NOW));
        outputs.not_before(NOW);
        assert!(!outputs.may_be_told(NOW) && outputs.may_be_told(NOW + FIRST_DELAY));
        outputs.receiver_is_away();
        assert!(!outputs.may_be_told(NOW + LONGEST_DELAY));
        assert!(outputs.receiver_is(Some(&HeaderValue::from_static("1"))), "it was away");
        assert!(outputs.may_be_told(NOW + LONGEST_DELAY));
        outputs.receiver_is(None);
        assert!(!outputs.may_be_told(NOW + LONGEST_DELAY));
    }

    #[test]
    fn labels_of_a_check_win_over_those_of_the_uplink() {
        let pairs: LabelPairs = vec![("check".into(), "c".into()), ("job".into(), "own".into())];
        let posts = outputs().news(vec![(pairs, "x".to_owned())]);
        let expected = "# OUTPUT {check=\"c\",instance=\"h\",job=\"own\"} x\n";
        assert_eq!(posts[0].body, expected);
    }

    #[test]
    fn many_texts_are_several_requests() {
        let text = "x".repeat(4000);
        let names: Vec<_> = (0..1000).map(|n| format!("c{n}")).collect();
        let texts: Vec<_> = names.iter().map(|name| (name.as_str(), text.as_str())).collect();
        let posts = outputs().news(said(&texts));
        assert!(posts.len() > 10 && posts.iter().all(|post| post.body.len() < MOST_BYTES + 8192));
        assert_eq!(posts.iter().map(Post::count).sum::<u64>(), 1000);
    }
}
