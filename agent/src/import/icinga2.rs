//! Icinga 2's configuration as our checks.
//!
//! ```text
//! files ──lex, parse──▶ statements ──eval──▶ hosts, services, commands ──▶ checks
//! ```
//!
//! Commands of Icinga's own library are read from its files, where they are installed or copied
//! along.
//!
//! Invariant: a service is a check, or it is noted why not.

mod code;
mod command;
mod eval;
mod groups;
mod lex;
mod parse;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use self::command::{Line, Words};
use self::eval::{Bodies, Scope, plain};
use self::groups::{Group, fits, join, locals};
use self::parse::{Expr, For, Setting, Statement, parse};
use super::check::{Check, SECRET, Writer, period, program, script};
use super::{Imported, Place, named_in, read_text};

/// Files that include each other are followed so far.
const MAX_DEPTH: usize = 16;
/// Where Icinga keeps its own library.
const LIBRARY: &str = "/usr/share/icinga2/include";

/// What of a host or a service is used, or means nothing here.
const UNDERSTOOD: [&str; 24] = [
    "address",
    "address6",
    "check_command",
    "check_interval",
    "retry_interval",
    "max_check_attempts",
    "check_timeout",
    "check_period",
    "command_endpoint",
    "enable_active_checks",
    "display_name",
    "groups",
    "host_name",
    "vars",
    "zone",
    "icon_image",
    "icon_image_alt",
    "notes",
    "notes_url",
    "action_url",
    "enable_perfdata",
    "name",
    "assign",
    "host",
];

/// An object or a rule with its place.
type Placed<T> = (T, Place);

/// What `apply` says.
struct Rule {
    name: Option<Expr>,
    repeat: Option<For>,
    body: Vec<Setting>,
}

#[derive(Default)]
struct Site {
    constants: Map<String, Value>,
    templates: Bodies,
    hosts: Vec<Placed<(Expr, Vec<Setting>)>>,
    services: Vec<Placed<(Expr, Vec<Setting>)>>,
    rules: Vec<Placed<Rule>>,
    host_groups: Vec<Group>,
    service_groups: Vec<Group>,
    commands: BTreeMap<String, Vec<Setting>>,
    seen: BTreeSet<PathBuf>,
}

/// Our checks for what `paths` say.
///
/// # Errors
///
/// One of `paths` cannot be read; what they include is only told.
pub(crate) fn icinga2(paths: &[PathBuf]) -> io::Result<Imported> {
    let (mut site, mut writer) = (Site::default(), Writer::default());
    site.constants.insert("PluginDir".to_owned(), json!("/usr/lib/nagios/plugins"));
    site.constants.insert("NodeName".to_owned(), json!("localhost"));
    for path in paths {
        site.read(path, 0, false, &mut writer)?;
    }
    site.checks(&mut writer);
    Ok(writer.finish())
}

