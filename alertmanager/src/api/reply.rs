//! Answers in the shape that Prometheus gives them.
//!
//! Invariant: every failure has a status, a type from Prometheus's set and a text.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base::http::{Packed, answer_compressed, answer_packed};
use serde_json::{Value, json};
use tokio::time::timeout;

/// How long a body may take to come.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Why the body of a request is not there.
#[derive(Debug)]
pub(super) enum NoBody {
    /// It broke off, or is too long; what was said of it.
    Broken(String),
    /// It did not come in time.
    Late,
}

/// The body of a request, of at most `most` bytes, if it comes within `patience`.
pub(super) async fn whole(body: Body, most: usize, patience: Duration) -> Result<Bytes, NoBody> {
    match timeout(patience, to_bytes(body, most)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => Err(NoBody::Broken(error.to_string())),
        Err(_) => Err(NoBody::Late),
    }
}

impl From<NoBody> for Failure {
    fn from(why: NoBody) -> Self {
        match why {
            NoBody::Broken(why) => Self::bad_data(format!("the body: {why}")),
            NoBody::Late => Self::timeout("the body did not arrive in time"),
        }
    }
}

/// A request that has no answer.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into() }
    }

    /// The request is wrong.
    pub(super) fn bad_data(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_data", message)
    }

    /// The parameter `name` is wrong.
    pub(super) fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {why}"))
    }

    /// The same, where the request itself is wrong: because of the parameter `name`, unless it says
    /// already of which.
    pub(super) fn of_parameter(self, name: &str) -> Self {
        match self.kind == "bad_data" && !self.message.starts_with("invalid parameter") {
            true => Self::parameter(name, self.message),
            false => self,
        }
    }

    /// The query does not fit the data.
    pub(super) fn execution(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "execution", message)
    }

    pub(super) fn timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", message)
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// It is only done when it is confirmed.
    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "confirmation_needed", message)
    }

    /// The status of its answer.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({"status": "error", "errorType": self.kind, "error": self.message});
        let headers = [(header::CONTENT_TYPE, "application/json")];
        (self.status, headers, body.to_string()).into_response()
    }
}

/// What there is to say besides the data.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    pub(super) warnings: Vec<String>,
    pub(super) infos: Vec<String>,
}

/// A success with `data`, compressed where the request accepts it.
pub(super) fn success(request: &HeaderMap, data: &Value) -> Response {
    raw_success(request, &data.to_string(), &Remarks::default())
}

/// A success with data that are JSON text already.
pub(super) fn raw_success(request: &HeaderMap, data: &str, remarks: &Remarks) -> Response {
    let mut body = String::with_capacity(SUCCESS.len() + data.len() + 64);
    body.push_str(SUCCESS);
    body.push_str(data);
    end_success(&mut body, remarks);
    compressed(request, StatusCode::OK, "application/json", body)
}

/// How the body of a success begins; its data follow.
pub(super) const SUCCESS: &str = "{\"status\":\"success\",\"data\":";

/// Writes what follows the data of a success.
pub(super) fn end_success(body: &mut String, remarks: &Remarks) {
    for (name, texts) in [("warnings", &remarks.warnings), ("infos", &remarks.infos)] {
        if !texts.is_empty() {
            body.push_str(&format!(",\"{name}\":{}", json!(texts)));
        }
    }
    body.push('}');
}

/// A success whose body is whole.
pub(super) fn packed_success(body: Packed) -> Response {
    answer_packed(StatusCode::OK, "application/json", body).map(Body::new)
}

/// An answer, compressed where the request accepts it.
pub(super) fn compressed(
    request: &HeaderMap,
    status: StatusCode,
    content_type: &str,
    body: String,
) -> Response {
    answer_compressed(request, status, content_type, body.into_bytes()).map(Body::new)
}
