//! The pages for people.
//!
//! Invariant: every text in them is written through [`Escaped`].

use std::fmt::Write;

use base::period::Period;
use base::sample::Timestamp;

use super::html::{Escaped, frame};
use super::json::{Entry, Report};
use super::{Shown, tree};
use crate::service::{Health, Service};

/// How often a page is loaded again.
const REFRESH: u32 = 15;

/// Where is what.
pub(super) fn index(shown: &Shown) -> String {
    let mut body = String::from("<h1>Veilleur agent</h1>\n<ul>\n");
    let mut item = |path: &str, what: &str| {
        let (path, what) = (Escaped(path), Escaped(what));
        // Writing to a string does not fail.
        let _ = writeln!(body, "<li><a class=\"name\" href=\"{path}\">{path}</a> {what}</li>");
    };
    item("/health", "how it is with everything; JSON with ?format=json");
    let services = shown.services.load();
    let mut services: Vec<_> = services.iter().collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    for service in services {
        item(&format!("/health/{}", service.name), &service.description);
    }
    item("/metrics", "for Prometheus");
    item("/discovery", "what there is to scrape, for Prometheus");
    item("/livez", "whether we live");
    item("/readyz", "whether we work");
    body.push_str("</ul>\n");
    frame("Veilleur agent", None, &body)
}

/// How it is with everything.
pub(super) fn health(shown: &Shown, report: &Report, now: Timestamp) -> String {
    let mut body = heading("Health", report.health);
    for note in &report.notes {
        let _ = writeln!(body, "<pre>{}</pre>", Escaped(note));
    }
    if !report.services.is_empty() {
        body.push_str("<h2>Services</h2>\n<ul>\n");
        for service in &report.services {
            let (node, name) = (&service.node, Escaped(&service.node.name));
            let _ = write!(
                body,
                "<li class=\"{}\"><span class=\"mark\">{}</span><a class=\"name\" \
                 href=\"/health/{name}\">{name}</a>\n<p class=\"faint\">{}</p>\n",
                node.health.as_str(),
                node.health.word(),
                Escaped(&service.description),
            );
            tree::culprit(&mut body, node);
            tree::needs(&mut body, node);
            body.push_str("</li>\n");
        }
        body.push_str("</ul>\n");
    }
    let _ = write!(body, "<h2>Checks</h2>\n<ul>\n");
    let mut checks: Vec<_> = report.checks.iter().collect();
    // What is wrong stands on top.
    checks.sort_by_key(|entry| std::cmp::Reverse(entry.health));
    checks.iter().for_each(|entry| check(&mut body, entry, now));
    body.push_str("</ul>\n");
    if report.checks.is_empty() {
        body.push_str("<p class=\"faint\">No checks are configured.</p>\n");
    }
    let reload = shown.reload();
    let _ = writeln!(
        body,
        "<p class=\"faint\">Configuration: {}, read {}</p>",
        Escaped(&reload.source),
        ago(reload.taken, now),
    );
    frame(&format!("{} · health", report.health.word()), Some(REFRESH), &body)
}

/// How it is with one service, and which part of what it needs it cannot reach.
pub(super) fn service(service: &Service, report: &Report, now: Timestamp) -> String {
    let mut body = heading(&service.name, report.health);
    if !service.description.is_empty() {
        let _ = writeln!(body, "<p>{}</p>", Escaped(&service.description));
    }
    for node in &report.tree {
        tree::culprit(&mut body, node);
        body.push_str("<h2>What it needs</h2>\n");
        tree::needs(&mut body, node);
    }
    body.push_str("<h2>Checks</h2>\n<ul>\n");
    report.checks.iter().for_each(|entry| check(&mut body, entry, now));
    body.push_str("</ul>\n<p><a href=\"/health\">everything</a></p>\n");
    frame(&format!("{} · {}", report.health.word(), service.name), Some(REFRESH), &body)
}

fn heading(title: &str, health: Health) -> String {
    let (title, class, word) = (Escaped(title), health.as_str(), health.word());
    format!("<h1><span class=\"mark {class}\">{word}</span>{title}</h1>\n")
}

fn check(body: &mut String, entry: &Entry, now: Timestamp) {
    let (name, class) = (Escaped(&entry.name), entry.health.as_str());
    let status = match (entry.health, entry.latest.state.status()) {
        (_, None) => "pending",
        (_, Some(status)) => status.as_str(),
    };
    let _ = writeln!(
        body,
        "<li class=\"{class}\"><span class=\"mark\">{status}</span><span class=\"name\">{name}</span>\n\
         <p class=\"said\">{}</p>",
        Escaped(entry.summary()),
    );
    let state = &entry.latest.state;
    let mut facts = Vec::new();
    if let Some(result) = &entry.latest.result {
        facts.push(format!(
            "{}, took {:.3} s",
            ago(result.started, now),
            result.duration.as_secs_f64()
        ));
        facts.push(format!("attempt {} of {}", state.attempt(), entry.max_attempts));
        if entry.health != Health::Pass {
            facts.push(format!("reason: {}", result.outcome.reason));
        }
        if !result.outcome.details.is_empty() {
            let _ = writeln!(body, "<pre>{}</pre>", Escaped(&result.outcome.details));
        }
    }
    if entry.is_overdue {
        facts.push("no result for too long".to_owned());
    }
    let _ = writeln!(body, "<p class=\"faint\">{}</p></li>", Escaped(facts.join(" · ")));
}

/// How long ago it was, in whole seconds.
fn ago(time: Timestamp, now: Timestamp) -> String {
    format!("{} ago", Period::from_secs(now.since(time).as_secs()))
}
