//! Nagios's configuration, right and broken.
//!
//! Invariant: what is written is right by our own reader.

use std::fs;

use super::super::Note;
use super::*;
use crate::config::{Source, Terms};

/// What becomes of an object file beside a resource file: the configuration and the notes.
fn import(objects: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("nagios.cfg");
    fs::write(&main, "cfg_file=objects.cfg\nresource_file=resource.cfg\ninterval_length=60\n")
        .unwrap();
    fs::write(
        folder.path().join("resource.cfg"),
        "$USER1$=/usr/lib/nagios/plugins\n$USER3$=hunter2\n",
    )
    .unwrap();
    fs::write(folder.path().join("objects.cfg"), objects).unwrap();
    let imported = nagios(&[main]).unwrap();
    let notes: Vec<_> = imported.notes.iter().map(Note::to_string).collect();
    (imported.yaml, notes.join("\n").replace(&format!("{}/", folder.path().display()), ""))
}

/// What is written is a configuration: `plugins` need not be here.
#[track_caller]
fn is_right(yaml: &str) {
    let mut text = yaml.to_owned();
    for line in yaml.lines() {
        if let Some((_, rest)) = line.split_once("command: [\"/") {
            let program = format!("/{}", rest.split('"').next().unwrap_or_default());
            text = text.replace(&format!("\"{program}\""), "\"/bin/true\"");
        }
    }
    let source = Source::Embedded { name: "agent.yml", text };
    if let Err(diagnostics) = source.load(Terms { once: true, ..Terms::default() }) {
        panic!("{diagnostics}\n{yaml}");
    }
}

const SITE: &str = r"
define timeperiod {
  timeperiod_name 24x7
  sunday 00:00-24:00
  monday 00:00-24:00
  tuesday 00:00-24:00
  wednesday 00:00-24:00
  thursday 00:00-24:00
  friday 00:00-24:00
  saturday 00:00-24:00
}
define command {
  command_name check_disk
  command_line $USER1$/check_disk -w '$ARG1$' -c '$ARG2$' -e -p '$ARG3$'
}
define command{
  command_name check_web
  command_line $USER1$/check_http -H $HOSTADDRESS$ -p $_HOSTPORT$ \
    -u '$ARG1$' ; the page
}
define host {
  name generic
  check_interval 2
  max_check_attempts 3
  check_period 24x7
  hostgroups +all
  register 0
}
define host {
  use generic
  host_name web1
  address 192.0.2.1
  hostgroups +web
  _PORT 8080
}
define host { 
  use generic
  host_name web2
  hostgroups null
  address 192.0.2.2
}
define hostgroup {
  hostgroup_name web
  members web2
}
";

#[test]
fn services_become_checks_with_what_they_inherit() {
    let (yaml, notes) = import(&format!(
        "{SITE}define service {{\n name s\n register 0\n check_interval 10\n retry_interval 0.5\n}}\n\
         define service {{\n name t\n check_interval 1\n max_check_attempts 4\n register 0\n}}\n\
         define service {{\n use s,t\n hostgroup_name web\n host_name !web1\n service_description Disk\n\
          check_command check_disk!20%!10%!/\n servicegroups disks\n}}\n\
         define service {{\n use t\n host_name web1\n service_description Page\n check_command \
         check_web!/a b\\!\n}}\n"
    ));
    assert_eq!(
        yaml,
        "checks:\n\
         - name: \"web2: Disk\"\n  interval: 10m\n  timeout: 1m\n  retries: 3\n  \
         retry_interval: 30s\n  labels: {host: \"web2\", hostgroups: \"web\", servicegroups: \"disks\"}\n  \
         probe: {script: {command: [\"/usr/lib/nagios/plugins/check_disk\", \"-w\", \"20%\", \"-c\", \
         \"10%\", \"-e\", \"-p\", \"/\"]}}\n\
         - name: \"web1: Page\"\n  interval: 1m\n  timeout: 1m\n  retries: 3\n  retry_interval: 1m\n  \
         labels: {host: \"web1\", hostgroups: \"all,web\"}\n  \
         probe: {script: {command: [\"/usr/lib/nagios/plugins/check_http\", \"-H\", \"192.0.2.1\", \
         \"-p\", \"8080\", \"-u\", \"/a b!\"]}}\n"
    );
    assert_eq!(notes, "");
    is_right(&yaml);
}

