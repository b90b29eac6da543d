//! `nrpe.cfg` as our section `nrpe:`.
//!
//! Invariant: a command is converted only where it does the same without a shell and without
//! arguments from outside.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::check::script;
use super::{Imported, Note, Place, list, quoted, read_text};

/// Files that include each other are followed so far.
const MAX_DEPTH: usize = 16;

/// Settings that mean nothing here.
const MEANINGLESS: [&str; 19] = [
    "log_facility",
    "log_file",
    "debug",
    "pid_file",
    "listen_queue_size",
    "allow_bash_command_substitution",
    "allow_weak_random_seed",
    "connection_timeout",
    "disable_syslog",
    "max_commands",
    "ssl_version",
    "ssl_use_adh",
    "ssl_cipher_list",
    "ssl_logging",
    "nasty_metachars",
    "keep_env_vars",
    "nrpe_group",
    "socket_timeout",
    "dont_blame_nrpe",
];

/// What the files say.
#[derive(Debug, Default)]
struct Found {
    /// The file that was named first.
    first: String,
    settings: BTreeMap<String, (String, Place)>,
    commands: BTreeMap<String, (String, Place)>,
    notes: Vec<Note>,
}

/// Our section for what `files` say, the later ones going before the earlier.
///
/// # Errors
///
/// One of `files` cannot be read; those that they include are only told.
pub(crate) fn nrpe(files: &[PathBuf]) -> io::Result<Imported> {
    let first = files.first().map(|file| file.display().to_string()).unwrap_or_default();
    let mut found = Found { first, ..Found::default() };
    for file in files {
        found.read(file, 0)?;
    }
    Ok(found.section())
}

impl Found {
    fn read(&mut self, file: &Path, depth: usize) -> io::Result<()> {
        let shown = file.display().to_string();
        for (line, text) in (1..).zip(read_text(file)?.lines()) {
            let place = Place { file: shown.clone(), line };
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let Some((key, value)) = text.split_once('=') else {
                self.note(&place, format!("`{text}` is no setting"));
                continue;
            };
            self.setting(key.trim(), value.trim(), &place, depth);
        }
        Ok(())
    }

    fn setting(&mut self, key: &str, value: &str, place: &Place, depth: usize) {
        if let Some(name) = key.strip_prefix("command[").and_then(|rest| rest.strip_suffix(']')) {
            self.commands.insert(name.to_owned(), (value.to_owned(), place.clone()));
            return;
        }
        match key {
            "include" | "include_file" => self.include(Path::new(value), place, depth),
            "include_dir" => match fs::read_dir(value) {
                Ok(entries) => {
                    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
                    let mut files: Vec<_> = paths
                        .filter(|path| path.extension().is_some_and(|end| end == "cfg"))
                        .collect();
                    files.sort();
                    files.iter().for_each(|file| self.include(file, place, depth));
                }
                Err(error) => self.note(place, format!("`{value}` cannot be read: {error}")),
            },
            _ => {
                self.settings.insert(key.to_owned(), (value.to_owned(), place.clone()));
            }
        }
    }

    fn include(&mut self, file: &Path, place: &Place, depth: usize) {
        if depth == MAX_DEPTH {
            self.note(place, "files include each other without end".to_owned());
        } else if let Err(error) = self.read(file, depth + 1) {
            self.note(place, format!("cannot be read: {error}"));
        }
    }

    fn note(&mut self, place: &Place, text: String) {
        self.notes.push(Note { file: place.file.clone(), line: place.line, text });
    }

    /// Takes a setting out, so that in the end those are left that nobody has understood.
    fn take(&mut self, key: &str) -> Option<(String, Place)> {
        self.settings.remove(key)
    }

