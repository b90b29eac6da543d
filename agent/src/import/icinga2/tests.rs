//! Icinga's configuration, right and broken.
//!
//! Invariant: what is written is right by our own reader.

use std::fs;

use super::super::Note;
use super::*;
use crate::config::{Source, Terms};

fn import(text: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("icinga2.conf");
    fs::write(&main, text).unwrap();
    let imported = icinga2(&[main]).unwrap();
    let notes: Vec<_> = imported.notes.iter().map(Note::to_string).collect();
    (imported.yaml, notes.join("\n").replace(&format!("{}/", folder.path().display()), ""))
}

#[track_caller]
fn is_right(yaml: &str) {
    let text = yaml.replace("/usr/lib/nagios/plugins/", "/bin/true");
    let text = ["check_ping", "check_disk", "check_x", "check_http"]
        .iter()
        .fold(text, |text, name| text.replace(&format!("/bin/true{name}"), "/bin/true"));
    let source = Source::Embedded { name: "agent.yml", text };
    if let Err(diagnostics) = source.load(Terms { once: true, ..Terms::default() }) {
        panic!("{diagnostics}\n{yaml}");
    }
}

const SITE: &str = r#"
const PluginDir = "/usr/lib/nagios/plugins"
/* two
   lines */
object CheckCommand "x" {
  command = [ PluginDir + "/check_x" ]
  arguments = {
    "-H" = { value = "$x_host$", required = true, order = -1 }
    "-t" = "$x_text$"
    "-v" = { set_if = "$x_verbose$" }
    "-l" = { value = "$x_list$" }
    "-m" = { value = "$x_list$", repeat_key = false }
    "last" = { value = "$x_last$", skip_key = true, order = 9 }
    "--sum" = { value = "$x_number$,$x_text$" }
  }
  vars.x_host = "$address$"
}
template Host "generic" { check_interval = 1m; max_check_attempts = 5 }
template Service "often" {
  check_interval = 30s
  retry_interval = 0.5m // half
}
object Host "web1" {
  import "generic"
  address = "192.0.2.1"
  vars.os = "Linux"
  vars.disks["disk /"] = { x_text = "root" }
  vars.disks["disk /var"] = { x_text = "var", x_verbose = true }
  vars.ports = [ 80, 443 ]
  groups = [ "web" ]
}
object Host "db1" { address = "192.0.2.2" }
"#;

#[test]
fn services_become_checks_by_objects_and_rules() {
    let (yaml, notes) = import(&format!(
        "{SITE}apply Service for (disk => config in host.vars.disks) {{\n import \"often\"\n \
         check_command = \"x\"\n vars += config\n vars.x_list = [ \"a\", \"b c\" ]\n}}\n\
         apply Service \"port-\" for (port in host.vars.ports) {{\n check_command = \"x\"\n \
         vars.x_last = port\n}}\n\
         object HostGroup \"linux\" {{\n assign where host.vars.os == \"Linux\"\n}}\n\
         object ServiceGroup \"numbers\" {{\n assign where service.vars.x_number > 2 && \"linux\" in host.groups\n \
         ignore where host.name == \"db1\"\n}}\n\
         apply Service \"linux\" {{\n check_command = \"x\"\n vars.x_number = 3\n vars.x_text = \"$$5 $host.name$\"\n \
         assign where match(\"web*\", host.name) && host.vars.os == \"Linux\" || \"no\" in host.groups\n \
         ignore where host.vars.skip\n}}\n\
         object Service \"own\" {{\n host_name = \"db1\"\n check_command = \"x\"\n}}\n"
    ));
    let line = |words: &str| {
        let words: Vec<_> = words.split('|').map(|word| format!("\"{word}\"")).collect();
        format!(
            "  probe: {{script: {{command: [\"/usr/lib/nagios/plugins/check_x\", {}]}}}}\n",
            words.join(", ")
        )
    };
    for expected in [
        format!(
            "- name: \"web1: disk /var\"\n  interval: 30s\n  timeout: 30s\n  retries: 2\n  \
             retry_interval: 30s\n  labels: {{host: \"web1\", hostgroups: \"web,linux\"}}\n{}",
            line("-H|192.0.2.1|-l|a|-l|b c|-m|a|b c|-t|var|-v")
        ),
        "hostgroups: \"web,linux\", servicegroups: \"numbers\"}\n".to_owned(),
        line("-H|192.0.2.1|443"),
        line("-H|192.0.2.1|--sum|3,$5 web1|-t|$5 web1"),
        line("-H|192.0.2.2"),
    ] {
        assert!(yaml.contains(&expected), "{expected}\nin: {yaml}\n{notes}");
    }
    assert_eq!(yaml.matches("- name:").count(), 6, "{yaml}");
    is_right(&yaml);
}

