//! Asking for a page, or for one after the other, and judging the answers.
//!
//! ```yaml
//! http:
//!   url: https://shop.example/health
//!   expect_status: [200, 300-399]         # or 2xx; the default
//!   body_contains: ready
//!   json: [{path: $.queue.length, warn: 100, crit: 1000}]
//! ```
//!
//! ```yaml
//! http:
//!   steps:
//!   - {name: login, url: 'https://shop.example/login', extract: {csrf: {regex: 'name="csrf" value="(\w+)"'}}}
//!   - {name: cart, url: 'https://shop.example/cart?csrf=${csrf}', body_contains: Your cart}
//! ```
//!
//! ```text
//! config ─▶ step by step: fetch (hop by hop), expect, extract ─▶ limits ─▶ Outcome
//! ```
//!
//! Invariant: no more of a body than the limit is kept, and no hop goes where the configuration or
//! [`fetch`] forbids. After a step that failed none is taken.

mod location;
mod cookies;
pub(crate) mod coding;
pub(crate) mod route;
mod quic;
pub(crate) mod three;
mod line;
pub(crate) mod fetch;
mod json;
mod variables;
pub(crate) mod oauth2;
pub(crate) mod expect;
mod step;
mod tell;
pub(crate) mod page;
pub(crate) mod config;

pub use config::HttpConfig;

use async_trait::async_trait;
use base::clock::Stopwatch;
use tokio_util::sync::CancellationToken;

use self::step::{Access, Journey, Step, Taken};
use crate::thresholds::Limits;
use crate::{Outcome, Probe};

/// Asks for a page, or for several.
#[derive(Debug)]
pub struct HttpProbe {
    access: Access,
    /// One, or those of a journey.
    steps: Vec<Step>,
    /// Whether the steps are told apart.
    is_journey: bool,
    /// Limits on all steps together.
    limits: Limits,
}

#[async_trait]
impl Probe for HttpProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let watch = Stopwatch::start();
        let mut journey = Journey { has_steps: self.is_journey, ..Journey::default() };
        let mut all: Vec<(&Step, Taken)> = Vec::new();
        for step in &self.steps {
            let taken = step.take(&self.access, &mut journey, stop).await;
            let is_over = taken.failed.is_some();
            all.push((step, taken));
            if is_over {
                break;
            }
        }
        self.tell(all, watch.seconds())
    }
}
