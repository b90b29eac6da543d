//! A request and its expectations, from what is written.
//!
//! Invariant: outside of a journey nothing is a variable, so that a text is sent as it is written.

use std::collections::BTreeMap;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::client::Origin;
use base::http::header::{self, HeaderName, HeaderValue};
use base::secret::Secret;

use super::super::expect::{Expectations, Statuses, version_of};
use super::super::json::{JsonRule, Path};
use super::super::step::{Content, Step};
use super::super::variables::{Escape, Extract, Source, Template, is_name};
use super::{ExtractConfig, JsonConfig, StepConfig, header_name, method, read_body, url};
use crate::http::coding::CODINGS;
use crate::network::regex;
use crate::script::ByteSize;
use crate::thresholds::{Limits, ThresholdsConfig};

/// How many redirects are followed where nothing is said, as with blackbox_exporter.
const MAX_REDIRECTS: u32 = 10;
/// How much of a body is read where nothing is said.
const BODY_LIMIT: ByteSize = ByteSize(1 << 20);

/// Reads texts, which have variables only in a journey.
struct Texts<'t> {
    is_journey: bool,
    known: Vec<&'t str>,
}

impl Texts<'_> {
    fn read(&self, text: &str, place: Place, diagnostics: &mut Diagnostics) -> Template {
        match self.is_journey {
            true => Template::build(text, place, &self.known, diagnostics),
            false => Template::plain(text),
        }
    }
}

impl StepConfig {
    /// The step, and the place of its name. `number` is its name where it has none; `names` are the
    /// variables that earlier steps extract.
    pub(super) fn build(
        self,
        place: Place,
        number: u32,
        is_journey: bool,
        names: &[String],
        measured: &[&str],
        diagnostics: &mut Diagnostics,
    ) -> Option<(Step, Place)> {
        let texts = Texts { is_journey, known: names.iter().map(String::as_str).collect() };
        let name = self.name.as_ref().map_or_else(|| number.to_string(), |n| n.value.clone());
        if name.is_empty() || name.len() > 100 || name.contains(char::is_control) {
            diagnostics.report(place, "the name of a step has 1 to 100 characters, in one line");
        }
        let at = self.name.as_ref().map_or(place, |name| name.place);
        let url = match &self.url {
            Some(url) => self.url(url, &texts, diagnostics),
            None => {
                let message = if is_journey { "a step needs a `url`" } else { "`url` is missing" };
                diagnostics.report(place, message);
                None
            }
        };
        let method = method(self.method.as_ref(), diagnostics);
        let headers = self.headers(&texts, diagnostics);
        let body = self.body.as_ref();
        let body = body.map(|body| texts.read(body.value.expose(), body.place, diagnostics));
        if let (Some(_), Some(file)) = (&body, &self.body_file) {
            diagnostics.report(file, "only one of `body` and `body_file` can be given");
        }
        let file = self.body_file.as_ref().map(|file| read_body(file, diagnostics));
        let limits = Limits::build(&self.thresholds, measured, diagnostics);
        if let (Some(true), Some(true)) = (self.fail_if_ssl, self.fail_if_not_ssl) {
            let help = "remove `fail_if_ssl` or `fail_if_not_ssl`";
            let at = self.url.as_ref().map_or(place, |url| url.place);
            diagnostics.report_with_help(at, "no connection can pass both ways", help);
        }
        let rules = self.json.iter().flatten();
        let json = rules.filter_map(|rule| rule.value.build(&texts, diagnostics)).collect();
        let extract = extracts(&self.extract, diagnostics);
        let step = Step {
            name,
            url: url?,
            method: method?,
            escape: escape(&headers),
            headers,
            body: match file {
                Some(bytes) => Content::Bytes(bytes),
                None => Content::Text(body.unwrap_or_default()),
            },
            redirects: match (self.follow_redirects, self.max_redirects) {
                (Some(false), _) => None,
                (_, most) => Some(most.unwrap_or(MAX_REDIRECTS)),
            },
            body_limit: self.body_limit.as_ref().map_or(BODY_LIMIT, |limit| limit.value).0,
            expect: self.expectations(&texts, diagnostics),
            json,
            extract,
            limits,
        };
        Some((step, at))
    }

