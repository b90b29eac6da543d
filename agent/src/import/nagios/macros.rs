//! Macros of a command line.
//!
//! Invariant: a macro whose value is known only when the command runs is a reason not to convert it.

use std::collections::{BTreeMap, BTreeSet};

use super::read::Definition;

/// How deep values may hold macros themselves.
const MAX_DEPTH: usize = 8;
/// The longest that a command line becomes.
const MAX_LENGTH: usize = 64 << 10;

/// What macros stand for.
pub(super) struct Macros<'m> {
    pub(super) resources: &'m BTreeMap<String, String>,
    pub(super) hosts: &'m BTreeMap<String, Definition>,
    pub(super) host: &'m Definition,
    pub(super) service: Option<&'m Definition>,
    pub(super) arguments: Vec<String>,
    /// The custom variables that were asked for.
    pub(super) used: BTreeSet<String>,
    /// Whether a resource beyond the folder of plugins was asked for.
    pub(super) has_resource: bool,
}

impl Macros<'_> {
    /// `line` with the values of its macros.
    ///
    /// # Errors
    ///
    /// Which macro is not to be had.
    pub(super) fn expand(&mut self, line: &str) -> Result<String, String> {
        self.expand_to(line, 0)
    }

    fn expand_to(&mut self, line: &str, depth: usize) -> Result<String, String> {
        let mut text = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('$') {
            text.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                text.push('$');
                rest = after;
                continue;
            }
            let Some((name, after)) = after.split_once('$') else {
                text.push('$');
                rest = after;
                continue;
            };
            let value = self.value(name)?;
            if value.contains('$') && depth < MAX_DEPTH {
                text.push_str(&self.expand_to(&value, depth + 1)?);
            } else {
                text.push_str(&value);
            }
            if text.len() > MAX_LENGTH {
                return Err("its command line is too long".to_owned());
            }
            rest = after;
        }
        text.push_str(rest);
        Ok(text)
    }

    fn value(&mut self, name: &str) -> Result<String, String> {
        if let Some(number) = name.strip_prefix("ARG").and_then(|n| n.parse::<usize>().ok()) {
            let argument = number.checked_sub(1).and_then(|at| self.arguments.get(at));
            return Ok(argument.cloned().unwrap_or_default());
        }
        if name.starts_with("USER") {
            self.has_resource |= name != "USER1" && name != "USER2";
            let value = self.resources.get(name).cloned();
            return value.ok_or_else(|| {
                format!("`${name}$` is in no resource file; name that file beside the others")
            });
        }
        let (name, other) = name.split_once(':').map_or((name, None), |(n, o)| (n, Some(o)));
        let host = match other {
            Some(other) if name.starts_with("HOST") || name.starts_with("_HOST") => {
                self.hosts.get(other).ok_or_else(|| format!("there is no host `{other}`"))?
            }
            Some(_) => return Err(format!("`${name}:...$` is known only when it runs")),
            None => self.host,
        };
        let host_name = host.get("host_name").unwrap_or_default();
        let of = |definition: &Definition, key: &str, fallback: &str| {
            Ok(definition.get(key).unwrap_or(fallback).to_owned())
        };
        let service_name = |service: &Definition| {
            service.get("service_description").unwrap_or_default().to_owned()
        };
        match (name, self.service) {
            ("HOSTNAME", _) => Ok(host_name.to_owned()),
            ("HOSTADDRESS", _) => of(host, "address", host_name),
            ("HOSTALIAS", _) => of(host, "alias", host_name),
            ("HOSTDISPLAYNAME", _) => of(host, "display_name", host_name),
            ("HOSTNOTES", _) => of(host, "notes", ""),
            ("SERVICEDESC", Some(service)) => Ok(service_name(service)),
            ("SERVICEDISPLAYNAME", Some(service)) => {
                of(service, "display_name", &service_name(service))
            }
            (custom, service) => {
                let (key, owner) = match (custom.strip_prefix("_HOST"), service) {
                    (Some(key), _) => (key, Some(host)),
                    (None, service) => (custom.strip_prefix("_SERVICE").unwrap_or(""), service),
                };
                if key.is_empty() {
                    return Err(format!("`${name}$` is known only to Nagios while it runs"));
                }
                let key = format!("_{}", key.to_uppercase());
                let settings = owner.into_iter().flat_map(|owner| &owner.settings);
                let mut found = settings.filter(|(name, _)| name.to_uppercase() == key);
                let value = found.next().map(|(_, (value, _))| value.clone());
                self.used.insert(key);
                Ok(value.unwrap_or_default())
            }
        }
    }
}

/// A `check_command`: the name of the command and its arguments, which `!` parts.
pub(super) fn arguments(text: &str) -> (String, Vec<String>) {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if matches!(chars.peek(), Some('!')) => {
                parts.last_mut().into_iter().for_each(|part| part.push('!'));
                chars.next();
            }
            '!' => parts.push(String::new()),
            c => parts.last_mut().into_iter().for_each(|part| part.push(c)),
        }
    }
    let name = parts.remove(0);
    (name.trim().to_owned(), parts)
}
