//! Every route there is.
//!
//! Invariant: what is not in the table is not answered, so that a test that walks over it has seen
//! all (X28).

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Where is what.
    Index,
    /// The metrics.
    Metrics,
    /// All checks and services.
    Health,
    /// One service.
    Service,
    /// A look on request.
    Probe,
    /// What there is to scrape.
    Discovery,
    /// Whether we live.
    Livez,
    /// Whether we take work.
    Readyz,
    /// The configuration is to be read again.
    Reload,
    /// The style of the pages.
    Style,
    /// A job reports.
    Ping,
    /// A job pushes metrics.
    Push,
}

/// A route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The path; a last part in braces stands for one or more that are given.
    pub path: &'static str,
    /// The methods that are answered; for `/ping/` GET and HEAD only where a heartbeat says so.
    pub methods: &'static [&'static str],
    /// What is answered.
    pub page: Page,
    /// The longest path that is looked at, in bytes.
    pub longest: usize,
}

const ASK: &[&str] = &["GET", "HEAD"];
const PUSH: &[&str] = &["PUT", "POST", "DELETE"];
/// The longest path, but where labels stand in it.
const LONGEST: usize = 1024;

/// All of them.
pub const ROUTES: &[Route] = &[
    Route::asked("/", Page::Index),
    Route::asked("/metrics", Page::Metrics),
    Route::asked("/health", Page::Health),
    Route::asked("/health/{service}", Page::Service),
    Route::asked("/probe", Page::Probe),
    Route::asked("/discovery", Page::Discovery),
    Route::asked("/livez", Page::Livez),
    Route::asked("/readyz", Page::Readyz),
    // As exporters of Prometheus have them.
    Route::asked("/-/healthy", Page::Livez),
    Route::asked("/-/ready", Page::Readyz),
    Route { path: "/-/reload", methods: &["POST"], page: Page::Reload, longest: LONGEST },
    Route::asked("/style.css", Page::Style),
    Route {
        path: "/ping/{id}",
        methods: &["GET", "HEAD", "POST"],
        page: Page::Ping,
        longest: LONGEST,
    },
    Route { path: "/metrics/job/{group}", methods: PUSH, page: Page::Push, longest: 8 << 10 },
    Route {
        path: "/metrics/job@base64/{group}",
        methods: PUSH,
        page: Page::Push,
        longest: 8 << 10,
    },
];

impl Route {
    const fn asked(path: &'static str, page: Page) -> Self {
        Self { path, methods: ASK, page, longest: LONGEST }
    }

    /// The route of a path as it stands in a request.
    pub fn of(path: &str) -> Option<&'static Self> {
        ROUTES.iter().find(|route| match route.path.split_once('{') {
            Some((start, _)) => path.starts_with(start),
            None => path == route.path,
        })
    }

    /// Whether the method is answered.
    pub fn takes(&self, method: &str) -> bool {
        self.methods.contains(&method)
    }

    /// A name of a closed set.
    pub fn name(&self) -> &'static str {
        match self.page {
            Page::Index => "index",
            Page::Metrics => "metrics",
            Page::Health => "health",
            Page::Service => "service",
            Page::Probe => "probe",
            Page::Discovery => "discovery",
            Page::Livez => "livez",
            Page::Readyz => "readyz",
            Page::Reload => "reload",
            Page::Style => "style",
            Page::Ping => "ping",
            Page::Push => "push",
        }
    }
}
