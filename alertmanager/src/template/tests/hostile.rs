//! Templates that want too much, and templates broken at random.
//!
//! Invariant: an error at most, and soon.

use std::time::Duration;

use base::clock::Stopwatch;
use base::labels::Labels;

use super::super::*;
use super::{NOW, data};

#[track_caller]
fn limited(text: &str, limit: &str) {
    for dialect in [Dialect::Rule, Dialect::Notification] {
        let Ok(template) = Template::parse(dialect, "t", text) else { continue };
        let query = |_: &str| Ok(Vec::new());
        let stopwatch = Stopwatch::start();
        let result = template.render(&data(), &Options { query: Some(&query), ..Options::at(NOW) });
        match result {
            Err(TemplateError::Limit(fault)) => {
                assert!(fault.message.contains("template limit"), "{text}: {}", fault.message);
                assert!(fault.message.contains(limit), "{text}: {}", fault.message);
            }
            other => panic!("{text}: {other:?}"),
        }
        // Generous, for a debug build on a busy machine; it takes some milliseconds otherwise.
        assert!(stopwatch.elapsed() < Duration::from_secs(20), "{text}: too slow");
    }
}

#[test]
fn what_takes_too_much_ends_with_an_error() {
    limited("{{range 1000000000}}{{end}}", "steps");
    limited("{{range 1000000000}}{{$x := printf \"%d\" .}}{{end}}", "steps");
    limited("{{range 1000000000}}x{{end}}", "bytes");
    limited("{{printf \"%100000d\" 1}}", "bytes");
    limited("{{printf \"%.100000f\" 1.5}}", "bytes");
    limited("{{define \"a\"}}{{template \"a\" .}}{{end}}{{template \"a\" .}}", "levels");
    limited(
        "{{define \"a\"}}{{template \"b\" .}}{{end}}{{define \"b\"}}{{template \"a\" .}}{{end}}{{template \"a\"}}",
        "levels",
    );
    limited("{{define \"a\"}}{{tmpl \"a\" .}}{{end}}{{tmpl \"a\" .}}", "levels");
    limited("{{$x := \"aaaaaaaa\"}}{{range 100}}{{$x = print $x $x}}{{end}}", "bytes");
    limited(
        "{{$x := \"aaaaaaaa\"}}{{range 100}}{{$x = reReplaceAll \"a\" \"aaaaaaaa\" $x}}{{end}}",
        "bytes",
    );
    limited("{{$l := list}}{{range 1000000}}{{$l = list $l $l}}{{end}}", "within each other");
    limited("{{$l := list 1}}{{range 20}}{{$l = list $l $l $l}}{{end}}{{$l}}", "bytes");
    limited("{{$l := list 1}}{{range 20}}{{$l = list $l $l $l}}{{end}}{{toJson $l}}", "bytes");
    limited("{{$l := list 1}}{{range 1000000}}{{$l = append $l .}}{{end}}", "steps");
    limited("{{range 1000000}}{{$x := query \"up\"}}{{end}}", "queries");
    limited("{{match \"(?:[a-z]{1000}){1000}\" .X}}", "steps");
    limited("{{match \"[[:alpha:]é]{9000}\" .X}}", "regular expression");
    limited("{{range 1000000}}{{$x := match (print \"a\" .) \"b\"}}{{end}}", "steps");
    limited(
        "{{$x := printf \"%060000d\" 1}}{{range 1000000}}{{$y := match \"(0|00)+1\" $x}}{{end}}",
        "steps",
    );
    limited("{{range 1000000}}{{$x := printf \"%060000d\" 1}}{{end}}", "steps");
    limited("{{$a := printf \"%02000d\" 6}}{{date $a .Time}}", "layout");
    limited(
        "{{$a := printf \"%02000d\" 6}}{{match $a $a}}{{range 10000}}{{$x := match $a $a}}{{end}}",
        "steps",
    );
    limited("{{$a := printf \"%05000d\" 6}}{{match $a $a}}", "regular expression");
    limited("{{range 1000000}}{{$x := index (slice $.Numbers 1) 0}}{{end}}", "steps");
    let text = "x".repeat(70_000);
    limited(&text, "bytes");
}

