//! CPU time by mode, how often CPUs were throttled, and which of them are isolated or offline.
//!
//! The kernel's counters of idle time and of waiting for I/O can step back a little; a counter that
//! falls would be taken for one that began anew. So each shows the highest value seen, until its
//! CPU's idle time falls by seconds, which means that the CPU was away and counts from the start.
//!
//! Invariant: the time of a CPU that stays never falls.

use std::path::Path;

use super::config::Settings;
use super::file::{Buffer, Descriptors, Source};
use super::reading::Reading;
use super::table::{Column, Table};
use super::{Collect, CollectError, attributes, cpuinfo, text};

/// Fields of a line of `/proc/stat`, in its order.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const IDLE: usize = 3;
const GUEST: usize = 8;
const GUEST_NICE: usize = 9;
const FIELDS: usize = 10;
/// The kernel counts CPU time for user space in hundredths of a second on every architecture.
const TICKS: f64 = 100.0;
/// How far idle time falls when a CPU begins anew.
const RESTARTED: u64 = 300;

const SECONDS: usize = 0;
const GUEST_SECONDS: usize = 1;
const ISOLATED: usize = 2;
const CORE_THROTTLES: usize = 3;
const PACKAGE_THROTTLES: usize = 4;
const ONLINE: usize = 5;
const COLUMNS: &[Column] = &[
    Column::counter("node_cpu_seconds_total", "Seconds the CPUs spent in each mode."),
    Column::counter(
        "node_cpu_guest_seconds_total",
        "Seconds the CPUs spent in guests (VMs) for each mode.",
    ),
    Column::gauge(
        "node_cpu_isolated",
        "Whether each core is isolated, information from /sys/devices/system/cpu/isolated.",
    ),
    Column::counter(
        "node_cpu_core_throttles_total",
        "Number of times this CPU core has been throttled.",
    ),
    Column::counter(
        "node_cpu_package_throttles_total",
        "Number of times this CPU package has been throttled.",
    ),
    Column::gauge("node_cpu_online", "CPUs that are online and being scheduled."),
];

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("devices/system/cpu");
    let mut isolated = Source::record(folder.join("isolated"), &settings.descriptors);
    let mut first = Source::record(folder.join("cpu0/online"), &settings.descriptors);
    let mut info = cpuinfo::CpuInfoSource::new(settings);
    let (mut cpus, mut throttles) = (Vec::new(), Throttles::default());
    let descriptors = settings.descriptors.clone();
    Box::new(move |reading| {
        let mut table = Table::new(COLUMNS);
        let times = times(reading, &mut cpus, &mut table);
        isolated_cpus(&mut isolated, &mut reading.buffer, &mut table);
        online_cpus(&mut first, &folder, &mut reading.buffer, &mut table);
        throttles.find(&cpus, &folder, &descriptors, &mut reading.buffer);
        throttles.read(&mut reading.buffer, &mut table);
        reading.families.extend(table.into_families());
        let info = info.as_mut().map_or(Ok(()), |info| info.collect(reading));
        times.and(info)
    })
}

/// The time that one CPU spent, in ticks by field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cpu {
    number: u32,
    ticks: [u64; FIELDS],
}

impl Cpu {
    /// Reads the line of one CPU; `None` for any other line. Old kernels have fewer fields.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = text::fields(line.strip_prefix(b"cpu")?);
        let number = if line.get(3) == Some(&b' ') { None } else { text::number(fields.next()?) };
        let mut cpu = Self { number: u32::try_from(number?).ok()?, ticks: [0; FIELDS] };
        for (ticks, field) in cpu.ticks.iter_mut().zip(fields) {
            *ticks = text::number(field)?;
        }
        Some(cpu)
    }

    /// What to show, given what was shown before.
    fn after(mut self, shown: &Self) -> Self {
        if shown.ticks[IDLE].saturating_sub(self.ticks[IDLE]) < RESTARTED {
            for (ticks, shown) in self.ticks.iter_mut().zip(shown.ticks) {
                *ticks = (*ticks).max(shown);
            }
        }
        self
    }
}

