//! The mounts that are looked at, from `mountinfo`.
//!
//! ```text
//! 29 1 259:2 / /home rw,relatime shared:1 - ext4 /dev/dm-2 rw,errors=remount-ro
//!      │        │   └ options                │    │         └ options of the filesystem
//!      device   mount point                  type source
//! ```
//!
//! Invariant: no two mounts have the same device, type and mount point.

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use regex::Regex;

use super::super::config::Settings;
use super::super::text;

/// Filesystems that answer from this machine's own memory or disks. All others may wait for
/// somebody else (a server, a process in user space), or are too new to be known here.
const LOCAL: &[&str] = &[
    "bcachefs",
    "binfmt_misc",
    "bpf",
    "btrfs",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "erofs",
    "exfat",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "jfs",
    "mqueue",
    "msdos",
    "nilfs2",
    "nsfs",
    "ntfs3",
    "proc",
    "pstore",
    "ramfs",
    "reiserfs",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tmpfs",
    "tracefs",
    "udf",
    "vfat",
    "xfs",
    "zfs",
];

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) major: String,
    pub(super) minor: String,
    pub(super) device: String,
    pub(super) kind: String,
    /// Where it is mounted on the host.
    pub(super) point: String,
    /// The same as we reach it.
    pub(super) path: PathBuf,
    pub(super) read_only: bool,
    /// Whether asking it, or only the way to it, may take for ever.
    pub(super) may_hang: bool,
}

/// The mounts that are looked at; made anew only when `mountinfo` changes.
pub(super) struct Mounts {
    exclude_points: Option<Regex>,
    exclude_kinds: Option<Regex>,
    root: PathBuf,
    mountinfo: Vec<u8>,
    mounts: Vec<Mount>,
    malformed: Option<String>,
}

impl Mounts {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            exclude_points: settings.mount_points_exclude.clone(),
            exclude_kinds: settings.fs_types_exclude.clone(),
            root: settings.paths.rootfs.clone(),
            mountinfo: Vec::new(),
            mounts: Vec::new(),
            malformed: None,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.mounts.iter()
    }

    /// Takes over what `mountinfo` says; returns a line of it that is malformed.
    pub(super) fn update(&mut self, mountinfo: &[u8]) -> Option<String> {
        if self.mountinfo == mountinfo {
            return self.malformed.clone();
        }
        self.mountinfo = mountinfo.to_vec();
        self.malformed = None;
        let mut all = Vec::new();
        for line in text::lines(mountinfo) {
            match self.parse(line) {
                Some(mount) => all.push(mount),
                None => self.malformed = Some(format!("`{}`", text::text(line))),
            }
        }
        let hanging: Vec<_> =
            all.iter().filter(|m| m.may_hang).map(|mount| mount.path.clone()).collect();
        self.mounts = Vec::new();
        for mut mount in all {
            let excluded = |pattern: &Option<Regex>, text: &str| {
                pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
            };
            if excluded(&self.exclude_points, &mount.point)
                || excluded(&self.exclude_kinds, &mount.kind)
            {
                continue;
            }
            let below = |above: &PathBuf| mount.path.starts_with(above) && mount.path != *above;
            mount.may_hang |= hanging.iter().any(below);
            let same = |other: &Mount| {
                (&other.device, &other.kind, &other.point)
                    == (&mount.device, &mount.kind, &mount.point)
            };
            // What is mounted last lies on top and is the one that answers.
            self.mounts.retain(|other| !same(other));
            self.mounts.push(mount);
        }
        self.malformed.clone()
    }

    fn parse(&self, line: &[u8]) -> Option<Mount> {
        let mut fields = text::fields(line).skip(2);
        let (major, minor) = text::split(fields.next()?, b':')?;
        let point = unescape(fields.nth(1)?);
        let options = fields.next()?;
        // Any number of optional fields ends with a dash.
        fields.find(|field| *field == b"-")?;
        let kind = text::text(fields.next()?).into_owned();
        let device = unescape(fields.next()?);
        let more = fields.next().unwrap_or_default();
        let has = |options: &[u8], name: &[u8]| options.split(|b| *b == b',').any(|o| o == name);
        let point = PathBuf::from(std::ffi::OsString::from_vec(point));
        let (point, path) = self.on_host(&point);
        Some(Mount {
            major: text::number(major)?.to_string(),
            minor: text::number(minor)?.to_string(),
            device: text::text(&device).into_owned(),
            read_only: has(options, b"ro") || has(more, b"ro") || has(more, b"emergency_ro"),
            may_hang: !LOCAL.contains(&kind.as_str()),
            kind,
            point: point.to_string_lossy().into_owned(),
            path,
        })
    }

    /// The mount point as the host knows it, and as we reach it: where the host's root is mounted
    /// somewhere else, `mountinfo` may name either.
    fn on_host(&self, point: &Path) -> (PathBuf, PathBuf) {
        let below = point.strip_prefix(&self.root).or_else(|_| point.strip_prefix("/"));
        let below = below.unwrap_or(point);
        (Path::new("/").join(below), self.root.join(below))
    }
}

/// Blanks and backslashes are written as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let octal = match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if *first == b'\\' => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    bytes
}
