//! The disk below a writer: what it was asked to do, as strace saw it, and what a crash leaves of that.
//!
//! ```text
//! acts    each call that changes a file or a folder, and what the writer told, in order
//! kill    everything that was asked is there
//! crash   what was waited for is there; of the rest any part: contents are cut off or zeros, names
//!         are not there yet, or not gone yet, also those of folders
//! ```
//!
//! Invariant: what `fsync` or `fdatasync` returned for is in every crash, and nothing else has to be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// Numbers in the order of a seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// One below `most`.
    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most.max(1)
    }

    fn upto(&mut self, most: usize) -> usize {
        self.below(most as u64 + 1) as usize
    }
}

/// A file, whatever it is called.
type Id = usize;

/// How the contents of a file change.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
}

/// What the disk was asked to do; paths are those below the folder.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// The writer said something.
    Told(String),
    Made(PathBuf, Id),
    MadeFolder(PathBuf),
    Renamed(PathBuf, PathBuf, Id),
    Removed(PathBuf),
    Changed(Id, Change),
    Synced(Id),
    SyncedFolder(PathBuf),
}

impl Act {
    /// Whether it changes what files are called, or finishes such a change.
    pub(crate) fn is_of_names(&self) -> bool {
        !matches!(self, Self::Told(_) | Self::Changed(_, Change::Write(..)) | Self::Synced(_))
    }

    fn touches(&self, folder: &Path) -> bool {
        let within = |path: &Path| path.parent() == Some(folder);
        match self {
            Self::Made(path, _) | Self::MadeFolder(path) | Self::Removed(path) => within(path),
            Self::Renamed(from, to, _) => within(from) || within(to),
            _ => false,
        }
    }
}

/// A folder with all that is in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    names: BTreeMap<PathBuf, Id>,
    folders: BTreeSet<PathBuf>,
    contents: Vec<Vec<u8>>,
}