fn times(
    reading: &mut Reading,
    cpus: &mut Vec<Cpu>,
    table: &mut Table,
) -> Result<(), CollectError> {
    let (source, stat) = reading.stat.text()?;
    let mut malformed = Ok(());
    let mut now = Vec::with_capacity(cpus.len());
    // The first line is the sum of all, the lines of the CPUs follow it.
    let lines = text::lines(stat).skip_while(|line| line.starts_with(b"cpu "));
    for line in lines.take_while(|line| line.starts_with(b"cpu")) {
        match Cpu::parse(line) {
            Some(cpu) => {
                // It stands where it stood, unless CPUs came or went.
                let same = |shown: &&Cpu| shown.number == cpu.number;
                let shown = cpus.get(now.len()).filter(same);
                match shown.or_else(|| cpus.iter().find(same)) {
                    Some(shown) => now.push(cpu.after(shown)),
                    None => now.push(cpu),
                }
            }
            None => malformed = Err(source.malformed(format!("`{}`", text::text(line)))),
        }
    }
    if now.is_empty() && malformed.is_ok() {
        malformed = Err(source.malformed("it names no CPU"));
    }
    *cpus = now;
    let mut digits = itoa::Buffer::new();
    for cpu in &*cpus {
        let number = digits.format(cpu.number);
        for (mode, ticks) in MODES.iter().zip(cpu.ticks) {
            table.add(SECONDS, &[("cpu", number), ("mode", mode)], ticks as f64 / TICKS);
        }
        for (mode, field) in [("nice", GUEST_NICE), ("user", GUEST)] {
            let seconds = cpu.ticks[field] as f64 / TICKS;
            table.add(GUEST_SECONDS, &[("cpu", number), ("mode", mode)], seconds);
        }
    }
    malformed
}

/// Adds the CPUs that the scheduler leaves alone; the file is empty where there are none.
fn isolated_cpus(source: &mut Source, buffer: &mut Buffer, table: &mut Table) {
    for cpu in source.read(buffer).map(listed).unwrap_or_default() {
        table.add(ISOLATED, &[("cpu", &cpu.to_string())], 1.0);
    }
}

/// Adds which CPUs are online, where all of them can be switched off: as node_exporter, by whether the
/// `first` can. Those that are off are in no other file.
fn online_cpus(first: &mut Source, folder: &Path, buffer: &mut Buffer, table: &mut Table) {
    if first.number(buffer).is_err() {
        return;
    }
    let names = attributes::names(folder).unwrap_or_default();
    for (cpu, number) in attributes::numbered(&names, "cpu") {
        let online = attributes::number_of(&folder.join(cpu).join("online"), buffer);
        let is_online = f64::from(u8::from(online.is_some_and(|online| online != 0.0)));
        table.add(ONLINE, &[("cpu", number)], is_online);
    }
}

/// The CPUs of a list such as `1,3-5`.
fn listed(list: &[u8]) -> Vec<u64> {
    let mut cpus = Vec::new();
    for range in list.trim_ascii().split(|byte| *byte == b',') {
        let (first, last) = text::split(range, b'-').unwrap_or((range, range));
        if let (Some(first), Some(last)) = (text::number(first), text::number(last)) {
            // No kernel has more CPUs than this.
            cpus.extend((first..=last).take(8192));
        }
    }
    cpus
}

/// The counters of throttling, which the CPUs of a core share, and the cores of a package.
#[derive(Debug, Default)]
struct Throttles {
    /// For which CPUs the counters were looked for.
    cpus: Vec<u32>,
    cores: Vec<(u64, u64, Source)>,
    packages: Vec<(u64, Source)>,
}

