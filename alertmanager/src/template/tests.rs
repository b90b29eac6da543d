//! Tests of the language as a whole: what a text gives, and what it is told.
//!
//! Invariant: what is expected here is what Go's text/template gives for the same text.

mod defaults;
mod hostile;

use std::cell::Cell;

use base::labels::Labels;
use base::sample::Timestamp;

use super::*;

/// 24 November 2012, 11:14:12.5 UTC.
const NOW: Timestamp = Timestamp::from_millis(1_353_755_652_500);

fn data() -> Value {
    let numbers = Value::list([1, 2, 3].map(Value::from));
    let labels = Labels::from_pairs([("job", "node"), ("alertname", "Disk"), ("zone", "a")]);
    Value::map([
        ("X", Value::from("x")),
        ("Empty", "".into()),
        ("Zero", 0.into()),
        ("Half", 0.5.into()),
        ("True", true.into()),
        ("Numbers", numbers),
        ("None", Value::list([])),
        ("Map", Value::map([("b", 2.into()), ("a", Value::from(1))])),
        ("Labels", Value::labels(labels.clone())),
        ("Kv", Value::kv(labels)),
        ("Time", Value::Time(Time::at(NOW))),
        ("Deep", Value::map([("er", Value::map([("still", Value::from("here"))]))])),
    ])
}

fn rendered(dialect: Dialect, text: &str, options: &Options<'_>) -> Result<String, TemplateError> {
    Template::parse(dialect, "t", text)?.render(&data(), options)
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let got = rendered(Dialect::Notification, text, &Options::at(NOW));
    match got {
        Ok(got) => assert_eq!(got, expected, "{text}"),
        Err(error) => panic!("{text}: {error}"),
    }
}

#[track_caller]
fn refuse(text: &str, expected: &str) {
    let error = rendered(Dialect::Notification, text, &Options::at(NOW)).unwrap_err();
    assert_eq!(error.to_string(), format!("template: t:{expected}"), "{text}");
}

#[test]
fn text_comments_and_trimming() {
    check("", "");
    check("plain }} text", "plain }} text");
    check("a{{/* b */}}c", "ac");
    check("a {{- \"b\" -}} c", "abc");
    check("{{\"a\"}}\n {{- /* x */ -}} \nb", "ab");
}

#[test]
fn conditions() {
    check("{{if .X}}1{{end}}{{if .Empty}}2{{end}}{{if .Missing}}3{{end}}", "1");
    check("{{if .Zero}}1{{else if .Half}}2{{else}}3{{end}}", "2");
    check("{{if .Zero}}1{{else if .None}}2{{else}}3{{end}}", "3");
    check("{{if $x := .X}}{{$x}}{{end}}", "x");
    check("{{if $x := .Empty}}1{{else if $y := .X}}{{$x}}{{$y}}{{end}}", "x");
    check("{{with .X}}{{.}}{{end}}{{with .Empty}}1{{else}}{{.X}}{{end}}", "xx");
    check("{{with .Empty}}1{{else with .Deep}}{{.er.still}}{{else}}2{{end}}", "here");
    check("{{with $x := .Deep}}{{$x.er.still}}{{$.X}}{{end}}", "herex");
    check("{{not .X}} {{and .X .Zero 1}} {{or .Zero .Empty .Half .Nope}}", "false 0 0.5");
    // What decides ends the evaluation: the index would fail.
    check("{{or .X (index .Numbers 9)}}{{and .Empty (index .Numbers 9)}}", "x");
    check("{{.X | and .True}}{{.Zero | or .Empty}}", "x0");
}

