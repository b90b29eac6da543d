//! What checks said last: texts that travel beside the metrics, never as labels.
//!
//! They come with a scrape, or agents push them beside their samples. What a scrape has brought wins:
//! nobody who pushes can speak for a target that we ask ourselves.
//!
//! Invariant: only the newest text of a check is kept, of a target no more than fits [`MOST_BYTES`],
//! and of all that push no more than fits [`MOST_PUSHED`]; a text over that is dropped, the metric
//! stays.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use base::labels::Labels;

/// The longest texts of one target together.
const MOST_BYTES: usize = 4 << 20;
/// The longest texts of all targets that push; over that, those go first that were told longest ago.
const MOST_PUSHED: usize = 64 << 20;
/// What a text costs beside its bytes.
const EACH: usize = 128;
/// The longest text of one check.
const MOST_TEXT: usize = 8 << 10;

/// The texts of a target by check.
pub(super) type Texts = HashMap<String, Arc<str>>;

/// A target by its job and instance.
type Target = (String, String);

/// The texts of all targets. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    by_target: Arc<RwLock<HashMap<Target, Texts>>>,
    pushed: Arc<RwLock<Pushed>>,
}

/// The texts of targets that push.
#[derive(Debug, Default)]
struct Pushed {
    by_target: HashMap<Target, OfTarget>,
    /// Who was told of when, by a number that counts up.
    order: BTreeMap<u64, Target>,
    next: u64,
    bytes: usize,
}

/// What a target that pushes has told.
#[derive(Debug, Default)]
struct OfTarget {
    texts: Texts,
    bytes: usize,
    told: u64,
}

/// Collects the texts of one scrape.
#[derive(Debug, Default)]
pub(super) struct Collected {
    texts: Texts,
    bytes: usize,
}

