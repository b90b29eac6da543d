//! Whether the file of a program may be started.
//!
//! Invariant: what we start, only root or we ourselves can have written or put in its place (X10).

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

/// The most links on the way.
const MAX_LINKS: u32 = 16;

/// Why it may not.
#[derive(Debug)]
pub(super) struct FileFault {
    pub(super) what: String,
    pub(super) help: String,
}

impl FileFault {
    fn new(what: String, help: impl Into<String>) -> Self {
        Self { what, help: help.into() }
    }
}

/// Looks at the file, at where links lead to, and at every folder on the way.
pub(super) fn check(path: &Path) -> Result<(), FileFault> {
    let shown = path.display();
    if !path.is_absolute() {
        let help = format!("write the whole path: `/usr/local/bin/{shown}`");
        return Err(FileFault::new(format!("`{shown}` is no absolute path"), help));
    }
    let real = walk(path, &mut 0)?;
    let found = look_at(&real)?;
    if !found.is_file() {
        return Err(FileFault::new(format!("`{shown}` is not a file"), "name a program"));
    }
    owned(&real, &found)?;
    if found.permissions().mode() & 0o022 != 0 {
        return Err(writable(&real, &found));
    }
    rustix::fs::access(&real, rustix::fs::Access::EXEC_OK).map_err(|_| {
        let help = format!("make it executable: `chmod +x {shown}`");
        FileFault::new(format!("`{shown}` is not executable"), help)
    })
}

/// Where `path`, an absolute one, leads to without links.
fn walk(path: &Path, links: &mut u32) -> Result<PathBuf, FileFault> {
    let mut at = PathBuf::from("/");
    for component in path.components() {
        let name = match component {
            Component::Normal(name) => name,
            Component::ParentDir => {
                at.pop();
                continue;
            }
            _ => continue,
        };
        let folder = look_at(&at)?;
        let next = at.join(name);
        let entry = look_at(&next)?;
        owned(&at, &folder)?;
        let mode = folder.permissions().mode();
        // In a sticky folder nobody can put another folder in the place of root's or ours.
        let kept = mode & 0o1000 != 0 && entry.is_dir();
        if mode & 0o022 != 0 && !kept {
            return Err(writable(&at, &folder));
        }
        at = if entry.is_symlink() {
            *links += 1;
            if *links > MAX_LINKS {
                let what = format!("`{}` is a circle of links", path.display());
                return Err(FileFault::new(what, "name the program itself"));
            }
            let target = fs::read_link(&next).map_err(|error| unusable(&next, &error))?;
            walk(&at.join(target), links)?
        } else {
            next
        };
    }
    Ok(at)
}

fn look_at(path: &Path) -> Result<Metadata, FileFault> {
    fs::symlink_metadata(path).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &std::io::Error) -> FileFault {
    let what = format!("`{}` cannot be used: {error}", path.display());
    FileFault::new(what, "name a program that is there and that we may start")
}

fn owned(path: &Path, found: &Metadata) -> Result<(), FileFault> {
    let us = rustix::process::geteuid().as_raw();
    if found.uid() == 0 || found.uid() == us {
        return Ok(());
    }
    let (shown, who) = (path.display(), found.uid());
    let what = format!("`{shown}` belongs to the user {who}, neither to root nor to us");
    Err(FileFault::new(what, format!("make it root's: `chown root {shown}`")))
}

fn writable(path: &Path, found: &Metadata) -> FileFault {
    let shown = path.display();
    let help = match found.permissions().mode() & 0o1000 {
        0 => format!("take that away: `chmod go-w {shown}`"),
        _ => "move the program into a folder of its own".to_owned(),
    };
    FileFault::new(format!("`{shown}` can be written by others than its owner"), help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_root_or_we_have_written_is_started() {
        // X10
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        };
        mode(folder.path(), 0o755);
        let file = folder.path().join("tell");
        fs::write(&file, "#!/bin/sh\n").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let told = |path: &Path, part: &str| {
            let what = check(path).err().map_or(String::new(), |fault| fault.what);
            assert!(what.contains(part) && what.is_empty() == part.is_empty(), "{what}: {part}");
        };
        mode(&file, 0o644);
        told(&file, "is not executable");
        mode(&file, 0o755);
        told(&file, "");
        told(&link, "");
        mode(&file, 0o775);
        told(&file, "can be written by others");
        told(&link, "can be written by others");
        mode(&file, 0o755);
        mode(folder.path(), 0o777);
        told(&file, "can be written by others");
        mode(folder.path(), 0o755);
        told(folder.path(), "is not a file");
        told(&folder.path().join("none"), "cannot be used");

        // A folder in which everybody may make files, also one that keeps them apart.
        let shared = folder.path().join("shared");
        fs::create_dir(&shared).unwrap();
        mode(&shared, 0o1777);
        std::os::unix::fs::symlink("/bin/true", shared.join("x")).unwrap();
        told(&shared.join("x"), "can be written by others");
    }
}