#[test]
fn an_error_quotes_no_more_than_a_log_bears() {
    for text in [
        format!("{{{{ index \"{}\" -1 }}}}", "x".repeat(100_000)),
        format!("{{{{ range \"{}\" }}}}{{{{ end }}}}", "é".repeat(30_000)),
        format!("{{{{ {} }}}}", "x".repeat(100_000)),
        format!("{{{{ \"\\q{}\" }}}}", "x".repeat(100_000)),
        "{{ nope }}".repeat(10_000),
    ] {
        let error = Template::parse(Dialect::Rule, "t", &text)
            .and_then(|template| template.render(&data(), &Options::at(NOW)))
            .unwrap_err();
        assert!(error.to_string().len() < 1_500, "{} bytes", error.to_string().len());
        assert!(Template::faults(Dialect::Rule, "t", &text).len() <= 100);
    }
}

#[test]
fn limits_are_what_the_options_say() {
    let render = |limits: Limits| {
        let template = Template::parse(Dialect::Rule, "t", "{{range 100}}{{.}}{{end}}").unwrap();
        template.render(&Value::Nil, &Options { limits, ..Options::at(NOW) })
    };
    assert_eq!(render(Limits::default()).unwrap().len(), 190);
    assert!(render(Limits { output: 190, ..Limits::default() }).is_ok());
    assert!(render(Limits { output: 189, ..Limits::default() }).is_err());
    assert!(render(Limits { steps: 300, ..Limits::default() }).is_err());
    assert!(render(Limits { depth: 1, ..Limits::default() }).is_err());
}

#[test]
fn texts_that_are_nested_too_deeply_are_not_parsed() {
    let refused = |text: String| {
        let error = Template::parse(Dialect::Rule, "t", &text).unwrap_err();
        assert!(error.to_string().contains("max expression depth exceeded"), "{error}");
    };
    refused(format!("{{{{{}1{}}}}}", "(".repeat(100_000), ")".repeat(100_000)));
    refused("{{if .}}".repeat(100_000));
    refused("{{range .}}{{with .}}{{block \"a\" .}}".repeat(50));
    let long = "x".repeat((1 << 20) + 1);
    assert!(Template::parse(Dialect::Rule, "t", &long).is_err());
    // Long, but not deep.
    let text = format!("{{{{if false}}}}{}{{{{end}}}}", "{{else if false}}".repeat(10_000));
    Template::parse(Dialect::Rule, "t", &text)
        .unwrap()
        .render(&Value::Nil, &Options::at(NOW))
        .unwrap();
    let text = format!("{{{{${}}}}}", ".a".repeat(100_000));
    Template::parse(Dialect::Rule, "t", &text)
        .unwrap()
        .render(&Value::Nil, &Options::at(NOW))
        .unwrap();
    // As deep as it may be.
    let text = format!("{{{{{}1{}}}}}", "(".repeat(90), ")".repeat(90));
    Template::parse(Dialect::Rule, "t", &text)
        .unwrap()
        .render(&Value::Nil, &Options::at(NOW))
        .unwrap();
}

#[test]
fn labels_of_a_route_may_not_refer_to_themselves() {
    let labels = [
        ("a", "{{ routeLabels \"b\" }}"),
        ("b", "{{ routeLabels \"a\" }}"),
        ("c", "{{"),
        ("d", "{{ routeLabels \"e\" }}{{ routeLabels \"e\" }}"),
        ("e", "{{ .Receiver }}"),
    ];
    let data = NotificationData {
        receiver: "r".to_owned(),
        route_labels: Labels::from_pairs(labels),
        ..NotificationData::default()
    }
    .into_value();
    let render = |text: &str| {
        let template = Template::parse(Dialect::Notification, "t", text).unwrap();
        template.render(&data, &Options::at(NOW)).map_err(|error| error.to_string())
    };
    let error = render("{{ routeLabels \"a\" }}").unwrap_err();
    assert!(error.contains("route label cycle detected: a -> b -> a"), "{error}");
    assert!(render("{{ routeLabels \"c\" }}").unwrap_err().contains("unclosed action"));
    assert_eq!(
        render("{{ routeLabels \"d\" }}{{ routeLabels \"e\" }}{{ routeLabels \"none\" }}").unwrap(),
        "rrr"
    );
}