impl Collected {
    pub(super) fn add(&mut self, labels: &Labels, text: &str) {
        let Some(check) = labels.get("check") else { return };
        let text = shortened(text);
        self.bytes += check.len() + text.len();
        if self.bytes <= MOST_BYTES {
            self.texts.insert(check.to_owned(), text.into());
        }
    }
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(MOST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

impl Outputs {
    /// What the check that `labels` name said last; they need `job`, `instance` and `check`.
    pub fn get(&self, labels: &Labels) -> Option<Arc<str>> {
        let (target, check) = (target_of(labels)?, labels.get("check")?);
        let by_target = self.by_target.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(scraped) = by_target.get(&target) {
            return scraped.get(check).cloned();
        }
        let pushed = self.pushed.read().unwrap_or_else(PoisonError::into_inner);
        pushed.by_target.get(&target)?.texts.get(check).cloned()
    }

    /// Takes what a check says that is pushed; `labels` are its `job`, `instance` and `check`. An
    /// empty text says that there is none any more. Returns whether it names a check.
    pub fn push(&self, labels: &Labels, text: &str) -> bool {
        let (Some(target), Some(check)) = (target_of(labels), labels.get("check")) else {
            return false;
        };
        let mut pushed = self.pushed.write().unwrap_or_else(PoisonError::into_inner);
        pushed.take(target, check, shortened(text));
        true
    }

    /// Replaces the texts of the target with `labels`.
    pub(super) fn replace(&self, labels: &Labels, collected: Collected) {
        let Some(target) = target_of(labels) else { return };
        let mut by_target = self.by_target.write().unwrap_or_else(PoisonError::into_inner);
        // Also where it has none: then there is none.
        by_target.insert(target, collected.texts);
    }

    /// Forgets a target that was scraped.
    pub(super) fn forget(&self, labels: &Labels) {
        let Some(target) = target_of(labels) else { return };
        self.by_target.write().unwrap_or_else(PoisonError::into_inner).remove(&target);
    }

    /// Forgets what a target pushed.
    pub fn forget_pushed(&self, labels: &Labels) {
        let Some(target) = target_of(labels) else { return };
        self.pushed.write().unwrap_or_else(PoisonError::into_inner).forget(&target);
    }
}

impl Pushed {
    fn forget(&mut self, target: &Target) {
        if let Some(gone) = self.by_target.remove(target) {
            self.order.remove(&gone.told);
            self.bytes -= gone.bytes;
        }
    }

    fn take(&mut self, target: Target, check: &str, text: &str) {
        let of_target = self.by_target.entry(target.clone()).or_default();
        self.order.remove(&of_target.told);
        self.bytes -= of_target.bytes;
        let size = |text: &str| EACH + check.len() + text.len();
        if let Some(before) = of_target.texts.remove(check) {
            of_target.bytes -= size(&before);
        }
        if !text.is_empty() && of_target.bytes + size(text) <= MOST_BYTES {
            of_target.bytes += size(text);
            of_target.texts.insert(check.to_owned(), text.into());
        }
        if of_target.texts.is_empty() {
            self.by_target.remove(&target);
            return;
        }
        self.next += 1;
        of_target.told = self.next;
        self.bytes += of_target.bytes;
        self.order.insert(self.next, target);
        while self.bytes > MOST_PUSHED {
            let Some((_, oldest)) = self.order.pop_first() else { return };
            let gone = self.by_target.remove(&oldest);
            self.bytes -= gone.map_or(0, |gone| gone.bytes);
        }
    }
}

fn target_of(labels: &Labels) -> Option<(String, String)> {
    Some((labels.get("job")?.to_owned(), labels.get("instance")?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_text_of_a_check() {
        let outputs = Outputs::default();
        let target = Labels::from_pairs([("job", "a"), ("instance", "h:1")]);
        let check = target.with("check", "disk");
        for text in ["first", "second"] {
            let mut collected = Collected::default();
            collected.add(&Labels::from_pairs([("check", "disk")]), text);
            outputs.replace(&target, collected);
            assert_eq!(outputs.get(&check).as_deref(), Some(text));
        }
        assert_eq!(outputs.get(&check.with("instance", "h:2")), None);
        outputs.forget(&target);
        assert_eq!(outputs.get(&check), None);
    }

    #[test]
    fn what_is_pushed_counts_where_no_scrape_says_otherwise() {
        let outputs = Outputs::default();
        let target = Labels::from_pairs([("job", "a"), ("instance", "h:1")]);
        let check = target.with("check", "disk");
        assert!(outputs.push(&check, "pushed"));
        assert_eq!(outputs.get(&check.with("severity", "page")).as_deref(), Some("pushed"));
        assert!(!outputs.push(&target, "of no check"));
        let mut collected = Collected::default();
        collected.add(&Labels::from_pairs([("check", "disk")]), "scraped");
        outputs.replace(&target, collected);
        outputs.push(&check, "pushed again");
        assert_eq!(outputs.get(&check).as_deref(), Some("scraped"));
        // Nor of a check that the target has no text for.
        let other = target.with("check", "other");
        outputs.push(&other, "forged");
        assert_eq!(outputs.get(&other), None);
        outputs.replace(&target, Collected::default());
        assert_eq!(outputs.get(&check), None);
        outputs.forget(&target);
        assert_eq!(outputs.get(&check).as_deref(), Some("pushed again"));
        outputs.push(&other, "");
        outputs.push(&check, "");
        assert_eq!(outputs.get(&check), None);
        outputs.push(&check, "once more");
        outputs.forget_pushed(&target);
        assert_eq!(outputs.get(&check), None);
        let pushed = outputs.pushed.read().unwrap();
        assert_eq!((pushed.bytes, pushed.order.len(), pushed.by_target.len()), (0, 0, 0));
    }

    #[test]
    fn of_those_that_push_the_ones_told_longest_ago_make_room() {
        let outputs = Outputs::default();
        let text = "x".repeat(MOST_TEXT);
        let of = |n: usize, check: &str| {
            let labels = [("job", "a"), ("instance", &n.to_string()), ("check", check)];
            Labels::from_pairs(labels)
        };
        // One target alone takes no more than its share.
        for check in 0..1000 {
            outputs.push(&of(0, &check.to_string()), &text);
        }
        assert!(outputs.get(&of(0, "0")).is_some() && outputs.get(&of(0, "999")).is_none());
        for n in 1..10_000 {
            outputs.push(&of(n, "c"), &text);
            // The first is told again and again.
            outputs.push(&of(0, "0"), &text);
        }
        assert!(outputs.get(&of(0, "0")).is_some() && outputs.get(&of(9_999, "c")).is_some());
        assert_eq!(outputs.get(&of(1, "c")), None);
        let pushed = outputs.pushed.read().unwrap();
        let sum: usize = pushed.by_target.values().map(|target| target.bytes).sum();
        assert_eq!((sum, pushed.order.len()), (pushed.bytes, pushed.by_target.len()));
        assert!(sum <= MOST_PUSHED && sum > MOST_PUSHED / 2, "{sum}");
    }

    #[test]
    fn a_flood_of_texts_is_bounded() {
        let mut collected = Collected::default();
        for n in 0..10_000 {
            let labels = Labels::from_pairs([("check", format!("c{n}"))]);
            collected.add(&labels, &"é".repeat(MOST_TEXT));
        }
        let bytes: usize = collected.texts.values().map(|text| text.len()).sum();
        assert!(bytes <= MOST_BYTES && bytes > MOST_BYTES / 2, "{bytes}");
    }
}
