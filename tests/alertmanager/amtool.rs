//! Every command of `amtool`, said to a real Alertmanager and to us: the same answers.
//!
//! Invariant: what differs by nature (ids, times, addresses) is replaced by a word before it is
//! compared, and nothing else is.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tests::http_server::HttpServer;
use tests::program::{Program, free_port};
use tests::{peers, wait_until};

use crate::sides::{Side, Sides, held, plain};

fn config(sink: &HttpServer) -> String {
    let hook = |name: &str| {
        format!("- {{name: {name}, webhook_configs: [{{url: '{}'}}]}}\n", sink.url("/"))
    };
    format!(
        "route:\n  receiver: ops\n  group_by: [alertname]\n  group_wait: 100ms\n  \
         group_interval: 1s\n  routes:\n  - {{matchers: [team=db], receiver: db, continue: true}}\n  \
         - matchers: ['severity=~\"page|call\"']\n    receiver: pager\n    routes:\n    \
         - {{matchers: [host!=a], receiver: ops}}\nreceivers:\n{}{}{}inhibit_rules:\n\
         - {{source_matchers: [alertname=Cause], target_matchers: [alertname=Effect], equal: [host]}}\n",
        hook("ops"),
        hook("db"),
        hook("pager")
    )
}

/// What a run of `amtool` said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

struct Amtool {
    program: PathBuf,
    sides: Sides,
    /// The words that stand for something that each side calls otherwise: `{name}` in an argument.
    words: BTreeMap<String, [String; 2]>,
    dir: TempDir,
}

impl Amtool {
    fn start() -> Option<Self> {
        let (program, dir) = (peers::program("amtool")?, tempfile::tempdir().unwrap());
        Some(Self { program, sides: Sides::start(config)?, words: BTreeMap::new(), dir })
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn of(&self, side: &Side, arguments: &[&str], input: &str) -> Said {
        let place = usize::from(side.name == "ours");
        let arguments = arguments.iter().map(|argument| {
            let words = self.words.iter();
            words.fold((*argument).to_owned(), |text, (word, texts)| {
                text.replace(&format!("{{{word}}}"), &texts[place])
            })
        });
        let url = format!("--alertmanager.url={}", side.url(""));
        said(&self.program, arguments.chain([url]), input)
    }

    /// What both say, with their own words; the same status, and no complaint about us.
    #[track_caller]
    fn both(&self, arguments: &[&str], input: &str) -> [Said; 2] {
        let theirs = self.of(&self.sides.theirs, arguments, input);
        let ours = self.of(&self.sides.ours, arguments, input);
        let shown = format!("{arguments:?}\ntheirs: {theirs:#?}\nours: {ours:#?}");
        assert_eq!(ours.code, theirs.code, "{shown}");
        assert!(!ours.err.contains("version"), "{shown}");
        [theirs, ours]
    }

    /// What both say, which is the same.
    #[track_caller]
    fn same(&self, arguments: &[&str]) -> String {
        let [theirs, ours] = self.both(arguments, "");
        assert_eq!(ours.code, Some(0), "{arguments:?}: {ours:?}");
        assert_eq!(plain(&ours.out), plain(&theirs.out), "{arguments:?}");
        plain(&ours.out)
    }

    /// A silence is added to both, and known as `{word}` from now on.
    #[track_caller]
    fn silence(&mut self, word: &str, arguments: &[&str]) {
        let both = self.both(&[&["silence", "add"], arguments].concat(), "");
        let ids = both.map(|said| said.out.trim().to_owned());
        assert!(ids.iter().all(|id| plain(id) == "ID"), "{ids:?}");
        self.words.insert(word.to_owned(), ids);
    }
}

fn said(program: &Path, arguments: impl IntoIterator<Item = String>, input: &str) -> Said {
    let mut command = Command::new(program);
    command.args(arguments).env("TZ", "UTC").env("HOME", "/nonexistent");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: done.status.code(), out: text(&done.stdout), err: text(&done.stderr) }
}