/// A service with `lines` on `web1`.
fn service(lines: &str) -> String {
    format!("{SITE}define service {{\n host_name web1\n service_description S\n{lines}\n}}\n")
}

#[test]
fn what_is_not_converted_is_told() {
    let check = |objects: &str, expected: &str| {
        let (yaml, notes) = import(objects);
        assert!(notes.contains(expected), "{expected}\nin: {notes}");
        is_right(&yaml);
    };
    check(&service("check_command nope!1"), "there is no command `nope`");
    check(
        &format!("{SITE}define host {{\nhost_name h\n_PORT 80|x\ncheck_command check_web\n}}\n"),
        "`h` is not converted: `|` means something to a shell only",
    );
    check(
        &service("check_command check_disk!1!2!$SERVICESTATE$"),
        "`$SERVICESTATE$` is known only",
    );
    check(&service("check_command check_disk!1!2!$USER9$"), "`$USER9$` is in no resource file");
    check(&service("active_checks_enabled 0\ncheck_command check_disk"), "others report it");
    check(&service("use gone\ncheck_command check_disk"), "there is no template `gone`");
    check(&service("check_period nights\ncheck_command check_disk"), "not only in `nights`");
    check(
        &service("contact_groups a\ncheck_command check_disk"),
        "is not converted: contact_groups",
    );
    check(&service("_X 1\ncheck_command check_disk"), "is not converted: _X");
    check(&service("check_interval 0\ncheck_command check_disk"), "its interval is 0");
    check(
        &format!("{SITE}define contact {{\n contact_name ann\n}}"),
        "the contact `ann` is not converted",
    );
    check(&format!("{SITE}define timeperiod {{\n timeperiod_name x\n}}"), "the period `x`");
    check(
        &format!("{SITE}define servicegroup {{\n servicegroup_name x\n members web1,Disk\n}}"),
        "the members of this service group are not converted",
    );
    check(&format!("{SITE}define spoon {{\n}}"), "`define spoon` is not known");
    check(&format!("{SITE}define service {{\n"), "a definition has no end");
    check("what is this", "`what is this` is neither");
    check("cfg_file=objects.cfg\n", "files include each other without end");
    check("cfg_dir=/nowhere\n", "`/nowhere` cannot be read");
    check(SITE, "no check uses these commands, they are left out: check_disk, check_web");
}

#[test]
fn secrets_are_told_and_not_shown() {
    let (_, notes) = import(&format!(
        "{SITE}define command {{\n command_name db\n command_line $USER1$/check_mysql -u n -p $USER3$\n}}\n\
         define service {{\n host_name web1\n service_description S\n check_command db\n}}\n"
    ));
    assert!(notes.contains("`web1: S` has a secret in its command line"), "{notes}");
    assert!(!notes.contains("hunter2"), "{notes}");
}

#[test]
fn nothing_that_is_broken_ends_us() {
    let circle = "define service {\n name a\n use b\n register 0\n}\ndefine service {\n name b\n use \
                  a\n host_name web1\n service_description c\n check_command check_disk\n}\n";
    let texts = [
        "define",
        "define {",
        "}",
        "define service",
        "$",
        "$USER1$",
        "=",
        "define host {\n}\n",
        "define service {\nhost_name *\nservice_description x\ncheck_command !!!\n}\n",
        "define command {\ncommand_name $\ncommand_line $$$\n}\n",
        "\\",
        "define hostgroup {\n\
         hostgroup_name a\nhostgroup_members a\nmembers *\n}\n",
        circle,
    ];
    for text in texts {
        is_right(&import(&format!("{SITE}{text}")).0);
        is_right(&import(text).0);
    }
    // Values that name each other end, too.
    let loops = "define host {\n host_name h\n address $HOSTADDRESS$$HOSTADDRESS$\n check_command check_web\n}\n";
    is_right(&import(&format!("{SITE}{loops}")).0);
    // A file that includes itself many times ends.
    is_right(&import(&"cfg_file=objects.cfg\n".repeat(5)).0);
    let bytes: Vec<u8> = (0..=255).collect();
    import(&String::from_utf8_lossy(&bytes));
}
