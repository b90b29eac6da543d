//! The program of a script, and whether anybody else could have put something in its place.
//!
//! The path is walked component by component, links included. Every directory on the way and the
//! file must belong to root or to the user we run as, and nobody else may write to them; what is
//! then executed is the path without links that the walk arrived at. Whoever could swap a link or
//! a directory on that path between the walk and the start could also have written to it, and was
//! refused. The walk is made when the configuration is read and again right before each start.
//!
//! Why not execute the file by its descriptor (`execveat`), as would close even that gap: for a
//! file that begins with `#!` the kernel hands the interpreter the path `/dev/fd/N`, so that the
//! descriptor must stay open in the script (it would be a fourth one beside 0, 1 and 2), `$0` no
//! longer names the script, and what it loads from beside itself is not found.
//!
//! Invariant: a [`Program`] was safe when it was made.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use crate::outcome::Reason;

/// More links than these on one path are a circle.
const MAX_LINKS: usize = 40;

/// A file that may be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// Its path without links.
    pub(super) path: PathBuf,
}

/// Why a program is not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct ProgramFault {
    pub(super) reason: Reason,
    pub(super) message: String,
    /// What to do about it.
    pub(super) help: Option<String>,
}

impl ProgramFault {
    fn new(reason: Reason, message: String) -> Self {
        Self { reason, message, help: None }
    }

    fn with_help(self, help: String) -> Self {
        Self { help: Some(help), ..self }
    }

    fn insecure(path: &Path, what: &str, help: String) -> Self {
        let message = format!("`{}` {what}", path.display());
        Self::new(Reason::InsecureProgram, message).with_help(help)
    }
}

impl Program {
    /// Walks to the file at `path`, as the user `user`.
    pub(super) fn resolve(path: &Path, user: u32) -> Result<Self, ProgramFault> {
        if !path.is_absolute() {
            let message = format!("`{}` is not an absolute path", path.display());
            let help = format!("write the full path, as `command -v {}` prints it", path.display());
            return Err(ProgramFault::new(Reason::InsecureProgram, message).with_help(help));
        }
        let mut walk = Walk { user, links: 0, at: PathBuf::from("/"), directory: None, last: None };
        walk.directory(&fs::symlink_metadata("/").map_err(|e| missing(path, &e))?, false)?;
        walk.go(path, path)?;
        let Some(file) = walk.last.take() else {
            let message = format!("`{}` is a directory", path.display());
            return Err(ProgramFault::new(Reason::NotExecutable, message));
        };
        walk.file(&file)?;
        Ok(Self { path: walk.at })
    }

    /// Whether the system could execute the file: its interpreter exists and is safe too.
    pub(super) fn check_content(&self, user: u32) -> Result<(), ProgramFault> {
        let start = read_start(&self.path)?;
        let shown = self.path.display();
        let Some(line) = start.strip_prefix(b"#!") else {
            // Other formats may have been taught to the kernel (binfmt_misc); a text never is.
            let is_text = !start.starts_with(b"\x7fELF") && std::str::from_utf8(&start).is_ok();
            let is_text = is_text && !start.contains(&0);
            if !is_text {
                return Ok(());
            }
            let message = format!("`{shown}` is a text that does not begin with `#!`");
            let help = "begin it with a line such as `#!/bin/sh`".to_owned();
            return Err(ProgramFault::new(Reason::NotExecutable, message).with_help(help));
        };
        let line = line.split(|b| *b == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let mut words = line.split_ascii_whitespace();
        let interpreter = words.next().unwrap_or_default();
        let of = |fault: ProgramFault| ProgramFault {
            reason: match fault.reason {
                Reason::ProgramMissing => Reason::NotExecutable,
                other => other,
            },
            message: format!("the interpreter of `{shown}`: {}", fault.message),
            ..fault
        };
        if line.ends_with('\r') {
            let message = format!("the first line of `{shown}` ends with a carriage return");
            let help = format!("convert its line ends: `sed -i 's/\\r$//' {shown}`");
            return Err(ProgramFault::new(Reason::NotExecutable, message).with_help(help));
        }
        if !interpreter.starts_with('/') {
            let message = format!("the interpreter of `{shown}`, `{interpreter}`, is no full path");
            return Err(ProgramFault::new(Reason::NotExecutable, message));
        }
        Self::resolve(Path::new(interpreter), user).map_err(of)?;
        let by_env = Path::new(interpreter).file_name().is_some_and(|name| name == "env");
        match words.find(|word| !word.starts_with('-') && !word.contains('=')) {
            Some(name) if by_env && !name.starts_with('/') => in_path(name, user).map_err(of),
            _ => Ok(()),
        }
    }
}

/// Whether `name` is a program in the path that scripts get.
fn in_path(name: &str, user: u32) -> Result<(), ProgramFault> {
    for directory in super::spawn::PATH.split(':') {
        match Program::resolve(&Path::new(directory).join(name), user) {
            Ok(_) => return Ok(()),
            Err(fault) if fault.reason == Reason::ProgramMissing => {}
            Err(fault) => return Err(fault),
        }
    }
    let message = format!("`{name}` is in no directory of `{}`", super::spawn::PATH);
    Err(ProgramFault::new(Reason::NotExecutable, message))
}

fn read_start(path: &Path) -> Result<Vec<u8>, ProgramFault> {
    use std::io::Read;
    let mut start = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(512).read_to_end(&mut start));
    match read {
        Ok(_) => Ok(start),
        // A program may be executable and not readable; then it is no script.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(b"\x7fELF".to_vec()),
        Err(error) => Err(missing(path, &error)),
    }
}