impl Disk {
    pub(crate) fn read(root: &Path) -> Self {
        let mut disk = Self::default();
        let mut open = vec![root.to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().to_owned();
                if path.is_dir() {
                    disk.folders.insert(name);
                    open.push(path);
                } else {
                    disk.names.insert(name, disk.contents.len());
                    disk.contents.push(fs::read(path).unwrap());
                }
            }
        }
        disk
    }

    pub(crate) fn write(&self, root: &Path) {
        for folder in &self.folders {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for (name, id) in &self.names {
            let is_there = name.parent().is_some_and(|up| up == Path::new("") || self.has(up));
            if is_there {
                fs::write(root.join(name), &self.contents[*id]).unwrap();
            }
        }
    }

    fn has(&self, folder: &Path) -> bool {
        self.folders.contains(folder)
    }

    /// What is different in `other`, by name; copies of damaged files do not count.
    pub(crate) fn differs(&self, other: &Self) -> Option<PathBuf> {
        let of = |disk: &Self| -> BTreeMap<PathBuf, Vec<u8>> {
            let counts = |path: &Path| path.extension().is_none_or(|ext| ext != "damaged");
            let names = disk.names.iter().filter(|(path, _)| counts(path));
            names.map(|(path, id)| (path.clone(), disk.contents[*id].clone())).collect()
        };
        let (a, b) = (of(self), of(other));
        a.keys().chain(b.keys()).find(|path| a.get(*path) != b.get(*path)).cloned()
    }

    /// Cuts a file off, or changes a byte of it, as no crash does; whether there is such a file.
    pub(crate) fn damage(&mut self, path: &Path, random: &mut Random) -> bool {
        let Some(id) = self.names.get(path) else { return false };
        let contents = &mut self.contents[*id];
        let at = random.upto(contents.len().saturating_sub(1));
        match contents.get_mut(at) {
            Some(byte) if random.below(2) == 0 => *byte ^= 1 << random.below(8),
            _ => contents.truncate(at),
        }
        true
    }

    fn apply(&mut self, act: &Act) {
        match act {
            Act::Made(path, id) => drop(self.names.insert(path.clone(), *id)),
            Act::MadeFolder(path) => drop(self.folders.insert(path.clone())),
            Act::Renamed(from, to, id) => {
                if self.names.get(from) == Some(id) {
                    self.names.remove(from);
                }
                self.names.insert(to.clone(), *id);
            }
            Act::Removed(path) => drop(self.names.remove(path)),
            Act::Changed(id, change) => self.change(*id, change),
            Act::Told(_) | Act::Synced(_) | Act::SyncedFolder(_) => {}
        }
    }

    fn change(&mut self, id: Id, change: &Change) {
        if self.contents.len() <= id {
            self.contents.resize_with(id + 1, Vec::new);
        }
        let contents = &mut self.contents[id];
        match change {
            Change::Length(length) => contents.resize(*length, 0),
            Change::Write(at, bytes) => {
                let end = at + bytes.len();
                contents.resize(contents.len().max(end), 0);
                contents[*at..end].copy_from_slice(bytes);
            }
        }
    }

    /// What there is behind `acts` when only the process ends.
    pub(crate) fn killed(&self, acts: &[Act]) -> Self {
        let mut disk = self.clone();
        disk.contents.resize_with(files(self, acts), Vec::new);
        acts.iter().for_each(|act| disk.apply(act));
        disk
    }

    /// What there is behind `acts` when the machine ends: one of many possibilities.
    pub(crate) fn crashed(&self, acts: &[Act], random: &mut Random) -> Self {
        let mut disk = self.clone();
        disk.contents.resize_with(files(self, acts), Vec::new);
        let mut names: Vec<&Act> = Vec::new();
        let mut changes: BTreeMap<Id, Vec<&Change>> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Told(_) => {}
                Act::Changed(id, change) => changes.entry(*id).or_default().push(change),
                Act::Synced(id) => {
                    let synced = changes.remove(id).unwrap_or_default();
                    synced.into_iter().for_each(|change| disk.change(*id, change));
                }
                Act::SyncedFolder(folder) => names.retain(|act| {
                    if act.touches(folder) {
                        disk.apply(act);
                    }
                    !act.touches(folder)
                }),
                act => names.push(act),
            }
        }
        // Names: all, those up to some moment, or any.
        let mode = random.below(3);
        let upto = random.upto(names.len());
        for (n, act) in names.into_iter().enumerate() {
            if mode == 0 || mode == 1 && n < upto || mode == 2 && random.below(2) == 0 {
                disk.apply(act);
            }
        }
        for (id, changes) in changes {
            disk.lose(id, &changes, random);
        }
        disk
    }

    /// Makes a part of `changes`, which nobody has waited for.
    fn lose(&mut self, id: Id, changes: &[&Change], random: &mut Random) {
        let mut whole = Self { contents: vec![self.contents[id].clone()], ..Self::default() };
        changes.iter().for_each(|change| whole.change(0, change));
        let kept = random.upto(changes.len());
        changes[..kept].iter().for_each(|change| self.change(id, change));
        if let Some(Change::Write(at, bytes)) = changes.get(kept) {
            let half = bytes[..random.upto(bytes.len())].to_vec();
            self.change(id, &Change::Write(*at, half));
        }
        // The length may be on the disk before what stands there.
        if random.below(2) == 0 {
            self.change(id, &Change::Length(whole.contents[0].len()));
        }
    }
}

/// How many files there have been.
fn files(disk: &Disk, acts: &[Act]) -> usize {
    let made = |act: &Act| match act {
        Act::Made(_, id) => id + 1,
        _ => 0,
    };
    acts.iter().map(made).max().unwrap_or(0).max(disk.contents.len())
}

/// An open file.
#[derive(Clone)]
struct Open {
    path: PathBuf,
    id: Option<Id>,
    appends: bool,
    at: usize,
}

/// Reads what strace wrote of a writer that began with `disk` in `root`. The second says whether the
/// last call was seen to its end.
pub(crate) fn acts(trace: &str, root: &Path, disk: &Disk) -> (Vec<Act>, bool) {
    let mut reader = Reader {
        root,
        names: disk.names.clone(),
        lengths: disk.contents.iter().map(Vec::len).collect(),
        open: HashMap::new(),
        acts: Vec::new(),
    };
    let mut whole = true;
    for line in trace.lines() {
        let call = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        if call.starts_with("+++") || call.starts_with("---") {
            continue;
        }
        let parts = call.rsplit_once(" = ").zip(call.split_once('('));
        let Some(((_, result), (name, arguments))) = parts else {
            whole = false;
            continue;
        };
        let result = result.split_whitespace().next().and_then(|n| n.parse::<i64>().ok());
        match result {
            Some(result) if result >= 0 => reader.call(name, arguments, result),
            Some(_) => {}
            None => whole = false,
        }
    }
    (reader.acts, whole)
}