    fn section(mut self) -> Imported {
        let tls = self.tls();
        let mut yaml = String::from("nrpe:\n");
        // Writing to a string does not fail.
        let _ = writeln!(yaml, "  listen: {}", quoted(&self.listen(tls.is_some())));
        if let Some(tls) = tls {
            let _ = writeln!(yaml, "  tls: {{{tls}}}");
        }
        if let Some(allowed) = self.allowed() {
            let _ = writeln!(yaml, "  allowed: {}", list(&allowed));
        }
        if let Some((timeout, place)) = self.take("command_timeout") {
            match timeout.parse::<u32>() {
                Ok(seconds @ 1..) => {
                    let _ = writeln!(yaml, "  timeout: {seconds}s");
                }
                _ => self.note(&place, format!("`{timeout}` is no timeout; it is 60s here")),
            }
        }
        self.tell();
        let prefix = self.take("command_prefix");
        let commands = std::mem::take(&mut self.commands);
        let mut lines = String::new();
        for (name, (line, place)) in commands {
            let prefix = prefix.as_ref().map_or("", |(prefix, _)| prefix.as_str());
            match command(&format!("{prefix} {line}")) {
                Ok(command) => {
                    let _ = writeln!(lines, "    {}: {command}", quoted(&name));
                }
                Err(why) => self.note(&place, format!("`{name}` is not converted: {why}")),
            }
        }
        match lines.as_str() {
            "" => yaml.push_str("  commands: {}\n"),
            lines => {
                let _ = write!(yaml, "  commands:\n{lines}");
            }
        }
        for (key, (value, place)) in std::mem::take(&mut self.settings) {
            if !MEANINGLESS.contains(&key.as_str()) {
                self.note(&place, format!("`{key}={value}` is not known"));
            }
        }
        self.notes.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        Imported { yaml, notes: self.notes }
    }