/// A generator without a dependency (xorshift), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

const SEEDS: &[&str] = &[
    "{{ range $k, $v := .Map }}{{ $k }}={{ $v }}{{ else }}none{{ end }}",
    "{{ if and (eq .X \"x\") (gt 2 1) }}{{ .Kv.SortedPairs.Values | join \",\" }}{{ end }}",
    "{{ define \"a\" }}{{ . }}{{ end }}{{ template \"a\" .Numbers }}{{ block \"b\" . }}{{ .X }}{{ end }}",
    "{{ $x := list 1 \"a\" }}{{ $x = append $x (dict \"k\" $x) }}{{ toJson $x }}{{ len $x }}",
    "<a href=\"{{ .X }}\" title='{{ .Kv }}'>{{ range .Numbers }}<b>{{ . }}</b>{{ break }}{{ end }}</a>",
    "{{ printf \"%5.2f %-8s %q %v %x %[1]d\" .Half .X .X .Map 255 }}{{ print nil }}",
    "{{ reReplaceAll \"([a-z])+\" \"$1-${1}\" .X | toUpper | html | urlquery }}",
    "{{ (.Time.In \"Europe/Paris\").Format \"Mon Jan _2 15:04:05.000 MST 2006\" }}{{ slice .X 0 1 }}",
    "{{- with .Deep }}{{ .er.still }}{{ else with .X }}{{ . }}{{ end -}}{{/* c */}}{{ 'a' }}{{ 0x1p4 }}",
];

const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{{-",
    "-}}",
    "{{ end }}",
    "{{ else }}",
    "{{ range . }}",
    "{{ if . }}",
    "(",
    ")",
    "|",
    ".",
    "$",
    "$x",
    ":=",
    "=",
    ",",
    "\"",
    "`",
    "'",
    "\\",
    "nil",
    "true",
    "-1",
    "1e308",
    "9223372036854775807",
    "%",
    "%99999d",
    "%*d",
    "<",
    ">",
    "<!--",
    "<script>",
    "href=",
    "é",
    "\u{0}",
    "\n",
    "index",
    "slice",
    "printf",
    "print",
    "len",
    ".Numbers",
    ".Time",
    "[1]",
    "{1000}",
];

/// Breaks texts in many ways; whatever comes out is parsed and rendered within the limits.
#[test]
fn broken_templates_never_panic_nor_pass_the_limits() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let limits = Limits { steps: 20_000, output: 4_096, ..Limits::default() };
    let data = data();
    let mut rendered = 0;
    for round in 0..6_000 {
        let mut text = SEEDS[random.below(SEEDS.len())].to_owned();
        for _ in 0..=random.below(4) {
            let boundary = |text: &str, at: usize| {
                (at..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap()
            };
            let at = boundary(&text, random.below(text.len() + 1));
            match random.below(4) {
                0 => text.insert_str(at, PIECES[random.below(PIECES.len())]),
                1 => {
                    let end = boundary(&text, (at + random.below(12)).min(text.len()));
                    text.replace_range(at..end, "");
                }
                2 => {
                    let end = boundary(&text, (at + random.below(30)).min(text.len()));
                    let piece = text[at..end].to_owned();
                    text.insert_str(at, &piece);
                }
                _ => text.push_str(SEEDS[random.below(SEEDS.len())]),
            }
        }
        let Ok(template) = Template::parse(Dialect::Notification, "t", &text) else { continue };
        let escape = [Escape::Text, Escape::Html, Escape::Entities][round % 3];
        let options = Options { limits, escape, ..Options::at(NOW) };
        if let Ok(output) = template.render(&data, &options) {
            assert!(output.len() <= limits.output, "{text}");
            rendered += 1;
        }
        Templates::new(Dialect::Notification).check_html(&template);
    }
    // Enough must survive for the test to mean something.
    assert!(rendered > 600, "only {rendered} were rendered");
}