#[test]
fn amtool_adds_and_queries_alerts_in_every_form() {
    let Some(mut amtool) = Amtool::start() else { return };
    amtool.silence("known", &["alertname=Known", "-a", "me", "-c", "we know"]);
    for arguments in [
        &["Known", "host=a"][..],
        &["alertname=Cause", "host=a"],
        &["Effect", "host=a", "severity=page"],
        &["Effect", "host=b", "severity=call", "team=db"],
        &["Full", "host=b", "team=db", "--annotation=summary=\"it is full\"", "--annotation=x=y"],
        &["Late", "--generator-url=http://x/?a=b", "--start=2020-01-01T00:00:00Z"],
        &["Short", "--end=2099-01-01T00:00:00Z"],
    ] {
        assert_eq!(amtool.same(&[&["alert", "add"], arguments].concat()), "");
    }
    wait_until("both hold back the same", || {
        let [theirs, ours] = [&amtool.sides.theirs, &amtool.sides.ours].map(held);
        ours == theirs && ours.len() == 2
    });
    let mut shown = 0;
    for filter in [
        &[][..],
        &["--active"],
        &["--inhibited"],
        &["--silenced"],
        &["--unprocessed"],
        &["--active", "--silenced"],
        &["-a", "-s", "-i", "-u"],
        &["--receiver=db"],
        &["--receiver=d.|pager"],
        &["--receiver=nobody"],
        &["Full"],
        &["host=a"],
        &["host=~a|b", "team=db"],
        &["host!=b"],
        &["host!~[bc]"],
        &["{host=\"b\"}"],
        &["team="],
        &["Nothing"],
    ] {
        for output in ["simple", "extended", "json"] {
            let said = amtool.same(&[&["alert", "query", "-o", output], filter].concat());
            shown += usize::from(said.contains("Effect") || said.contains("Full"));
        }
    }
    assert!(shown > 15, "{shown}");
    for wrong in [
        &["alert", "query", "--receiver=("][..],
        &["alert", "add"],
        &["alert", "add", "x", "--start=soon"],
        &["alert", "add", "x", "--start=2020-01-02T00:00:00Z", "--end=2020-01-01T00:00:00Z"],
    ] {
        assert_ne!(amtool.both(wrong, "")[1].code, Some(0), "{wrong:?}");
    }
}

#[test]
fn amtool_adds_asks_changes_ends_and_imports_silences() {
    let Some(mut amtool) = Amtool::start() else { return };
    amtool.silence("one", &["One", "-a", "me", "-c", "first", "-d", "2h"]);
    amtool.silence("two", &["alertname=~T.*", "host!=a", "-a", "you", "-c", "second"]);
    amtool.silence(
        "three",
        &["x!~y", "-a", "me", "-c", "c", "--annotation=ticket=7", "--end=2099-01-01T00:00:00Z"],
    );
    let later = ["--start=2098-01-01T00:00:00Z", "--end=2099-01-01T00:00:00Z"];
    amtool.silence("later", &[&["Later", "-a", "me", "-c", "d"], &later[..]].concat());
    let asked = |amtool: &Amtool, filters: &[&[&str]]| {
        for filter in filters {
            for output in ["simple", "extended", "json"] {
                amtool.same(&[&["silence", "query", "-o", output], *filter].concat());
            }
        }
    };
    let filters: &[&[&str]] = &[
        &[],
        &["-q"],
        &["One"],
        &["alertname=Two"],
        &["host!=a"],
        &["x!~y"],
        &["--created-by=me"],
        &["--id={two}"],
        &["--within=90m"],
        &["--expired"],
        &["--expired", "--within=1h"],
    ];
    asked(&amtool, filters);
    assert_eq!(amtool.same(&["silence", "query", "-q", "One"]), "ID\n");

    // amtool prints where it keeps the id, not the id.
    let update = ["silence", "update", "{one}", "-q", "-c", "changed"];
    assert_eq!(amtool.same(&update), "PLACE\n");
    amtool.same(&["silence", "update", "{two}", "-d", "3h", "-o", "extended"]);
    amtool.same(&["silence", "update", "{one}", "--end=2097-01-01T00:00:00Z"]);
    amtool.same(&["silence", "update", "{two}", "--end=2096-01-01T00:00:00Z"]);
    assert!(amtool.same(&["silence", "query", "-o", "extended", "One"]).contains("changed"));
    asked(&amtool, filters);

    // As people do it: expire what a query finds.
    let found = amtool.both(&["silence", "query", "-q", "One"], "").map(|said| said.out);
    amtool.words.insert("found".to_owned(), found.map(|ids| ids.trim().to_owned()));
    assert_eq!(amtool.same(&["silence", "expire", "{found}"]), "");
    assert_eq!(amtool.same(&["silence", "expire", "{later}"]), "");
    assert_eq!(amtool.same(&["silence", "expire", "{two}"]), "");
    asked(&amtool, filters);
    assert_eq!(amtool.same(&["silence", "query", "-q"]), "ID\n");

    // What one has shown is taken back: as a new one, and as the same one.
    let shown = amtool.both(&["silence", "query", "-o", "json"], "").map(|said| said.out);
    for (name, text) in ["theirs", "ours"].iter().zip(&shown) {
        fs::write(amtool.path(name), text).unwrap();
    }
    let files = ["theirs", "ours"].map(|name| amtool.path(name));
    amtool.words.insert("file".to_owned(), files);
    for (arguments, input) in [
        (&["silence", "import", "{file}"][..], ""),
        (&["silence", "import", "{file}", "--force"], ""),
        (&["silence", "import", "--worker=2", "--force"], &shown[1]),
    ] {
        let both = amtool.both(arguments, input);
        assert_eq!(both[1].code, Some(0), "{both:?}");
    }
    // All are the same but for their ids.
    assert_eq!(amtool.same(&["silence", "query", "-q"]), "ID\nID\nID\n");
    let all: Value =
        serde_json::from_str(&amtool.same(&["silence", "query", "-o", "json"])).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 3);
    for wrong in [
        &["silence", "expire", "9b1d4b9e-0000-4000-8000-000000000000"][..],
        &["silence", "expire", "{one}"],
        &["silence", "expire", "nonsense"],
        &["silence", "update", "9b1d4b9e-0000-4000-8000-000000000000", "-c", "x"],
        &["silence", "query", "--id=9b1d4b9e-0000-4000-8000-000000000000"],
        &["silence", "add", "a=b", "-a", "me", "-c", "x", "--end=2001-01-01T00:00:00Z"],
        &["silence", "add", "a=~(", "-a", "me", "-c", "x"],
        &["silence", "add", "a=b", "-a", "me"],
        &["silence", "add"],
    ] {
        amtool.both(wrong, "");
    }
}

