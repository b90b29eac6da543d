//! Families of many checks on one page: those of one name become one.
//!
//! Invariant: no name has two types, no series comes twice, and no sample of one family has the
//! name that another could have; what would break this is left out and told.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use base::family::{FamilySample, LabelPairs, MetricFamily, MetricKind};

/// How many things that were left out are told.
const MOST_TOLD: usize = 20;

/// Families as they come together.
#[derive(Default)]
pub(super) struct Merge {
    pub(super) families: Vec<MetricFamily>,
    /// The families that come from probes.
    by_name: HashMap<String, usize>,
    /// Every name that one of the first `told_apart` families has or could have in one of the formats.
    claimed: HashSet<String>,
    /// How many families have claimed their names: the others do when the first probe adds one.
    told_apart: usize,
    /// The series of families that come from probes.
    series: HashSet<String>,
    /// How many samples of each check were left out.
    pub(super) left_out: HashMap<String, u64>,
    /// What was left out and why, the first few.
    pub(super) told: Vec<String>,
}

impl Merge {
    /// Adds a family of ours, whose series are known to be unique; no probe adds any to it.
    pub(super) fn add_own(&mut self, family: MetricFamily) {
        self.families.push(family);
    }

    /// Adds a family that a probe of the check `check` has measured, with `labels` on every sample.
    pub(super) fn add(&mut self, family: &MetricFamily, check: &str, labels: &LabelPairs) {
        let place = match self.by_name.get(&family.name) {
            Some(place) if self.families[*place].kind == family.kind => *place,
            Some(place) => {
                let other = self.families[*place].kind.as_str();
                let why = format!("is a {}, elsewhere a {other}", family.kind.as_str());
                return self.leave_out(family, check, &why);
            }
            None => {
                let place = self.families.len();
                self.claim();
                if names(family).iter().any(|name| self.claimed.contains(name.as_ref())) {
                    return self.leave_out(family, check, "has the name of something else");
                }
                self.by_name.insert(family.name.clone(), place);
                let (name, help) = (family.name.clone(), family.help.clone());
                self.families.push(MetricFamily::new(name, help, family.kind));
                place
            }
        };
        let mut repeated = 0;
        for sample in &family.samples {
            let sample = with_labels(sample, labels);
            if self.series.insert(series(&family.name, &sample)) {
                self.families[place].samples.push(sample);
            } else {
                repeated += 1;
            }
        }
        if repeated > 0 {
            *self.left_out.entry(check.to_owned()).or_default() += repeated;
            self.tell(format!("`{}` of `{check}`: {repeated} series come twice", family.name));
        }
    }

    fn claim(&mut self) {
        let new = self.families.iter().skip(self.told_apart);
        self.claimed.extend(new.flat_map(names).map(Cow::into_owned));
        self.told_apart = self.families.len();
    }

    fn leave_out(&mut self, family: &MetricFamily, check: &str, why: &str) {
        *self.left_out.entry(check.to_owned()).or_default() += family.samples.len() as u64;
        self.tell(format!("`{}` of `{check}` {why}", family.name));
    }

    fn tell(&mut self, what: String) {
        if self.told.len() < MOST_TOLD {
            self.told.push(format!("left out of the metrics: {what}"));
        }
    }
}

/// The sample with the labels of its check, which its own of the same name make way for.
fn with_labels(sample: &FamilySample, labels: &LabelPairs) -> FamilySample {
    let mut sample = sample.clone();
    for (name, _) in &mut sample.labels {
        if labels.iter().any(|(ours, _)| ours == name) {
            *name = Cow::Owned(format!("exported_{name}"));
        }
    }
    let own = std::mem::replace(&mut sample.labels, labels.clone());
    sample.labels.extend(own);
    sample
}

/// Name and labels of a series, in one text.
fn series(name: &str, sample: &FamilySample) -> String {
    let mut labels: Vec<_> = sample.labels.iter().map(|(n, v)| (n.as_ref(), v.as_str())).collect();
    labels.sort_unstable();
    let mut text = format!("{name}{}", sample.suffix);
    for (name, value) in labels {
        // A byte that is in no name and ends no value.
        text.extend(["\u{1}", name, "\u{2}", value]);
    }
    text
}

