//! Rendering: a typical annotation, a text without actions, a mail of ten alerts; and parsing.

#![expect(clippy::unwrap_used, reason = "what is measured is known to work")]

use std::hint::black_box;

use alertmanager::template::{
    AlertData, Dialect, Escape, NotificationData, Options, RuleData, Template, Templates, Value,
};
use base::labels::Labels;
use base::sample::Timestamp;
use criterion::{Criterion, criterion_group, criterion_main};

const ANNOTATION: &str = "Disk {{ $labels.device }} of {{ $labels.instance }} is \
    {{ $value | humanizePercentage }} full{{ if eq $labels.severity \"page\" }}, act now{{ end }}.";

fn labels() -> Labels {
    Labels::from_pairs([
        ("alertname", "DiskFull"),
        ("device", "/dev/sda1"),
        ("instance", "web1:9100"),
        ("job", "node"),
        ("severity", "page"),
    ])
}

fn render(criterion: &mut Criterion) {
    let options = Options::at(Timestamp::from_millis(1_700_000_000_000));
    let annotation = Template::parse(Dialect::Rule, "description", ANNOTATION).unwrap();
    criterion.bench_function("annotation", |b| {
        b.iter(|| {
            let data =
                RuleData { labels: labels(), value: Value::Float(0.93), ..RuleData::default() };
            annotation.render(black_box(&data.into_value()), &options).unwrap()
        });
    });
    let literal = Template::parse(Dialect::Rule, "summary", "The disk is full.").unwrap();
    criterion.bench_function("text without actions", |b| {
        b.iter(|| literal.render(black_box(&Value::Nil), &options).unwrap());
    });
    criterion.bench_function("parse the annotation", |b| {
        b.iter(|| Template::parse(Dialect::Rule, "description", black_box(ANNOTATION)).unwrap());
    });
    let templates = Templates::defaults();
    let alert = AlertData {
        resolved: false,
        labels: labels(),
        annotations: Labels::from_pairs([("summary", "The disk is full."), ("value", "93 %")]),
        starts_at: Timestamp::from_millis(1_699_999_000_000),
        ends_at: None,
        generator_url: "https://veilleur.example/graph?g0.expr=up".to_owned(),
    };
    let data = NotificationData {
        receiver: "mail".to_owned(),
        alerts: vec![alert; 10],
        group_labels: Labels::from_pairs([("alertname", "DiskFull")]),
        external_url: "https://veilleur.example".to_owned(),
        ..NotificationData::default()
    };
    let data = data.into_value();
    let html = Options { escape: Escape::Html, ..options };
    criterion.bench_function("mail of ten alerts", |b| {
        b.iter(|| templates.render_named("email.default.html", black_box(&data), &html).unwrap());
    });
}

criterion_group!(benches, render);
criterion_main!(benches);
