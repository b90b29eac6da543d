//! The central evaluator.

pub mod relabel;
pub mod http_config;
pub mod discovery;
pub mod scrape;
