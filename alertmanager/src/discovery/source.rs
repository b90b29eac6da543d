//! A service that is asked for targets, and what is known of its answers.
//!
//! Invariant: what is found stays until a later good answer; how old it is can always be told.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place};
use base::sample::Timestamp;

use super::consul::ConsulSdConfig;
use super::dns::DnsSdConfig;
use super::docker::DockerSdConfig;
use super::ec2::Ec2SdConfig;
use super::http::HttpSdConfig;
use super::kubernetes::KubernetesSdConfig;
use super::openstack::OpenstackSdConfig;
use super::{Discovered, FileSd};

/// Asks a service for targets.
#[async_trait]
pub trait Discovery: Send {
    /// All targets that there are. At the first call it is what there is now; later, those that are
    /// told of changes may wait for one. Signatures hold the time, which is `now`.
    ///
    /// # Errors
    ///
    /// There was no whole answer, and why.
    async fn next(&mut self, now: Timestamp) -> Result<Vec<Discovered>, String>;
}

/// The settings of a service, as written.
#[derive(Clone, Debug, PartialEq)]
pub enum SdConfig {
    /// `http_sd_configs`
    Http(HttpSdConfig),
    /// `dns_sd_configs`
    Dns(DnsSdConfig),
    /// `kubernetes_sd_configs`
    Kubernetes(KubernetesSdConfig),
    /// `consul_sd_configs`
    Consul(ConsulSdConfig),
    /// `docker_sd_configs`
    Docker(DockerSdConfig),
    /// `ec2_sd_configs`
    Ec2(Ec2SdConfig),
    /// `openstack_sd_configs`
    Openstack(OpenstackSdConfig),
}

/// What makes a [`Discovery`], again and again: after a failure one begins anew.
pub(super) type Make = Arc<dyn Fn() -> Box<dyn Discovery> + Send + Sync>;

/// A service that is asked, ready to run.
#[derive(Clone)]
pub struct Source {
    config: SdConfig,
    folder: PathBuf,
    /// From one answer to the next question.
    pub(crate) pause: Duration,
    /// The longest that an answer may take.
    pub(super) patience: Duration,
    pub(super) make: Make,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("kind", &self.kind()).finish_non_exhaustive()
    }
}

/// Two are the same where they ask the same in the same way.
impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config && self.folder == other.folder
    }
}

/// Everything by which a job finds its targets.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Those in the configuration.
    pub fixed: Vec<Discovered>,
    /// Those in files.
    pub files: Vec<FileSd>,
    /// Those that a service names.
    pub asked: Vec<Source>,
}

impl SdConfig {
    /// What asks, with what is wrong reported at `place` or where it is.
    pub fn build(
        self,
        place: Place,
        folder: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<Source> {
        let made = match &self {
            Self::Http(config) => config.build(place, folder, diagnostics),
            Self::Dns(config) => config.build(place, diagnostics),
            Self::Kubernetes(config) => config.build(place, folder, diagnostics),
            Self::Consul(config) => config.build(place, folder, diagnostics),
            Self::Docker(config) => config.build(place, folder, diagnostics),
            Self::Ec2(config) => config.build(place, folder, diagnostics),
            Self::Openstack(config) => config.build(place, folder, diagnostics),
        }?;
        let Made { pause, patience, make } = made;
        Some(Source { config: self, folder: folder.to_owned(), pause, patience, make })
    }
}

/// What a configuration is built into.
pub(super) struct Made {
    pub(super) pause: Duration,
    pub(super) patience: Duration,
    pub(super) make: Make,
}

impl Source {
    /// The kind, as in the name of the setting: `http`.
    pub fn kind(&self) -> &'static str {
        match self.config {
            SdConfig::Http(_) => "http",
            SdConfig::Dns(_) => "dns",
            SdConfig::Kubernetes(_) => "kubernetes",
            SdConfig::Consul(_) => "consul",
            SdConfig::Docker(_) => "docker",
            SdConfig::Ec2(_) => "ec2",
            SdConfig::Openstack(_) => "openstack",
        }
    }
}

/// What a service has named. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Found {
    state: Arc<RwLock<State>>,
    version: Arc<AtomicU64>,
}

/// What is known of a service's answers.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The last good list.
    pub targets: Arc<[Discovered]>,
    /// When it came; nothing before the first.
    pub good_at: Option<Timestamp>,
    /// Why there is no newer one, empty where the last answer was good.
    pub error: String,
    /// Bad answers so far.
    pub failures: u64,
}

impl Found {
    /// What is known.
    pub fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another number after every change of the list, and after the first answer, good or bad.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Takes a good list; true where it is another one.
    pub(super) fn good(&self, mut targets: Vec<Discovered>, now: Timestamp) -> bool {
        targets.sort_unstable();
        targets.dedup();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = state.good_at.is_none() || *state.targets != *targets;
        state.good_at = Some(now);
        state.error.clear();
        if is_new {
            state.targets = targets.into();
            self.version.fetch_add(1, Ordering::Release);
        }
        is_new
    }

    /// Notes that there is no newer list; true where this is the first answer of all.
    pub(super) fn bad(&self, error: String) -> bool {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.error = error;
        state.failures += 1;
        let is_first = self.version() == 0;
        if is_first {
            self.version.fetch_add(1, Ordering::Release);
        }
        is_first
    }
}
