//! `/discovery`: what there is to scrape here, for Prometheus (`http_sd_configs`).
//!
//! A target of the configuration is listed as a scrape of our `/probe`, ready as it is: its module
//! and target are parameters, its `instance` is the target; so is a script that needs to be told
//! nothing. Checks are listed as what they look at
//! on this agent's `/metrics`, under the labels that begin with `__meta_`.
//!
//! Invariant: every entry has our own address, as whoever asks has called us, as its one target.

use std::collections::BTreeMap;

use base::http::{Full, HeaderMap, Response, StatusCode, answer_compressed, header};
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::Shown;

/// Answers with the list.
pub(super) fn respond(shown: &Shown, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let list = Value::Array(list(shown, &address(host)));
    answer_compressed(headers, StatusCode::OK, "application/json", list.to_string().into())
}

/// Our address as Prometheus wants it: with a port.
fn address(host: &str) -> String {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { host.to_owned() } else { format!("{host}:80") }
}

fn list(shown: &Shown, us: &str) -> Vec<Value> {
    let entry = |labels: BTreeMap<String, String>| json!({"targets": [us], "labels": labels});
    let blackbox = shown.blackbox.load();
    let targets = blackbox.targets.iter().map(|listed| {
        let mut labels = listed.labels.clone();
        let own = [
            ("__metrics_path__", "/probe"),
            ("__param_target", &listed.target),
            ("__param_module", &listed.module),
            ("instance", &listed.target),
            ("__meta_veilleur_kind", "probe"),
        ];
        labels.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        entry(labels)
    });
    let slots = shown.results.slots();
    let checks = slots.iter().map(|slot| {
        let check = slot.check();
        let mut labels: BTreeMap<String, String> = BTreeMap::new();
        labels.insert("__meta_veilleur_kind".to_owned(), "check".to_owned());
        labels.insert("__meta_veilleur_check".to_owned(), check.name.to_string());
        for (name, value) in &check.labels {
            labels.insert(format!("__meta_veilleur_label_{name}"), value.to_string());
        }
        entry(labels)
    });
    let on_request = shown.on_request.load();
    let scripts = on_request.scripts.iter().filter(|(_, script)| script.needs_nothing());
    let scripts = scripts.map(|(name, _)| {
        let own = [
            ("__metrics_path__", "/probe"),
            ("__param_script", name),
            ("script", name),
            ("__meta_veilleur_kind", "script"),
        ];
        entry(own.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    });
    targets.chain(scripts).chain(checks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_address_has_a_port() {
        let check = |host: &str, expected: &str| assert_eq!(address(host), expected);
        check("a.example:12911", "a.example:12911");
        check("a.example", "a.example:80");
        check("[::1]:12911", "[::1]:12911");
        check("[::1]", "[::1]:80");
    }
}
