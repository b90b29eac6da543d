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

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(root: &str, mountinfo: &str) -> (Mounts, Option<String>) {
        let mut mounts = Mounts {
            exclude_points: Some(Regex::new("^/(dev|proc)($|/)").unwrap()),
            exclude_kinds: Some(Regex::new("^(sysfs|autofs)$").unwrap()),
            root: root.into(),
            mountinfo: Vec::new(),
            mounts: Vec::new(),
            malformed: None,
        };
        let malformed = mounts.update(mountinfo.as_bytes());
        (mounts, malformed)
    }

    /// What is kept of lines of mountinfo, which are given without their first two fields.
    #[track_caller]
    fn check(lines: &[&str], expected: &[&str]) {
        let mountinfo: String = lines.iter().map(|line| format!("29 1 {line}\n")).collect();
        let (mounts, malformed) = mounts("/", &mountinfo);
        assert_eq!(malformed, None);
        let got: Vec<_> = mounts
            .iter()
            .map(|m| {
                let ro = if m.read_only { " ro" } else { "" };
                let hang = if m.may_hang { " may hang" } else { "" };
                format!("{} {} {} {}:{}{ro}{hang}", m.device, m.kind, m.point, m.major, m.minor)
            })
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn reads_what_is_mounted_and_leaves_out_what_is_excluded() {
        check(
            &[
                "259:2 / / rw,relatime shared:1 - ext4 /dev/dm-2 rw,errors=remount-ro",
                "0:22 / /sys rw - sysfs sysfs rw",
                "0:23 / /dev/shm rw - tmpfs tmpfs rw",
                "0:24 / /devices rw shared:4 master:2 propagate_from:1 - tmpfs tmpfs rw",
            ],
            &["/dev/dm-2 ext4 / 259:2", "tmpfs tmpfs /devices 0:24"],
        );
        check(
            &[r"8:1 / /a\040b\134\011c\04x rw - xfs /dev/sd\040a rw"],
            &["/dev/sd a xfs /a b\\\tc\\04x 8:1"],
        );
    }

    #[test]
    fn read_only_is_the_mount_or_the_filesystem() {
        check(&["8:1 / /a ro,relatime - ext4 /dev/sda1 rw"], &["/dev/sda1 ext4 /a 8:1 ro"]);
        check(&["8:1 / /a rw - ext4 /dev/sda1 ro,data=ordered"], &["/dev/sda1 ext4 /a 8:1 ro"]);
        check(&["8:1 / /a rw - ext4 /dev/sda1 rw,emergency_ro"], &["/dev/sda1 ext4 /a 8:1 ro"]);
        check(&["8:1 / /a rw,errors=ro - ext4 /dev/sda1 rw"], &["/dev/sda1 ext4 /a 8:1"]);
    }

    #[test]
    fn what_lies_behind_a_mount_that_may_hang_may_hang_too() {
        check(
            &[
                "8:1 / / rw - ext4 /dev/sda1 rw",
                "0:42 / /srv/nfs rw - nfs4 server:/srv rw",
                "8:2 / /srv/nfs/disk rw - ext4 /dev/sdb1 rw",
                "8:3 / /srv/nfs2 rw - ext4 /dev/sdc1 rw",
                "0:43 / /auto rw - autofs systemd-1 rw",
                "8:4 / /auto/disk rw - ext4 /dev/sdd1 rw",
            ],
            &[
                "/dev/sda1 ext4 / 8:1",
                "server:/srv nfs4 /srv/nfs 0:42 may hang",
                "/dev/sdb1 ext4 /srv/nfs/disk 8:2 may hang",
                "/dev/sdc1 ext4 /srv/nfs2 8:3",
                "/dev/sdd1 ext4 /auto/disk 8:4 may hang",
            ],
        );
    }

    #[test]
    fn of_what_is_mounted_twice_the_last_counts() {
        check(
            &["0:30 / /tmp rw - tmpfs tmpfs rw", "0:31 / /tmp ro - tmpfs tmpfs rw"],
            &["tmpfs tmpfs /tmp 0:31 ro"],
        );
        check(
            &["8:1 / /a rw - ext4 /dev/sda1 rw", "8:1 /x /b rw - ext4 /dev/sda1 rw"],
            &["/dev/sda1 ext4 /a 8:1", "/dev/sda1 ext4 /b 8:1"],
        );
    }

    #[test]
    fn a_root_elsewhere_is_taken_off_the_mount_point_and_put_before_the_path() {
        let check = |point: &str, shown: &str, path: &str| {
            let (mounts, _) =
                mounts("/host", &format!("29 1 8:1 / {point} rw - ext4 /dev/sda rw\n"));
            let mount = mounts.iter().next().unwrap();
            assert_eq!((mount.point.as_str(), mount.path.as_path()), (shown, Path::new(path)));
        };
        check("/", "/", "/host");
        check("/home", "/home", "/host/home");
        check("/host", "/", "/host");
        check("/host/home", "/home", "/host/home");
        check("/hosting", "/hosting", "/host/hosting");
    }

    #[test]
    fn a_malformed_line_costs_its_own_mount_only() {
        let good = "29 1 8:1 / /a rw - ext4 /dev/sda1 rw\n";
        for bad in [
            "29",
            "29 1 8 / /b rw - ext4 x rw",
            "29 1 8:x / /b rw - ext4 x rw",
            "29 1 8:1 / /b rw ext4 x rw",
            "29 1 8:1 / /b rw -",
        ] {
            let (mut mounts, malformed) = mounts("/", &format!("{bad}\n{good}"));
            assert_eq!((mounts.iter().count(), malformed), (1, Some(format!("`{bad}`"))));
            assert_eq!(mounts.update(good.as_bytes()), None);
        }
    }
}