fn missing(path: &Path, error: &io::Error) -> ProgramFault {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ProgramFault::new(
            Reason::ProgramMissing,
            format!("`{}` does not exist", path.display()),
        ),
        _ => {
            let message = format!("`{}` cannot be looked at: {error}", path.display());
            ProgramFault::new(Reason::NotExecutable, message)
        }
    }
}

/// On the way along a path.
struct Walk {
    user: u32,
    links: usize,
    /// Where the walk is: a path without links, of which all is safe.
    at: PathBuf,
    /// What the directory there is, where it was looked at on the way.
    directory: Option<Metadata>,
    /// What is there, where that is not a directory.
    last: Option<Metadata>,
}

impl Walk {
    /// Walks along `path`, an absolute one or one from where the walk is; `shown` is what it was
    /// begun for.
    fn go(&mut self, path: &Path, shown: &Path) -> Result<(), ProgramFault> {
        let components: Vec<OsString> = path
            .components()
            .filter(|component| *component != Component::CurDir)
            .map(|component| component.as_os_str().to_owned())
            .collect();
        for (n, component) in components.iter().enumerate() {
            if self.last.is_some() {
                return Err(missing(shown, &io::ErrorKind::NotADirectory.into()));
            }
            match component.to_str() {
                Some("/") => (self.at, self.directory) = (PathBuf::from("/"), None),
                Some("..") => {
                    self.at.pop();
                    self.directory = None;
                }
                _ => self.step(component, n + 1 == components.len(), shown)?,
            }
        }
        Ok(())
    }

    fn step(&mut self, name: &OsString, is_last: bool, shown: &Path) -> Result<(), ProgramFault> {
        self.at.push(name);
        let found = fs::symlink_metadata(&self.at).map_err(|error| missing(shown, &error))?;
        if found.is_symlink() {
            self.links += 1;
            if self.links > MAX_LINKS {
                let message = format!("`{}` is a circle of links", shown.display());
                return Err(ProgramFault::new(Reason::ProgramMissing, message));
            }
            let target = fs::read_link(&self.at).map_err(|error| missing(shown, &error))?;
            self.at.pop();
            self.holds()?;
            return self.go(&target, shown);
        }
        if found.is_dir() {
            self.directory(&found, true)?;
            self.directory = Some(found);
            return Ok(());
        }
        if is_last {
            self.at.pop();
            self.holds()?;
            self.at.push(name);
        }
        self.last = Some(found);
        Ok(())
    }

    /// Whether the directory where the walk is may hold what counts directly: a file or a link. A
    /// sticky one that everybody may write to may not: names in it are anybody's to make.
    fn holds(&self) -> Result<(), ProgramFault> {
        if let Some(found) = &self.directory {
            return self.directory(found, false);
        }
        let found = fs::symlink_metadata(&self.at).map_err(|error| missing(&self.at, &error))?;
        self.directory(&found, false)
    }

    fn directory(&self, found: &Metadata, sticky_will_do: bool) -> Result<(), ProgramFault> {
        self.owner(found)?;
        let mode = found.permissions().mode();
        if mode & 0o022 == 0 || sticky_will_do && mode & 0o1000 != 0 {
            return Ok(());
        }
        if mode & 0o1000 != 0 {
            let help = "move the program into a directory of its own".to_owned();
            let what = "is a directory in which everybody may make files";
            return Err(ProgramFault::insecure(&self.at, what, help));
        }
        self.writable(mode)
    }

    fn file(&self, found: &Metadata) -> Result<(), ProgramFault> {
        if !found.is_file() {
            let message = format!("`{}` is not a file", self.at.display());
            return Err(ProgramFault::new(Reason::NotExecutable, message));
        }
        self.owner(found)?;
        if found.permissions().mode() & 0o022 != 0 {
            return self.writable(found.permissions().mode());
        }
        rustix::fs::access(&self.at, rustix::fs::Access::EXEC_OK).map_err(|_| {
            let message = format!("`{}` is not executable", self.at.display());
            let help = format!("make it executable: `chmod +x {}`", self.at.display());
            ProgramFault::new(Reason::NotExecutable, message).with_help(help)
        })
    }

