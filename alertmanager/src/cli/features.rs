//! `--enable-feature`: what Prometheus does only where it is asked to, by the names that it has there.
//!
//! Invariant: a name that nobody knows, or that asks for what we do not do, is refused.

use promql::Features;

/// What Prometheus has to be asked for, and we do in any case.
const ALWAYS: [&str; 8] = [
    "exemplar-storage",
    "native-histograms",
    "ooo-native-histograms",
    "promql-at-modifier",
    "promql-binop-fill-modifiers",
    "promql-duration-expr",
    "promql-experimental-functions",
    "promql-extended-range-selectors",
];

/// What a list of names asks for.
pub(super) fn named(list: &str) -> Result<Features, String> {
    let mut features = Features::default();
    for name in list.split(',').map(str::trim) {
        match name {
            "promql-delayed-name-removal" => features.late_names = true,
            "use-start-timestamps" => features.start_times = true,
            name if ALWAYS.contains(&name) => {}
            name => {
                return Err(format!(
                    "there is no feature `{name}` here; there are promql-delayed-name-removal and \
                     use-start-timestamps, and always on are {}",
                    ALWAYS.join(", ")
                ));
            }
        }
    }
    Ok(features)
}

/// What several lists ask for.
pub(super) fn all(lists: &[Features]) -> Features {
    Features {
        late_names: lists.iter().any(|list| list.late_names),
        start_times: lists.iter().any(|list| list.start_times),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_prometheus() {
        let check = |list: &str, late_names: bool, start_times: bool| {
            assert_eq!(named(list), Ok(Features { late_names, start_times }), "{list}");
        };
        check("promql-delayed-name-removal", true, false);
        check("use-start-timestamps, promql-delayed-name-removal", true, true);
        check("native-histograms,promql-experimental-functions", false, false);
        assert!(named("promql-delayed-names").unwrap_err().contains("`promql-delayed-names`"));
        assert!(named("").is_err());
        let lists =
            ["use-start-timestamps", "promql-delayed-name-removal"].map(|l| named(l).unwrap());
        assert_eq!(all(&lists), Features { late_names: true, start_times: true });
        assert_eq!(all(&[]), Features::default());
    }
}
