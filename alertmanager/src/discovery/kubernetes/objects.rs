//! All objects that are known, and what labels say of any of them.
//!
//! Invariant: nothing here panics at an object that is not as it should be; what it lacks is empty.

use base::labels::LabelsBuilder;
use serde_json::Value;

use super::super::web::label_name;
use super::collection::Collection;

/// All objects that are known.
pub(super) struct Objects<'a>(&'a [Collection]);

impl<'a> Objects<'a> {
    pub(super) fn new(collections: &'a [Collection]) -> Self {
        Self(collections)
    }

    /// All of a kind.
    pub(super) fn all(&self, kind: &str) -> impl Iterator<Item = &'a Value> {
        let collections = self.0.iter().filter(move |collection| collection.kind == kind);
        collections.flat_map(|collection| collection.objects.values())
    }

    /// The one of a kind with a name.
    pub(super) fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<&'a Value> {
        let key = (namespace.to_owned(), name.to_owned());
        let mut collections = self.0.iter().filter(|collection| collection.kind == kind);
        collections.find_map(|collection| collection.objects.get(&key))
    }
}

/// The text at a path of names with `/` between; numbers and truths as text, empty where there is none.
pub(super) fn text(value: &Value, path: &str) -> String {
    match path.split('/').fold(value, |value, name| &value[name]) {
        Value::String(text) => text.clone(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
        other => other.to_string(),
    }
}

/// The entries of the list at a path.
pub(super) fn list<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    let found = path.split('/').fold(value, |value, name| &value[name]);
    found.as_array().into_iter().flatten()
}

/// Sets `__meta_kubernetes_NAME`.
pub(super) fn meta(labels: &mut LabelsBuilder, name: &str, value: &str) {
    labels.set(&format!("__meta_kubernetes_{name}"), value);
}

/// Sets the name, the labels and the annotations of an object.
pub(super) fn describe(labels: &mut LabelsBuilder, role: &str, object: &Value) {
    meta(labels, &format!("{role}_name"), &text(object, "metadata/name"));
    marks(labels, role, object);
}

/// Sets the labels and the annotations of an object.
pub(super) fn marks(labels: &mut LabelsBuilder, role: &str, object: &Value) {
    for (field, word) in [("labels", "label"), ("annotations", "annotation")] {
        for (name, value) in object["metadata"][field].as_object().into_iter().flatten() {
            let name = label_name(name);
            meta(labels, &format!("{role}_{word}_{name}"), value.as_str().unwrap_or(""));
            meta(labels, &format!("{role}_{word}present_{name}"), "true");
        }
    }
}
