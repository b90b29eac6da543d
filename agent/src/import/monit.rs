//! Monit's control file as our checks.
//!
//! Invariant: a test of Monit's is a probe or a threshold, or it is noted why not; what Monit would
//! do about it is noted, for nothing is started or stopped here.

mod words;

use std::io;
use std::path::PathBuf;

use base::period::Period;

use self::words::{Statement, statements};
use super::check::{Check, SECRET, Writer, period, script};
use super::{Imported, Place, quoted};

/// From one cycle to the next where nothing is said.
const CYCLE: f64 = 60.0;

/// A `check`, as far as it was read.
struct Service {
    kind: String,
    name: String,
    place: Place,
    /// Behind `pidfile`, `matching`, `path` or `address`.
    subject: (String, String),
    thresholds: Vec<String>,
    retries: Option<u32>,
}

/// Our checks for what `paths` say.
///
/// # Errors
///
/// One of `paths` cannot be read; what they include is only told.
pub(crate) fn monit(paths: &[PathBuf]) -> io::Result<Imported> {
    let mut writer = Writer::default();
    let (mut found, mut included) = (Vec::new(), 0);
    for path in paths {
        found.extend(statements(path, 0, &mut included, &mut writer)?);
    }
    let mut site = Site { interval: cycle(&found), open: None };
    for statement in &found {
        site.statement(statement, &mut writer);
    }
    site.close(&mut writer);
    Ok(writer.finish())
}

/// How long `set daemon` says that a cycle takes.
fn cycle(statements: &[Statement]) -> Period {
    let daemon = statements.iter().find_map(|statement| match statement.words.as_slice() {
        [set, daemon, seconds, ..] if set == "set" && daemon == "daemon" => seconds.parse().ok(),
        _ => None,
    });
    period(daemon.unwrap_or(CYCLE)).unwrap_or(Period::from_secs(60))
}

struct Site {
    interval: Period,
    open: Option<Service>,
}

impl Site {
    fn statement(&mut self, statement: &Statement, writer: &mut Writer) {
        let lower: Vec<String> = statement.words.iter().map(|word| word.to_lowercase()).collect();
        let words: Vec<&str> = lower.iter().map(String::as_str).collect();
        let place = &statement.place;
        match words.as_slice() {
            ["check", ..] => {
                self.close(writer);
                self.open = begin(statement, &words, writer);
            }
            ["set", "daemon", ..] => {}
            ["set", what, ..] => {
                let text = format!("`set {what}` is not converted: it is about Monit itself");
                writer.note(place, text);
            }
            ["if", ..] => self.test(statement, &words, writer),
            ["start" | "stop" | "restart", ..] => {
                let text = "nothing is started or stopped here: let systemd do that (`Restart=`)";
                writer.note(place, text);
            }
            ["group", ..] | ["mode", ..] | ["onreboot", ..] => {}
            [first, ..] => {
                let text = format!("`{first}` is not converted");
                writer.note(place, text);
            }
            [] => {}
        }
    }