struct Reader<'a> {
    root: &'a Path,
    names: BTreeMap<PathBuf, Id>,
    lengths: Vec<usize>,
    open: HashMap<i64, Open>,
    acts: Vec<Act>,
}

impl Reader<'_> {
    fn call(&mut self, name: &str, arguments: &str, result: i64) {
        let first = arguments.split([',', ')']).next().unwrap_or("").trim();
        let fd = first.parse::<i64>().ok();
        let paths: Vec<PathBuf> = texts(arguments).iter().filter_map(|t| self.below(t)).collect();
        match (name, fd, &paths[..]) {
            ("openat", _, [path]) => self.opened(path, arguments, result),
            ("close", Some(fd), _) => drop(self.open.remove(&fd)),
            ("fcntl", Some(fd), _) if arguments.contains("F_DUPFD") => {
                let same = self.open.get(&fd).cloned();
                self.open.extend(same.map(|same| (result, same)));
            }
            ("write", Some(1), _) => {
                let told = texts(arguments).into_iter().flatten().collect();
                self.acts.push(Act::Told(String::from_utf8(told).unwrap()));
            }
            ("write", Some(fd), _) => self.wrote(fd, arguments, result as usize),
            ("ftruncate", Some(fd), _) => {
                let length = arguments.split([',', ')']).nth(1).unwrap().trim().parse().unwrap();
                let id = self.open.get(&fd).and_then(|open| open.id);
                id.into_iter().for_each(|id| self.cut(id, length));
            }
            ("fsync" | "fdatasync", Some(fd), _) => {
                let Some(open) = self.open.get(&fd) else { return };
                self.acts.push(match open.id {
                    Some(id) => Act::Synced(id),
                    None => Act::SyncedFolder(open.path.clone()),
                });
            }
            ("rename", _, [from, to]) => {
                let Some(id) = self.names.remove(from) else { return };
                self.names.insert(to.clone(), id);
                self.acts.push(Act::Renamed(from.clone(), to.clone(), id));
            }
            ("unlink", _, [path]) => {
                self.names.remove(path);
                self.acts.push(Act::Removed(path.clone()));
            }
            ("mkdir", _, [path]) => self.acts.push(Act::MadeFolder(path.clone())),
            _ => {}
        }
    }

    /// A path below the folder.
    fn below(&self, text: &[u8]) -> Option<PathBuf> {
        let path = Path::new(std::str::from_utf8(text).ok()?);
        path.strip_prefix(self.root).ok().map(Path::to_owned)
    }

    fn opened(&mut self, path: &Path, arguments: &str, fd: i64) {
        if !self.names.contains_key(path) && arguments.contains("O_CREAT") {
            let id = self.lengths.len();
            self.lengths.push(0);
            self.names.insert(path.to_owned(), id);
            self.acts.push(Act::Made(path.to_owned(), id));
        }
        let id = self.names.get(path).copied();
        let appends = arguments.contains("O_APPEND");
        self.open.insert(fd, Open { path: path.to_owned(), id, appends, at: 0 });
        if let Some(id) = id.filter(|_| arguments.contains("O_TRUNC")) {
            self.cut(id, 0);
        }
    }

    fn cut(&mut self, id: Id, length: usize) {
        self.lengths[id] = length;
        self.acts.push(Act::Changed(id, Change::Length(length)));
    }

    fn wrote(&mut self, fd: i64, arguments: &str, count: usize) {
        let Some(open) = self.open.get_mut(&fd) else { return };
        let Some(id) = open.id else { return };
        let mut bytes = texts(arguments).into_iter().next().unwrap();
        bytes.truncate(count);
        let at = if open.appends { self.lengths[id] } else { open.at };
        open.at = at + bytes.len();
        self.lengths[id] = self.lengths[id].max(open.at);
        self.acts.push(Act::Changed(id, Change::Write(at, bytes)));
    }
}

/// The texts of a call, of which strace writes each byte as `\x..`.
fn texts(arguments: &str) -> Vec<Vec<u8>> {
    let byte = |code: &str| u8::from_str_radix(code, 16).unwrap();
    let text = |text: &str| text.split("\\x").skip(1).map(byte).collect();
    arguments.split('"').skip(1).step_by(2).map(text).collect()
}
