//! What a program that we start may do: nothing beyond what any user may, whoever we are.
//!
//! Privileges belong to threads in Linux, and what a thread starts inherits them. So programs are
//! started by threads of their own, which have given up every way to hand privileges on. With
//! `no_new_privs` set, by which setuid programs and sudo give nothing, a program gets no capability
//! that the thread has not: so the thread has none, or, for us as root, only those that a start needs,
//! and these are out of its bounding set, so that no program gets them either. (An empty bounding set
//! would do it too, but then programs with file capabilities, such as ping, could not be started at
//! all.) That costs a few system calls for each thread and none for each start.
//!
//! Invariant: a program is not started where something could not be taken away; a thread that took
//! another user's identity for a start has its own again when that is over.

use std::io;

use nix::unistd::{Gid as NixGid, User, getgrouplist};
use rustix::process::{Gid, Uid, geteuid, getgid, getgroups};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

/// What root needs to start a program as somebody else: to become that user, to reach a program that
/// belongs to that user, to put limits on it, and to end it.
const NEEDED: CapabilitySet = CapabilitySet::SETUID
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::SYS_RESOURCE)
    .union(CapabilitySet::KILL);

/// Gives up, for this thread, every way to hand privileges on.
///
/// # Errors
///
/// One of them cannot be given up; then nothing is to be started here.
pub(super) fn confine() -> io::Result<()> {
    // Unknown before Linux 4.3, which has no ambient set either.
    let _ = clear_ambient_capability_set();
    let mut kept = CapabilitySet::empty();
    if geteuid().is_root() && take_out_of_bounding_set(NEEDED)? {
        kept = capabilities(None)?.permitted & NEEDED;
    }
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })?;
    Ok(set_no_new_privs(true)?)
}

/// Takes capabilities out of the bounding set of this thread. Returns whether we may.
fn take_out_of_bounding_set(capabilities: CapabilitySet) -> io::Result<bool> {
    for capability in capabilities.iter() {
        match remove_capability_from_bounding_set(capability) {
            Err(rustix::io::Errno::PERM) => return Ok(false),
            result => result?,
        }
    }
    Ok(true)
}

/// A user to run a program as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl Identity {
    /// The user called `name`, with all groups of that user.
    ///
    /// # Errors
    ///
    /// There is no such user, or the list of users cannot be read.
    pub(super) fn of(name: &str) -> Result<Self, String> {
        let found = User::from_name(name).map_err(|error| error.to_string())?;
        let user = found.ok_or_else(|| format!("there is no user `{name}`"))?;
        let c_name = std::ffi::CString::new(name).map_err(|error| error.to_string())?;
        let groups = getgrouplist(&c_name, user.gid).map_err(|error| error.to_string())?;
        let groups = groups.into_iter().map(NixGid::as_raw).collect();
        Ok(Self { uid: user.uid.as_raw(), gid: user.gid.as_raw(), groups })
    }

    /// Runs `act` with this thread being the user's.
    pub(super) fn lend<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let groups: Vec<Gid> = self.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        let _own = Own { gid: getgid(), groups: getgroups()? };
        set_thread_groups(&groups)?;
        // The saved ones stay, so that there is a way back; the program's are set by its exec.
        set_thread_res_gid(gid, gid, None)?;
        set_thread_res_uid(uid, uid, None)?;
        act()
    }
}

/// Who this thread is when it is nobody else; it is so again when this is dropped.
struct Own {
    gid: Gid,
    groups: Vec<Gid>,
}

impl Drop for Own {
    fn drop(&mut self) {
        let back = || {
            set_thread_res_uid(Uid::ROOT, Uid::ROOT, None)?;
            set_thread_res_gid(self.gid, self.gid, None)?;
            set_thread_groups(&self.groups)
        };
        if back().is_err() {
            // It fails only where the kernel has no memory; a thread that stays somebody else's would
            // do the next work as that user.
            std::process::abort();
        }
    }
}
