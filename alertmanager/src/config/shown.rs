//! The configuration as others are shown it, such as `amtool config show`: the sections of
//! Alertmanager, with `<secret>` in the place of each secret.
//!
//! Invariant: what is a secret by its type where it is read is one here by its name; a test compares
//! the two.

use std::fmt::Write;

use base::diagnostic::Diagnostics;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The sections that Alertmanager has.
const SECTIONS: &[&str] = &[
    "global",
    "route",
    "receivers",
    "inhibit_rules",
    "time_intervals",
    "mute_time_intervals",
    "templates",
];
/// What is ours or Prometheus's in a section that Alertmanager has, too.
const NOT_THEIRS: &[&str] = &[
    "scrape_interval",
    "scrape_timeout",
    "evaluation_interval",
    "rule_query_offset",
    "on_missing",
    "external_labels",
    "console_configs",
    "fallback",
    "timeout_after",
    "allowed_recipients",
    "allowed_addresses",
];
/// What stands for a secret, as in Alertmanager.
const SECRET: &str = "<secret>";

/// A piece of a configuration, in the order in which it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Nothing,
    /// A number, a truth: written as it is.
    Plain(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Node;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a configuration")
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Nothing)
            }

            fn visit_bool<E>(self, truth: bool) -> Result<Node, E> {
                Ok(Node::Plain(truth.to_string()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
                Ok(Node::Plain(number.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
                Ok(Node::Plain(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
                Ok(Node::Plain(number.to_string()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                while let Some(entry) = entries.next_element()? {
                    list.push(entry);
                }
                Ok(Node::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
                let mut map = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    map.push(entry);
                }
                Ok(Node::Map(map))
            }
        }
        from.deserialize_any(Reading)
    }
}

/// What others are shown of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShownConfig {
    /// The sections that Alertmanager has, as it would read them.
    pub alertmanager: String,
    /// All of it, but for who may ask us.
    pub whole: String,
}

impl ShownConfig {
    /// What is shown of a text that was read as a configuration before.
    pub(super) fn of(text: &str) -> Self {
        // Whatever is wrong with it was told when it was read.
        let node: Option<Node> = base::yaml::read(text, &mut Diagnostics::new(""));
        let Some(Node::Map(sections)) = node else { return Self::default() };
        let written = |wanted: &dyn Fn(&str) -> bool, left_out: &[&str]| {
            let wanted = sections.iter().filter(|(name, _)| wanted(name));
            let mut root = Node::Map(wanted.cloned().collect());
            hide(&mut root, "", left_out);
            let mut out = String::new();
            write_node(&mut out, &root, 0);
            out
        };
        Self {
            alertmanager: written(&|name| SECTIONS.contains(&name), NOT_THEIRS),
            whole: written(&|name| name != "web", &[]),
        }
    }
}

/// Whether what stands under `name`, in a list or map called `around`, is a secret.
fn is_secret(around: &str, name: &str) -> bool {
    if name.ends_with("_file") || name.ends_with("_files") || is_address(around, name) {
        return false;
    }
    // Where others are asked or written to, it is no secret whom.
    if name == "url" && (around.ends_with("_sd_configs") || around.starts_with("remote_")) {
        return false;
    }
    // A header is often what shows who we are.
    if matches!(name, "headers" | "http_headers") && !around.starts_with("email") {
        return true;
    }
    let parts = ["password", "secret", "token", "credentials"];
    parts.iter().any(|part| name.contains(part))
        || name == "key"
        || name.ends_with("_key")
        || name.ends_with("_key_data")
        || name.ends_with("webhook_url")
        || matches!(name, "slack_api_url" | "url")
        || name == "api_url" && around == "slack_configs"
}

/// Whether it is the address of a service, which Alertmanager shows and wants to read again; who we
/// are may stand in it.
fn is_address(around: &str, name: &str) -> bool {
    match name {
        "url" => {
            around == "incidentio_configs"
                || around.ends_with("_sd_configs")
                || around.starts_with("remote_")
        }
        "slack_api_url" => false,
        "api_url" => around != "slack_configs",
        name => name.ends_with("_url") && !name.ends_with("webhook_url"),
    }
}

fn hide(node: &mut Node, around: &str, left_out: &[&str]) {
    match node {
        Node::List(list) => list.iter_mut().for_each(|entry| hide(entry, around, left_out)),
        Node::Map(map) => {
            map.retain(|(name, _)| !left_out.contains(&name.as_str()));
            for (name, value) in map {
                if is_secret(around, name) {
                    hide_all(value);
                } else {
                    if is_address(around, name) {
                        hide_query(value);
                    }
                    // Settings of a service stand in a list of entries without names.
                    let names = name.ends_with("_configs") || name.starts_with("remote_");
                    let inside = if names { name.as_str() } else { around };
                    hide(value, inside, left_out);
                }
            }
        }
        Node::Text(text) => hide_login(text),
        Node::Nothing | Node::Plain(_) => {}
    }
}

fn hide_all(node: &mut Node) {
    match node {
        Node::List(list) => list.iter_mut().for_each(hide_all),
        Node::Map(map) => map.iter_mut().for_each(|(_, value)| hide_all(value)),
        Node::Nothing => {}
        Node::Plain(_) | Node::Text(_) => *node = Node::Text(SECRET.to_owned()),
    }
}

/// Hides what stands behind an address: keys, with some services.
fn hide_query(node: &mut Node) {
    if let Node::Text(text) = node
        && let Some((address, _)) = text.split_once('?')
    {
        *text = format!("{address}?{SECRET}");
    }
}

/// Hides a user name and a password in an address.
fn hide_login(text: &mut String) {
    let Some((scheme, rest)) = text.split_once("://") else { return };
    let host_ends = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if let Some(at) = rest[..host_ends].rfind('@') {
        *text = format!("{scheme}://{SECRET}{}", &rest[at..]);
    }
}

fn write_node(out: &mut String, node: &Node, depth: usize) {
    let indent = "  ".repeat(depth);
    match node {
        Node::Map(map) => {
            for (name, value) in map {
                out.push_str(&indent);
                out.push_str(&scalar(name));
                write_value(out, value, depth);
            }
        }
        Node::List(list) => {
            for entry in list {
                let mut text = String::new();
                match entry {
                    Node::Map(map) if !map.is_empty() => write_node(&mut text, entry, depth + 1),
                    Node::List(inner) if !inner.is_empty() => {
                        write_node(&mut text, entry, depth + 1);
                    }
                    plain => {
                        let _ = writeln!(out, "{indent}- {}", flat(plain));
                        continue;
                    }
                }
                // The first line stands behind the dash.
                let first = text.trim_start();
                let _ = write!(out, "{indent}- {first}");
            }
        }
        plain => {
            let _ = writeln!(out, "{indent}{}", flat(plain));
        }
    }
}

fn write_value(out: &mut String, value: &Node, depth: usize) {
    match value {
        Node::Map(map) if !map.is_empty() => {
            out.push_str(":\n");
            write_node(out, value, depth + 1);
        }
        Node::List(list) if !list.is_empty() => {
            out.push_str(":\n");
            write_node(out, value, depth);
        }
        plain => {
            let _ = writeln!(out, ": {}", flat(plain));
        }
    }
}

fn flat(node: &Node) -> String {
    match node {
        Node::Nothing => "null".to_owned(),
        Node::Plain(text) => text.clone(),
        Node::Text(text) => scalar(text),
        Node::List(_) => "[]".to_owned(),
        Node::Map(_) => "{}".to_owned(),
    }
}

/// A text as YAML: in quotes where it could be read as something else.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '<')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./<>".contains(c));
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if plain && !words.contains(&text.to_lowercase().as_str()) {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn shows_what_alertmanager_knows_and_hides_secrets() {
        let text = "
global: {scrape_interval: 5s, resolve_timeout: 5m, slack_api_url: 'https://s/x', smtp_smarthost: 'h:25'}
scrape_configs: []
route: {receiver: ops, group_by: [a, '...'], routes: [{matchers: ['a=\"b\"'], continue: true}]}
receivers:
- name: ops
  webhook_configs: [{url: 'https://h/s3cret', max_alerts: 3, http_config: {proxy_url: 'http://u:p@q/', basic_auth: {username: u, password: s3cret}}}]
  slack_configs: [{api_url: 'https://s3cret', channel: '#x'}]
  console_configs: [{}]
- name: 'null'
inhibit_rules: []
templates: [~]
";
        let expected = "\
global:
  resolve_timeout: \"5m\"
  slack_api_url: <secret>
  smtp_smarthost: \"h:25\"
route:
  receiver: ops
  group_by:
  - a
  - \"...\"
  routes:
  - matchers:
    - \"a=\\\"b\\\"\"
    continue: true
receivers:
- name: ops
  webhook_configs:
  - url: <secret>
    max_alerts: 3
    http_config:
      proxy_url: \"http://<secret>@q/\"
      basic_auth:
        username: u
        password: <secret>
  slack_configs:
  - api_url: <secret>
    channel: \"#x\"
- name: \"null\"
inhibit_rules: []
templates:
- null
";
        let ShownConfig { alertmanager: shown, whole } = ShownConfig::of(text);
        assert_eq!(shown, expected);
        assert!(!whole.contains("s3cret") && !whole.contains("u:p"), "{whole}");
        let again: Option<Node> = base::yaml::read(&shown, &mut Diagnostics::new(""));
        assert!(again.is_some());
    }

    #[test]
    fn the_whole_has_every_section_but_who_may_ask() {
        let text = "
global: {scrape_interval: 5s}
web: {basic_auth_users: {a: s3cret}}
scrape_configs:
- job_name: a
  authorization: {credentials: s3cret}
  http_headers: {x-key: {values: [s3cret]}}
  http_sd_configs: [{url: 'http://u:s3cret@h/?key=s3cret', oauth2: {client_secret: s3cret}}]
remote_write: [{url: 'http://h/w', headers: {x: s3cret}}]
";
        let expected = "\
global:
  scrape_interval: \"5s\"
scrape_configs:
- job_name: a
  authorization:
    credentials: <secret>
  http_headers:
    x-key:
      values:
      - <secret>
  http_sd_configs:
  - url: \"http://<secret>@h/?<secret>\"
    oauth2:
      client_secret: <secret>
remote_write:
- url: \"http://h/w\"
  headers:
    x: <secret>
";
        assert_eq!(ShownConfig::of(text).whole, expected);
    }

    /// Every setting that is read as a secret, by the source.
    #[test]
    fn whatever_is_read_as_a_secret_is_hidden() {
        let mut secrets = Vec::new();
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut folders = vec![src.clone()];
        let of_base = |name: &str| src.join("../../base/src/http").join(name);
        let mut files = vec![of_base("access.rs"), of_base("tls.rs")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            // The rooms of a door, `slack.rs` and what is in `slack/`, are about one service.
            let service = file.strip_prefix(src.join("notify")).unwrap_or(&file);
            let service = service.components().next().unwrap().as_os_str().to_string_lossy();
            let around = format!("{}_configs", service.trim_end_matches(".rs"));
            for line in text.lines().map(str::trim) {
                let line = line.trim_start_matches("pub ").trim_start_matches("pub(super) ");
                let Some((name, of)) = line.split_once(": ") else { continue };
                let types = ["Option<Secret>,", "Option<Spanned<Secret>>,", "Spanned<Secret>,"];
                let plain =
                    name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit());
                if plain && types.contains(&of) {
                    secrets.push((around.clone(), name.to_owned()));
                }
            }
        }
        assert!(secrets.len() > 3, "{secrets:?}");
        let is_open = |(around, name): &&(String, String)| {
            // The parameter of a function.
            !is_secret(around, name) && !is_address(around, name) && name != "value"
        };
        let open: Vec<_> = secrets.iter().filter(is_open).collect();
        assert!(open.is_empty(), "shown although they are secrets: {open:?}");
    }
}