    fn url(
        &self,
        written: &Spanned<String>,
        texts: &Texts<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Template> {
        let template = texts.read(&written.value, written.place, diagnostics);
        // What has variables is known to be a URL only when they are.
        if !template.varies() {
            url(written, diagnostics)?;
        }
        Some(template)
    }

    fn headers(
        &self,
        texts: &Texts<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Vec<(HeaderName, Template)> {
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            let template = texts.read(value.value.expose(), value.place, diagnostics);
            headers.extend(header(name, template, value, diagnostics));
        }
        match self.compression.as_ref().map(|text| (text, text.value.as_str())) {
            None | Some((_, "none" | "identity")) => {}
            Some((_, coding)) if CODINGS.contains(&coding) => {
                headers.push((header::ACCEPT_ENCODING, Template::plain(coding)));
            }
            Some((at, other)) => {
                let known = CODINGS.join("`, `");
                diagnostics.report(at, format!("`{other}` is none of `{known}` and `none`"));
            }
        }
        headers
    }

    fn expectations(self, texts: &Texts<'_>, diagnostics: &mut Diagnostics) -> Expectations {
        let mut status = Statuses(Vec::new());
        let written = self.expect_status.unwrap_or_default();
        for text in &written.value.0 {
            if !status.add(text) {
                let message = format!("`{text}` is not an HTTP status");
                let help = "write it like `200`, `300-399` or `2xx`";
                diagnostics.report_with_help(&written, message, help);
            }
        }
        if written.value.0.is_empty() {
            status.0.push(200..=299);
        }
        let mut versions = Vec::new();
        let written = self.expect_versions.unwrap_or_default();
        for text in &written.value.0 {
            match version_of(text).filter(|version| *version < 3.0) {
                Some(version) => versions.push(version),
                None => {
                    let message = format!("`{text}` is not a version of HTTP that is spoken here");
                    let help = "write `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`";
                    diagnostics.report_with_help(&written, message, help);
                }
            }
        }
        let mut conditions = |headers: &Option<BTreeMap<String, Spanned<String>>>| {
            let mut conditions = Vec::new();
            for (name, pattern) in headers.iter().flatten() {
                let name = header_name(name, pattern, diagnostics);
                conditions.extend(name.zip(regex(&pattern.value, pattern.place, diagnostics)));
            }
            conditions
        };
        let headers = conditions(&self.expect_headers);
        let reject_headers = conditions(&self.reject_headers);
        let mut regexes = |patterns: Option<Spanned<crate::text::Texts>>| {
            let patterns = patterns.unwrap_or_default();
            let all = patterns.value.0.iter();
            all.filter_map(|pattern| regex(pattern, patterns.place, diagnostics)).collect()
        };
        let matches = regexes(self.body_matches);
        let not_matches = regexes(self.body_not_matches);
        let encrypted = match (self.fail_if_not_ssl, self.fail_if_ssl) {
            (Some(true), _) => Some(true),
            (_, Some(true)) => Some(false),
            _ => None,
        };
        let contains = self.body_contains.unwrap_or_default();
        let (all, place) = (contains.value.0.iter(), contains.place);
        let contains = all.map(|text| texts.read(text, place, diagnostics)).collect();
        Expectations {
            status,
            versions,
            headers,
            reject_headers,
            contains,
            matches,
            not_matches,
            encrypted,
        }
    }
}

/// A header, if it can be one.
fn header(
    name: &str,
    template: Template,
    at: &Spanned<Secret>,
    diagnostics: &mut Diagnostics,
) -> Option<(HeaderName, Template)> {
    let parsed = header_name(name, at, diagnostics)?;
    if HeaderValue::from_str(at.value.expose()).is_err() {
        let message = format!("the value of `{name}` has characters that a header cannot have");
        diagnostics.report(at, message);
    }
    Some((parsed, template))
}

impl Step {
    /// Adds a header that all steps have, unless this one has it already.
    pub(super) fn add_shared_header(
        &mut self,
        name: &str,
        value: &Spanned<Secret>,
        diagnostics: &mut Diagnostics,
    ) {
        let shared = header(name, Template::plain(value.value.expose()), value, diagnostics);
        let own = |name: &HeaderName| self.headers.iter().any(|(other, _)| other == name);
        self.headers.extend(shared.filter(|(name, _)| !own(name)));
        self.escape = escape(&self.headers);
    }

