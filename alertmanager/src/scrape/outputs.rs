//! What checks said last: texts that travel beside the metrics, never as labels.
//!
//! Invariant: only the newest text of a check is kept, and of a target no more than fits
//! [`MOST_BYTES`]; a text over that is dropped, the metric stays.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use base::labels::Labels;

/// The longest texts of one target together.
const MOST_BYTES: usize = 4 << 20;
/// The longest text of one check.
const MOST_TEXT: usize = 8 << 10;

/// The texts of a target by check.
pub(super) type Texts = HashMap<String, Arc<str>>;

/// The texts of all targets. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    by_target: Arc<RwLock<HashMap<(String, String), Texts>>>,
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
        by_target.get(&target)?.get(check).cloned()
    }

    /// Replaces the texts of the target with `labels`.
    pub(super) fn replace(&self, labels: &Labels, collected: Collected) {
        let Some(target) = target_of(labels) else { return };
        let mut by_target = self.by_target.write().unwrap_or_else(PoisonError::into_inner);
        if collected.texts.is_empty() {
            by_target.remove(&target);
        } else {
            by_target.insert(target, collected.texts);
        }
    }

    /// Forgets a target.
    pub(super) fn forget(&self, labels: &Labels) {
        self.replace(labels, Collected::default());
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
