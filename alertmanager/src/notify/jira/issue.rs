//! An issue as Jira tells of it.
//!
//! Invariant: what names it in a path cannot lead elsewhere.

use base::http::percent_encoded;
use serde_json::Value;

/// An issue that was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Issue {
    /// `OPS-17`.
    pub(super) key: String,
    /// Whether its status is one of those that mean that it is over.
    pub(super) done: bool,
}

impl Issue {
    pub(super) fn read(value: &Value) -> Option<Self> {
        let key = value["key"].as_str().filter(|key| !key.is_empty())?.to_owned();
        let category = &value["fields"]["status"]["statusCategory"]["key"];
        Some(Self { key, done: category == "done" })
    }

    /// Its key as it stands in a path.
    pub(super) fn path(&self) -> String {
        percent_encoded(&self.key)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_what_it_needs() {
        let status = |key: &str| json!({"status": {"statusCategory": {"key": key}}});
        let check = |value: Value, expected: Option<(&str, bool)>| {
            let got = Issue::read(&value);
            assert_eq!(got.as_ref().map(|i| (i.key.as_str(), i.done)), expected, "{value}");
        };
        check(json!({"key": "OPS-1", "fields": status("done")}), Some(("OPS-1", true)));
        check(json!({"key": "OPS-1", "fields": status("new")}), Some(("OPS-1", false)));
        check(json!({"key": ""}), None);
        check(json!("x"), None);
        assert_eq!(Issue { key: "../x".into(), done: false }.path(), "..%2Fx");
    }
}