    /// One `if ... then ...`.
    fn test(&mut self, statement: &Statement, words: &[&str], writer: &mut Writer) {
        let place = &statement.place;
        let Some(service) = &mut self.open else {
            return writer.note(place, "a test outside of a check is not converted");
        };
        let end = words.iter().position(|word| *word == "then").unwrap_or(words.len());
        let (test, action) = words.split_at(end);
        if let Some(action) = action.get(1).filter(|action| **action != "alert") {
            let text = format!("`{action}` is not done here; the check only tells");
            writer.note(place, text);
        }
        let cycles = test.iter().position(|word| word.starts_with("cycle"));
        let cycles = cycles.and_then(|at| test.get(at.checked_sub(1)?)?.parse::<u32>().ok());
        let retries = cycles.map(|cycles| cycles.saturating_sub(1));
        let has = |word: &str| test.contains(&word);
        let after = |word: &str| {
            let at = test.iter().position(|own| *own == word)?;
            statement.words.get(at + 1).cloned()
        };
        let limit = limit(test);
        let mut add = |name: &str, value: f64, is_over: bool| {
            let range = if is_over { format!("~:{value}") } else { format!("{value}:") };
            service.thresholds.push(format!("{name}: {{crit: {}}}", quoted(&range)));
            service.retries = service.retries.max(retries);
        };
        match (service.kind.as_str(), limit) {
            (_, _)
                if has("failed") && (has("port") || has("ping") || has("icmp") || has("ping4")) =>
            {
                let port = after("port").and_then(|port| port.parse::<u16>().ok());
                let protocol = after("protocol").or(after("proto")).or(after("type"));
                let asked = Asked {
                    host: after("host").unwrap_or(match service.kind.as_str() {
                        "host" => service.subject.1.clone(),
                        _ => "localhost".to_owned(),
                    }),
                    port,
                    protocol: protocol.unwrap_or_default().to_lowercase(),
                    path: after("request").unwrap_or_default(),
                    is_tls: has("ssl") || has("tls") || has("tcpssl"),
                };
                let name = format!("{} {}", service.name, asked.suffix());
                let check = Check {
                    name,
                    interval: self.interval,
                    retries,
                    probe: asked.probe(),
                    ..Check::default()
                };
                writer.check(check, place);
            }
            (_, _) if has("exist") => {}
            ("program", _) if has("status") => {
                let text = "0 is ok, 1 a warning, 2 critical, anything else unknown, as with \
                            Nagios's plugins";
                writer.note(place, text);
            }
            ("file", Some((value, is_over))) if has("timestamp") || has("mtime") => {
                add("age", value, is_over);
            }
            ("file", Some((value, is_over))) if has("size") => add("size", value, is_over),
            ("process", Some((value, is_over)))
                if (has("mem") || has("memory") || has("totalmem")) && !has_percent(test) =>
            {
                add("memory", value, is_over);
            }
            ("process", Some((value, is_over))) if has("threads") => add("threads", value, is_over),
            ("system", Some((value, _))) if test.iter().any(|word| word.starts_with("loadavg")) => {
                let name = if has("loadavg(5min)") || has("(5min)") {
                    "node_load5"
                } else if has("loadavg(15min)") || has("(15min)") {
                    "node_load15"
                } else {
                    "node_load1"
                };
                let probe = format!(
                    "prometheus: {{url: \"http://127.0.0.1:12911/metrics\", series: [{{select: \
                     {name}, crit: {}}}]}}",
                    quoted(&format!("~:{value}"))
                );
                let name = format!("{} {name}", service.name);
                let check =
                    Check { name, interval: self.interval, retries, probe, ..Check::default() };
                writer.check(check, place);
            }
            ("filesystem" | "system" | "network", _) => {
                let text = format!(
                    "`{}` is not converted: write it as a rule of the evaluator over the host's \
                     metrics, such as `node_filesystem_avail_bytes` and \
                     `node_memory_MemAvailable_bytes`",
                    test.join(" ")
                );
                writer.note(place, text);
            }
            _ => writer.note(place, format!("`{}` is not converted", test.join(" "))),
        }
    }

    /// Writes the check that is open.
    fn close(&mut self, writer: &mut Writer) {
        let Some(service) = self.open.take() else { return };
        let place = &service.place;
        let (how, subject) = (service.subject.0.as_str(), quoted(&service.subject.1));
        let limits = match service.thresholds.join(", ") {
            none if none.is_empty() => none,
            some => format!(", thresholds: {{{some}}}"),
        };
        let probe = match (service.kind.as_str(), how) {
            ("process", "matching") => format!("process: {{command_matches: {subject}{limits}}}"),
            ("process", _) => {
                let file = service.subject.1.rsplit('/').next().unwrap_or_default();
                let name = file.strip_suffix(".pid").unwrap_or(file);
                let text = format!(
                    "`{}` is watched by the name `{name}`, taken from its pidfile: see that the \
                     process has that name",
                    service.name
                );
                writer.note(place, text);
                format!("process: {{name: {}{limits}}}", quoted(name))
            }
            ("file" | "directory" | "fifo", _) => format!("file: {{path: {subject}{limits}}}"),
            ("program", _) => match script(&service.subject.1) {
                Ok(script) => {
                    if script.has_secret {
                        writer.note(place, format!("`{}` {SECRET}", service.name));
                    }
                    script.probe()
                }
                Err(why) => {
                    let text = format!("`{}` is not converted: {why}", service.name);
                    return writer.note(place, text);
                }
            },
            // Their tests are checks of their own.
            _ => return,
        };
        let check = Check {
            name: service.name,
            interval: self.interval,
            retries: service.retries,
            probe,
            ..Check::default()
        };
        writer.check(check, place);
    }
}