    fn listen(&mut self, has_tls: bool) -> String {
        let port = self.take("server_port").map_or("5666".to_owned(), |(port, _)| port);
        let address = self.take("server_address");
        let parsed = address.as_ref().map(|(text, _)| text.parse::<IpAddr>());
        let ip = match (&parsed, &address) {
            (Some(Ok(ip)), _) => *ip,
            (Some(Err(_)), Some((text, place))) => {
                self.note(place, format!("`{text}` is no address; we listen on all of them"));
                IpAddr::from([0; 16])
            }
            _ => IpAddr::from([0; 16]),
        };
        if has_tls || ip.is_loopback() {
            return if ip.is_ipv6() { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
        }
        let text = "there is no certificate, and the anonymous ciphers of NRPE are not to be had: we \
                    listen on 127.0.0.1 only; make one, set `tls`, and then the address";
        let place = address.map(|(_, place)| place);
        let place = place.unwrap_or_else(|| Place { file: self.first.clone(), line: 1 });
        self.note(&place, text.to_owned());
        format!("127.0.0.1:{port}")
    }

    fn tls(&mut self) -> Option<String> {
        let (cert, key) = (self.take("ssl_cert_file"), self.take("ssl_privatekey_file"));
        let (ca, asks) = (self.take("ssl_cacert_file"), self.take("ssl_client_certs"));
        let ((cert, _), (key, _)) = (cert?, key?);
        let mut tls = format!("cert_file: {}, key_file: {}", quoted(&cert), quoted(&key));
        let kind = match asks.as_ref().map_or("0", |(asks, _)| asks.as_str()) {
            "1" => "VerifyClientCertIfGiven",
            "2" => "RequireAndVerifyClientCert",
            _ => return Some(tls),
        };
        match (ca, asks) {
            (Some((ca, _)), _) => {
                let _ = write!(tls, ", client_ca_file: {}, client_auth_type: {kind}", quoted(&ca));
            }
            (None, Some((_, place))) => {
                let text = "clients are to be asked for certificates, but there is no \
                            `ssl_cacert_file`: set `client_ca_file` and `client_auth_type`";
                self.note(&place, text.to_owned());
            }
            (None, None) => {}
        }
        Some(tls)
    }

    fn allowed(&mut self) -> Option<Vec<String>> {
        let (hosts, place) = self.take("allowed_hosts")?;
        let mut allowed = Vec::new();
        for host in hosts.split(',').map(str::trim).filter(|host| !host.is_empty()) {
            if host.parse::<crate::nrpe::Network>().is_ok() {
                allowed.push(host.to_owned());
            } else {
                self.note(&place, format!("`{host}` is no address; write its address instead"));
            }
        }
        Some(allowed)
    }

    /// Notes what means something else here.
    fn tell(&mut self) {
        if let Some((_, place)) = self.take("dont_blame_nrpe").filter(|(value, _)| value == "1") {
            let text = "arguments are always refused; declare a command for each that is asked for";
            self.note(&place, text.to_owned());
        }
        if let Some((user, place)) = self.take("nrpe_user") {
            let text = format!("commands run as the agent's user, not as `{user}`");
            self.note(&place, text);
        }
    }
}

/// A command as ours.
fn command(line: &str) -> Result<String, String> {
    if line.contains("$ARG") {
        return Err("it takes arguments from outside; declare it with those that it has".to_owned());
    }
    let script = script(line)?;
    if script.has_privileges {
        return Ok(format!("{{command: {}, keep_privileges: true}}", list(&script.words)));
    }
    Ok(list(&script.words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(text: &str) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nrpe.cfg");
        let text = text.replace("HERE", &folder.path().display().to_string());
        fs::write(&file, text).unwrap();
        fs::create_dir(folder.path().join("more")).unwrap();
        fs::write(folder.path().join("more/b.cfg"), "command[b]=/bin/true b\n").unwrap();
        fs::write(folder.path().join("more/a.cfg"), "command[a]=/bin/true a\nodd\n").unwrap();
        fs::write(folder.path().join("more/c.txt"), "command[c]=/bin/true\n").unwrap();
        fs::write(
            folder.path().join("loop.cfg"),
            format!("include={}\n", folder.path().join("loop.cfg").display()),
        )
        .unwrap();
        let imported = nrpe(&[file]).unwrap();
        let notes: Vec<_> = imported.notes.iter().map(Note::to_string).collect();
        (imported.yaml, notes.join("\n").replace(&format!("{}/", folder.path().display()), ""))
    }

    #[test]
    fn what_can_be_converted_is_and_the_rest_is_told() {
        let (yaml, notes) = import(
            "# comment\nlog_facility=daemon\nserver_address=192.0.2.1\nserver_port=5667\n\
             nrpe_user=nagios\nallowed_hosts=127.0.0.1, 10.0.0.0/8,nagios.example.org\n\
             dont_blame_nrpe=1\ncommand_timeout=30\nssl_cert_file=/c.pem\n\
             ssl_privatekey_file=/k.pem\nssl_cacert_file=/ca.pem\nssl_client_certs=2\n\
             command[users]=/usr/lib/nagios/plugins/check_users -w 5 -c '1 0'\n\
             command[args]=/usr/lib/nagios/plugins/check_load $ARG1$\n\
             command[pipe]=/bin/ls | wc -l\ncommand[relative]=check_x\n\
             command[root]=sudo /bin/true\ncommand[icmp]=/usr/lib/nagios/plugins/check_icmp -H x\n\
             include_dir=HERE/more\ninclude=HERE/none.cfg\nshape=round\n",
        );
        assert_eq!(
            yaml,
            "nrpe:\n  listen: \"192.0.2.1:5667\"\n  tls: {cert_file: \"/c.pem\", key_file: \"/k.pem\", \
             client_ca_file: \"/ca.pem\", client_auth_type: RequireAndVerifyClientCert}\n  \
             allowed: [\"127.0.0.1\", \"10.0.0.0/8\"]\n  timeout: 30s\n  commands:\n    \
             \"a\": [\"/bin/true\", \"a\"]\n    \"b\": [\"/bin/true\", \"b\"]\n    \
             \"icmp\": {command: [\"/usr/lib/nagios/plugins/check_icmp\", \"-H\", \"x\"], \
             keep_privileges: true}\n    \
             \"root\": {command: [\"/usr/bin/sudo\", \"/bin/true\"], keep_privileges: true}\n    \
             \"users\": [\"/usr/lib/nagios/plugins/check_users\", \"-w\", \"5\", \"-c\", \"1 0\"]\n"
        );
        let expected = "more/a.cfg:2: `odd` is no setting\n\
            nrpe.cfg:5: commands run as the agent's user, not as `nagios`\n\
            nrpe.cfg:6: `nagios.example.org` is no address; write its address instead\n\
            nrpe.cfg:7: arguments are always refused; declare a command for each that is asked for\n\
            nrpe.cfg:14: `args` is not converted: it takes arguments from outside; declare it with those that it has\n\
            nrpe.cfg:15: `pipe` is not converted: `|` means something to a shell only; put the line into a script of its own\n\
            nrpe.cfg:16: `relative` is not converted: `check_x` is no full path\n\
            nrpe.cfg:20: cannot be read: none.cfg: No such file or directory (os error 2)\n\
            nrpe.cfg:21: `shape=round` is not known";
        assert_eq!(notes, expected);
    }

    #[test]
    fn without_a_certificate_only_this_host_is_listened_to() {
        let (yaml, notes) = import("include=HERE/loop.cfg\n");
        assert_eq!(yaml, "nrpe:\n  listen: \"127.0.0.1:5666\"\n  commands: {}\n");
        assert!(notes.contains("files include each other without end"), "{notes}");
        assert!(notes.contains("there is no certificate"), "{notes}");
        let (yaml, _) = import("ssl_cert_file=/c\nssl_privatekey_file=/k\n");
        assert!(yaml.contains("listen: \"[::]:5666\""), "{yaml}");
    }
}