#[test]
fn amtool_shows_the_configuration_routes_and_cluster() {
    let Some(amtool) = Amtool::start() else { return };
    assert!(amtool.same(&["config", "routes", "show"]).contains("receiver: pager"));
    assert!(amtool.same(&["config", "routes"]).contains("receiver: pager"));
    for (labels, receivers) in [
        (&["team=db"][..], "db\n"),
        (&["team=db", "severity=page", "host=a"], "db,pager\n"),
        (&["severity=call"], "ops\n"),
        (&["severity=none"], "ops\n"),
        (&["x=y", "--tree"], "ops"),
        (&["team=db", "--verify.receivers=db"], "db\n"),
    ] {
        let said = amtool.same(&[&["config", "routes", "test"], labels].concat());
        assert!(said.contains(receivers), "{labels:?}: {said}");
    }
    let wrong = ["config", "routes", "test", "team=db", "--verify.receivers=ops"];
    assert_ne!(amtool.both(&wrong, "")[1].code, Some(0));
    for output in ["simple", "extended", "json"] {
        assert!(amtool.same(&["cluster", "show", "-o", output]).contains("disabled"));
    }
    // In the extended form amtool prints where it keeps the version, and that is all.
    amtool.same(&["config", "show", "-o", "extended"]);
    for output in ["simple", "json"] {
        let both = amtool.both(&["config", "show", "-o", output], "");
        assert!(both.iter().all(|said| said.out.contains("pager")), "{both:#?}");
    }
    // What we show is a configuration.
    let shown = amtool.both(&["config", "show"], "").map(|said| said.out);
    for (side, text) in [&amtool.sides.theirs, &amtool.sides.ours].into_iter().zip(shown) {
        fs::write(amtool.path("shown.yml"), text).unwrap();
        let checked = amtool.of(side, &["check-config", &amtool.path("shown.yml")], "");
        assert_eq!(checked.code, Some(0), "{checked:#?}");
    }
}