impl Throttles {
    /// Looks for counters where the CPUs are others than last time.
    fn find(
        &mut self,
        cpus: &[Cpu],
        folder: &Path,
        descriptors: &Descriptors,
        buffer: &mut Buffer,
    ) {
        if self.cpus.iter().copied().eq(cpus.iter().map(|cpu| cpu.number)) {
            return;
        }
        *self = Self { cpus: cpus.iter().map(|cpu| cpu.number).collect(), ..Self::default() };
        for cpu in &self.cpus {
            let cpu = folder.join(format!("cpu{cpu}"));
            let number = |file: &str| {
                let bytes = std::fs::read(cpu.join(file)).ok()?;
                text::number(bytes.trim_ascii())
            };
            let package = number("topology/physical_package_id");
            let (Some(package), Some(core)) = (package, number("topology/core_id")) else {
                continue;
            };
            let mut counter = |file: &str| {
                let path = cpu.join("thermal_throttle").join(file);
                let mut source = Source::record(path, descriptors);
                source.number(buffer).is_ok().then_some(source)
            };
            if !self.cores.iter().any(|(p, c, _)| (*p, *c) == (package, core)) {
                self.cores.extend(counter("core_throttle_count").map(|s| (package, core, s)));
            }
            if !self.packages.iter().any(|(p, _)| *p == package) {
                self.packages.extend(counter("package_throttle_count").map(|s| (package, s)));
            }
        }
    }

    fn read(&mut self, buffer: &mut Buffer, table: &mut Table) {
        for (package, core, source) in &mut self.cores {
            if let Ok(count) = source.number(buffer) {
                let (package, core) = (package.to_string(), core.to_string());
                table.add(CORE_THROTTLES, &[("core", &core), ("package", &package)], count);
            }
        }
        for (package, source) in &mut self.packages {
            if let Ok(count) = source.number(buffer) {
                table.add(PACKAGE_THROTTLES, &[("package", &package.to_string())], count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(line: &str) -> Cpu {
        Cpu::parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn reads_the_line_of_a_cpu() {
        let check = |line: &str, expected: Option<(u32, [u64; FIELDS])>| {
            let expected = expected.map(|(number, ticks)| Cpu { number, ticks });
            assert_eq!(Cpu::parse(line.as_bytes()), expected, "{line}");
        };
        check("cpu0 1 2 3 4 5 6 7 8 9 10", Some((0, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])));
        check("cpu12 1 2 3 4", Some((12, [1, 2, 3, 4, 0, 0, 0, 0, 0, 0])));
        check("cpu1 1 2 3 4 5 6 7 8 9 10 11 12", Some((1, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])));
        check("cpu  1 2 3", None);
        check("cpu", None);
        check("cpux 1", None);
        check("cpu1 1 x", None);
        check("cpu99999999999 1", None);
        check("intr 1", None);
    }

    #[test]
    fn time_never_falls_unless_the_cpu_began_anew() {
        let check = |shown: &str, now: &str, expected: &str| {
            assert_eq!(cpu(now).after(&cpu(shown)), cpu(expected), "{shown} then {now}");
        };
        check("cpu0 5 0 0 900 50", "cpu0 6 0 0 950 60", "cpu0 6 0 0 950 60");
        check("cpu0 5 0 0 900 50", "cpu0 6 0 0 899 49", "cpu0 6 0 0 900 50");
        check("cpu0 5 0 0 900 50", "cpu0 4 0 0 601 49", "cpu0 5 0 0 900 50");
        check("cpu0 5 0 0 900 50", "cpu0 1 0 0 600 2", "cpu0 1 0 0 600 2");
    }

    #[test]
    fn lists_of_cpus_have_single_ones_and_ranges() {
        let check = |list: &str, expected: &[u64]| {
            assert_eq!(listed(list.as_bytes()), expected, "{list:?}");
        };
        check("1,3-5,9\n", &[1, 3, 4, 5, 9]);
        check("\n", &[]);
        check("2-1,x,4-y,7", &[7]);
        assert_eq!(listed(b"0-18446744073709551615").len(), 8192);
    }
}
