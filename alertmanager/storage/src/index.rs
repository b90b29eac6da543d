//! Which series have which label: for each name its values, for each value the series.
//!
//! Invariant: a series is listed under each of its labels and nowhere else, so a matcher that
//! accepts the empty value is answered by what must be left out.

use std::collections::BTreeMap;

use base::labels::Labels;
use base::matcher::{MatchOp, Matcher};
use roaring::RoaringBitmap;

/// Lists of series by label; `P` is such a list, or where to find it.
#[derive(Debug)]
pub(crate) struct Index<P> {
    names: BTreeMap<Box<str>, BTreeMap<Box<str>, P>>,
}

impl<P> Default for Index<P> {
    fn default() -> Self {
        Self { names: BTreeMap::new() }
    }
}

impl<P> Index<P> {
    /// The label names there are.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(AsRef::as_ref)
    }

    /// The values of `name` with their lists.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = (&str, &P)> {
        self.names.get(name).into_iter().flatten().map(|(value, list)| (value.as_ref(), list))
    }

    /// The list of the series whose label `name` is `value`.
    pub(crate) fn list(&self, name: &str, value: &str) -> Option<&P> {
        self.names.get(name)?.get(value)
    }

    /// Everything, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &BTreeMap<Box<str>, P>)> {
        self.names.iter().map(|(name, values)| (name.as_ref(), values))
    }

    pub(crate) fn insert(&mut self, name: &str, value: &str, list: P) {
        self.names.entry(name.into()).or_default().insert(value.into(), list);
    }

    /// The series that all `matchers` accept; `all` is every series, `load` reads a list, `labels`
    /// the labels of one series, which is cheaper than many lists where few series are left.
    pub(crate) fn select<E>(
        &self,
        matchers: &[Matcher],
        all: &RoaringBitmap,
        load: impl Fn(&P, &mut RoaringBitmap) -> Result<(), E>,
        labels: impl Fn(u32) -> Result<Option<Labels>, E>,
    ) -> Result<RoaringBitmap, E> {
        let (excluding, including): (Vec<_>, Vec<_>) = matchers.iter().partition(|m| m.matches(""));
        let mut found: Option<RoaringBitmap> = None;
        // Exact matchers first: they leave the least to do.
        let exact = |m: &&Matcher| m.op() != MatchOp::Equal;
        let mut including = including;
        including.sort_by_key(exact);
        for matcher in including {
            let few = found.as_ref().is_some_and(|found| self.is_dear(matcher, found));
            found = Some(match (found, few) {
                (Some(found), true) => filter(&found, matcher, &labels)?,
                (found, _) => {
                    let mut list = RoaringBitmap::new();
                    self.union(matcher, true, &load, &mut list)?;
                    match found {
                        Some(found) => found & list,
                        None => list,
                    }
                }
            });
            if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                return Ok(RoaringBitmap::new());
            }
        }
        let mut found = found.unwrap_or_else(|| all.clone());
        for matcher in excluding {
            if self.is_dear(matcher, &found) {
                found = filter(&found, matcher, &labels)?;
            } else {
                let mut list = RoaringBitmap::new();
                self.union(matcher, false, &load, &mut list)?;
                found -= list;
            }
        }
        Ok(found)
    }

    /// Whether looking at the series in `found` is cheaper than reading the lists of `matcher`.
    fn is_dear(&self, matcher: &Matcher, found: &RoaringBitmap) -> bool {
        let listed = matches!(matcher.op(), MatchOp::Equal | MatchOp::NotEqual)
            || matcher.pattern().is_some_and(|pattern| pattern.texts().is_some());
        let values = self.names.get(matcher.name()).map_or(0, BTreeMap::len) as u64;
        !listed && found.len() < values
    }

    /// Adds to `to` the series whose value `matcher` accepts, or does not accept.
    fn union<E>(
        &self,
        matcher: &Matcher,
        accepted: bool,
        load: &impl Fn(&P, &mut RoaringBitmap) -> Result<(), E>,
        to: &mut RoaringBitmap,
    ) -> Result<(), E> {
        let Some(values) = self.names.get(matcher.name()) else { return Ok(()) };
        if accepted && matcher.op() == MatchOp::Equal {
            return values.get(matcher.value()).map_or(Ok(()), |list| load(list, to));
        }
        let texts = matcher.pattern().and_then(|pattern| pattern.texts());
        if let (true, MatchOp::Matches, Some(texts)) = (accepted, matcher.op(), texts) {
            return texts
                .iter()
                .filter_map(|t| values.get(t.as_str()))
                .try_for_each(|l| load(l, to));
        }
        let wanted = values.iter().filter(|(value, _)| matcher.matches(value) == accepted);
        wanted.map(|(_, list)| list).try_for_each(|list| load(list, to))
    }
}

