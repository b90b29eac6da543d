//! Where the configuration comes from.
//!
//! Invariant: reading it changes nothing.

use std::path::{Path, PathBuf};

use base::diagnostic::Diagnostics;

use crate::config::{self, Config, Files, Reading};

/// Where a configuration is looked for, in this order.
const PLACES: [&str; 2] = ["veilleur.yml", "/etc/veilleur/veilleur.yml"];

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The file; none where nobody has written one.
    file: Option<PathBuf>,
    /// The file that says who may ask us, in place of a section.
    web_file: Option<PathBuf>,
    /// Whose file it is.
    reading: Reading,
    /// Whether what it names has to be there.
    files: Files,
}

impl Origin {
    /// The file that was named, or the first that there is.
    pub fn find(named: Option<PathBuf>, web_file: Option<PathBuf>) -> Self {
        let there = |place: &&str| Path::new(place).exists();
        let first = || PLACES.iter().find(|place| there(place)).map(PathBuf::from);
        let (reading, files) = (Reading::Own, Files::Needed);
        Self { file: named.or_else(first), web_file, reading, files }
    }

    /// The file `named`, which is `reading`'s.
    pub fn of(reading: Reading, named: PathBuf, web_file: Option<PathBuf>) -> Self {
        Self { file: Some(named), web_file, reading, files: Files::Needed }
    }

    /// The same, which is only looked at.
    #[must_use]
    pub fn with_files(self, files: Files) -> Self {
        Self { files, ..self }
    }

    /// What people are shown as its name.
    pub fn name(&self) -> String {
        match &self.file {
            Some(path) => path.display().to_string(),
            None => "the built-in configuration".to_owned(),
        }
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it and with the files that it refers to.
    pub fn load(&self) -> Result<Config, Diagnostics> {
        let web_file = self.web_file.as_deref();
        match &self.file {
            Some(path) => config::read_as(self.reading, path, web_file, self.files),
            None => config::parse(&self.name(), config::DEFAULT, Path::new("."), web_file),
        }
    }
}
