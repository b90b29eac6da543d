//! What a script may take of the host.
//!
//! The process of a program puts them on itself before it is the program. Whatever it starts later
//! inherits them.
//!
//! Invariant: no script leaves a memory image behind when it crashes: it could hold secrets.

use std::fmt;
use std::str::FromStr;

use base::diagnostic::{Diagnostics, Spanned};
use base::period::Period;
use rustix::process::Resource;
use serde::Deserialize;

use super::launch::Limit;

/// A number of bytes: a whole number, or one with `KiB`, `MiB`, `GiB`, `TiB`, or their decimal
/// sisters `kB`, `MB`, `GB`, `TB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit = UNITS.iter().find_map(|(name, bytes)| Some((text.strip_suffix(name)?, *bytes)));
        let (number, bytes) = unit.unwrap_or((text, 1));
        let number: Option<u64> = number.trim_end().parse().ok();
        number.and_then(|number| number.checked_mul(bytes)).map(Self).ok_or_else(|| {
            format!("`{text}` is not a size; write it like `64KiB`, `512MiB` or `4GiB`")
        })
    }
}

impl schemars::JsonSchema for ByteSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let pattern = "^[0-9]+ *([KMGT]iB|[kMGT]B|B)?$";
        schemars::json_schema!({"type": "string", "format": "size", "pattern": pattern})
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |bytes: &u64| *bytes > 1 && self.0 >= *bytes && self.0.is_multiple_of(*bytes);
        match UNITS[..4].iter().rev().find(|(_, bytes)| exact(bytes)) {
            Some((name, bytes)) => write!(f, "{}{name}", self.0 / bytes),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// The limits, as written.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Of each process: its address space; `4GiB` by default. A program that reserves far more than it uses,
    /// such as one on the JVM, needs more.
    #[serde(default)]
    pub memory: Option<Spanned<ByteSize>>,
    /// Of all that the script starts: how many processes and threads at a time; `256` by default.
    #[serde(default)]
    pub processes: Option<Spanned<u32>>,
    /// Of each process: open files; `1024` by default.
    #[serde(default)]
    pub open_files: Option<Spanned<u32>>,
    /// Of each process: time on a processor; `1h` by default, a net below the timeout of the check.
    #[serde(default)]
    pub cpu: Option<Spanned<Period>>,
    /// Of each process: how large a file it may write; `1GiB` by default.
    #[serde(default)]
    pub file_size: Option<Spanned<ByteSize>>,
}

/// The limits, as meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of address space of each process.
    pub memory: u64,
    /// Processes and threads of a script at a time.
    pub processes: u32,
    /// Open files of each process.
    pub open_files: u32,
    /// Whole seconds on a processor of each process.
    pub cpu_seconds: u64,
    /// Bytes of the largest file that each process may write.
    pub file_size: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 4 << 30,
            processes: 256,
            open_files: 1024,
            cpu_seconds: 3600,
            file_size: 1 << 30,
        }
    }
}

impl LimitsConfig {
    /// The limits with what was written, reporting what no program could live with.
    pub fn build(&self, diagnostics: &mut Diagnostics) -> Limits {
        let mut limits = Limits::default();
        if let Some(memory) = &self.memory {
            limits.memory = memory.value.0;
            if limits.memory < 16 << 20 {
                let message = format!("{} is too little for any program", memory.value);
                diagnostics.report_with_help(memory, message, "give it at least `16MiB`");
            }
        }
        if let Some(processes) = &self.processes {
            limits.processes = processes.value;
            if limits.processes == 0 {
                diagnostics.report(processes, "a script is at least 1 process");
            }
        }
        if let Some(open_files) = &self.open_files {
            limits.open_files = open_files.value;
            if limits.open_files < 8 {
                let message = "a program needs some open files to be loaded";
                diagnostics.report_with_help(open_files, message, "give it at least 8");
            }
        }
        if let Some(cpu) = &self.cpu {
            let seconds = cpu.value.millis().div_ceil(1000);
            limits.cpu_seconds = seconds;
            if seconds == 0 {
                diagnostics.report(cpu, "no program can run in no time");
            }
        }
        if let Some(file_size) = &self.file_size {
            limits.file_size = file_size.value.0;
        }
        limits
    }
}

impl Limits {
    /// The limits as the system has them. `tasks` is how many there are on the host: the system
    /// counts all of a user's, not a script's, so its limit can only be a net below the guard's
    /// count, and must not catch who has done nothing.
    pub(super) fn all(&self, tasks: u32) -> [Limit; 6] {
        [
            (Resource::As, self.memory),
            (Resource::Nproc, u64::from(tasks) + u64::from(self.processes)),
            (Resource::Nofile, u64::from(self.open_files)),
            (Resource::Core, 0),
            (Resource::Cpu, self.cpu_seconds),
            (Resource::Fsize, self.file_size),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_sizes() {
        let check = |text: &str, bytes: u64, shown: &str| {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown));
        };
        check("4GiB", 4 << 30, "4GiB");
        check("1536 MiB", 1536 << 20, "1536MiB");
        check("5MB", 5_000_000, "5000000B");
        check("1000", 1000, "1000B");
        for wrong in ["", "x", "4 gib", "-1", "1.5GiB", "99999999TiB"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
    }
}