    fn owner(&self, found: &Metadata) -> Result<(), ProgramFault> {
        if found.uid() == 0 || found.uid() == self.user {
            return Ok(());
        }
        let what = format!("belongs to the user {}, neither to root nor to us", found.uid());
        let help = format!("make it root's: `chown root {}`", self.at.display());
        Err(ProgramFault::insecure(&self.at, &what, help))
    }

    fn writable(&self, mode: u32) -> Result<(), ProgramFault> {
        let who = match (mode & 0o020 != 0, mode & 0o002 != 0) {
            (true, true) => ("its group and everybody", "go"),
            (true, false) => ("its group", "g"),
            _ => ("everybody", "o"),
        };
        let what = format!("can be written by {}", who.0);
        let help = format!("take that away: `chmod {}-w {}`", who.1, self.at.display());
        Err(ProgramFault::insecure(&self.at, &what, help))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    fn user() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A directory of our own with the program `good` in it.
    fn directory() -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        mode(directory.path(), 0o755);
        let good = directory.path().join("good");
        script(&good, "#!/bin/sh\nexit 0\n");
        (directory, good)
    }

    fn script(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        mode(path, 0o755);
    }

    #[track_caller]
    fn check(path: &Path, reason: Reason, part: &str) {
        let result = Program::resolve(path, user()).and_then(|p| p.check_content(user()));
        let fault = result.unwrap_err();
        assert_eq!(fault.reason, reason, "{fault}");
        let whole = format!("{fault} ({})", fault.help.as_deref().unwrap_or_default());
        assert!(whole.contains(part), "{whole}");
    }

    #[test]
    fn a_safe_program_is_found_behind_links() {
        let (directory, good) = directory();
        let link = directory.path().join("link");
        symlink("./good", &link).unwrap();
        let found = Program::resolve(&link, user()).unwrap();
        assert_eq!(found.path, good.canonicalize().unwrap());
        found.check_content(user()).unwrap();
        Program::resolve(Path::new("/bin/sh"), user()).unwrap().check_content(user()).unwrap();
    }

    #[test]
    fn what_others_can_change_is_refused_x10() {
        let (directory, good) = directory();
        mode(&good, 0o775);
        check(
            &good,
            Reason::InsecureProgram,
            "can be written by its group (take that away: `chmod g-w",
        );
        mode(&good, 0o757);
        check(&good, Reason::InsecureProgram, "`chmod o-w");
        mode(&good, 0o755);
        mode(directory.path(), 0o777);
        check(&good, Reason::InsecureProgram, "can be written by its group and everybody");
        mode(directory.path(), 0o1777);
        check(&good, Reason::InsecureProgram, "is a directory in which everybody may make files");
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).unwrap();
        mode(&inner, 0o755);
        script(&inner.join("good"), "#!/bin/sh\n");
        Program::resolve(&inner.join("good"), user()).unwrap();
        symlink(inner.join("good"), directory.path().join("link")).unwrap();
        check(&directory.path().join("link"), Reason::InsecureProgram, "everybody may make files");
    }

    #[test]
    fn a_program_of_another_user_is_refused_x10() {
        let (_directory, good) = directory();
        let fault = Program::resolve(&good, user() + 1).map(|_| ());
        // Of root it is anybody's to run; of an ordinary user it is not.
        let expected = if user() == 0 { None } else { Some(Reason::InsecureProgram) };
        assert_eq!(fault.err().map(|f| f.reason), expected);
        if user() == 0 {
            std::os::unix::fs::chown(&good, Some(12345), None).unwrap();
            check(&good, Reason::InsecureProgram, "belongs to the user 12345");
        }
    }

    #[test]
    fn what_cannot_run_is_told_at_load_x10() {
        let (directory, good) = directory();
        let at = |name: &str, text: &str| {
            let path = directory.path().join(name);
            script(&path, text);
            path
        };
        check(Path::new("bin/sh"), Reason::InsecureProgram, "is not an absolute path");
        check(&directory.path().join("none"), Reason::ProgramMissing, "does not exist");
        check(&good.join("x"), Reason::ProgramMissing, "does not exist");
        check(directory.path(), Reason::NotExecutable, "is a directory");
        check(Path::new("/dev/null"), Reason::NotExecutable, "is not a file");
        check(&at("a", "#!/no/such\n"), Reason::NotExecutable, "`/no/such` does not exist");
        check(&at("b", "#!/usr/bin/env no-such\n"), Reason::NotExecutable, "`no-such` is in no");
        check(&at("c", "#!/bin/sh\r\n"), Reason::NotExecutable, "carriage return");
        check(&at("d", "echo\n"), Reason::NotExecutable, "does not begin with `#!`");
        check(&at("e", "#!bash\n"), Reason::NotExecutable, "is no full path");
        mode(&good, 0o644);
        check(&good, Reason::NotExecutable, "(make it executable: `chmod +x");
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        symlink(&two, &one).unwrap();
        symlink(&one, &two).unwrap();
        check(&one, Reason::ProgramMissing, "circle of links");
    }
}
