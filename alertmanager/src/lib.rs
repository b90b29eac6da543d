//! The central evaluator.

pub mod relabel;
pub mod matchers;
pub mod http_config;
pub mod alerts;
pub mod state;
pub mod outbox;
pub mod discovery;
pub mod scrape;
pub mod template;
pub mod rules;
pub mod dispatch;
pub mod notify;
