//! The OpenAPI document of Alertmanager's API, and what in an answer is not as it says.
//!
//! What an object has beyond the properties of its schema is a fault, too.
//!
//! Invariant: where the document says something of an answer, a fault is found; the test below breaks
//! each kind.

use std::collections::BTreeSet;

use base::diagnostic::Diagnostics;
use serde_json::{Value, json};
use tests::peers;

/// The document.
pub(crate) struct Document(Value);

impl Document {
    /// The one among the data of the conformance suites; nothing where they are not there, which is
    /// told.
    pub(crate) fn read() -> Option<Self> {
        let file = peers::conformance("http-api/alertmanager-openapi.yaml")?;
        let text = std::fs::read_to_string(file).unwrap();
        Some(Self::of(&text))
    }

    fn of(text: &str) -> Self {
        let mut diagnostics = Diagnostics::new("the document");
        let document: Option<Value> = base::yaml::read(text, &mut diagnostics);
        assert!(diagnostics.is_empty(), "{diagnostics}");
        Self(document.unwrap())
    }

    /// Every method, path and status of which it says something: `GET /silences 200`.
    pub(crate) fn answers(&self) -> BTreeSet<String> {
        let mut answers = BTreeSet::new();
        for (path, methods) in self.0["paths"].as_object().unwrap() {
            let methods = methods.as_object().unwrap();
            for (method, operation) in methods.iter().filter(|(name, _)| *name != "parameters") {
                for status in operation["responses"].as_object().unwrap().keys() {
                    answers.insert(format!("{} {path} {status}", method.to_uppercase()));
                }
            }
        }
        answers
    }

    /// The path of the document that `path`, without its query, is one of.
    fn template(&self, path: &str) -> Option<&String> {
        let is = |template: &&String| {
            let (template, path) = (template.split('/'), path.split('/'));
            template.clone().count() == path.clone().count()
                && template.zip(path).all(|(a, b)| a == b || a.starts_with('{'))
        };
        self.0["paths"].as_object().unwrap().keys().find(is)
    }

    /// What of an answer the document says: its name as in [`Document::answers`], and what is wrong.
    #[track_caller]
    pub(crate) fn check(
        &self,
        method: &str,
        path: &str,
        status: u16,
        body: &str,
    ) -> (String, Vec<String>) {
        let path = path.trim_start_matches("/api/v2").split('?').next().unwrap();
        let template = self.template(path).unwrap_or_else(|| panic!("no path is {path}"));
        let operation = &self.0["paths"][template][method.to_lowercase()];
        let response = self.resolve(&operation["responses"][status.to_string()]);
        let name = format!("{method} {template} {status}");
        let mut faults = Vec::new();
        match (response.is_null(), &response["schema"]) {
            (true, _) => faults.push(format!("status {status} is not among its answers")),
            (_, Value::Null) => {}
            (_, schema) => match serde_json::from_str(body) {
                Ok(value) => self.judge(schema, &value, "", &mut faults),
                Err(error) => faults.push(format!("no JSON: {error}: {body:?}")),
            },
        }
        (name, faults)
    }

