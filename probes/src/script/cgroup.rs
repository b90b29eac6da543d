//! A control group for each run of a script, where the host gives us a part of its tree (version 2).
//!
//! ```text
//! ours ─┬─ agent      we ourselves, so that the controllers can be switched on
//!       └─ scripts ─┬─ run-1    pids.max, memory.max, memory.oom.group; ended by cgroup.kill
//!                   └─ run-2
//! ```
//!
//! A limit of a group counts all that a script has started, where those of `prlimit` count each
//! process alone (memory) or all of a user's (processes).
//!
//! Invariant: a group is a net below the other limits, never in their place: where it cannot be had,
//! or a script's first child was faster than we, everything else still holds.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::process::Pid;

use super::limits::Limits;

/// The part of the tree that is ours. There is one in a process, because a process is in one group.
static TREE: OnceLock<Tree> = OnceLock::new();

/// Uses control groups from now on, where we have a part of the tree; returns where scripts run then.
///
/// # Errors
///
/// Why we have none; then the other limits hold alone.
pub fn use_cgroups() -> Result<&'static Path, String> {
    let read = |file: &str| fs::read_to_string(file).map_err(|error| format!("{file}: {error}"));
    let ours = find(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)
        .ok_or("there is no tree of version 2")?;
    let tree = Tree::prepare(&ours).map_err(|error| format!("{}: {error}", ours.display()))?;
    Ok(&TREE.get_or_init(|| tree).scripts)
}

/// The group that we are in, by what the kernel says of mounts and of our groups.
fn find(mounts: &str, groups: &str) -> Option<PathBuf> {
    let ours = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        if kind.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let below = Path::new(ours).strip_prefix(root).ok()?;
        Some(Path::new(point).join(below))
    })
}

/// A tree that runs have their groups in.
#[derive(Debug)]
struct Tree {
    scripts: PathBuf,
    /// Groups that could not be removed yet: something in them was still ending.
    left: Mutex<Vec<PathBuf>>,
}

impl Tree {
    /// Moves us into a group below `ours`, and makes one beside it for scripts.
    fn prepare(ours: &Path) -> io::Result<Self> {
        const WANTED: &str = "+memory +pids";
        let unsupported = |why: &str| io::Error::new(io::ErrorKind::Unsupported, why.to_owned());
        if !ours.join("cgroup.type").exists() {
            return Err(unsupported("it is the root, which is not ours to divide"));
        }
        let has = fs::read_to_string(ours.join("cgroup.controllers"))?;
        let has = |name: &str| has.split_whitespace().any(|controller| controller == name);
        if !has("memory") || !has("pids") {
            return Err(unsupported("it has not the controllers memory and pids"));
        }
        let (agent, scripts) = (ours.join("agent"), ours.join("scripts"));
        make(&agent)?;
        fs::write(agent.join("cgroup.procs"), "0")?;
        let divided = fs::write(ours.join("cgroup.subtree_control"), WANTED)
            .and_then(|()| make(&scripts))
            .and_then(|()| fs::write(scripts.join("cgroup.subtree_control"), WANTED));
        if let Err(error) = divided {
            // Others are in the group, so that it was not given to us alone.
            let _ = fs::write(ours.join("cgroup.procs"), "0");
            let _ = fs::remove_dir(&scripts);
            let _ = fs::remove_dir(&agent);
            return Err(error);
        }
        let tree = Self { scripts, left: Mutex::default() };
        // Of an agent before us that was killed.
        for entry in fs::read_dir(&tree.scripts)?.flatten() {
            if entry.path().is_dir() {
                tree.end(entry.path());
            }
        }
        Ok(tree)
    }

    /// Puts a process, and what it starts from now on, into a group of its own.
    fn enter(&'static self, run: u64, pid: Pid, limits: &Limits) -> io::Result<Cgroup> {
        let path = self.scripts.join(format!("run-{run}"));
        make(&path)?;
        let cgroup = Cgroup { tree: self, path };
        for (file, value) in [
            ("pids.max", limits.processes.to_string()),
            ("memory.max", limits.memory.to_string()),
            // What is beyond the limit ends the script, not one process of it at random.
            ("memory.oom.group", "1".to_owned()),
        ] {
            // Where a controller is missing, `prlimit` holds.
            let _ = fs::write(cgroup.path.join(file), value);
        }
        fs::write(cgroup.path.join("cgroup.procs"), pid.as_raw_nonzero().to_string())?;
        Ok(cgroup)
    }

    /// Ends all that is in a group, and removes it and those that were left before.
    fn end(&self, path: PathBuf) {
        // Before 5.14 the kernel has it not; then what remains is found as without groups.
        let _ = fs::write(path.join("cgroup.kill"), "1");
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.push(path);
        left.retain(|path| {
            fs::remove_dir(path).is_err_and(|e| e.kind() != io::ErrorKind::NotFound)
        });
    }
}

/// Makes a group, if there is none.
fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// The group of a run. Whatever is in it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Cgroup {
    tree: &'static Tree,
    path: PathBuf,
}

