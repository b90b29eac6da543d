//! What a scrape of `/metrics` costs with 200 checks, each with three numbers, and the host: the
//! whole answer to a request, in the formats that readers ask for, and its parts.
//!
//! Run with `cargo bench -p agent --bench metrics`.
//!
//! Invariant: nothing is asked over a network, and the checks have run once and never run again.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent::config::{Source, Terms};
use agent::host::HostNumbers;
use agent::results::{CheckResult, Results};
use agent::server::{Reload, Shown, handle};
use base::diagnostic::Diagnostics;
use base::http::{Full, Request};
use base::sample::Timestamp;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hyper::body::{Body, Bytes};
use probes::host::{Host, HostConfig};
use probes::script::nagios::parse_perfdata_text;
use probes::{Outcome, Reason, Status};
use tokio::runtime::{Builder, Runtime};

/// `count` checks that have run, every tenth of which has failed, and a service for each ten.
fn shown(count: usize, host: Option<Host>) -> Arc<Shown> {
    let mut text = String::from("labels: {env: bench}\nchecks:\n");
    for n in 0..count {
        let probe = "probe: {tcp: {address: '127.0.0.1:1'}}";
        text.push_str(&format!("- {{name: check{n}, interval: 1m, retries: 0, {probe}}}\n"));
    }
    text.push_str("services:\n");
    for n in 0..count / 10 {
        text.push_str(&format!("  service{n}: {{needs: [check{n}, check{}]}}\n", n + 1));
    }
    let source = Source::Embedded { name: "bench", text };
    let config = source.load(Terms::default()).unwrap_or_else(|faults| panic!("{faults}"));
    let results = Arc::new(Results::new(config.checks));
    let perfdata = "time=0.012s;1;2 size=1447B;;;0 used=61.5%;80;90;0;100";
    for (n, slot) in results.slots().iter().enumerate() {
        let mut outcome = match n % 10 {
            0 => Outcome::new(Status::Critical, Reason::Threshold, "SHOP CRITICAL - 17 waiting"),
            _ => Outcome::ok("SHOP OK - 0.012 second response time, 1447 bytes, 61.5 % used"),
        };
        outcome.measurements = parse_perfdata_text(perfdata).0;
        let (started, duration) =
            (Timestamp::from_millis(1_800_000_000_123), Duration::from_millis(7));
        let result = CheckResult { outcome, started, duration, lateness: Duration::ZERO };
        let generation = slot.begin();
        slot.record(generation, result);
    }
    let shown = Shown::new(results, HostNumbers::new(host), Reload::default());
    shown.services.store(Arc::new(config.services));
    shown.labels.store(Arc::new(config.labels.into_iter().collect()));
    Arc::new(shown)
}

/// The length of the answer to a request for `/metrics`.
fn scrape(runtime: &Runtime, shown: &Arc<Shown>, headers: &[(&str, &str)]) -> u64 {
    let mut request = Request::get("/metrics");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::<Bytes>::default()).expect("the request is a constant");
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let response = runtime.block_on(handle(Arc::clone(shown), request, peer));
    assert!(response.status().is_success(), "{response:?}");
    response.body().size_hint().exact().unwrap_or(0)
}

fn bench(c: &mut Criterion) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("the system has threads");
    let host = || Some(HostConfig::default().build(&mut Diagnostics::new("bench")));
    let open = "application/openmetrics-text;version=1.0.0";
    let mut group = c.benchmark_group("metrics");
    let subjects = [
        ("host", shown(0, host())),
        ("200 checks", shown(200, None)),
        ("200 checks and the host", shown(200, host())),
    ];
    for (name, shown) in &subjects {
        let forms: [(&str, &[(&str, &str)]); 4] = [
            ("text", &[]),
            ("text with outputs", &[("veilleur-outputs", "1")]),
            ("openmetrics", &[("accept", open)]),
            ("text, gzip", &[("accept-encoding", "gzip")]),
        ];
        for (form, headers) in forms {
            group.throughput(Throughput::Bytes(scrape(&runtime, shown, headers)));
            group.bench_function(BenchmarkId::new(*name, form), |b| {
                b.iter(|| black_box(scrape(&runtime, shown, headers)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
