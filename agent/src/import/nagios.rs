//! Nagios's object configuration as our checks.
//!
//! ```text
//! nagios.cfg, resource.cfg, objects ──read──▶ definitions ──inherit──▶ hosts, services ──macros──▶ checks
//! ```
//!
//! Invariant: a service is a check, or it is noted why not; who is told of it is noted, for that is
//! the evaluator's part.

mod inherit;
mod macros;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use base::period::Period;

use self::inherit::{names, objects};
use self::macros::{Macros, arguments};
use self::read::{Definition, Files};
use super::check::{Check, SECRET, Writer, period, script};
use super::{Imported, Place};

/// Settings of objects that have no meaning for us, or that are used above.
const UNDERSTOOD: [&str; 33] = [
    "name",
    "use",
    "register",
    "host_name",
    "hostgroup_name",
    "hostgroups",
    "servicegroups",
    "service_description",
    "address",
    "alias",
    "display_name",
    "check_command",
    "check_interval",
    "normal_check_interval",
    "retry_interval",
    "retry_check_interval",
    "max_check_attempts",
    "check_period",
    "active_checks_enabled",
    "process_perf_data",
    "retain_status_information",
    "retain_nonstatus_information",
    "icon_image",
    "icon_image_alt",
    "vrml_image",
    "statusmap_image",
    "2d_coords",
    "3d_coords",
    "notes",
    "notes_url",
    "action_url",
    "importance",
    "initial_state",
];

/// Kinds of objects of which nothing becomes a check, with where their part is done here.
const ELSEWHERE: [(&str, &str); 9] = [
    ("contact", "who is told is said in the evaluator's `receivers`"),
    ("contactgroup", "who is told is said in the evaluator's `receivers` and `route`"),
    (
        "servicedependency",
        "say what depends on what under `services:`, or in the evaluator's `inhibit_rules`",
    ),
    (
        "hostdependency",
        "say what depends on what under `services:`, or in the evaluator's `inhibit_rules`",
    ),
    ("serviceescalation", "escalate in the evaluator's `route`"),
    ("hostescalation", "escalate in the evaluator's `route`"),
    ("serviceextinfo", "it holds links and pictures only"),
    ("hostextinfo", "it holds links and pictures only"),
    ("timeperiod", ""),
];

/// What all checks need to know.
struct Site {
    hosts: BTreeMap<String, Definition>,
    /// The groups of each host.
    groups: BTreeMap<String, BTreeSet<String>>,
    commands: BTreeMap<String, (String, Place)>,
    /// The periods that are always.
    always: BTreeSet<String>,
    resources: BTreeMap<String, String>,
    /// How many seconds an interval of 1 has.
    unit: f64,
    service_timeout: Option<Period>,
    host_timeout: Option<Period>,
    used_commands: BTreeSet<String>,
    used_variables: BTreeSet<String>,
}

/// Our checks for what `files` say: main files, resource files or files of objects.
///
/// # Errors
///
/// One of `files` cannot be read; those that they name are only told.
pub(crate) fn nagios(paths: &[PathBuf]) -> io::Result<Imported> {
    let (mut files, mut writer) = (Files::default(), Writer::default());
    for path in paths {
        files.read(path, 0, &mut writer)?;
    }
    let mut site = site(&files, &mut writer);
    let hosts: Vec<_> = site.hosts.values().cloned().collect();
    for host in &hosts {
        site.host(host, &mut writer);
    }
    for service in objects(&files, "service", &mut writer) {
        site.service(&service, &mut writer);
    }
    rest(&files, &site, &mut writer);
    Ok(writer.finish())
}

fn site(files: &Files, writer: &mut Writer) -> Site {
    let mut hosts = BTreeMap::new();
    for host in objects(files, "host", writer) {
        match host.get("host_name").or(host.get("name")).map(str::to_owned) {
            Some(name) => {
                hosts.insert(name, host);
            }
            None => writer.note(&host.place, "a host without `host_name` is not converted"),
        }
    }
    let mut commands = BTreeMap::new();
    for command in objects(files, "command", writer) {
        if let (Some(name), Some((line, place))) =
            (command.get("command_name"), command.settings.get("command_line"))
        {
            commands.insert(name.to_owned(), (line.clone(), place.clone()));
        } else {
            writer.note(&command.place, "a command without its name or line is not converted");
        }
    }
    let mut always = BTreeSet::new();
    for period in objects(files, "timeperiod", writer) {
        let days = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
        let Some(name) = period.get("timeperiod_name") else { continue };
        let excludes = period.get("exclude").is_some();
        if !excludes && days.iter().all(|day| period.get(day) == Some("00:00-24:00")) {
            always.insert(name.to_owned());
        }
    }
    let number = |name: &str| files.settings.get(name).and_then(|(text, _)| text.parse().ok());
    Site {
        groups: groups(files, &hosts, writer),
        hosts,
        commands,
        always,
        resources: files.resources.clone(),
        unit: number("interval_length").filter(|unit| *unit > 0.0).unwrap_or(60.0),
        service_timeout: period(number("service_check_timeout").unwrap_or(60.0)),
        host_timeout: period(number("host_check_timeout").unwrap_or(30.0)),
        used_commands: BTreeSet::new(),
        used_variables: BTreeSet::new(),
    }
}

