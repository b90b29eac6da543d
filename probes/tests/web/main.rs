//! The `http` probe where it is more than a page: JSON, journeys, proxies, tokens, packed bodies; each
//! failure with its own reason. X03, X11.
//!
//! ```text
//! server    a server that answers as a test tells it, and what is looked at of an outcome
//! journeys  JSON, and one request after the other
//! access    tokens and proxies
//! modules   both, as modules of blackbox_exporter's file have them
//! three     modules that speak HTTP/3
//! pages     kinds of addresses, methods, limits, packed bodies
//! written   what is wrong with a configuration is told with its place
//! ```

#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../common/mod.rs"]
mod common;

mod server;
mod journeys;
mod access;
mod modules;
mod three;
mod pages;
mod written;