#[test]
fn what_is_not_converted_is_told() {
    let check = |text: &str, expected: &str| {
        let (yaml, notes) = import(&format!("{SITE}{text}\n"));
        assert!(notes.contains(expected), "{expected}\nin: {notes}");
        is_right(&yaml);
    };
    let rule = |body: &str| {
        format!("apply Service \"s\" {{\n{body}\n assign where host.name == \"web1\"\n}}")
    };
    check(&rule("check_command = \"gone\""), "there is no command `gone`");
    check(
        &rule("check_command = \"x\"\n vars.x_host = null\n vars.x_host = {{ get_time() }}"),
        "known only to Icinga",
    );
    check(
        &rule("check_command = \"x\"\n command_endpoint = \"sat\""),
        "it runs on `sat`; import it there",
    );
    check(&rule("import \"gone\""), "there is no template `gone`");
    check(&rule("if (1) { a = 2 }"), "is decided only by Icinga");
    check(&rule("check_command = \"x\"\n check_period = \"nights\""), "not only in `nights`");
    check(
        &rule("check_command = \"x\"\n event_command = \"restart\""),
        "is not converted: event_command",
    );
    check(&rule("enable_active_checks = false"), "others report it");
    check("apply Service \"s\" {\n assign where host.name == \"none\"\n}", "the rule fits no host");
    check(
        "apply Service \"s\" {\n assign where cidr_match(\"a\", host.address)\n}",
        "`cidr_match()` is known only",
    );
    check(
        "apply Notification \"n\" to Host {\n assign where true\n}",
        "the rule for Notification is not converted: who is told",
    );
    check("object User \"ann\" { }", "the User `ann` is not converted");
    check("object Service \"s\" { host_name = \"none\" }", "there is no host `none`");
    check("include <nothing>", "copy Icinga's /usr/share/icinga2/include");
    check("include \"none.conf\"", "cannot be read: ");
    check("if (true) {\n object Host \"a\" { }\n}", "icinga2.conf:33: `if true");
    check(
        &rule("check_command = \"x\"\n vars.x_text = \"password=hunter2\""),
        "has a secret in its command line",
    );
}

#[test]
fn code_that_asks_macros_only_is_followed() {
    let with = |code: &str, vars: &str| {
        import(&format!(
            "{SITE}apply Service \"s\" {{\n check_command = \"x\"\n vars.x_text = {{{{ {code} }}}}\n{vars}\n \
             assign where host.name == \"web1\"\n}}\n"
        ))
    };
    let check = |code: &str, vars: &str, expected: &str| {
        let (yaml, notes) = with(code, vars);
        assert!(yaml.contains(expected), "{code}: {yaml}{notes}");
    };
    let swap =
        "if (macro(\"$i$\")) {\n return macro(\"$w$\")\n } else {\n return macro(\"$w$%\")\n }";
    check(swap, "vars.w = 5", "\"-t\", \"5%\"");
    check(swap, "vars.w = 5\n vars.i = true", "\"-t\", \"5\"");
    check("string(macro(\"$w$\")) != \"\" ? \"yes\" : \"no\"", "vars.w = 5", "\"-t\", \"yes\"");
    check(
        "var a = macro(\"$address6$\")\n if (!a) { return macro(\"$address$\") }",
        "",
        "\"-t\", \"192.0.2.1\"",
    );
    let (_, notes) = with("macro(\"$x_text$\")", "");
    assert!(notes.contains("name each other without end"), "{notes}");
    let (_, notes) = with("while (true) { }", "");
    assert!(notes.contains("code in it is known only to Icinga"), "{notes}");
}

#[test]
fn nothing_that_is_broken_ends_us() {
    let deep = |open: &str, times: usize| format!("const A = {}", open.repeat(times));
    let texts = [
        "object",
        "object Host",
        "object Host \"a\" {",
        "object Host { } }",
        "apply",
        "apply Service for (",
        "\"",
        "{{{",
        "{{",
        "/*",
        "const A = A",
        "const A = 1 / 0",
        "const A = [1][9]",
        "}}}}",
        "object Host \"x\" { import \"x\" }",
        "$",
        "\u{1f980}",
        "include",
        "include <",
        "template Host \"t\" { import \"t\" }\nobject Host \"h\" { import \"t\" }",
        "object Host \"h\" { check_command = \"x\"; vars.address = \"$address$\"; address = \"$address$\" }",
        "object Host \"h\" { check_command = \"x\"; check_interval = -5; max_check_attempts = 1e9 }",
    ];
    for text in texts {
        is_right(&import(&format!("{SITE}{text}")).0);
        is_right(&import(text).0);
    }
    let doubled = "const A = \"ab\"\n".to_owned() + &"const A = A + A\n".repeat(60);
    assert!(import(&doubled).1.contains("a text is too long"));
    for text in [deep("(", 10_000), deep("[", 10_000), deep("{ a = ", 10_000), deep("!", 10_000)] {
        is_right(&import(&text).0);
    }
}
