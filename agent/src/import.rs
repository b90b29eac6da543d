//! Moving in: configurations of others, turned into ours as far as they go.
//!
//! Invariant: nothing is left out in silence: what is not converted is told with its file and line.

mod words;
mod check;
mod blackbox;
mod nagios;
mod icinga2;
mod monit;
mod nrpe;

pub(crate) use blackbox::blackbox;
pub(crate) use icinga2::icinga2;
pub(crate) use monit::monit;
pub(crate) use nagios::nagios;
pub(crate) use nrpe::nrpe;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The most of a file that is read.
const MAX_BYTES: u64 = 16 << 20;
/// The most files that are read: one that includes itself twice would never end.
const MAX_FILES: usize = 10_000;

/// What became of a configuration of somebody else's.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    /// A part of `agent.yml`.
    pub(crate) yaml: String,
    /// What was not converted, or means something else here.
    pub(crate) notes: Vec<Note>,
}

/// Something that whoever moves in should know.
#[derive(Debug)]
pub(crate) struct Note {
    file: String,
    line: usize,
    text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}

/// A line of a file.
#[derive(Clone, Debug, Default)]
struct Place {
    file: String,
    line: usize,
}

/// A path as `file` names it: beside that file where it is relative. Where there is no such path,
/// `file` may be a copy from another host with the folders above it, and the path one of that host.
fn named_in(file: &str, path: &str) -> PathBuf {
    let named = Path::new(file).parent().unwrap_or(Path::new(".")).join(path);
    if named.exists() {
        return named;
    }
    let inside = path.trim_start_matches('/');
    let copies = Path::new(file).ancestors().skip(1).map(|folder| folder.join(inside));
    let mut copies = copies.filter(|copy| copy.exists());
    copies.next().unwrap_or(named)
}

/// The text of a file, whatever its bytes are.
fn read_text(file: &Path) -> io::Result<String> {
    let shown = file.display();
    let about = |error: io::Error| io::Error::new(error.kind(), format!("{shown}: {error}"));
    if fs::metadata(file).map_err(about)?.len() > MAX_BYTES {
        return Err(io::Error::other(format!("{shown}: it is larger than 16 MiB")));
    }
    let bytes = fs::read(file).map_err(about)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A text as a value of YAML: JSON is a part of it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Texts as a list of YAML.
fn list(texts: &[String]) -> String {
    let quoted: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", quoted.join(", "))
}
