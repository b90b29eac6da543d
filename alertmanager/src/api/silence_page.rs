//! `/silences` and `/silences/new`: the pages on which people make and end silences.
//!
//! They are where the links of messages lead. What is done is what `/api/v1/silences` does: the same
//! look before, the same confirmation, the same limits, and the same protection against pages of
//! others.
//!
//! Invariant: everything is escaped by the templates, no script runs, and a form leads to nobody but
//! us (X13, X30). To look changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base::labels::{ALERT_NAME, Labels};
use base::matcher::Matcher;
use base::sample::Timestamp;

use super::Shown;
use super::page::{age, answer, clock};
use super::query::Parameters;
use super::reply::Failure;
use super::silences::{Made, in_force, look, make, refused, times};
use crate::hygiene::Preview;
use crate::matchers;
use crate::mute::{Silence, SilenceError, SilenceState};

/// What these pages may load and where their forms may lead.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'none'";
/// The most alerts, and names of alerts, that are listed.
const MOST_NAMED: usize = 20;
/// How long a silence lasts where nothing else is said.
const DURATION: &str = "2h";

#[derive(Default, Template)]
#[template(path = "silence.html")]
struct New {
    problem: String,
    filter: String,
    duration: String,
    author: String,
    comment: String,
    look: Option<Look>,
}

/// What the silence would hold.
struct Look {
    matchers: Vec<String>,
    firing: usize,
    held: usize,
    alerts: Vec<String>,
    week: usize,
    names: Vec<(String, usize)>,
    receivers: Vec<String>,
    why_confirm: Vec<String>,
}

#[derive(Template)]
#[template(path = "silences.html")]
struct List {
    said: String,
    /// What leads from the page to the top of ours.
    up: &'static str,
    silences: Vec<Row>,
}

struct Row {
    id: String,
    state: &'static str,
    matchers: String,
    owner: String,
    comment: String,
    age: String,
    end: String,
    held: usize,
}

impl New {
    /// What the form says, with what was missing in it.
    fn read(parameters: &Parameters) -> Self {
        let text = |name: &str| parameters.get(name).unwrap_or("").to_owned();
        Self {
            filter: text("filter"),
            duration: parameters.get("duration").unwrap_or(DURATION).to_owned(),
            author: text("author"),
            comment: text("comment"),
            ..Self::default()
        }
    }
}

impl Look {
    fn of(preview: &Preview, wanted: &[Matcher], shown: &Shown) -> Self {
        let routing = shown.config.routing();
        let labels = preview.now.iter().map(|alert| &alert.labels);
        let all = labels.chain(preview.past.iter().map(|past| &past.labels));
        let mut receivers: Vec<String> = all
            .flat_map(|labels| routing.route.matching(labels))
            .map(|route| route.receiver.clone())
            .collect();
        receivers.sort_unstable();
        receivers.dedup();
        let names = preview.names();
        Self {
            matchers: wanted.iter().map(matchers::print).collect(),
            firing: preview.firing,
            held: preview.now.len(),
            alerts: preview.now.iter().take(MOST_NAMED).map(|a| named(&a.labels)).collect(),
            week: preview.past.len(),
            names: names.into_iter().take(MOST_NAMED).map(|(n, c)| (n.to_owned(), c)).collect(),
            receivers,
            why_confirm: preview.why_confirm.iter().map(|why| why.text()).collect(),
        }
    }
}

fn named(labels: &Labels) -> String {
    let name = labels.get(ALERT_NAME).unwrap_or("");
    format!("{name} {}", labels.filter(|name| name != ALERT_NAME))
}

/// The matchers of a form: one text with as many as one likes.
fn read_matchers(filter: &str) -> Result<Vec<Matcher>, Failure> {
    let found = matchers::parse(filter);
    let found = found.map_err(|error| Failure::bad_data(format!("matchers: {error}")))?;
    match found.is_empty() {
        true => Err(Failure::bad_data("matchers: at least one is needed")),
        false => Ok(found),
    }
}

fn shown_page(
    headers: &HeaderMap,
    status: StatusCode,
    page: &impl Template,
) -> Result<Response, Failure> {
    answer(headers, status, page, POLICY)
}