impl Site {
    fn scope(&self, locals: Map<String, Value>) -> Scope<'_> {
        Scope { constants: &self.constants, templates: &self.templates, locals, ask: None }
    }

    fn read(
        &mut self,
        file: &Path,
        depth: usize,
        is_library: bool,
        writer: &mut Writer,
    ) -> io::Result<()> {
        if !self.seen.insert(file.to_owned()) {
            return Ok(());
        }
        let text = read_text(file)?;
        let shown = file.display().to_string();
        for (statement, line) in parse(&lex::lex(&text)) {
            let place = Place { file: shown.clone(), line };
            self.statement(statement, &place, depth, is_library, writer);
        }
        Ok(())
    }

    fn statement(
        &mut self,
        statement: Statement,
        place: &Place,
        depth: usize,
        is_ours: bool,
        writer: &mut Writer,
    ) {
        match statement {
            Statement::Include { path, is_recursive, is_library } => {
                let found = if is_library {
                    vec![named_in(&place.file, &format!("{LIBRARY}/{path}"))]
                } else {
                    included(&place.file, &path, is_recursive)
                };
                for file in found {
                    if depth == MAX_DEPTH {
                        writer.note(place, "files include each other without end");
                    } else if let Err(error) =
                        self.read(&file, depth + 1, is_ours || is_library, writer)
                    {
                        let help = if is_library {
                            "; copy Icinga's /usr/share/icinga2/include to this host"
                        } else {
                            ""
                        };
                        writer.note(place, format!("cannot be read: {error}{help}"));
                    }
                }
            }
            Statement::Constant { name, value } => match self.scope(Map::new()).eval(&value) {
                Ok(value) => {
                    self.constants.insert(name, value);
                }
                Err(why) => writer.note(place, format!("`{name}` is not known here: {why}")),
            },
            Statement::Object { kind, name, is_template, body } => {
                self.object(kind, name, is_template, body, place, writer);
            }
            Statement::Apply { kind, name, repeat, body } if kind == "Service" => {
                self.rules.push((Rule { name, repeat, body }, place.clone()));
            }
            Statement::Apply { kind, .. } => {
                writer
                    .note(place, format!("the rule for {kind} is not converted: {}", about(&kind)));
            }
            // In its own library are functions and checks of itself.
            Statement::Odd(_) if is_ours => {}
            Statement::Odd(what) => {
                writer.note(place, format!("`{what} ...` is not converted"));
            }
        }
    }

    fn object(
        &mut self,
        kind: String,
        name: Expr,
        is_template: bool,
        body: Vec<Setting>,
        place: &Place,
        writer: &mut Writer,
    ) {
        let text = match self.scope(Map::new()).eval(&name) {
            Ok(text) => plain(&text),
            Err(why) => return writer.note(place, format!("the {kind} is not converted: {why}")),
        };
        // Objects can be imported like templates.
        self.templates.insert((kind.clone(), text.clone()), body.clone());
        if is_template {
            return;
        }
        match kind.as_str() {
            "Host" => self.hosts.push(((Expr::Text(text), body), place.clone())),
            "Service" => self.services.push(((Expr::Text(text), body), place.clone())),
            "CheckCommand" => {
                self.commands.insert(text, body);
            }
            "HostGroup" => self.host_groups.push(Group { name: text, body }),
            "ServiceGroup" => self.service_groups.push(Group { name: text, body }),
            "UserGroup" | "CheckerComponent" => {}
            kind => {
                let text = format!("the {kind} `{text}` is not converted: {}", about(kind));
                writer.note(place, text);
            }
        }
    }

    fn checks(&self, writer: &mut Writer) {
        let mut hosts = BTreeMap::new();
        for ((name, body), place) in &self.hosts {
            let name =
                self.scope(Map::new()).eval(name).map(|name| plain(&name)).unwrap_or_default();
            let mut host = json!({"name": name, "vars": {}});
            match self.scope(Map::new()).run("Host", body, &mut host, 0) {
                Ok(()) => {
                    lost("host", &host, place, writer);
                    let scope = self.scope(locals(&host, None));
                    if let Err(groups) = join(&mut host, &self.host_groups, &scope) {
                        let text = format!("nobody can say here whether `{name}` is in {groups}");
                        writer.note(place, text);
                    }
                    hosts.insert(name, (host, place));
                }
                Err(why) => {
                    writer.note(place, format!("the host `{name}` is not converted: {why}"))
                }
            }
        }
        for (name, (host, place)) in &hosts {
            self.check(name.clone(), host, None, place, writer);
        }
        for ((name, body), place) in &self.services {
            let name =
                self.scope(Map::new()).eval(name).map(|name| plain(&name)).unwrap_or_default();
            let mut service = json!({"name": name, "vars": {}});
            let built = self.scope(Map::new()).run("Service", body, &mut service, 0);
            let on = plain(&service["host_name"]);
            match (built, hosts.get(&on)) {
                (Ok(()), Some((host, _))) => {
                    lost("service", &service, place, writer);
                    self.check(format!("{on}: {name}"), host, Some(&service), place, writer);
                }
                (Ok(()), None) => writer.note(
                    place,
                    format!("the service `{name}` is not converted: there is no host `{on}`"),
                ),
                (Err(why), _) => {
                    writer.note(place, format!("the service `{name}` is not converted: {why}"));
                }
            }
        }
        for (rule, place) in &self.rules {
            let mut found = 0;
            for (name, (host, _)) in &hosts {
                match self.apply(rule, name, host, place, writer) {
                    Ok(on) => found += on,
                    Err(why) => {
                        found += 1;
                        let text = format!("a rule is not converted for `{name}`: {why}");
                        writer.note(place, text);
                    }
                }
            }
            if found == 0 {
                writer.note(place, "the rule fits no host that is here");
            }
        }
    }

    /// The services that `rule` gives to `host`; how many.
    fn apply(
        &self,
        rule: &Rule,
        host_name: &str,
        host: &Value,
        place: &Place,
        writer: &mut Writer,
    ) -> Result<usize, String> {
        let locals = locals(host, None);
        let scope = self.scope(locals.clone());
        if !fits(&rule.body, &scope, rule.repeat.is_some())? {
            return Ok(0);
        }
        let prefix = rule.name.as_ref().map(|name| scope.eval(name)).transpose()?;
        let prefix = prefix.as_ref().map(plain).unwrap_or_default();
        let mut each = Vec::new();
        match &rule.repeat {
            None => each.push((prefix, locals)),
            Some(For { key, value, over }) => match scope.eval(over)? {
                Value::Object(map) => {
                    for (name, config) in map {
                        let mut locals = locals.clone();
                        locals.insert(key.clone(), json!(name));
                        locals.extend(value.iter().map(|value| (value.clone(), config.clone())));
                        each.push((format!("{prefix}{name}"), locals));
                    }
                }
                Value::Array(list) => {
                    for item in list {
                        let mut locals = locals.clone();
                        let name = format!("{prefix}{}", plain(&item));
                        locals.insert(key.clone(), item);
                        each.push((name, locals));
                    }
                }
                _ => {}
            },
        }
        let found = each.len();
        for (name, locals) in each {
            let mut service = json!({"name": name, "host_name": host_name, "vars": {}});
            self.scope(locals).run("Service", &rule.body, &mut service, 0)?;
            lost("service", &service, place, writer);
            let name = plain(&service["name"]);
            self.check(format!("{host_name}: {name}"), host, Some(&service), place, writer);
        }
        Ok(found)
    }

    fn check(
        &self,
        name: String,
        host: &Value,
        service: Option<&Value>,
        place: &Place,
        writer: &mut Writer,
    ) {
        let object = service.unwrap_or(host);
        if object["enable_active_checks"] == false {
            let text = format!(
                "`{name}` is not converted: others report it; make it a check with `heartbeat` or \
                 `push`"
            );
            return writer.note(place, text);
        }
        let endpoint = plain(&object["command_endpoint"]);
        if !endpoint.is_empty() && endpoint != plain(&self.constants["NodeName"]) {
            let text =
                format!("`{name}` is not converted: it runs on `{endpoint}`; import it there");
            return writer.note(place, text);
        }
        let (probe, timeout) = match self.probe(host, service) {
            Ok(probe) => probe,
            Err(why) => return writer.note(place, format!("`{name}` is not converted: {why}")),
        };
        let script = match probe {
            Words::List(words) => program(words),
            Words::Shell(line) => script(&line),
        };
        let script = match script {
            Ok(script) => script,
            Err(why) => return writer.note(place, format!("`{name}` is not converted: {why}")),
        };
        if script.has_secret {
            writer.note(place, format!("`{name}` {SECRET}"));
        }
        let when = plain(&object["check_period"]);
        if !when.is_empty() && when != "24x7" {
            let text = format!(
                "`{name}` is checked at all times, not only in `{when}`: use `cron` in place of \
                 `interval`, or the evaluator's `time_intervals` for who is told"
            );
            writer.note(place, text);
        }
        let seconds = |key: &str, usual: f64| object[key].as_f64().unwrap_or(usual);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
        let attempts = seconds("max_check_attempts", 3.0) as u32;
        let timeout = object["check_timeout"].as_f64().or(timeout).unwrap_or(60.0);
        let mut labels = BTreeMap::from([("host".to_owned(), plain(&host["name"]))]);
        let mut service = service.cloned();
        if let Some(service) = &mut service {
            let scope = self.scope(groups::locals(host, Some(service)));
            if let Err(groups) = join(service, &self.service_groups, &scope) {
                writer.note(place, format!("nobody can say here whether `{name}` is in {groups}"));
            }
        }
        for (label, object) in [("hostgroups", Some(host)), ("servicegroups", service.as_ref())] {
            let groups = object.and_then(|object| object["groups"].as_array());
            let groups: Vec<_> = groups.into_iter().flatten().map(plain).collect();
            if !groups.is_empty() {
                labels.insert(label.to_owned(), groups.join(","));
            }
        }
        let check = Check {
            name,
            interval: period(seconds("check_interval", 300.0)).unwrap_or_default(),
            timeout: period(timeout),
            retries: Some(attempts.saturating_sub(1)),
            retry_interval: period(seconds("retry_interval", 60.0)),
            labels,
            probe: script.probe(),
        };
        writer.check(check, place);
    }

    /// The command line of a check, and its time limit in seconds.
    fn probe(&self, host: &Value, service: Option<&Value>) -> Result<(Words, Option<f64>), String> {
        let name = plain(&service.unwrap_or(host)["check_command"]);
        if name.is_empty() {
            return Err("it has no `check_command`".to_owned());
        }
        let Some(body) = self.commands.get(&name) else {
            return Err(format!(
                "there is no command `{name}` in the files given; if it is one of Icinga's \
                 library, copy {LIBRARY} to this host"
            ));
        };
        let mut command = json!({"name": name, "vars": {}});
        self.scope(Map::new()).run("CheckCommand", body, &mut command, 0)?;
        let words = Line { host, service, command: &command }.words()?;
        Ok((words, command["timeout"].as_f64()))
    }
}

