//! The demonstration: two checks, and a folder to play with.
//!
//! Invariant: what is there already is overwritten only where it is ours, the two scripts.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::config::Source;

const QUEUE_LENGTH: &str = include_str!("../../probes/scripts/queue_length.sh");
const BACKUP_AGE: &str = include_str!("../../probes/scripts/backup_age.sh");

/// Lays out the demonstration in `directory`, and returns its configuration.
///
/// # Errors
///
/// Something cannot be written there.
pub(crate) fn lay_out(directory: &Path) -> io::Result<Source> {
    if !directory.exists() {
        fs::create_dir_all(directory)?;
        // Whatever the user's mask: a folder in which others may write holds no program.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    }
    for part in ["queue", "backups"] {
        fs::create_dir_all(directory.join(part))?;
    }
    let directory = directory.canonicalize()?;
    for (name, text) in [("queue_length.sh", QUEUE_LENGTH), ("backup_age.sh", BACKUP_AGE)] {
        let path = directory.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    fs::write(directory.join("backups/shop.tar"), "a fresh backup\n")?;
    Ok(Source::Embedded { name: "the demonstration", text: text(&directory) })
}

fn text(directory: &Path) -> String {
    // A JSON string is one of YAML too, whatever is in the path.
    let path = |part: &str| serde_json::Value::from(directory.join(part).display().to_string());
    format!(
        "checks:
  - name: queue
    interval: 5s
    retries: 1
    retry_interval: 2s
    probe:
      script: {{command: [{queue_length}, {queue}, '5', '10']}}
  - name: backup
    interval: 5s
    retries: 1
    retry_interval: 2s
    probe:
      script: {{command: [{backup_age}, {backups}, '3600', '7200']}}
services:
  demo:
    description: A shop with a queue of orders and a nightly backup.
    needs: [queue, backup]
",
        queue_length = path("queue_length.sh"),
        queue = path("queue"),
        backup_age = path("backup_age.sh"),
        backups = path("backups"),
    )
}
