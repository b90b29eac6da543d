//! Metrics of OpenTelemetry that are pushed: OTLP, in protobuf and in JSON.
//!
//! ```text
//! body ──weigh──▶ how many messages ──decode──▶ Request ──translate──▶ Received: what remote write gives, too
//! ```
//!
//! Sources: the OTLP specification 1.x, its compatibility with Prometheus, and Prometheus's guide for its
//! OTLP receiver, whose names and labels these are.
//!
//! Invariant: a body never takes more memory than a multiple of its own length, whatever it says of
//! itself, and never more than [`MOST_MESSAGES`] messages.

mod json;
mod message;
mod weigh;
mod names;
mod config;
mod attributes;
mod translate;

pub use config::{Options, OtlpConfig};
pub use translate::Translated;

use prost::Message;

/// The most messages in a body: a large batch of a collector has a tenth of it.
const MOST_MESSAGES: usize = 500_000;

/// In which form a body is, and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Protobuf.
    Protobuf,
    /// JSON.
    Json,
}

impl Form {
    /// The form that a content type names; nothing for another.
    pub fn of_content_type(text: &str) -> Option<Self> {
        match text.split(';').next()?.trim().to_ascii_lowercase().as_str() {
            "application/x-protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }

    /// The content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// Why a body is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It would take too much memory.
    #[error("the body has more than {MOST_MESSAGES} points, attributes and other parts")]
    TooMany,
    /// It is not that protobuf.
    #[error("the body is no such message: {0}")]
    Protobuf(String),
    /// It is not that JSON.
    #[error("the body is no such JSON: {0}")]
    Json(String),
}

/// The samples in `body`, as `options` say.
///
/// # Errors
///
/// [`ReadError`]; what is wrong with single points is in the result.
pub fn read(body: &[u8], form: Form, options: &Options) -> Result<Translated, ReadError> {
    let weight = match form {
        Form::Protobuf => weigh::messages(body, MOST_MESSAGES),
        // A message begins with a brace.
        Form::Json => body.iter().filter(|byte| **byte == b'{').count(),
    };
    if weight > MOST_MESSAGES {
        return Err(ReadError::TooMany);
    }
    let request = match form {
        Form::Protobuf => message::Request::decode(body)
            .map_err(|error| ReadError::Protobuf(error.to_string()))?,
        Form::Json => {
            serde_json::from_slice(body).map_err(|error| ReadError::Json(error.to_string()))?
        }
    };
    Ok(translate::translate(&request, options))
}

/// The answer to a message of which `rejected` points were left out because of `why`.
pub fn answer(form: Form, rejected: usize, why: &str) -> Vec<u8> {
    let is_whole = rejected == 0 && why.is_empty();
    match form {
        Form::Protobuf => {
            let partial_success = (!is_whole).then(|| message::PartialSuccess {
                rejected_data_points: i64::try_from(rejected).unwrap_or(i64::MAX),
                error_message: why.to_owned(),
            });
            message::Answer { partial_success }.encode_to_vec()
        }
        Form::Json if is_whole => b"{}".to_vec(),
        Form::Json => {
            let part = serde_json::json!({"rejectedDataPoints": rejected.to_string(), "errorMessage": why});
            serde_json::json!({"partialSuccess": part}).to_string().into_bytes()
        }
    }
}

#[cfg(test)]
mod tests;