/// Puts a process that was just started into a group of its own; nothing where there is no tree, or
/// the process has ended already.
pub(super) fn enter(run: u64, pid: Pid, limits: &Limits) -> Option<Cgroup> {
    TREE.get()?.enter(run, pid, limits).ok()
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.tree.end(std::mem::take(&mut self.path));
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn our_group_is_found_by_the_mounts() {
        let check = |mounts: &str, groups: &str, expected: Option<&str>| {
            assert_eq!(find(mounts, groups), expected.map(PathBuf::from), "{groups}");
        };
        let unified = "22 1 0:3 / /proc rw - proc proc rw\n\
                       30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let service = "0::/system.slice/veilleur-agent.service\n";
        check(unified, service, Some("/sys/fs/cgroup/system.slice/veilleur-agent.service"));
        check(unified, "0::/\n", Some("/sys/fs/cgroup"));
        // A container is shown a part of the tree.
        let part = "30 23 0:26 /system.slice /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        check(part, service, Some("/sys/fs/cgroup/veilleur-agent.service"));
        check(part, "0::/user.slice\n", None);
        let first = "30 23 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        check(first, "8:pids:/\n", None);
        check(first, "8:pids:/\n0::/\n", None);
    }

    /// A folder that looks like a group with these controllers.
    fn fake(controllers: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cgroup.type"), "domain\n").unwrap();
        fs::write(folder.path().join("cgroup.controllers"), controllers).unwrap();
        folder
    }

    /// The kernel has no tree with these controllers everywhere; what is written is what it is told.
    #[test]
    fn a_tree_is_prepared_and_a_run_gets_its_limits_f47() {
        let folder = fake("cpu memory pids\n");
        let path = |name: &str| folder.path().join(name);
        let read = |name: &str| fs::read_to_string(path(name)).unwrap();
        let tree: &'static Tree = Box::leak(Box::new(Tree::prepare(folder.path()).unwrap()));
        assert_eq!(read("agent/cgroup.procs"), "0");
        assert_eq!(read("cgroup.subtree_control"), "+memory +pids");
        assert_eq!(read("scripts/cgroup.subtree_control"), "+memory +pids");
        let limits = Limits { memory: 64 << 20, processes: 20, ..Limits::default() };
        let cgroup = tree.enter(7, Pid::from_raw(12345).unwrap(), &limits).unwrap();
        for (file, expected) in [
            ("pids.max", "20"),
            ("memory.max", "67108864"),
            ("memory.oom.group", "1"),
            ("cgroup.procs", "12345"),
        ] {
            assert_eq!(read(&format!("scripts/run-7/{file}")), expected, "{file}");
        }
        drop(cgroup);
        assert_eq!(read("scripts/run-7/cgroup.kill"), "1");
        // It could not be removed, as where something is still ending; the next end tries again.
        assert_eq!(tree.left.lock().unwrap().len(), 1);
        fs::remove_dir_all(path("scripts/run-7")).unwrap();
        tree.end(path("scripts/run-8"));
        assert!(!tree.left.lock().unwrap().contains(&path("scripts/run-7")));
    }

    #[test]
    fn what_is_not_ours_alone_is_left_as_it_is() {
        let error = |folder: &Path| Tree::prepare(folder).map(|_| ()).unwrap_err().to_string();
        let folder = fake("cpu\n");
        assert_eq!(error(folder.path()), "it has not the controllers memory and pids");
        fs::remove_file(folder.path().join("cgroup.type")).unwrap();
        assert!(error(folder.path()).starts_with("it is the root"));
        // The kernel refuses to divide a group in which others are.
        let folder = fake("memory pids\n");
        fs::create_dir(folder.path().join("cgroup.subtree_control")).unwrap();
        assert!(Tree::prepare(folder.path()).is_err());
        assert!(!folder.path().join("scripts").exists());
    }

    /// With a real tree, whatever its controllers: what is in a group ends with it, also what has
    /// left session and parent.
    #[test]
    fn a_group_ends_with_all_that_is_in_it_f45() {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
        let scripts = find(&mounts, &groups)
            .map(|ours| ours.join(format!("veilleur-test-{}", std::process::id())));
        let Some(scripts) = scripts.filter(|path| fs::create_dir(path).is_ok()) else {
            println!("not run: there is no tree of version 2 in which we may make a group");
            return;
        };
        let tree = Tree { scripts: scripts.clone(), left: Mutex::default() };
        let tree: &'static Tree = Box::leak(Box::new(tree));
        // It waits to be told, so that what it starts is in the group.
        let script = "read x; setsid sh -c 'setsid sleep 1000 & sleep 1000' & sleep 1000";
        let mut child = Command::new("sh");
        let child = child.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = child.spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let cgroup = tree.enter(1, pid, &Limits::default()).unwrap();
        let within = || fs::read_to_string(scripts.join("run-1/cgroup.procs")).unwrap_or_default();
        assert_eq!(within().lines().collect::<Vec<_>>(), [child.id().to_string()]);
        drop(child.stdin.take());
        eventually(|| within().lines().count() >= 4);
        drop(cgroup);
        child.wait().unwrap();
        eventually(|| {
            tree.end(scripts.join("run-1"));
            !scripts.join("run-1").exists()
        });
        fs::remove_dir(&scripts).unwrap();
    }

    #[track_caller]
    fn eventually(condition: impl Fn() -> bool) {
        let watch = base::clock::Stopwatch::start();
        while !condition() {
            assert!(watch.seconds() < 10.0, "not within ten seconds");
            std::thread::yield_now();
        }
    }
}
