//! The series that are evaluated over: 200 hosts in 10 jobs, 1,000 series each, 150 samples, 15
//! seconds apart.

use base::labels::Labels;
use base::sample::Timestamp;
use storage::{Options, Point, Storage};

pub(crate) const HOSTS: usize = 200;
pub(crate) const JOBS: usize = 10;
pub(crate) const SAMPLES: i64 = 150;
pub(crate) const STEP: i64 = 15_000;

const BOUNDS: [&str; 14] = [
    "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5",
    "10", "+Inf",
];
const CODES: [&str; 5] = ["200", "302", "404", "500", "503"];
const MODES: [&str; 8] = ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"];

/// When the last sample is.
pub(crate) fn end() -> Timestamp {
    Timestamp::from_millis(SAMPLES * STEP)
}

/// How a series moves from sample to sample.
#[derive(Clone, Copy)]
enum Kind {
    /// A counter, by up to so much.
    Count(u64),
    /// The same in hundredths.
    Hundredths(u64),
    /// Up and down by up to so much.
    Gauge(u64),
    Constant,
}

struct Moving {
    kind: Kind,
    value: u64,
}

/// SplitMix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Moving {
    fn next(&mut self, state: &mut u64) -> f64 {
        match self.kind {
            Kind::Count(most) | Kind::Hundredths(most) => self.value += random(state) % (most + 1),
            Kind::Gauge(most) => {
                let up = random(state) % (2 * most + 1);
                self.value = (self.value + up).saturating_sub(most);
            }
            Kind::Constant => {}
        }
        let value = self.value as f64;
        if matches!(self.kind, Kind::Hundredths(_)) { value / 100.0 } else { value }
    }
}

/// Takes a series.
type Add<'a> = dyn FnMut(&str, &[(&str, &str)], Kind) + 'a;

fn host(host: usize, add: &mut Add<'_>) {
    let (instance, job) = (format!("host-{host:03}"), format!("job{}", host % JOBS));
    let mut add = |name: &str, labels: &[(&str, &str)], kind| {
        let mut all = vec![("instance", instance.as_str()), ("job", job.as_str())];
        all.extend_from_slice(labels);
        add(name, &all, kind);
    };
    for n in 0..20 {
        let handler = format!("/api/v1/resource_{n:02}");
        for (at, code) in CODES.iter().enumerate() {
            for method in ["GET", "POST"] {
                // Some counters hardly ever move, as in life.
                let idle = at > 0 && (host + n + at) % 5 < 2;
                let kind =
                    if idle { Kind::Constant } else { Kind::Count(3000 / (1 + 4 * at as u64)) };
                let labels = [("code", *code), ("handler", handler.as_str()), ("method", method)];
                add("http_requests_total", &labels, kind);
            }
        }
        for (at, le) in BOUNDS.iter().enumerate() {
            let labels = [("handler", handler.as_str()), ("le", *le)];
            add(
                "http_request_duration_seconds_bucket",
                &labels,
                Kind::Count(100 * (at as u64 + 1)),
            );
        }
        for name in ["http_request_duration_seconds_sum", "http_request_duration_seconds_count"] {
            add(name, &[("handler", &handler)], Kind::Count(1000));
        }
    }
    for cpu in 0..16 {
        for (at, mode) in MODES.iter().enumerate() {
            let most = [2000, 300, 0, 0, 300, 0, 300, 300][at];
            add(
                "node_cpu_seconds_total",
                &[("cpu", &cpu.to_string()), ("mode", mode)],
                Kind::Hundredths(most),
            );
        }
    }
    for n in 0..100 {
        add("queue_depth", &[("queue", &format!("q{n:03}"))], Kind::Gauge(10));
    }
    for n in 0..152 {
        let kind = if n % 2 == 0 { Kind::Gauge(200_000) } else { Kind::Constant };
        add("node_memory_area_bytes", &[("area", &format!("area_{n:03}"))], kind);
    }
    for n in 0..100 {
        add("app_feature_enabled", &[("feature", &format!("feature_{n:03}"))], Kind::Constant);
    }
}

/// All of it.
pub(crate) fn filled() -> Storage {
    let storage = Storage::in_memory(Options::default());
    let (mut series, mut moving, mut state) = (Vec::new(), Vec::new(), 1);
    for n in 0..HOSTS {
        host(n, &mut |name, labels, kind| {
            let labels = labels.iter().copied().chain([("__name__", name)]);
            series.push(storage.series(&Labels::from_pairs(labels)).expect("there is room"));
            let value = match kind {
                Kind::Constant => moving.len() as u64 % 2,
                _ => random(&mut state) % 1_000_000,
            };
            moving.push(Moving { kind, value });
        });
    }
    for n in 0..SAMPLES {
        let points: Vec<_> = series
            .iter()
            .zip(&mut moving)
            .enumerate()
            .map(|(m, (series, moving))| Point {
                series: *series,
                // Each host is scraped at a time of its own.
                timestamp: Timestamp::from_millis(n * STEP + (m as i64 / 1000 * 7919) % STEP),
                value: moving.next(&mut state),
            })
            .collect();
        storage.append(&points).expect("nothing is written");
    }
    storage
}
