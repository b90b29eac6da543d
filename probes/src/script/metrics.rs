//! Metrics that a script prints in the Prometheus text format.
//!
//! A script speaks for itself only: it declares a prefix, and what it prints under other names is
//! left out and told, so that no output can pass for the state of something else (X11). Labels by
//! which a scrape tells targets apart are renamed (X12).
//!
//! Invariant: every family that is handed on has the declared prefix, plain names and no timestamp.

use std::borrow::Cow;

use base::exposition::{Format, ParseError, parse_families};
use base::family::MetricFamily;
use base::labels::{is_legacy_label_name, is_legacy_metric_name};

/// What could be used of the metrics, and what was not and why.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Accepted {
    /// The families.
    pub(super) families: Vec<MetricFamily>,
    /// How many samples they have.
    pub(super) samples: usize,
    /// What was left out, a line each.
    pub(super) left_out: Vec<String>,
}

/// How many families are named one by one that were left out.
const MOST_NAMED: usize = 10;

/// Reads `text`, keeping what begins with `prefix`.
///
/// # Errors
///
/// The first line that is not in the text format.
pub(super) fn read(text: &[u8], prefix: &str) -> Result<Accepted, ParseError> {
    let (mut accepted, mut foreign, mut stamped) = (Accepted::default(), Vec::new(), 0);
    for mut family in parse_families(text, Format::Text, usize::MAX)? {
        if !family.name.starts_with(prefix) || !is_legacy_metric_name(&family.name) {
            foreign.push(family.name);
            continue;
        }
        family.samples.retain_mut(|sample| {
            stamped += usize::from(sample.timestamp.take().is_some());
            sample.labels.iter_mut().for_each(|(name, _)| rename(name));
            sample.labels.iter().all(|(name, _)| is_legacy_label_name(name))
        });
        accepted.samples += family.samples.len();
        if !family.samples.is_empty() {
            accepted.families.push(family);
        }
    }
    let over = foreign.len().saturating_sub(MOST_NAMED);
    for name in foreign.iter().take(MOST_NAMED) {
        let name = crate::text::shown_line(name.as_bytes(), 200);
        accepted.left_out.push(format!("left out `{name}`: it does not begin with `{prefix}`"));
    }
    if over > 0 {
        accepted.left_out.push(format!("left out {over} further families for the same reason"));
    }
    if stamped > 0 {
        accepted.left_out.push(format!("left out the timestamps of {stamped} samples"));
    }
    Ok(accepted)
}

/// Renames a label that belongs to whoever scrapes us.
fn rename(name: &mut Cow<'static, str>) {
    if matches!(name.as_ref(), "job" | "instance") || name.starts_with("__") {
        *name = format!("exported_{name}").into();
    }
}

#[cfg(test)]
mod tests {
    use base::exposition::{Encoding, Escaping, encode};

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str, left_out: &[&str]) {
        let accepted = read(text.as_bytes(), "shop_").unwrap();
        let mut out = String::new();
        let encoding = Encoding { format: Format::Text, names: Escaping::Underscores };
        encode(&accepted.families, encoding, &mut out);
        out = out.lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>().join("\n");
        assert_eq!(
            (out.as_str(), accepted.left_out),
            (expected, left_out.iter().map(|s| (*s).to_owned()).collect())
        );
    }

    #[test]
    fn only_names_with_the_declared_prefix_are_accepted_x11() {
        check(
            "shop_orders 3\nup 1\n# EOF\nshop_age{queue=\"a\"} 0.5\n",
            "shop_orders 3\nshop_age{queue=\"a\"} 0.5",
            &["left out `up`: it does not begin with `shop_`"],
        );
        check("{\"shop_ü\"} 1\n", "", &["left out `shop_ü`: it does not begin with `shop_`"]);
    }

    #[test]
    fn labels_of_targets_are_renamed_x12() {
        check(
            "shop_a{job=\"x\",instance=\"y\",__address__=\"z\",b=\"c\"} 1\n",
            "shop_a{exported_job=\"x\",exported_instance=\"y\",exported___address__=\"z\",b=\"c\"} 1",
            &[],
        );
    }

    #[test]
    fn timestamps_are_left_out_and_told() {
        check("shop_a 1 1700000000000\n", "shop_a 1", &["left out the timestamps of 1 samples"]);
    }

    #[test]
    fn histograms_stay_together() {
        let text = "# TYPE shop_wait histogram\nshop_wait_bucket{le=\"+Inf\"} 2\nshop_wait_sum 3\n\
                    shop_wait_count 2\n";
        let accepted = read(text.as_bytes(), "shop_").unwrap();
        assert_eq!((accepted.families.len(), accepted.samples), (1, 3));
    }

    #[test]
    fn a_broken_line_is_named() {
        let error = read(b"shop_a 1\nshop_b one\n", "shop_").unwrap_err();
        assert_eq!(error.line, 2);
    }
}
