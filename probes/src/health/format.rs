//! Which form a health page has, and the forms in plain text.
//!
//! Invariant: what is read has at most [`MAX_COMPONENTS`] components, [`MAX_DEPTH`] levels, and no
//! text that is not fit to be shown.

use serde::Deserialize;

use super::json;
use crate::text::shown_line;
use crate::{Component, Reason, Status, Tree};

/// The most components of a page.
pub(super) const MAX_COMPONENTS: usize = 1000;
/// The most levels of components.
pub(super) const MAX_DEPTH: usize = 24;
/// The most bytes of a name.
const MAX_NAME: usize = 128;
/// The most bytes of what a component says.
const MAX_OUTPUT: usize = 1 << 10;

/// The form of a health page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Whichever it turns out to be.
    #[default]
    Auto,
    /// `application/health+json`, as draft-inadarei-api-health-check has it; our own pages too.
    HealthJson,
    /// Spring Boot Actuator, all versions from 1.
    Spring,
    /// ASP.NET Core: the plain word, or the JSON of the usual response writers.
    Aspnet,
    /// MicroProfile Health.
    Microprofile,
    /// Kubernetes and what is built like it: `/readyz?verbose`.
    Kubernetes,
}

/// What a page says.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// How all is, where the page says so in a word that is known.
    pub(super) status: Option<Status>,
    /// The word itself.
    pub(super) word: String,
    /// What it says beside it.
    pub(super) output: String,
    pub(super) tree: Tree,
}

/// Why a page cannot be read.
pub(super) type Unreadable = (Reason, String);

pub(super) fn invalid<T>(why: impl Into<String>) -> Result<T, Unreadable> {
    Err((Reason::OutputInvalid, why.into()))
}

/// Reads a page.
///
/// # Errors
///
/// It is no health page, or larger than the limits.
pub(super) fn read(body: &[u8], content_type: &str, format: Format) -> Result<Said, Unreadable> {
    let Ok(text) = std::str::from_utf8(body) else { return invalid("the page is not UTF-8 text") };
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return invalid("the page is empty");
    }
    let said = match format {
        Format::Kubernetes => kubernetes(text),
        Format::Auto | Format::Aspnet if !text.starts_with('{') => match aspnet_word(text) {
            Some(said) => Ok(said),
            None if format == Format::Auto => kubernetes(text),
            None => invalid("the page is neither JSON nor `Healthy`, `Degraded` or `Unhealthy`"),
        },
        _ => json::read(text, content_type, format),
    }?;
    within_limits(&said.tree)?;
    Ok(said)
}

fn within_limits(tree: &Tree) -> Result<(), Unreadable> {
    let mut count = 0_usize;
    tree.visit(&mut |_, _| count += 1);
    match count <= MAX_COMPONENTS {
        true => Ok(()),
        false => {
            let why = format!("the page has more than {MAX_COMPONENTS} components");
            Err((Reason::OutputTooLong, why))
        }
    }
}

/// The status that a word means, whichever form it is from; none where it is not known.
pub(super) fn status_of(word: &str) -> Option<Status> {
    Some(match word.to_ascii_lowercase().as_str() {
        "pass" | "ok" | "up" | "healthy" => Status::Ok,
        "warn" | "warning" | "degraded" => Status::Warning,
        "fail" | "error" | "down" | "unhealthy" | "critical" | "out_of_service" => Status::Critical,
        _ => return None,
    })
}

/// A component with texts that are fit to be shown.
pub(super) fn component(name: &str, status: Option<Status>, output: &str) -> Component {
    let name = match shown_line(name.as_bytes(), MAX_NAME) {
        empty if empty.is_empty() => "unnamed".to_owned(),
        name => name,
    };
    Component::new(name, status.unwrap_or(Status::Unknown), sentence(output))
}

/// A text fit to be shown in a line.
pub(super) fn sentence(text: &str) -> String {
    shown_line(text.trim().as_bytes(), MAX_OUTPUT)
}

fn aspnet_word(text: &str) -> Option<Said> {
    let status = match text {
        "Healthy" => Status::Ok,
        "Degraded" => Status::Warning,
        "Unhealthy" => Status::Critical,
        _ => return None,
    };
    Some(Said { status: Some(status), word: text.to_owned(), ..Said::default() })
}