#[test]
fn amtool_takes_our_configuration_and_renders_what_we_render() {
    let Some(amtool) = Amtool::start() else { return };
    let (sink, port) = (HttpServer::sink(), free_port());
    let template = "{{ define \"line\" }}{{ .Status | toUpper }}: {{ range .Alerts }}\
                    {{ .Labels.alertname }} {{ .Annotations.summary | title }} \
                    {{ .Labels.SortedPairs.Values | join \"+\" }}{{ end }}, {{ .Receiver }}\
                    {{ reReplaceAll \"(.)b\" \"$1-\" .CommonLabels.host }}{{ end }}";
    fs::write(amtool.path("t.tmpl"), template).unwrap();
    let config = format!(
        "templates: ['{}']\nroute: {{receiver: r, group_wait: 0s}}\nreceivers:\n- name: r\n  \
         webhook_configs: [{{url: '{}'}}]\n  slack_configs: [{{api_url: '{}', channel: '#x', \
         title: '{{{{ template \"line\" . }}}}'}}]\n",
        amtool.path("t.tmpl"),
        sink.url("/hook"),
        sink.url("/slack")
    );
    fs::write(amtool.path("veilleur.yml"), config).unwrap();
    let file = amtool.path("veilleur.yml");
    let checked = amtool.of(&amtool.sides.ours, &["check-config", &file], "");
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    assert!(checked.out.contains("SUCCESS"), "{checked:#?}");

    let listen = format!("127.0.0.1:{port}");
    let data = amtool.path("data");
    let options = ["--config", &file, "--data", &data, "--listen", &listen];
    let _program = Program::start("veilleur", options);
    let url = format!("--alertmanager.url=http://{listen}");
    let add = ["alert", "add", "Full", "host=abba", "--annotation=summary=disk is full", &url];
    wait_until("the alert is added", || {
        said(&amtool.program, add.map(str::to_owned), "").code == Some(0)
    });
    let told = |path: &str| sink.asked().into_iter().find(|asked| asked.path == path);
    wait_until("both are told", || told("/hook").is_some() && told("/slack").is_some());
    fs::write(amtool.path("data.json"), told("/hook").unwrap().body).unwrap();
    let arguments = [
        "template".to_owned(),
        "render".to_owned(),
        format!("--template.glob={}", amtool.path("*.tmpl")),
        format!("--template.data={}", amtool.path("data.json")),
        "--template.text={{ template \"line\" . }}".to_owned(),
    ];
    let rendered = said(&amtool.program, arguments, "");
    assert_eq!(rendered.code, Some(0), "{rendered:?}");
    let title = &told("/slack").unwrap().json()["attachments"][0]["title"];
    assert_eq!(rendered.out.trim_end(), title.as_str().unwrap());
    assert!(rendered.out.contains("FIRING: Full Disk Is Full"), "{rendered:?}");
}

#[test]
fn amtool_says_who_it_is_by_its_http_config_file() {
    let Some(program) = peers::program("amtool") else { return };
    let (dir, listen) = (tempfile::tempdir().unwrap(), format!("127.0.0.1:{}", free_port()));
    let path = |name: &str| dir.path().join(name).display().to_string();
    // The hash is that of `swordfish`.
    fs::write(
        path("veilleur.yml"),
        "web: {basic_auth_users: {anne: \
         '$2b$05$abcdefghijklmnopqrstuupWDwJQeCHYIBQy8WvkVB6ImhZ476YYy'}, \
         unauthenticated_paths: [/-/ready]}\n",
    )
    .unwrap();
    let (config, data) = (path("veilleur.yml"), path("data"));
    let options = ["--config", &config, "--data", &data, "--listen", &listen];
    let _program = Program::start("veilleur", options);
    let ready = format!("http://{listen}/-/ready");
    wait_until("it is ready", || tests::get(&ready).is_some_and(|(status, _)| status == 200));
    for (password, code) in [("swordfish", Some(0)), ("wrong", Some(1))] {
        let text = format!("basic_auth: {{username: anne, password: {password}}}\n");
        fs::write(path("http.yml"), text).unwrap();
        let arguments = [
            "silence".to_owned(),
            "query".to_owned(),
            format!("--alertmanager.url=http://{listen}"),
            format!("--http.config.file={}", path("http.yml")),
        ];
        let said = said(&program, arguments, "");
        assert_eq!(said.code, code, "{said:?}");
    }
}
