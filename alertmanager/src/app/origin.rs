//! Where the configuration comes from.
//!
//! Invariant: reading it changes nothing.

use std::path::{Path, PathBuf};

use base::diagnostic::Diagnostics;

use crate::config::{self, Config};

/// Where a configuration is looked for, in this order.
const PLACES: [&str; 2] = ["veilleur.yml", "/etc/veilleur/veilleur.yml"];

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// The configuration of whoever has written none.
    BuiltIn,
}

impl Origin {
    /// The file that was named, or the first that there is.
    pub fn find(named: Option<PathBuf>) -> Self {
        let there = |place: &&str| Path::new(place).exists();
        let found = named.or_else(|| PLACES.iter().find(|place| there(place)).map(PathBuf::from));
        found.map_or(Self::BuiltIn, Self::File)
    }

    /// What people are shown as its name.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::BuiltIn => "the built-in configuration".to_owned(),
        }
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it and with the files that it refers to.
    pub fn load(&self) -> Result<Config, Diagnostics> {
        match self {
            Self::File(path) => config::read(path),
            Self::BuiltIn => config::parse(&self.name(), config::DEFAULT, Path::new(".")),
        }
    }
}
