//! Families that others made, among ours.
//!
//! Invariant: no family of others has a name that one of ours has or could have in a format.

use std::collections::HashSet;

use base::family::MetricFamily;

/// What may follow a name in one of the formats.
const SUFFIXES: [&str; 6] = ["_total", "_created", "_bucket", "_sum", "_count", "_info"];

/// Adds `foreign` to `families` and tells by `node_textfile_scrape_error` where one has to be left
/// out.
pub(super) fn add(families: &mut Vec<MetricFamily>, foreign: Vec<MetricFamily>) {
    let ours: HashSet<&str> = families.iter().map(|family| plain(&family.name)).collect();
    let (bad, good): (Vec<_>, Vec<_>) =
        foreign.into_iter().partition(|family| ours.contains(plain(&family.name)));
    let error = families.iter_mut().find(|family| family.name == "node_textfile_scrape_error");
    if let (Some(error), false) = (error, bad.is_empty()) {
        error.samples.iter_mut().for_each(|sample| sample.value = 1.0);
    }
    families.extend(good);
}

fn plain(name: &str) -> &str {
    SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_made_cannot_pass_for_ours() {
        let family = |name: &str| MetricFamily::gauge(name, "").with(&[], 0.0);
        let mut families = vec![family("node_load1"), family("node_forks_total")];
        families.push(family("node_textfile_scrape_error"));
        let foreign = ["node_load1", "node_load1_sum", "node_forks", "apt_upgrades", "node_mine"];
        add(&mut families, foreign.map(family).into());
        let names: Vec<_> = families.iter().map(|family| family.name.as_str()).collect();
        assert_eq!(names[3..], ["apt_upgrades", "node_mine"]);
        assert_eq!(families[2].samples[0].value, 1.0);
    }
}