/// Lines as `[+]ping ok`, `[-]etcd failed: reason withheld` and `readyz check passed`; or only `ok`.
fn kubernetes(text: &str) -> Result<Said, Unreadable> {
    let mut said = Said { word: "ok".to_owned(), ..Said::default() };
    if text.eq_ignore_ascii_case("ok") {
        said.status = Some(Status::Ok);
        return Ok(said);
    }
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (status, rest) = match (line.strip_prefix("[+]"), line.strip_prefix("[-]")) {
            (Some(rest), _) => (Status::Ok, rest),
            (_, Some(rest)) => (Status::Critical, rest),
            _ => {
                if line.ends_with(" check passed") {
                    said.status = Some(Status::Ok);
                } else if line.ends_with(" check failed") {
                    said.status = Some(Status::Critical);
                } else {
                    let shown = sentence(line);
                    return invalid(format!("`{shown}` is no line of a health page"));
                }
                said.word = sentence(line);
                continue;
            }
        };
        if said.tree.components.len() >= MAX_COMPONENTS {
            let why = format!("the page has more than {MAX_COMPONENTS} components");
            return Err((Reason::OutputTooLong, why));
        }
        let (name, output) = rest.split_once(' ').unwrap_or((rest, ""));
        let output = if status == Status::Ok { "" } else { output };
        said.tree.components.push(component(name, Some(status), output));
    }
    // A component alone makes no page, and a page that was cut off has no last line.
    match said.status {
        Some(_) => Ok(said),
        None => invalid("the page has no last line that says whether the check passed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a page says: its status, and its components by path, each with the first letter of its
    /// status and what it says.
    #[track_caller]
    fn check(format: Format, body: &str, expected: &str) {
        let got = match read(body.as_bytes(), "", format) {
            Err((reason, why)) => format!("{reason}: {why}"),
            Ok(said) => {
                let mut parts = vec![said.status.map_or("-", Status::as_str).to_owned()];
                said.tree.visit(&mut |path, component| {
                    let letter = &component.status.as_str()[..1];
                    let value = component.value.as_ref();
                    let value = value.map_or(String::new(), |(v, unit)| format!("[{v}{unit}]"));
                    let output = &component.output;
                    parts.push(format!("{path}={letter} {output} {value}").replace("  ", " "));
                });
                parts.iter().map(|part| part.trim()).collect::<Vec<_>>().join(", ")
            }
        };
        assert_eq!(got, expected, "{body}");
    }

    #[test]
    fn reads_kubernetes() {
        check(
            Format::Auto,
            "[+]ping ok\n[-]etcd failed: reason withheld\n[+]x excluded: ok\nreadyz check failed\n",
            "critical, ping=o, etcd=c failed: reason withheld, x=o",
        );
        check(Format::Auto, "[+]ping ok\nhealthz check passed", "ok, ping=o");
        check(Format::Kubernetes, "ok", "ok");
        check(
            Format::Auto,
            "[+]ping ok\n",
            "output-invalid: the page has no last line that says whether the check passed",
        );
        check(Format::Auto, "<html>", "output-invalid: `<html>` is no line of a health page");
        check(Format::Auto, " \n", "output-invalid: the page is empty");
    }

    #[test]
    fn reads_aspnet() {
        check(Format::Auto, "Healthy", "ok");
        check(Format::Aspnet, "Degraded\n", "warning");
        check(Format::Auto, "Unhealthy", "critical");
        let entries = r#"{"status":"Unhealthy","totalDuration":"00:00:00.01","entries":{
            "sql":{"data":{},"duration":"00:00:00.01","status":"Unhealthy","exception":"no route"},
            "cache":{"status":"Degraded","description":"slow","tags":["x"]}}}"#;
        check(Format::Auto, entries, "critical, cache=w slow, sql=c no route");
        let results = r#"{"status":"Healthy","results":{"a":{"status":"Healthy","description":null,"data":{}}}}"#;
        check(Format::Aspnet, results, "ok, a=o");
    }

    #[test]
    fn reads_spring() {
        check(
            Format::Auto,
            r#"{"status":"DOWN","components":{"db":{"status":"DOWN","details":{"error":"org.X: refused"}},
               "brokers":{"status":"UP","components":{"a":{"status":"UP"},"b":{"status":"UNKNOWN"}}},
               "disk":{"status":"OUT_OF_SERVICE"}},"groups":["liveness"]}"#,
            "critical, brokers=o, brokers/a=o, brokers/b=u UNKNOWN, db=c org.X: refused, disk=c OUT_OF_SERVICE",
        );
        // Before 2.2, and 1.x.
        check(
            Format::Auto,
            r#"{"status":"UP","details":{"db":{"status":"UP","details":{"database":"H2"}}}}"#,
            "ok, db=o",
        );
        check(
            Format::Spring,
            r#"{"status":"UP","diskSpace":{"status":"UP","total":1},"x":1}"#,
            "ok, diskSpace=o",
        );
        check(Format::Auto, r#"{"status":"UP"}"#, "ok");
        check(Format::Auto, r#"{"status":"FATAL","components":{}}"#, "-");
    }

    #[test]
    fn reads_microprofile() {
        check(
            Format::Auto,
            r#"{"status":"DOWN","checks":[{"name":"db","status":"DOWN","data":{"error":"gone","n":1}},
               {"name":"x","status":"UP"}]}"#,
            "critical, db=c gone, x=o",
        );
        check(Format::Microprofile, r#"{"status":"UP","checks":[]}"#, "ok");
    }

    #[test]
    fn reads_health_json() {
        check(
            Format::Auto,
            r#"{"status":"warn","version":"1","output":"","checks":{
               "db:connections":[{"componentId":"n1","observedValue":75,"observedUnit":"percent",
                 "status":"warn","output":"many"},{"componentId":"n2","status":"pass"}],
               "uptime":[{"observedValue":1209600.245,"observedUnit":"s","status":"pass"}],
               "odd":{"status":"fail"}}}"#,
            "warning, db:connections=u, db:connections/n1=w many [75percent], db:connections/n2=o, \
             odd=c, uptime=o [1209600.245s]",
        );
        check(Format::HealthJson, r#"{"status":"pass"}"#, "ok");
        check(Format::Auto, r#"{"status":"error","output":"all is lost"}"#, "critical");
    }

    #[test]
    fn reads_the_tree_of_an_agent() {
        check(
            Format::Auto,
            r#"{"status":"fail","agent":"0123","checks":{"x":[{"status":"fail"}]},"tree":[
               {"name":"pay","kind":"service","status":"fail","needs":[
                 {"name":"db","kind":"check","status":"fail","reason":"timeout","output":"late"}]}]}"#,
            "critical, pay=c, pay/db=c late",
        );
    }

    #[test]
    fn what_is_no_health_page_is_told() {
        check(Format::Auto, r#"{"error":"x"}"#, "output-invalid: the page has no `status`");
        check(
            Format::Auto,
            r#"{"status":404}"#,
            "output-invalid: the `status` of the page is not a word",
        );
        check(
            Format::Auto,
            r#"{"status":"UP""#,
            "output-invalid: the page is not JSON: EOF while parsing an object at line 1 column 14",
        );
        check(
            Format::Spring,
            "ok",
            "output-invalid: the page is not JSON: expected value at line 1 column 1",
        );
        check(
            Format::Microprofile,
            r#"{"status":"UP"}"#,
            "output-invalid: the page has no list `checks`",
        );
        check(Format::Auto, "[1]", "output-invalid: `[1]` is no line of a health page");
        check(
            Format::Aspnet,
            "ok",
            "output-invalid: the page is neither JSON nor `Healthy`, `Degraded` or `Unhealthy`",
        );
    }

    #[test]
    fn no_page_is_too_deep_or_too_large_x48() {
        let deep = |levels: usize| {
            let open = r#"{"status":"UP","components":{"a":"#.repeat(levels);
            format!("{open}{{\"status\":\"UP\"}}{}", "}}".repeat(levels))
        };
        assert!(read(deep(MAX_DEPTH).as_bytes(), "", Format::Auto).is_ok());
        let too_deep = read(deep(MAX_DEPTH + 1).as_bytes(), "", Format::Auto).unwrap_err();
        assert_eq!(too_deep, (Reason::OutputInvalid, "the page is nested too deep".to_owned()));
        // What JSON itself nests.
        let nested =
            format!("{{\"status\":\"UP\",\"x\":{}{}}}", "[".repeat(1 << 18), "]".repeat(1 << 18));
        let too_deep = read(nested.as_bytes(), "", Format::Auto).unwrap_err();
        assert!(too_deep.1.contains("recursion limit"), "{too_deep:?}");
        let many: String = (0..=MAX_COMPONENTS).map(|n| format!("[+]c{n} ok\n")).collect();
        let too_many = read(format!("{many}x check passed").as_bytes(), "", Format::Auto);
        assert_eq!(too_many.unwrap_err().0, Reason::OutputTooLong);
        let many: Vec<_> =
            (0..=MAX_COMPONENTS).map(|n| format!("\"c{n}\":{{\"status\":\"UP\"}}")).collect();
        let many = format!("{{\"status\":\"UP\",\"components\":{{{}}}}}", many.join(","));
        let too_many = read(many.as_bytes(), "", Format::Auto);
        assert_eq!(too_many.unwrap_err().0, Reason::OutputTooLong);
        assert_eq!(read(b"\xff", "", Format::Auto).unwrap_err().0, Reason::OutputInvalid);
    }

    #[test]
    fn texts_are_fit_to_be_shown_x11() {
        let body = r#"{"status":"DOWN","components":{"a\u001b[31m":{"status":"DOWN","details":{"error":"x\u202ey\nz"}}}}"#;
        check(Format::Auto, body, "critical, a\\u{1b}[31m=c x\\u{202e}y");
    }
}
