//! `/acknowledge`: the page on which people say that they have a group in hand, or give it back.
//!
//! It is where the links of messages lead. What is done is what `/api/v1/acknowledgements` does.
//!
//! Invariant: everything is escaped by the template, no script runs, and the form leads to nobody but
//! us (X13, X30). To look changes nothing: programs open links, too (A1.2).

use askama::Template;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base::labels::ALERT_NAME;

use super::Shown;
use super::acknowledgements::{Firing, Wanted, find, give_back, take, told};
use super::page::answer;
use super::query::Parameters;
use super::reply::Failure;
use super::silence_page::POLICY;
use crate::matchers::acknowledge_path;

/// The most alerts, and groups, that are listed.
const MOST_NAMED: usize = 20;
const MOST_GROUPS: usize = 200;

#[derive(Default, Template)]
#[template(path = "acknowledge.html")]
struct Page {
    said: String,
    problem: String,
    group: String,
    author: String,
    comment: String,
    shown: Option<One>,
    others: Vec<Other>,
}

/// The group.
struct One {
    receiver: String,
    alerts: Vec<String>,
    count: usize,
    text: String,
    has: bool,
}

/// A line of the list.
struct Other {
    name: String,
    text: String,
    path: Option<String>,
}

impl One {
    fn of(group: &Firing) -> Self {
        let named = group.alerts.iter().take(MOST_NAMED).map(|alert| {
            format!("{} {}", alert.name(), alert.labels.filter(|name| name != ALERT_NAME))
        });
        let text = match &group.bout {
            Some(bout) => bout.tell(&group.policy),
            None => "nobody is waited for to answer".to_owned(),
        };
        Self {
            receiver: group.receiver.clone(),
            alerts: named.collect(),
            count: group.alerts.len(),
            text,
            has: group.bout.as_ref().is_some_and(|bout| bout.acknowledged.is_some()),
        }
    }
}

/// `GET /acknowledge?group=KEY`: what is concerned, and the form; without a group all of which
/// somebody is waited for.
pub(super) async fn look(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(query, &headers, &Bytes::new())?;
    let group = parameters.get("group").unwrap_or_default().to_owned();
    page(&shown, &headers, Page { group, ..Page::default() }, StatusCode::OK).await
}

/// `POST /acknowledge`: takes it, or gives it back.
pub(super) async fn send(
    State(shown): State<Shown>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    // What stands in the address is what the form began with; what counts is what was sent.
    let parameters = Parameters::read(None, &headers, &body)?;
    let text = |name: &str| parameters.get(name).unwrap_or("").to_owned();
    let mut form = Page {
        group: text("group"),
        author: text("author"),
        comment: text("comment"),
        ..Page::default()
    };
    if form.group.is_empty() {
        return Err(Failure::bad_data("`group` is missing: what is meant?"));
    }
    let (wanted, now) = (Wanted::Group(form.group.clone()), shown.clock.believed());
    let done = match parameters.get("action") {
        Some("release") => {
            let released = give_back(&shown, wanted, now).await;
            released.map(|_| "It is given back: nobody has it now.".to_owned())
        }
        _ => {
            let taken = take(&shown, wanted, (&form.author, &form.comment), now).await;
            taken.map(|taken| taken.iter().map(|(_, one)| told(one)).collect::<Vec<_>>().join(" "))
        }
    };
    let status = match done {
        Ok(said) => {
            form.said = said;
            StatusCode::OK
        }
        Err(failure) => {
            form.problem = failure.to_string();
            failure.status()
        }
    };
    page(&shown, &headers, form, status).await
}

async fn page(
    shown: &Shown,
    headers: &HeaderMap,
    mut page: Page,
    mut status: StatusCode,
) -> Result<Response, Failure> {
    if page.group.is_empty() {
        let groups = find(shown, Wanted::WithBout).await?;
        page.others = groups.iter().take(MOST_GROUPS).map(other).collect();
    } else {
        let groups = find(shown, Wanted::Group(page.group.clone())).await?;
        page.shown = groups.first().map(One::of);
        if page.shown.is_none() && page.problem.is_empty() {
            page.problem = "Nothing of this group fires any more.".to_owned();
            status = StatusCode::NOT_FOUND;
        }
    }
    answer(headers, status, &page, POLICY)
}

fn other(group: &Firing) -> Other {
    let text = group.bout.as_ref().map_or_else(String::new, |bout| bout.tell(&group.policy));
    Other { name: group.key.clone(), text, path: acknowledge_path(&group.key) }
}
