//! What a probe keeps in a file, so that it goes on there after a restart.
//!
//! Invariant: the file is the old one or the new one, never half of either; one that cannot be read
//! is as one that is not there.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base::diagnostic::{Diagnostics, Spanned};
use serde_json::Value;

/// Where files are kept that nobody gave a place.
const FOLDER: &str = "/var/lib/veilleur-agent";
/// The longest file.
const MOST_BYTES: u64 = 4 << 20;

/// A file that a probe keeps.
#[derive(Clone, Debug)]
pub(super) struct Kept(PathBuf);

impl Kept {
    /// The file that was `written`, or one whose name is made from `kind` and `identity`.
    pub(super) fn new(
        written: Option<&Spanned<String>>,
        kind: &str,
        identity: &str,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        match written {
            Some(path) => {
                super::absolute(path, diagnostics);
                Self(PathBuf::from(&path.value))
            }
            None => Self(Path::new(FOLDER).join(format!("{kind}-{:016x}.json", hash(identity)))),
        }
    }

    /// What was kept, if anything.
    pub(super) fn read(&self) -> Option<Value> {
        let mut text = Vec::new();
        let file = std::fs::File::open(&self.0).ok()?;
        file.take(MOST_BYTES).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Keeps `value`, or says why it cannot.
    pub(super) fn write(&self, value: &Value) -> Result<(), String> {
        let fresh = self.0.with_extension("new");
        let written = || -> std::io::Result<()> {
            _ = std::fs::remove_file(&fresh);
            // A link that somebody puts there is not followed: the file must be new.
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&fresh)?;
            file.write_all(value.to_string().as_bytes())?;
            file.sync_data()?;
            std::fs::rename(&fresh, &self.0)
        };
        written().map_err(|error| {
            format!(
                "`{}` cannot be written ({error}): after a restart this begins anew; give `state:` \
                 a path that the agent may write",
                self.0.display()
            )
        })
    }
}

/// A number that is the same for the same text on every machine (FNV-1a).
pub(super) fn hash(text: impl AsRef<[u8]>) -> u64 {
    text.as_ref().iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_value_and_begins_anew_with_what_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept(folder.path().join("log.json"));
        assert_eq!(kept.read(), None);
        kept.write(&serde_json::json!({"offset": 17})).unwrap();
        kept.write(&serde_json::json!({"offset": 18})).unwrap();
        assert_eq!(kept.read().unwrap()["offset"], 18);
        std::fs::write(&kept.0, "{\"off").unwrap();
        assert_eq!(kept.read(), None);
        let error = Kept(folder.path().join("none/log.json")).write(&Value::Null).unwrap_err();
        assert!(error.contains("log.json` cannot be written (No such file"), "{error}");
    }

    #[test]
    fn a_name_is_made_from_what_the_probe_is() {
        let mut diagnostics = Diagnostics::new("f");
        let name = |identity| {
            format!("{:?}", Kept::new(None, "log", identity, &mut Diagnostics::new("f")))
        };
        assert_eq!(name("a"), name("a"));
        assert_ne!(name("a"), name("b"));
        let written = Spanned { value: "x".to_owned(), place: base::diagnostic::Place::default() };
        Kept::new(Some(&written), "log", "a", &mut diagnostics);
        assert!(!diagnostics.is_empty());
    }
}