    /// `schema`, or what it refers to.
    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(name) => {
                let found = self.0.pointer(name.trim_start_matches('#'));
                self.resolve(found.unwrap_or_else(|| panic!("{name} is not there")))
            }
            None => schema,
        }
    }

    /// The schemas that hold together for a value.
    fn parts<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        let schema = self.resolve(schema);
        match schema["allOf"].as_array() {
            Some(all) => all.iter().flat_map(|part| self.parts(part)).collect(),
            None => vec![schema],
        }
    }

    fn judge(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let parts = self.parts(schema);
        for part in &parts {
            self.judge_part(part, value, at, faults);
        }
        let open = parts.iter().any(|part| !part["additionalProperties"].is_null());
        for (name, value) in value.as_object().into_iter().flatten() {
            let known = parts.iter().find_map(|part| part["properties"].get(name));
            match known {
                Some(schema) => self.judge(schema, value, &format!("{at}.{name}"), faults),
                None if open => {
                    for part in &parts {
                        let schema = &part["additionalProperties"];
                        self.judge(schema, value, &format!("{at}.{name}"), faults);
                    }
                }
                None => faults.push(format!("{at}.{name} is unknown")),
            }
        }
    }

    fn judge_part(&self, part: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let right = match part["type"].as_str() {
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some(other) => panic!("the type {other} is not known here"),
            None => true,
        };
        if !right {
            return faults.push(format!("{at} is no {}: {value}", part["type"]));
        }
        for name in part["required"].as_array().into_iter().flatten() {
            if value.get(name.as_str().unwrap()).is_none() {
                faults.push(format!("{at}.{} is missing", name.as_str().unwrap()));
            }
        }
        let text = value.as_str().unwrap_or("");
        let fits = match part["format"].as_str() {
            Some("date-time") => text.contains('T') && text.parse::<jiff::Timestamp>().is_ok(),
            Some("uri") => text.contains(':') && !text.contains(' '),
            Some(other) => panic!("the format {other} is not known here"),
            None => true,
        };
        if !fits {
            faults.push(format!("{at} is no {}: {text:?}", part["format"]));
        }
        if let Some(known) = part["enum"].as_array().filter(|known| !known.contains(value)) {
            faults.push(format!("{at} is {text:?}, none of {known:?}"));
        }
        let items = value.as_array();
        let least = part["minItems"].as_u64().unwrap_or(0);
        if items.is_some_and(|items| (items.len() as u64) < least) {
            faults.push(format!("{at} has fewer than {least} items"));
        }
        for (place, item) in items.into_iter().flatten().enumerate() {
            self.judge(&part["items"], item, &format!("{at}[{place}]"), faults);
        }
    }
}

#[test]
fn what_is_not_as_the_document_says_is_found() {
    let document = Document::of(
        "paths:\n  /x/{id}:\n    get:\n      responses:\n        '200': {schema: \
         {$ref: '#/definitions/list'}}\n        '400': {$ref: '#/responses/bad'}\n        \
         '404': {description: none}\nresponses:\n  bad: {schema: {type: string}}\ndefinitions:\n  \
         list: {type: array, minItems: 1, items: {$ref: '#/definitions/one'}}\n  one:\n    allOf:\n    \
         - {type: object, required: [at], properties: {at: {type: string, format: date-time}, \
         on: {type: boolean}, to: {type: string, format: uri}}}\n    \
         - {type: object, properties: {is: {type: string, enum: [a, b]}, \
         free: {type: object, additionalProperties: {type: string}}}}\n",
    );
    let at = "2020-01-01T00:00:00.000Z";
    let one = |field: &str, value: Value| {
        let mut one = json!({"at": at});
        one[field] = value;
        json!([one]).to_string()
    };
    for (status, body, expected) in [
        (200, one("on", json!(true)), ""),
        (200, one("is", json!("a")), ""),
        (200, one("to", json!("http://x/")), ""),
        (200, one("free", json!({"x": "y"})), ""),
        (400, "\"why\"".to_owned(), ""),
        (404, "whatever".to_owned(), ""),
        (200, "[]".to_owned(), "fewer than 1"),
        (200, "{}".to_owned(), "no \"array\""),
        (200, "[7]".to_owned(), "no \"object\""),
        (200, "[{}]".to_owned(), "at is missing"),
        (200, one("at", json!("yesterday")), "no \"date-time\""),
        (200, one("at", json!(7)), "no \"string\""),
        (200, one("on", json!("yes")), "no \"boolean\""),
        (200, one("is", json!("c")), "none of"),
        (200, one("to", json!("x y")), "no \"uri\""),
        (200, one("free", json!({"x": 7})), ".free.x is no"),
        (200, one("else", json!(7)), "else is unknown"),
        (400, "{}".to_owned(), "no \"string\""),
        (400, "why".to_owned(), "no JSON"),
        (500, "\"why\"".to_owned(), "not among its answers"),
    ] {
        let (name, faults) = document.check("GET", "/api/v2/x/7?q=r", status, &body);
        assert_eq!(name, format!("GET /x/{{id}} {status}"));
        match expected {
            "" => assert!(faults.is_empty(), "{body}: {faults:?}"),
            _ => assert!(faults.iter().any(|fault| fault.contains(expected)), "{body}: {faults:?}"),
        }
    }
    assert_eq!(document.answers().len(), 3);
}
