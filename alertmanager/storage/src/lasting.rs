//! Names that last: a folder that was made and a file that was removed are so after a crash of the machine.
//!
//! Invariant: when a function here has returned, the folder above knows it on the disk.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// The disk failed, which has no kind of its own.
const EIO: i32 = 5;

/// Makes a folder and those above it, where there are none.
pub(crate) fn make_folder(dir: &Path) -> io::Result<()> {
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty());
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            above.map_or(Err(error), make_folder)?;
            fs::create_dir(dir)?;
        }
        // It may have been made by a start that was killed before it waited for the disk.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        made => made?,
    }
    sync(above.unwrap_or(Path::new(".")))
}

/// Whether a disk that says so may take it later: it has no room, cannot be written now, or failed.
pub(crate) fn may_pass(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let kinds = [PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(EIO)
}

/// Waits until the names in a folder are on the disk.
pub(crate) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