/// Every name that a family or its samples have in one of the formats.
fn names(family: &MetricFamily) -> Vec<Cow<'_, str>> {
    let name = family.name.as_str();
    let mut names: Vec<Cow<'_, str>> = vec![name.into()];
    let suffixes: &[&str] = match family.kind {
        MetricKind::Counter => &["_total", "_created"],
        MetricKind::Histogram => &["_bucket", "_sum", "_count", "_created"],
        MetricKind::GaugeHistogram => &["_bucket", "_sum", "_count", "_gsum", "_gcount"],
        MetricKind::Summary => &["_sum", "_count", "_created"],
        MetricKind::Info => &["_info"],
        MetricKind::Gauge | MetricKind::StateSet | MetricKind::Unknown => &[],
    };
    let base = match family.kind {
        MetricKind::Counter => name.strip_suffix("_total").unwrap_or(name),
        MetricKind::Info => name.strip_suffix("_info").unwrap_or(name),
        _ => name,
    };
    if base != name {
        names.push(base.into());
    }
    names.extend(suffixes.iter().map(|suffix| format!("{base}{suffix}").into()));
    names
}

#[cfg(test)]
mod tests {
    use base::exposition::{Encoding, Escaping, Format, check, encode};

    use super::*;

    fn labels(check: &str) -> LabelPairs {
        vec![("check".into(), check.to_owned())]
    }

    #[track_caller]
    fn text(merge: &Merge) -> String {
        for format in [Format::Text, Format::OpenMetrics] {
            let mut text = String::new();
            encode(&merge.families, Encoding { format, names: Escaping::Underscores }, &mut text);
            check(text.as_bytes(), format, usize::MAX).unwrap_or_else(|e| panic!("{e}\n{text}"));
        }
        let mut text = String::new();
        let encoding = Encoding { format: Format::Text, names: Escaping::Underscores };
        encode(&merge.families, encoding, &mut text);
        text
    }

    #[test]
    fn families_of_one_name_become_one() {
        let mut merge = Merge::default();
        for name in ["a", "b"] {
            merge.add(&MetricFamily::gauge("shop_x", "X.").with(&[], 1.0), name, &labels(name));
        }
        let expected =
            "# HELP shop_x X.\n# TYPE shop_x gauge\nshop_x{check=\"a\"} 1\nshop_x{check=\"b\"} 1\n";
        assert_eq!(text(&merge), expected);
    }

    #[test]
    fn the_first_type_wins_and_the_other_is_told() {
        let mut merge = Merge::default();
        merge.add(&MetricFamily::gauge("shop_x", "").with(&[], 1.0), "a", &labels("a"));
        merge.add(&MetricFamily::counter("shop_x", "").with(&[], 2.0), "b", &labels("b"));
        assert_eq!(text(&merge), "# TYPE shop_x gauge\nshop_x{check=\"a\"} 1\n");
        assert_eq!(
            merge.told,
            ["left out of the metrics: `shop_x` of `b` is a counter, elsewhere a gauge"]
        );
        assert_eq!(merge.left_out["b"], 1);
    }

    #[test]
    fn names_that_would_meet_in_a_format_do_not() {
        let mut merge = Merge::default();
        merge.add_own(MetricFamily::counter("veilleur_x_total", "").with(&[], 1.0));
        merge.add(&MetricFamily::gauge("veilleur_x", "").with(&[], 1.0), "a", &labels("a"));
        merge.add(&MetricFamily::new("shop_x", "", MetricKind::Summary), "a", &labels("a"));
        merge.add(&MetricFamily::counter("shop_x_count", "").with(&[], 1.0), "a", &labels("a"));
        assert_eq!(merge.told.len(), 2);
        text(&merge);
    }

    #[test]
    fn no_series_comes_twice() {
        let mut merge = Merge::default();
        let mut family = MetricFamily::gauge("shop_x", "");
        family.add(&[("a", "1"), ("b", "2")], 1.0).add(&[("b", "2"), ("a", "1")], 2.0);
        merge.add(&family, "c", &labels("c"));
        assert_eq!(text(&merge), "# TYPE shop_x gauge\nshop_x{check=\"c\",a=\"1\",b=\"2\"} 1\n");
        assert_eq!(merge.left_out["c"], 1);
    }

    #[test]
    fn labels_of_a_probe_make_way_x12() {
        let mut merge = Merge::default();
        let family = MetricFamily::gauge("shop_x", "").with(&[("check", "other")], 1.0);
        merge.add(&family, "c", &labels("c"));
        assert!(text(&merge).contains("shop_x{check=\"c\",exported_check=\"other\"} 1"));
    }
}
