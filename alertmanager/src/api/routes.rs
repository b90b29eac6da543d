//! Every route there is.
//!
//! Invariant: the router is made of this table alone, so that a test that walks over it has seen all
//! (X28).

use axum::Router;
use axum::routing::{MethodRouter, delete, get, post};

use super::{
    Shown, acknowledge_page, acknowledgements, admin, drill, exemplars, explain, federate, health,
    intake, labels, maintenance, metadata, metrics, notifications, open_telemetry, page, query,
    read, ready, reload, rules, server, silence_page, silences, status, targets, tree, v2, write,
};

/// A route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The path; a part in braces stands for one that is given.
    pub path: &'static str,
    /// The methods that are answered.
    pub methods: &'static [&'static str],
    page: Page,
}

#[derive(Clone, Copy, Debug)]
enum Page {
    Index,
    /// A page of Prometheus, and what shows the same here.
    Elsewhere(&'static str),
    Health,
    Metrics,
    Ready,
    Reload,
    Query,
    QueryRange,
    Write,
    Read,
    Labels,
    LabelValues,
    Series,
    Rules,
    Alerts,
    Targets,
    ScrapePools,
    Explain,
    Drill,
    DrillShow,
    Notifications,
    BuildInfo,
    FormatQuery,
    ParseQuery,
    QueryExemplars,
    Alertmanagers,
    ConfigText,
    Flags,
    RuntimeInfo,
    StorageStatus,
    WalReplay,
    Federate,
    V2Status,
    V2Receivers,
    V2Silences,
    V2Silence,
    V2Alerts,
    V2Groups,
    SilencePreview,
    Silences,
    SilenceList,
    SilenceForm,
    Acknowledge,
    Acknowledgements,
    Windows,
    Window,
    Intake,
    Metadata,
    TargetMetadata,
    DeleteSeries,
    CleanTombstones,
    Snapshot,
    OpenTelemetry,
}

const ASK: &[&str] = &["GET", "HEAD"];
/// What is asked can be too long for a URL.
const ASK_OR_POST: &[&str] = &["GET", "HEAD", "POST"];
const POST: &[&str] = &["POST"];
const POST_OR_PUT: &[&str] = &["POST", "PUT"];
const DELETE: &[&str] = &["DELETE"];
const ASK_OR_DELETE: &[&str] = &["GET", "HEAD", "DELETE"];
const ALL: &[&str] = &["GET", "HEAD", "POST", "DELETE"];

/// All of them.
pub const ROUTES: &[Route] = &[
    Route::new("/", ASK, Page::Index),
    Route::new("/graph", ASK, Page::Elsewhere(".")),
    Route::new("/query", ASK, Page::Elsewhere(".")),
    Route::new("/alerts", ASK, Page::Elsewhere("./#alerts")),
    Route::new("/targets", ASK, Page::Elsewhere("./#targets")),
    Route::new("/rules", ASK, Page::Elsewhere("api/v1/rules")),
    Route::new("/config", ASK, Page::Elsewhere("api/v1/status/config")),
    Route::new("/flags", ASK, Page::Elsewhere("api/v1/status/flags")),
    Route::new("/tsdb-status", ASK, Page::Elsewhere("api/v1/status/tsdb")),
    Route::new("/service-discovery", ASK, Page::Elsewhere("api/v1/targets")),
    Route::new("/status", ASK, Page::Elsewhere("health")),
    Route::new("/silences", ASK_OR_POST, Page::SilenceList),
    Route::new("/silences/new", ASK_OR_POST, Page::SilenceForm),
    Route::new("/acknowledge", ASK_OR_POST, Page::Acknowledge),
    Route::new("/health", ASK, Page::Health),
    Route::new("/metrics", ASK, Page::Metrics),
    Route::new("/-/ready", ASK, Page::Ready),
    Route::new("/-/healthy", ASK, Page::Ready),
    Route::new("/-/reload", POST, Page::Reload),
    Route::new("/api/v1/query", ASK_OR_POST, Page::Query),
    Route::new("/api/v1/query_range", ASK_OR_POST, Page::QueryRange),
    Route::new("/api/v1/write", POST, Page::Write),
    Route::new("/api/v1/read", POST, Page::Read),
    Route::new("/api/v1/labels", ASK_OR_POST, Page::Labels),
    Route::new("/api/v1/label/{name}/values", ASK, Page::LabelValues),
    Route::new("/api/v1/series", ASK_OR_POST, Page::Series),
    Route::new("/api/v1/rules", ASK, Page::Rules),
    Route::new("/api/v1/alerts", ASK, Page::Alerts),
    Route::new("/api/v1/targets", ASK, Page::Targets),
    Route::new("/api/v1/scrape_pools", ASK, Page::ScrapePools),
    Route::new("/api/v1/explain", ASK, Page::Explain),
    Route::new("/api/v1/drill", POST, Page::Drill),
    Route::new("/api/v1/drill/{id}", ASK, Page::DrillShow),
    Route::new("/api/v1/notifications", ASK, Page::Notifications),
    Route::new("/api/v1/status/buildinfo", ASK, Page::BuildInfo),
    Route::new("/api/v1/format_query", ASK_OR_POST, Page::FormatQuery),
    Route::new("/api/v1/parse_query", ASK_OR_POST, Page::ParseQuery),
    Route::new("/api/v1/query_exemplars", ASK_OR_POST, Page::QueryExemplars),
    Route::new("/api/v1/alertmanagers", ASK, Page::Alertmanagers),
    Route::new("/api/v1/status/config", ASK, Page::ConfigText),
    Route::new("/api/v1/status/flags", ASK, Page::Flags),
    Route::new("/api/v1/status/runtimeinfo", ASK, Page::RuntimeInfo),
    Route::new("/api/v1/status/tsdb", ASK, Page::StorageStatus),
    Route::new("/api/v1/status/walreplay", ASK, Page::WalReplay),
    Route::new("/federate", ASK, Page::Federate),
    Route::new("/api/v2/status", ASK, Page::V2Status),
    Route::new("/api/v2/receivers", ASK, Page::V2Receivers),
    Route::new("/api/v2/silences", ASK_OR_POST, Page::V2Silences),
    Route::new("/api/v2/silence/{id}", ASK_OR_DELETE, Page::V2Silence),
    Route::new("/api/v2/alerts", ASK_OR_POST, Page::V2Alerts),
    Route::new("/api/v2/alerts/groups", ASK, Page::V2Groups),
    Route::new("/api/v1/silences/preview", POST, Page::SilencePreview),
    Route::new("/api/v1/silences", ASK_OR_POST, Page::Silences),
    Route::new("/api/v1/acknowledgements", ALL, Page::Acknowledgements),
    Route::new("/api/v1/maintenance", ASK_OR_POST, Page::Windows),
    Route::new("/api/v1/maintenance/{id}", DELETE, Page::Window),
    Route::new("/api/v1/in/{name}", POST, Page::Intake),
    Route::new("/api/v1/otlp/v1/metrics", POST, Page::OpenTelemetry),
    Route::new("/api/v1/metadata", ASK, Page::Metadata),
    Route::new("/api/v1/targets/metadata", ASK, Page::TargetMetadata),
    Route::new("/api/v1/admin/tsdb/delete_series", POST_OR_PUT, Page::DeleteSeries),
    Route::new("/api/v1/admin/tsdb/clean_tombstones", POST_OR_PUT, Page::CleanTombstones),
    Route::new("/api/v1/admin/tsdb/snapshot", POST_OR_PUT, Page::Snapshot),
];

impl Route {
    const fn new(path: &'static str, methods: &'static [&'static str], page: Page) -> Self {
        Self { path, methods, page }
    }

    fn answering(&self) -> MethodRouter<Shown> {
        match self.page {
            Page::Index => get(page::index),
            Page::Elsewhere(to) => get(move |uri| async move { server::lead(&uri, to) }),
            Page::Health => get(health::health),
            Page::Metrics => get(metrics::metrics),
            Page::Ready => get(ready),
            Page::Reload => post(reload),
            Page::Query => get(query::instant).post(query::instant),
            Page::QueryRange => get(query::range).post(query::range),
            Page::Write => post(write::write),
            Page::Read => post(read::read),
            Page::Labels => get(labels::names).post(labels::names),
            Page::LabelValues => get(labels::values),
            Page::Series => get(labels::series).post(labels::series),
            Page::Rules => get(rules::rules),
            Page::Alerts => get(rules::alerts),
            Page::Targets => get(targets::targets),
            Page::ScrapePools => get(targets::pools),
            Page::Explain => get(explain::explain),
            Page::Drill => post(drill::begin),
            Page::DrillShow => get(drill::show),
            Page::Notifications => get(notifications::list),
            Page::BuildInfo => get(status::build),
            Page::FormatQuery => get(tree::format).post(tree::format),
            Page::ParseQuery => get(tree::parse).post(tree::parse),
            Page::QueryExemplars => get(exemplars::query).post(exemplars::query),
            Page::Alertmanagers => get(server::alertmanagers),
            Page::ConfigText => get(server::config),
            Page::Flags => get(server::flags),
            Page::RuntimeInfo => get(server::runtime),
            Page::StorageStatus => get(server::storage),
            Page::WalReplay => get(server::replay),
            Page::Federate => get(federate::federate),
            Page::V2Status => get(v2::status::status),
            Page::V2Receivers => get(v2::status::receivers),
            Page::V2Silences => get(v2::silences::list).post(v2::silences::set),
            Page::V2Silence => get(v2::silences::one).delete(v2::silences::expire),
            Page::V2Alerts => get(v2::alerts::list).post(v2::alerts::push),
            Page::V2Groups => get(v2::groups::list),
            Page::SilencePreview => post(silences::preview),
            Page::Silences => get(silences::list).post(silences::set),
            Page::SilenceList => get(silence_page::list).post(silence_page::expire),
            Page::SilenceForm => get(silence_page::form).post(silence_page::set),
            Page::Acknowledge => get(acknowledge_page::look).post(acknowledge_page::send),
            Page::Acknowledgements => get(acknowledgements::list)
                .post(acknowledgements::acknowledge)
                .delete(acknowledgements::release),
            Page::Windows => get(maintenance::list).post(maintenance::ask),
            Page::Window => delete(maintenance::end),
            Page::Intake => post(intake::take),
            Page::OpenTelemetry => post(open_telemetry::metrics),
            Page::Metadata => get(metadata::all),
            Page::TargetMetadata => get(metadata::of_targets),
            Page::DeleteSeries => post(admin::delete).put(admin::delete),
            Page::CleanTombstones => post(admin::clean).put(admin::clean),
            Page::Snapshot => post(admin::snapshot).put(admin::snapshot),
        }
    }
}

/// What answers them.
pub(super) fn router() -> Router<Shown> {
    ROUTES.iter().fold(Router::new(), |router, route| router.route(route.path, route.answering()))
}