#[test]
fn loops() {
    check("{{range .Numbers}}{{.}},{{end}}", "1,2,3,");
    check("{{range $n, $x := .Numbers}}{{$n}}={{$x}} {{end}}", "0=1 1=2 2=3 ");
    check("{{range $x := .Numbers}}{{$x}}{{.}}{{end}}", "112233");
    check("{{range $k, $v := .Map}}{{$k}}{{$v}}{{end}}", "a1b2");
    check("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "alertname=Disk;job=node;zone=a;");
    check("{{range .None}}1{{else}}none{{end}}{{range .Missing}}1{{else}}nil{{end}}", "nonenil");
    check(
        "{{range 3}}{{.}}{{end}}{{range $i := 2}}{{$i}}{{end}}{{range 0}}{{else}}-{{end}}",
        "01201-",
    );
    check("{{range .Numbers}}{{if eq . 2}}{{continue}}{{end}}{{.}}{{end}}", "13");
    check("{{range .Numbers}}{{if eq . 2}}{{break}}{{end}}{{.}}{{end}}", "1");
    check(
        "{{range .Numbers}}{{range $.Numbers}}{{if eq . 2}}{{break}}{{end}}{{.}}{{end}}{{end}}",
        "111",
    );
    check("{{$x := 0}}{{range $x = .Numbers}}{{end}}{{$x}}", "3");
    check("{{range .Numbers}}{{$y := .}}{{end}}{{$y := 5}}{{$y}}", "5");
    check("{{range $i, $x := .Numbers}}{{break}}{{else}}none{{end}}", "");
}

#[test]
fn variables_and_scopes() {
    check("{{$x := 1}}{{$x}}{{$x = 2}}{{$x}}", "12");
    check("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21");
    check("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2");
    check(
        "{{$x := .X | toUpper}}{{$x}}{{$.X}}{{$}}{{define \"a\"}}{{$}}{{end}}"
            .split("{{$}}")
            .next()
            .unwrap(),
        "Xx",
    );
    check(
        "{{define \"a\"}}{{$}}{{end}}{{$x := 1}}{{template \"a\" 5}}{{template \"a\"}}",
        "5<no value>",
    );
}

#[test]
fn templates_within_templates() {
    check("{{define \"a\"}}<{{.}}>{{end}}{{template \"a\" .X}}{{template \"a\" 1}}", "<x><1>");
    check("{{block \"b\" .X}}[{{.}}]{{end}}{{template \"b\" 2}}", "[x][2]");
    check("{{template `c` .}}{{define `c`}}{{.X}}{{end}}", "x");
    check(
        "{{define \"n\"}}{{if .}}{{len .}}{{template \"n\" (slice . 1)}}{{end}}{{end}}{{template \"n\" .Numbers}}",
        "321",
    );
}

#[test]
fn pipelines_and_literals() {
    check("{{.X | printf \"%s-%s\" \"a\"}}", "a-x");
    check("{{\"a\" | printf \"%s%s\" \"b\" | printf \"%q\" | len}}", "4");
    check("{{(index .Numbers 1)}}{{(.Deep).er.still}}{{((.X))}}", "2herex");
    check(
        "{{1}} {{-1}} {{1.5}} {{1e6}} {{0x1F}} {{'a'}} {{`r\\n`}} {{true}}",
        "1 -1 1.5 1e+06 31 97 r\\n true",
    );
    check("{{print nil}}{{print .Missing 1 2 \"a\" .X}}", "<nil><nil> 1 2ax");
    check("{{len .X}}{{len .Numbers}}{{len .Map}}{{len .Labels}}", "1323");
    check("{{ .X\n|\ntoUpper }}", "X");
}

#[test]
fn fields_and_keys() {
    check("{{.Deep.er.still}}{{.Missing}}{{.Missing.deeper}}", "here<no value><no value>");
    check("[{{.Labels.job}}{{.Labels.nope}}]", "[node]");
    check("{{index .Labels \"job\"}}{{index .Map \"a\"}}[{{index .Labels \"nope\"}}]", "node1[]");
    let options = Options { missing_key: MissingKey::Default, ..Options::at(NOW) };
    assert_eq!(rendered(Dialect::Rule, "{{.Labels.nope}}", &options).unwrap(), "<no value>");
    let options = Options { missing_key: MissingKey::Error, ..Options::at(NOW) };
    let error = rendered(Dialect::Rule, "{{.Labels.nope}}", &options).unwrap_err();
    assert!(error.to_string().ends_with("<.Labels.nope>: map has no entry for key \"nope\""));
}

#[test]
fn methods_of_labels_and_times() {
    check(
        "{{range .Kv.SortedPairs}}{{.Name}}={{.Value}} {{end}}",
        "alertname=Disk job=node zone=a ",
    );
    check(
        "{{.Kv.Names}} {{.Kv.Values}} {{.Kv}}",
        "[alertname job zone] [Disk node a] alertname=Disk, job=node, zone=a",
    );
    check(
        "{{.Kv.SortedPairs.Values | join \"+\"}} {{.Kv.Names.Join \"/\"}}",
        "Disk+node+a alertname/job/zone",
    );
    check("{{with .Kv.Remove (stringSlice \"zone\" \"job\")}}{{.}}{{end}}", "alertname=Disk");
    check(
        "{{.Kv.job}}{{.Kv.nope}}{{(.Kv.SortedPairs).String}}",
        "nodealertname=Disk, job=node, zone=a",
    );
    check("{{.Time}}", "2012-11-24 11:14:12.5 +0000 UTC");
    check(
        "{{.Time.Format \"2006-01-02\"}} {{.Time.Unix}} {{.Time.Year}} {{.Time.Month}} {{.Time.Weekday}}",
        "2012-11-24 1353755652 2012 November Saturday",
    );
    check("{{printf \"%d %s\" .Time.Month .Time.Month}}", "11 November");
    check("{{(.Time.Add 3600000000000).Hour}} {{.Time.Sub (.Time.AddDate 0 0 -1)}}", "12 24h0m0s");
    check(
        "{{(.Time.In \"Europe/Paris\").Format \"15:04 MST -07:00\"}} {{(.Time.In \"Asia/Kolkata\").Local}}",
        "12:14 CET +01:00 2012-11-24 11:14:12.5 +0000 UTC",
    );
    check(
        "{{(.Time.Truncate 3600000000000).Format \"15:04:05\"}} {{.Time.IsZero}} {{.Time.Before .Time}}",
        "11:00:00 false false",
    );
    check(
        "{{since (.Time.Add -90000000000)}} {{(since (.Time.AddDate 0 0 -1)).Hours}} {{now.Year}}",
        "1m30s 24 2012",
    );
    check("{{if gt (since (.Time.AddDate 0 0 -1)) 3600}}old{{end}}", "old");
}

#[test]
fn functions_of_notifications() {
    check(
        "{{title \"aBC def\"}} {{trimSpace \" a \"}} {{match \"^x\" .X}} {{reReplaceAll \"(x)\" \"$1$1\" .X}}",
        "Abc Def a true xx",
    );
    check(
        "{{date \"2006\" .Time}} {{.Time | tz \"America/New_York\"}}",
        "2012 2012-11-24 06:14:12.5 -0500 EST",
    );
    check(
        "{{humanizeDuration 3661}} {{humanizeDuration (since (.Time.Add -5000000000))}}",
        "1h 1m 1s 5s",
    );
    check(
        "{{toJson .Kv}}{{toJson .Numbers}}{{toJson .Time}}",
        "{\"alertname\":\"Disk\",\"job\":\"node\",\"zone\":\"a\"}[1,2,3]\"2012-11-24T11:14:12.5Z\"",
    );
    check(
        "{{$l := list 1 \"a\"}}{{append $l 2 .X}}{{dict \"k\" 1 \"a\" $l}}",
        "[1 a 2 x]map[a:[1 a] k:1]",
    );
    check("{{html \"<a&'\"}} {{js \"'\"}} {{urlquery \"a b&\"}}", "&lt;a&amp;&#39; \\' a+b%26");
    check("{{safeHtml \"<b>\"}}{{safeUrl \"a?b\"}}", "<b>a?b");
    check(
        "{{slice \"abcd\" 1 3}}{{index \"a\" 0}}{{eq 1 2 1}}{{ne \"a\" \"b\"}}{{lt 1 2}}{{ge 1.5 2.5}}",
        "bc97truetruetruefalse",
    );
}

#[test]
fn a_rule_sees_labels_value_and_output() {
    let data = RuleData {
        labels: Labels::from_pairs([("job", "node")]),
        external_labels: Labels::from_pairs([("dc", "1")]),
        external_url: "http://v/p",
        value: Value::Float(0.123_456),
        output: "disk full",
    };
    let asked = Cell::new(0);
    let query = |query: &str| {
        asked.set(asked.get() + 1);
        match query {
            "up" => Ok(["b", "a"]
                .iter()
                .zip([1.0, 2.0])
                .map(|(name, value)| QuerySample {
                    labels: Labels::from_pairs([("job", name), ("__value__", &"v")]),
                    value,
                })
                .collect()),
            other => Err(format!("cannot query {other}")),
        }
    };
    let options = Options { query: Some(&query), external_url: "http://v/p", ..Options::at(NOW) };
    let data = data.into_value();
    let check = |text: &str, expected: Result<&str, &str>| {
        let template = Template::parse(Dialect::Rule, "r", text).unwrap();
        let got = template.render(&data, &options).map_err(|error| error.fault().message.clone());
        assert_eq!(got, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
    };
    check(
        "{{$labels.job}} {{$externalLabels.dc}} {{$externalURL}} {{$value}} {{$output}}",
        Ok("node 1 http://v/p 0.123456 disk full"),
    );
    check(
        "{{.Labels.job}} {{.ExternalLabels.dc}} {{.ExternalURL}} {{.Value}} {{.Output}}",
        Ok("node 1 http://v/p 0.123456 disk full"),
    );
    check(
        "{{$labels}} {{$value | humanizePercentage}} {{printf \"%.2f\" $value}}",
        Ok("map[job:node] 12.35% 0.12"),
    );
    check(
        "{{range query \"up\" | sortByLabel \"job\"}}{{.Labels.job}}{{.Value}}{{strvalue .}} {{end}}",
        Ok("a2v b1v "),
    );
    check(
        "{{with query \"up\"}}{{. | first | label \"job\"}}{{. | first | value}}{{end}}",
        Ok("b1"),
    );
    check("{{query \"down\"}}", Err("error calling query: cannot query down"));
    check("{{tmpl \"x\" 1}}{{define \"x\"}}<{{.}}>{{end}}", Ok("<1>"));
    check(
        "{{tmpl \"y\" 1}}",
        Err("error calling tmpl: no template \"y\" associated with template \"r\""),
    );
    check(
        "{{externalURL}}{{pathPrefix}} {{graphLink \"a b\"}} {{tableLink \"up\"}}",
        Ok("http://v/p/p /graph?g0.expr=a+b&g0.tab=0 /graph?g0.expr=up&g0.tab=1"),
    );
    check(
        "{{parseDuration \"1h\"}} {{parseDurationTime \"-90s\"}} {{(toDuration 90).Minutes}}",
        Ok("3600 -1m30s 1.5"),
    );
    check("{{first .Missing}}", Err("can't evaluate field Missing in type template.RuleData"));
    check(
        "{{label \"job\" $labels}}",
        Err("wrong type for value; expected *template.sample; got map[string]string"),
    );
    check("{{value nil}}", Err("cannot assign nil to *template.sample"));
    assert_eq!(asked.get(), 3);
}

#[test]
fn errors_say_where_and_what_as_go_does() {
    refuse("{{.X.y}}", "1:2: executing \"t\" at <.X.y>: can't evaluate field y in type string");
    refuse("a\n {{nope}}", "2: function \"nope\" not defined");
    refuse("{{$x}}", "1: undefined variable \"$x\"");
    refuse("{{toUpper 1}}", "1:10: executing \"t\" at <1>: expected string; found 1");
    refuse(
        "{{toUpper .Zero}}",
        "1:10: executing \"t\" at <.Zero>: wrong type for value; expected string; got int",
    );
    refuse(
        "{{toUpper .Missing}}",
        "1:10: executing \"t\" at <.Missing>: invalid value; expected string",
    );
    refuse(
        "{{toUpper}}",
        "1:2: executing \"t\" at <toUpper>: wrong number of args for toUpper: want 1 got 0",
    );
    refuse(
        "{{printf}}",
        "1:2: executing \"t\" at <printf>: wrong number of args for printf: want at least 1 got 0",
    );
    refuse(
        "{{index .Numbers 5}}",
        "1:2: executing \"t\" at <index .Numbers 5>: error calling index: index out of range: 5",
    );
    refuse(
        "{{template \"no\" .X}}",
        "1:11: executing \"t\" at <{{template \"no\" .X}}>: template \"no\" not defined",
    );
    refuse("{{1 | .X}}", "1:6: executing \"t\" at <.X>: X is not a method but has arguments");
    refuse("{{(1) 2}}", "1:2: executing \"t\" at <(1)>: can't give argument to non-function (1)");
    refuse("{{nil}}", "1:2: executing \"t\" at <nil>: nil is not a command");
    refuse("{{range .X}}{{end}}", "1:8: executing \"t\" at <.X>: range can't iterate over x");
    refuse(
        "{{range $a, $b := 3}}{{end}}",
        "1:18: executing \"t\" at <3>: can't use 3 to iterate over more than one variable",
    );
    refuse(
        "{{if or true ($x := 1)}}{{$x}}{{end}}",
        "1:26: executing \"t\" at <$x>: undefined variable: $x",
    );
    refuse(
        "{{lt 1 1.5}}",
        "1:2: executing \"t\" at <lt 1 1.5>: error calling lt: incompatible types for comparison",
    );
    refuse(
        "{{call .X}}",
        "1:2: executing \"t\" at <call .X>: error calling call: non-function of type string",
    );
    refuse("{{99999999999999999999}}", "1: bad number syntax: \"99999999999999999999\"");
    refuse(
        "{{9223372036854775808}}",
        "1:2: executing \"t\" at <9223372036854775808>: 9223372036854775808 overflows int",
    );
    refuse(
        "{{define \"a\"}}\n{{.X.y}}{{end}}{{template \"a\" .}}",
        "2:2: executing \"a\" at <.X.y>: can't evaluate field y in type string",
    );
}

#[test]
fn faults_of_the_syntax_are_those_of_go() {
    refuse("{{", "1: unclosed action");
    refuse("{{}}", "1: missing value for command");
    refuse("{{if}}{{end}}", "1: missing value for if");
    refuse("{{if .X}}", "1: unexpected EOF");
    refuse("{{end}}", "1: unexpected {{end}}");
    refuse("{{else}}", "1: unexpected {{else}}");
    refuse("{{if .X}}1{{else}}2{{else}}3{{end}}", "1: expected end; found {{else}}");
    refuse("{{if .X}}1{{else with .X}}2{{end}}", "1: unexpected <with> in else");
    refuse("{{break}}", "1: {{break}} outside {{range}}");
    refuse("{{range .X}}{{else}}{{continue}}{{end}}", "1: {{continue}} outside {{range}}");
    refuse("{{range .X}}{{define \"a\"}}{{end}}{{end}}", "1: unexpected <define> in command");
    refuse("{{printf 3, 4}}", "1: unexpected \",\" in operand");
    refuse("{{with $v, $u := 3}}{{end}}", "1: too many declarations in with");
    refuse("{{range $u, $v, $w := 3}}{{end}}", "1: too many declarations in range");
    refuse("{{range $u, 3 := 3}}{{end}}", "1: range can only initialize variables");
    refuse("{{$x.y := 1}}", "1: undefined variable \"$x\"");
    refuse("{{$x = 1}}", "1: undefined variable \"$x\"");
    refuse("{{printf 3`x`}}", "1: unexpected \"`x`\" in operand");
    refuse("{{1.E}}", "1: bad number syntax: \"1.E\"");
    refuse("{{true.E}}", "1: unexpected . after term \"true\"");
    refuse("{{\"a\".b}}", "1: unexpected . after term \"\\\"a\\\"\"");
    refuse("{{..E}}", "1: unexpected . after term \".\"");
    refuse("{{12|.}}", "1: non executable command in pipeline stage 2");
    refuse("{{.|printf|\"e\"}}", "1: non executable command in pipeline stage 3");
    refuse("{{.X|}}", "1: missing value for command");
    refuse("{{|.X}}", "1: unexpected \"|\" in command");
    refuse("{{print ()}}", "1: missing value for parenthesized pipeline");
    refuse("{{block \"a\"}}{{end}}", "1: missing value for block clause");
    refuse("{{template .X}}", "1: unexpected \".X\" in template clause");
    refuse(
        "{{define \"a\"}}1{{end}}{{define \"a\"}}2{{end}}",
        "1: template: multiple definition of template \"a\"",
    );
    refuse("{{\"a\\q\"}}", "1: invalid syntax in \"a\\q\"");
    refuse("{{if true}}{{$x := 1}}{{end}}{{$x}}", "1: undefined variable \"$x\"");
    refuse("{{template \"a\" $x}}{{define \"a\"}}{{end}}", "1: undefined variable \"$x\"");
}

#[test]
fn all_unknown_names_are_told_at_once() {
    let faults =
        Template::faults(Dialect::Rule, "t", "{{ humanise $value }}\n{{ $vaule | nope }}{{ end }}");
    let told: Vec<_> =
        faults.iter().map(|f| format!("{} {}", f.fault().place, f.fault().message)).collect();
    assert_eq!(
        told,
        [
            "1:4 function \"humanise\" not defined; did you mean `humanize`?",
            "2:4 undefined variable \"$vaule\"",
            "2:13 function \"nope\" not defined",
            "2:23 unexpected {{end}}",
        ]
    );
    assert!(Template::faults(Dialect::Rule, "t", "{{ $value }}").is_empty());
}

#[test]
fn later_files_replace_earlier_ones() {
    let mut templates = Templates::new(Dialect::Notification);
    templates
        .add(
            "a.tmpl",
            "{{ define \"x\" }}1{{ end }}{{ define \"y\" }}[{{ template \"x\" }}]{{ end }}",
        )
        .unwrap();
    templates
        .add("b.tmpl", "body{{ define \"x\" }}2{{ end }}{{ define \"y\" }} {{ end }}")
        .unwrap();
    assert!(templates.add("c.tmpl", "{{ define \"x\" }}3").is_err());
    let options = Options::at(NOW);
    let render = |text: &str| templates.render_text(text, &Value::Nil, &options).unwrap();
    assert_eq!(render("{{ template \"y\" }}{{ template \"b.tmpl\" }}"), "[2]body");
    assert_eq!(render("{{ template \"x\" }}{{ define \"x\" }}own{{ end }}"), "own");
    assert_eq!(templates.render_named("y", &Value::Nil, &options).unwrap(), "[2]");
    assert_eq!(
        templates.render_named("z", &Value::Nil, &options).unwrap_err().to_string(),
        "template: z: template \"z\" not defined"
    );
    assert_eq!(templates.names().collect::<Vec<_>>(), ["a.tmpl", "b.tmpl", "x", "y"]);
}

#[test]
fn prometheus_puts_its_words_before_an_error() {
    let error = rendered(Dialect::Rule, "{{.X.y}}", &Options::at(NOW)).unwrap_err();
    assert!(
        error.as_prometheus().starts_with("error executing template t: template: t:1:2: executing")
    );
    let error = rendered(Dialect::Rule, "{{", &Options::at(NOW)).unwrap_err();
    assert_eq!(error.as_prometheus(), "error parsing template t: template: t:1: unclosed action");
}

#[test]
fn a_template_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    let template = Template::parse(Dialect::Rule, "t", "{{ $value }}").unwrap();
    shared(&template);
    shared(&Templates::defaults());
    shared(&data());
    assert_eq!(template.as_literal(), None);
    assert_eq!(Template::parse(Dialect::Rule, "t", "a").unwrap().as_literal(), Some("a"));
}
