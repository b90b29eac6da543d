//! What a scrape of the host costs: reading everything, and writing it as text.
//!
//! Run with `cargo bench -p probes --bench host`.
//!
//! Invariant: the numbers depend on how many devices and CPUs the machine has, so that only runs of
//! one machine can be compared.

use std::hint::black_box;

use base::diagnostic::Diagnostics;
use base::exposition::{Encoding, Escaping, Format, encode};
use base::sample::Timestamp;
use criterion::{Criterion, criterion_group, criterion_main};
use probes::host::HostConfig;

fn scrape(c: &mut Criterion) {
    let host = HostConfig::default().build(&mut Diagnostics::new("bench"));
    let encoding = Encoding { format: Format::Text, names: Escaping::Underscores };
    let now = Timestamp::from_millis(1_800_000_000_000);
    let mut text = String::new();
    c.bench_function("host/collect", |b| b.iter(|| black_box(host.collect(now))));
    c.bench_function("host/collect_and_encode", |b| {
        b.iter(|| {
            text.clear();
            encode(&host.collect(now), encoding, &mut text);
            black_box(text.len())
        })
    });
    let families = host.collect(now);
    c.bench_function("host/encode", |b| {
        b.iter(|| {
            text.clear();
            encode(&families, encoding, &mut text);
            black_box(text.len())
        })
    });
}

criterion_group!(benches, scrape);
criterion_main!(benches);