fn filter<E>(
    found: &RoaringBitmap,
    matcher: &Matcher,
    labels: &impl Fn(u32) -> Result<Option<Labels>, E>,
) -> Result<RoaringBitmap, E> {
    let mut kept = RoaringBitmap::new();
    for slot in found {
        if labels(slot)?.is_some_and(|labels| matcher.matches_labels(&labels)) {
            kept.insert(slot);
        }
    }
    Ok(kept)
}

impl Index<RoaringBitmap> {
    /// Lists the series `slot` under its labels.
    pub(crate) fn add(&mut self, slot: u32, labels: &Labels) {
        for (name, value) in labels {
            if !self.names.contains_key(name) {
                self.names.insert(name.into(), BTreeMap::new());
            }
            let Some(values) = self.names.get_mut(name) else { continue };
            match values.get_mut(value) {
                Some(list) => {
                    list.insert(slot);
                }
                None => {
                    values.insert(value.into(), [slot].into_iter().collect());
                }
            }
        }
    }

    /// Takes the series `slot` out.
    pub(crate) fn remove(&mut self, slot: u32, labels: &Labels) {
        for (name, value) in labels {
            let Some(values) = self.names.get_mut(name) else { continue };
            if let Some(list) = values.get_mut(value) {
                list.remove(slot);
                if list.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[track_caller]
    fn check(matchers: &[(&str, MatchOp, &str)], expected: &[u32]) {
        let sets: Vec<Labels> = [
            &[("__name__", "up"), ("job", "a"), ("instance", "1")][..],
            &[("__name__", "up"), ("job", "a"), ("instance", "2")],
            &[("__name__", "up"), ("job", "b"), ("instance", "3")],
            &[("__name__", "load"), ("instance", "3")],
        ]
        .iter()
        .map(|pairs| Labels::from_pairs(pairs.iter().copied()))
        .collect();
        let mut index = Index::default();
        sets.iter().enumerate().for_each(|(slot, labels)| index.add(slot as u32, labels));
        let matchers: Vec<_> =
            matchers.iter().map(|(n, op, v)| Matcher::new(n, *op, v).unwrap()).collect();
        let found = index.select(
            &matchers,
            &(0..4).collect(),
            |list, to| {
                *to |= list;
                Ok::<_, Infallible>(())
            },
            |slot| Ok(sets.get(slot as usize).cloned()),
        );
        assert_eq!(found.unwrap().iter().collect::<Vec<_>>(), expected, "{matchers:?}");
    }

    #[test]
    fn selects_by_every_operator() {
        use MatchOp::{Equal, Matches, NotEqual, NotMatches};
        check(&[], &[0, 1, 2, 3]);
        check(&[("__name__", Equal, "up")], &[0, 1, 2]);
        check(&[("__name__", Equal, "up"), ("job", NotEqual, "a")], &[2]);
        check(&[("job", Equal, "")], &[3]);
        check(&[("job", NotEqual, "")], &[0, 1, 2]);
        check(&[("job", Matches, "a|")], &[0, 1, 3]);
        check(&[("job", Matches, "a|b")], &[0, 1, 2]);
        check(&[("instance", Matches, "[12]"), ("job", Matches, "a.*")], &[0, 1]);
        check(&[("job", NotMatches, "a.*")], &[2, 3]);
        check(&[("job", NotMatches, ".+")], &[3]);
        check(&[("none", Equal, "")], &[0, 1, 2, 3]);
        check(&[("none", Matches, ".*")], &[0, 1, 2, 3]);
        check(&[("none", Equal, "x")], &[]);
        check(&[("__name__", Equal, "load"), ("instance", Matches, "3.*")], &[3]);
    }

    #[test]
    fn forgets_what_is_removed() {
        let labels = Labels::from_pairs([("a", "1")]);
        let mut index = Index::default();
        index.add(7, &labels);
        index.remove(7, &labels);
        assert_eq!((index.names().count(), index.values("a").count()), (0, 0));
    }
}