/// Notes what an object has that is not converted.
fn lost(kind: &str, object: &Value, place: &Place, writer: &mut Writer) {
    let keys = object.as_object().into_iter().flat_map(Map::keys);
    let lost: Vec<_> = keys.map(String::as_str).filter(|key| !UNDERSTOOD.contains(key)).collect();
    if !lost.is_empty() {
        let text = format!("of this {kind} is not converted: {}", lost.join(", "));
        writer.note(place, text);
    }
}

/// Where the part of a kind of objects is done here.
fn about(kind: &str) -> &'static str {
    match kind {
        "User" | "UserGroup" | "Notification" | "NotificationCommand" => {
            "who is told is said in the evaluator's `receivers` and `route`"
        }
        "Dependency" => {
            "say what depends on what under `services:`, or in the evaluator's `inhibit_rules`"
        }
        "ScheduledDowntime" | "TimePeriod" => {
            "write it as `cron` of checks, or as the evaluator's `time_intervals`"
        }
        "EventCommand" => "nothing is run when a check turns bad",
        _ => "it belongs to Icinga itself",
    }
}

/// The files that an `include` names; `*` stands for any part of a name.
fn included(file: &str, path: &str, is_recursive: bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if is_recursive {
        below(&named_in(file, path), 0, &mut found);
    } else if let Some((folder, end)) =
        path.rsplit_once('/').and_then(|(folder, name)| Some((folder, name.strip_prefix('*')?)))
    {
        let entries = fs::read_dir(named_in(file, folder)).into_iter().flatten();
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        found.extend(paths.filter(|path| path.is_file() && path.to_string_lossy().ends_with(end)));
    } else {
        found.push(named_in(file, path));
    }
    found.sort();
    found
}

fn below(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && depth < MAX_DEPTH {
            below(&path, depth + 1, found);
        } else if path.extension().is_some_and(|end| end == "conf") {
            found.push(path);
        }
    }
}

#[cfg(test)]
mod tests;
