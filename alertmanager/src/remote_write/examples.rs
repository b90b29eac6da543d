//! Exemplars that a remote does not have yet.
//!
//! They are not in the log but in a ring in memory, so they are told apart by the last one of each
//! series that was sent. A start, of the program or with other settings, sends again what is there.
//!
//! Invariant: an exemplar goes with a sample of its series, or after one: receivers know no others.

use std::collections::HashMap;

use base::labels::Labels;
use base::remote_write::Exemplar;
use base::sample::Timestamp;
use storage::Storage;

/// The last exemplar of each series that was sent, or is not to be; no more than the storage has.
#[derive(Debug, Default)]
pub(super) struct Examples {
    last: HashMap<Labels, storage::Exemplar>,
}

impl Examples {
    /// The exemplars that are new. `named` says what a series is called at the remote: a name, or that
    /// it is not sent; those of a series of which it knows nothing yet are left for later.
    pub(super) fn next<'a>(
        &mut self,
        storage: &Storage,
        named: impl Fn(&Labels) -> Option<&'a Option<Labels>>,
    ) -> Vec<Exemplar> {
        let (mut new, mut last) = (Vec::new(), HashMap::new());
        for (series, all) in storage.exemplars(&[Vec::new()], Timestamp::MIN, Timestamp::MAX) {
            let before = self.last.remove(&series);
            let Some(called) = named(&series) else {
                last.extend(before.map(|before| (series, before)));
                continue;
            };
            last.extend(all.last().cloned().map(|newest| (series, newest)));
            let Some(called) = called else { continue };
            let sent = before.and_then(|last| all.iter().rposition(|one| is_same(one, &last)));
            new.extend(all.into_iter().skip(sent.map_or(0, |at| at + 1)).map(|one| Exemplar {
                series: called.clone(),
                labels: one.labels,
                value: one.value,
                timestamp: one.timestamp,
            }));
        }
        self.last = last;
        new
    }
}

/// Also where the value is not a number.
fn is_same(a: &storage::Exemplar, b: &storage::Exemplar) -> bool {
    let is_same = a.value.to_bits() == b.value.to_bits();
    is_same && a.timestamp == b.timestamp && a.labels == b.labels
}

#[cfg(test)]
mod tests {
    use storage::Options;

    use super::*;

    fn labels(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name)])
    }

    #[test]
    fn each_is_sent_once_when_its_series_is_known() {
        let storage = Storage::in_memory(Options { max_exemplars: 4, ..Options::default() });
        let push = |series: &str, time: i64| {
            let exemplar = storage::Exemplar {
                labels: Labels::from_pairs([("trace_id", &*time.to_string())]),
                value: f64::NAN,
                timestamp: Timestamp::from_millis(time),
            };
            assert_eq!(storage.append_exemplars([(labels(series), exemplar)]), 1);
        };
        let (renamed, dropped) = (Some(labels("renamed")), None);
        let mut examples = Examples::default();
        let mut next = |known: &[&str]| -> Vec<String> {
            let named = |series: &Labels| match series.metric_name() {
                name if !known.contains(&name) => None,
                "secret" => Some(&dropped),
                _ => Some(&renamed),
            };
            let new = examples.next(&storage, named).into_iter();
            new.map(|one| format!("{} {}", one.series, one.timestamp.millis())).collect()
        };
        push("a", 1);
        push("a", 2);
        assert!(next(&[]).is_empty());
        push("secret", 3);
        assert_eq!(next(&["a", "secret"]), ["renamed 1", "renamed 2"]);
        assert!(next(&["a", "secret"]).is_empty());
        push("a", 4);
        assert!(next(&["secret"]).is_empty());
        assert_eq!(next(&["a"]), ["renamed 4"]);
        // The one that was sent last has gone.
        (5..=8).for_each(|time| push("a", time));
        assert_eq!(next(&["a"]), ["renamed 5", "renamed 6", "renamed 7", "renamed 8"]);
        assert!(next(&["a"]).is_empty());
    }
}