/// Opens a `check`.
fn begin(statement: &Statement, words: &[&str], writer: &mut Writer) -> Option<Service> {
    let place = statement.place.clone();
    let (Some(kind), Some(name)) = (words.get(1), statement.words.get(2)) else {
        writer.note(&place, "a check without its name is not converted");
        return None;
    };
    let hows = ["pidfile", "matching", "match", "path", "address", "interface"];
    let found = words.iter().position(|word| hows.contains(word));
    let how = match found.map_or("", |at| words[at]) {
        "match" => "matching",
        how => how,
    };
    let subject = found.and_then(|at| statement.words.get(at + 1)).cloned().unwrap_or_default();
    if subject.is_empty() && *kind != "system" {
        let text = format!("the check `{name}` names nothing to look at; it is not converted");
        writer.note(&place, text);
        return None;
    }
    Some(Service {
        kind: (*kind).to_owned(),
        name: name.clone(),
        place,
        subject: (how.to_owned(), subject),
        thresholds: Vec::new(),
        retries: None,
    })
}

/// What is looked at over the network.
struct Asked {
    host: String,
    port: Option<u16>,
    protocol: String,
    path: String,
    is_tls: bool,
}

impl Asked {
    fn suffix(&self) -> String {
        match (self.port, self.protocol.as_str()) {
            (None, _) => "ping".to_owned(),
            (Some(port), "") => format!("port {port}"),
            (Some(port), protocol) => format!("{protocol} port {port}"),
        }
    }

    fn probe(&self) -> String {
        let Some(port) = self.port else {
            return format!("icmp: {{host: {}}}", quoted(&self.host));
        };
        let address = quoted(&format!("{}:{port}", self.host));
        let tls = if self.is_tls { ", tls: {}" } else { "" };
        match self.protocol.as_str() {
            "http" | "https" => {
                let scheme = if self.is_tls || self.protocol == "https" { "https" } else { "http" };
                let path = self.path.trim_start_matches('/');
                let url = format!("{scheme}://{}:{port}/{path}", self.host);
                format!("http: {{url: {}}}", quoted(&url))
            }
            kind @ ("smtp" | "imap" | "mysql" | "redis") => {
                format!("{kind}: {{address: {address}{tls}}}")
            }
            "pop" => format!("pop3: {{address: {address}{tls}}}"),
            "ssh" => format!("ssh: {{address: {address}}}"),
            "ldap2" | "ldap3" => format!("ldap: {{address: {address}{tls}}}"),
            "ntp3" => format!("ntp: {{server: {address}}}"),
            _ => format!("tcp: {{address: {address}{tls}}}"),
        }
    }
}

fn has_percent(test: &[&str]) -> bool {
    test.iter().any(|word| word.ends_with('%'))
}

/// The number that a test compares with, in seconds or bytes where it has a unit, and whether it is
/// to be over it that is wrong.
fn limit(test: &[&str]) -> Option<(f64, bool)> {
    let is_over = |word: &str| match word {
        ">" | "gt" | "greater" | "older" => Some(true),
        "<" | "lt" | "less" | "newer" => Some(false),
        _ => None,
    };
    let at = test.iter().position(|word| is_over(word).is_some())?;
    let mut rest = test[at + 1..].iter().filter(|word| **word != "than");
    let number = rest.next()?;
    let digits = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
    let (digits, unit) = number.split_at(digits);
    let unit = if unit.is_empty() { rest.next().copied().unwrap_or_default() } else { unit };
    let factor = match unit.trim_end_matches('s') {
        "minute" | "min" => 60.0,
        "hour" => 3600.0,
        "day" => 86_400.0,
        "kb" | "k" => 1024.0,
        "mb" | "m" => 1024.0 * 1024.0,
        "gb" | "g" => 1024.0 * 1024.0 * 1024.0,
        _ => 1.0,
    };
    Some((digits.parse::<f64>().ok()? * factor, is_over(test[at])?))
}

#[cfg(test)]
mod tests;