/// `GET /silences/new?filter=...`: what a silence with these matchers would hold, and the form.
pub(super) async fn form(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let mut page = New::read(&Parameters::read(query, &headers, &Bytes::new())?);
    if page.filter.is_empty() {
        return shown_page(&headers, StatusCode::OK, &page);
    }
    let looked = match read_matchers(&page.filter) {
        Ok(wanted) => {
            let preview = look(&shown, &wanted, shown.clock.believed()).await?;
            Ok(Look::of(&preview, &wanted, &shown))
        }
        Err(failure) => Err(failure),
    };
    let status = match looked {
        Ok(look) => {
            page.look = Some(look);
            StatusCode::OK
        }
        Err(failure) => {
            page.problem = failure.to_string();
            StatusCode::BAD_REQUEST
        }
    };
    shown_page(&headers, status, &page)
}

/// `POST /silences/new`: makes it, or says what is missing.
pub(super) async fn set(
    State(shown): State<Shown>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    // What stands in the address is what the form began with; what counts is what was sent.
    let parameters = Parameters::read(None, &headers, &body)?;
    let mut page = New::read(&parameters);
    let now = shown.clock.believed();
    let confirmed = parameters.get("confirm").is_some();
    match ask(&shown, &page, confirmed, now).await {
        Ok((Made::Set(id, preview), silence)) => {
            let held = preview.now.len();
            let said = format!(
                "The silence {id} holds until {} UTC. Alerts that it holds now: {held}. To end it \
                 before, press its button below, or run `veilleur silence expire {id}`.",
                clock(silence.ends_at)
            );
            list_page(&shown, &headers, said, now, "../")
        }
        Ok((Made::Asks(preview), silence)) => {
            page.problem = "It is broad: confirm it if that is meant.".to_owned();
            page.look = Some(Look::of(&preview, &silence.matchers, &shown));
            shown_page(&headers, StatusCode::CONFLICT, &page)
        }
        Err(failure) => {
            page.problem = failure.to_string();
            shown_page(&headers, failure.status(), &page)
        }
    }
}

async fn ask(
    shown: &Shown,
    page: &New,
    confirmed: bool,
    now: Timestamp,
) -> Result<(Made, Silence), Failure> {
    let (starts_at, ends_at) = times(None, None, Some(page.duration.trim().to_owned()), now)?;
    let silence = Silence {
        id: String::new(),
        matchers: read_matchers(&page.filter)?,
        starts_at,
        ends_at,
        created_by: page.author.clone(),
        comment: page.comment.clone(),
        annotations: BTreeMap::new(),
        updated_at: now,
    };
    Ok((make(shown, silence.clone(), confirmed, now).await?, silence))
}

/// `GET /silences`: those that hold or will, each with a button that ends it.
pub(super) async fn list(
    State(shown): State<Shown>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    list_page(&shown, &headers, String::new(), shown.clock.believed(), "")
}

fn list_page(
    shown: &Shown,
    headers: &HeaderMap,
    said: String,
    now: Timestamp,
    up: &'static str,
) -> Result<Response, Failure> {
    let row = |(silence, held): (Arc<Silence>, Vec<_>)| {
        let state = silence.state(now);
        let begins = match state {
            SilenceState::Pending => format!("begins in {}, ", age(silence.starts_at, now)),
            _ => String::new(),
        };
        Row {
            id: silence.id.clone(),
            state: state.as_str(),
            matchers: silence.matchers.iter().map(matchers::print).collect::<Vec<_>>().join(", "),
            owner: silence.created_by.clone(),
            comment: silence.comment.clone(),
            age: age(now, silence.starts_at),
            end: format!("{begins}until {} UTC", clock(silence.ends_at)),
            held: held.len(),
        }
    };
    let silences = in_force(shown, now).into_iter().map(row).collect();
    shown_page(headers, StatusCode::OK, &List { said, up, silences })
}

/// `POST /silences`: ends one.
pub(super) async fn expire(
    State(shown): State<Shown>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(None, &headers, &body)?;
    let now = shown.clock.believed();
    let Some(id) = parameters.get("id") else {
        return Err(Failure::bad_data("`id` is missing: which silence is to end?"));
    };
    match shown.mutes.silences.expire(id, now).await {
        // Whoever asks again has what is wanted.
        Ok(()) | Err(SilenceError::Expired(_)) => {}
        Err(error) => return Err(refused(error)),
    }
    list_page(&shown, &headers, format!("The silence {id} has ended."), now, "")
}
