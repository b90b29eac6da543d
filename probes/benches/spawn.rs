//! A script from its start to when nothing of it is left: one at a time, eight at a time, and from
//! a parent of 200 MiB, which must make no difference.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use base::diagnostic::Diagnostics;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use probes::{Probe, ProbeConfig, Status};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

fn probe() -> Arc<dyn Probe> {
    let mut diagnostics = Diagnostics::new("bench.yml");
    let config: Option<ProbeConfig> =
        base::yaml::read("script: {command: [/bin/true]}", &mut diagnostics);
    let probe = config.and_then(|config| config.build(&mut diagnostics));
    probe.unwrap_or_else(|| panic!("{diagnostics}"))
}

/// Runs `at_a_time` scripts and waits for all of them.
#[expect(clippy::disallowed_methods, reason = "a benchmark has no supervisor")]
fn run(runtime: &Runtime, probe: &Arc<dyn Probe>, at_a_time: usize) {
    runtime.block_on(async {
        let tasks = TaskTracker::new();
        for _ in 0..at_a_time {
            let probe = Arc::clone(probe);
            tokio::spawn(tasks.track_future(async move {
                let outcome = probe.run(&CancellationToken::new()).await;
                assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
            }));
        }
        tasks.close();
        tasks.wait().await;
    });
}

fn bench(c: &mut Criterion) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the system has threads");
    let probe = probe();
    let mut group = c.benchmark_group("script");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    group.throughput(Throughput::Elements(1));
    group.bench_function("1 at a time", |b| b.iter(|| run(&runtime, &probe, 1)));
    group.throughput(Throughput::Elements(8));
    group.bench_function("8 at a time", |b| b.iter(|| run(&runtime, &probe, 8)));
    group.throughput(Throughput::Elements(64));
    group.bench_function("64 at a time", |b| b.iter(|| run(&runtime, &probe, 64)));
    let mut ballast = vec![1_u8; 200 << 20];
    for page in ballast.chunks_mut(4096) {
        page[0] = 2;
    }
    group.throughput(Throughput::Elements(8));
    group.bench_function("8 at a time, 200 MiB", |b| b.iter(|| run(&runtime, &probe, 8)));
    black_box(ballast);
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