/// The groups that each host is in, by its own word or the group's, through groups of groups.
fn groups(
    files: &Files,
    hosts: &BTreeMap<String, Definition>,
    writer: &mut Writer,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut parents: Vec<(String, String)> = Vec::new();
    for (name, host) in hosts {
        let own = names(host.get("hostgroups")).into_iter().map(str::to_owned);
        found.entry(name.clone()).or_default().extend(own);
    }
    for group in objects(files, "hostgroup", writer) {
        let Some(name) = group.get("hostgroup_name") else { continue };
        for host in chosen(&names(group.get("members")), hosts.keys()) {
            found.entry(host.clone()).or_default().insert(name.to_owned());
        }
        let inner = names(group.get("hostgroup_members")).into_iter();
        parents.extend(inner.map(|inner| (inner.to_owned(), name.to_owned())));
    }
    for own in found.values_mut() {
        let mut open: Vec<_> = own.iter().cloned().collect();
        while let Some(group) = open.pop() {
            for (_, parent) in parents.iter().filter(|(inner, _)| *inner == group) {
                if own.insert(parent.clone()) {
                    open.push(parent.clone());
                }
            }
        }
    }
    found
}

/// Those of `known` that a list chooses: by name, `*` for all, `!` for not.
fn chosen<'k>(list: &[&str], known: impl Iterator<Item = &'k String>) -> Vec<&'k String> {
    let has = |name: &str| list.contains(&name);
    known.filter(|name| !has(&format!("!{name}")) && (has("*") || has(name))).collect()
}

impl Site {
    fn host(&mut self, host: &Definition, writer: &mut Writer) {
        let name = host.get("host_name").or(host.get("name")).unwrap_or_default().to_owned();
        if host.get("check_command").is_some() {
            self.check(name, host, None, writer);
        }
    }

    fn service(&mut self, service: &Definition, writer: &mut Writer) {
        let Some(description) = service.get("service_description") else {
            let text = "a service without `service_description` is not converted";
            return writer.note(&service.place, text);
        };
        let by_name = names(service.get("host_name"));
        let by_group = names(service.get("hostgroup_name"));
        let in_group = |host: &String| {
            let own: Vec<&String> = self.groups.get(host).into_iter().flatten().collect();
            let out = own.iter().any(|group| by_group.contains(&format!("!{group}").as_str()));
            let all = by_group.contains(&"*");
            !out && (all || own.iter().any(|group| by_group.contains(&group.as_str())))
        };
        let mut hosts: Vec<_> = chosen(&by_name, self.hosts.keys()).into_iter().cloned().collect();
        hosts.extend(
            self.hosts
                .keys()
                .filter(|host| in_group(host) && !by_name.contains(&format!("!{host}").as_str()))
                .cloned(),
        );
        for name in by_name.iter().filter(|name| !name.starts_with(['!', '*'])) {
            if !self.hosts.contains_key(*name) {
                writer.note(&service.place, format!("`{description}`: there is no host `{name}`"));
            }
        }
        hosts.sort();
        hosts.dedup();
        if hosts.is_empty() {
            let text = format!("`{description}` is on no host that is here; it is not converted");
            writer.note(&service.place, text);
        }
        for host in hosts {
            let Some(definition) = self.hosts.get(&host).cloned() else { continue };
            self.check(format!("{host}: {description}"), &definition, Some(service), writer);
        }
    }

    fn check(
        &mut self,
        name: String,
        host: &Definition,
        service: Option<&Definition>,
        writer: &mut Writer,
    ) {
        let object = service.unwrap_or(host);
        let place = object.settings.get("check_command").map_or(&object.place, |told| &told.1);
        if object.get("active_checks_enabled") == Some("0") {
            let text = format!(
                "`{name}` is not converted: others report it; make it a check with `heartbeat` or \
                 `push`"
            );
            return writer.note(&object.place, text);
        }
        let probe = match self.command(&name, host, service, place, writer) {
            Ok(probe) => probe,
            Err(why) => return writer.note(place, format!("`{name}` is not converted: {why}")),
        };
        if let Some(told) = object.settings.get("check_period")
            && !self.always.contains(&told.0)
        {
            let text = format!(
                "`{name}` is checked at all times, not only in `{}`: use `cron` in place of \
                 `interval`, or the evaluator's `time_intervals` for who is told",
                told.0
            );
            writer.note(&told.1, text);
        }
        let number = |names: [&str; 2], usual: f64| {
            let text = names.iter().find_map(|name| object.get(name));
            text.and_then(|text| text.parse::<f64>().ok()).unwrap_or(usual) * self.unit
        };
        let mut labels = BTreeMap::new();
        labels.insert("host".to_owned(), host.get("host_name").unwrap_or(&name).to_owned());
        let host_groups = self.groups.get(host.get("host_name").unwrap_or_default());
        let joined = |groups: Vec<&str>| groups.join(",");
        let host_groups: Vec<&str> =
            host_groups.into_iter().flatten().map(String::as_str).collect();
        if !host_groups.is_empty() {
            labels.insert("hostgroups".to_owned(), joined(host_groups));
        }
        let groups = service.map(|service| names(service.get("servicegroups")));
        if let Some(groups) = groups.filter(|groups| !groups.is_empty()) {
            labels.insert("servicegroups".to_owned(), joined(groups));
        }
        let attempts = object.get("max_check_attempts").and_then(|text| text.parse::<u32>().ok());
        let interval = period(number(["check_interval", "normal_check_interval"], 5.0));
        let check = Check {
            name,
            interval: interval.unwrap_or_default(),
            timeout: if service.is_some() { self.service_timeout } else { self.host_timeout },
            retries: attempts.map(|attempts| attempts.saturating_sub(1)),
            retry_interval: period(number(["retry_interval", "retry_check_interval"], 1.0)),
            labels,
            probe,
        };
        writer.check(check, &object.place);
    }