    /// Names our program, where the configuration names none.
    pub(super) fn add_user_agent(&mut self) {
        if self.headers.iter().all(|(name, _)| *name != header::USER_AGENT) {
            let agent = concat!("veilleur-agent/", env!("CARGO_PKG_VERSION"));
            self.headers.push((header::USER_AGENT, Template::plain(agent)));
        }
    }
}

/// How variables stand in a body of the type that the headers tell.
fn escape(headers: &[(HeaderName, Template)]) -> Escape {
    let content_type = headers.iter().find(|(name, _)| *name == header::CONTENT_TYPE);
    match content_type.map(|(_, value)| value.source().to_ascii_lowercase()) {
        Some(kind) if kind.contains("json") => Escape::Json,
        Some(kind) if kind.contains("x-www-form-urlencoded") => Escape::Url,
        _ => Escape::None,
    }
}

impl Template {
    /// The origin of a URL in which no variable decides it.
    pub(super) fn source_origin(&self) -> Option<Origin> {
        let end = self.source().find("${").unwrap_or(self.source().len());
        Origin::of(&self.source()[..end].parse().ok()?).ok()
    }
}

impl JsonConfig {
    fn build(&self, texts: &Texts<'_>, diagnostics: &mut Diagnostics) -> Option<JsonRule> {
        let path = path(&self.path, diagnostics);
        let equals = self.equals.as_ref();
        let equals = equals.map(|text| texts.read(&text.value, text.place, diagnostics));
        let matches = self.matches.as_ref();
        let matches = matches.and_then(|text| regex(&text.value, text.place, diagnostics));
        let name = self.name.as_ref().unwrap_or(&self.path);
        if name.value.is_empty() || name.value.len() > 100 || name.value.contains(['=', '\'']) {
            let help = "give it a `name` of 1 to 100 characters without `=` and quotes";
            diagnostics.report_with_help(name, "that cannot be the name of a number", help);
        }
        let thresholds = ThresholdsConfig { warn: self.warn.clone(), crit: self.crit.clone() };
        Some(JsonRule {
            path: path?,
            name: name.value.clone(),
            unit: self.unit.clone(),
            equals,
            matches,
            is_measured: self.warn.is_some() || self.crit.is_some(),
            thresholds: thresholds.build(diagnostics),
        })
    }
}

fn path(text: &Spanned<String>, diagnostics: &mut Diagnostics) -> Option<Path> {
    let path = Path::read(&text.value);
    if path.is_none() {
        let help =
            "write it like `$.orders[0].state`, `$['a b']`, `$.items[*].ok` or `$.x.length()`";
        diagnostics.report_with_help(text, format!("`{}` is not a path", text.value), help);
    }
    path
}

fn extracts(
    written: &BTreeMap<String, Spanned<ExtractConfig>>,
    diagnostics: &mut Diagnostics,
) -> Vec<Extract> {
    let mut extracts = Vec::new();
    for (name, config) in written {
        if !is_name(name) {
            let help = "write letters, digits and `_`";
            diagnostics.report_with_help(config, format!("`{name}` is not a name"), help);
        }
        let regex = config.value.regex.as_ref();
        let regex = regex.map(|text| regex_of(text, diagnostics));
        let from = match (&config.value.json, &config.value.header) {
            (Some(text), None) => path(text, diagnostics).map(Source::Json),
            (None, Some(text)) => header_name(&text.value, text, diagnostics).map(Source::Header),
            (None, None) if regex.is_some() => Some(Source::Body),
            _ => {
                let message = format!("`{name}` needs one of `json`, `header` and `regex`");
                diagnostics.report(config, message);
                None
            }
        };
        let regex = regex.flatten();
        extracts.extend(from.map(|from| Extract { name: name.clone(), from, regex }));
    }
    extracts
}

fn regex_of(text: &Spanned<String>, diagnostics: &mut Diagnostics) -> Option<regex::bytes::Regex> {
    regex(&text.value, text.place, diagnostics)
}