    fn command(
        &mut self,
        name: &str,
        host: &Definition,
        service: Option<&Definition>,
        place: &Place,
        writer: &mut Writer,
    ) -> Result<String, String> {
        let object = service.unwrap_or(host);
        let told = object.get("check_command").ok_or("it has no `check_command`")?;
        let (command, arguments) = arguments(told);
        let (line, _) = self
            .commands
            .get(&command)
            .ok_or_else(|| format!("there is no command `{command}` in the files given"))?;
        self.used_commands.insert(command.clone());
        let mut macros = Macros {
            resources: &self.resources,
            hosts: &self.hosts,
            host,
            service,
            arguments,
            used: BTreeSet::new(),
            has_resource: false,
        };
        let line = macros.expand(line)?;
        let has_resource = macros.has_resource;
        self.used_variables.append(&mut macros.used);
        let script = script(&line)?;
        if script.has_secret || has_resource {
            writer.note(place, format!("`{name}` {SECRET}"));
        }
        Ok(script.probe())
    }
}

/// Notes what is left.
fn rest(files: &Files, site: &Site, writer: &mut Writer) {
    for definition in &files.definitions {
        let kind = definition.kind.as_str();
        let own = ["contact", "contactgroup", "timeperiod"].iter().find(|own| **own == kind);
        let name = own.and_then(|own| definition.get(&format!("{own}_name")));
        match (kind, ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == kind)) {
            ("host" | "service", _) => {
                let is_lost = |key: &str| match key.strip_prefix('_') {
                    Some(_) => !site.used_variables.contains(&key.to_uppercase()),
                    None => !UNDERSTOOD.contains(&key),
                };
                let lost: Vec<_> = definition
                    .settings
                    .keys()
                    .map(String::as_str)
                    .filter(|key| is_lost(key))
                    .collect();
                if !lost.is_empty() {
                    let text = format!("of this {kind} is not converted: {}", lost.join(", "));
                    writer.note(&definition.place, text);
                }
            }
            ("servicegroup", _) if definition.get("members").is_some() => {
                let text = "the members of this service group are not converted: name the group as \
                            `servicegroups` of the services";
                writer.note(&definition.place, text);
            }
            ("servicegroup", _) if definition.get("servicegroup_members").is_some() => {
                let text = "the groups within this service group are not converted";
                writer.note(&definition.place, text);
            }
            ("command" | "hostgroup" | "servicegroup", _) => {}
            ("timeperiod", _) if name.is_none_or(|name| site.always.contains(name)) => {}
            ("timeperiod", _) => {
                let text = format!(
                    "the period `{}` is not converted: write it as `cron` of checks, or as the \
                     evaluator's `time_intervals`",
                    name.unwrap_or_default()
                );
                writer.note(&definition.place, text);
            }
            (kind, Some((_, what))) => {
                let shown = name.map(|name| format!(" `{name}`")).unwrap_or_default();
                let text = format!("the {kind}{shown} is not converted: {what}");
                writer.note(&definition.place, text);
            }
            (kind, None) => {
                writer.note(&definition.place, format!("`define {kind}` is not known"));
            }
        }
    }
    let unused = site.commands.iter().filter(|(name, _)| !site.used_commands.contains(*name));
    let mut by_file: BTreeMap<&str, (&Place, Vec<&str>)> = BTreeMap::new();
    for (name, (_, place)) in unused {
        let (first, names) = by_file.entry(&place.file).or_insert((place, Vec::new()));
        *first = if place.line < first.line { place } else { first };
        names.push(name);
    }
    for (place, names) in by_file.into_values() {
        let text = format!("no check uses these commands, they are left out: {}", names.join(", "));
        writer.note(place, text);
    }
    let known = ["interval_length", "service_check_timeout", "host_check_timeout"];
    let left: Vec<_> =
        files.settings.iter().filter(|(name, _)| !known.contains(&name.as_str())).collect();
    if let Some((_, (_, place))) = left.iter().min_by_key(|(_, (_, place))| place.line) {
        let names: Vec<_> = left.iter().map(|(name, _)| name.as_str()).collect();
        let text = format!("settings of the daemon itself are left out: {}", names.join(", "));
        writer.note(place, text);
    }
}

#[cfg(test)]
mod tests;
