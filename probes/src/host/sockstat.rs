//! How many sockets there are of each protocol, and the memory that they take.
//!
//! Invariant: memory is shown as the kernel counts it, in pages, and beside it in bytes.

use base::family::MetricFamily;

use super::config::Settings;
use super::file::{Buffer, Source};
use super::table::Column;
use super::{Collect, CollectError, text};

const USED: Column = Column::gauge("node_sockstat_sockets_used", "Number of IPv4 sockets in use.");

pub(super) fn collector(settings: &Settings) -> Collect {
    let source = |file: &str| {
        let path = settings.paths.procfs.join("net").join(file);
        Source::record(path, &settings.descriptors)
    };
    let (mut four, mut six) = (source("sockstat"), source("sockstat6"));
    let page = rustix::param::page_size() as f64;
    Box::new(move |reading| {
        let result = add(&mut four, page, &mut reading.buffer, &mut reading.families);
        match add(&mut six, page, &mut reading.buffer, &mut reading.families) {
            // The host does without IPv6.
            Err(CollectError::Absent(_)) => result,
            of_six => result.and(of_six),
        }
    })
}

/// Adds what lines such as `TCP: inuse 4 orphan 0 tw 4 alloc 17 mem 1` tell.
fn add(
    source: &mut Source,
    page: f64,
    buffer: &mut Buffer,
    families: &mut Vec<MetricFamily>,
) -> Result<(), CollectError> {
    let mut result = Ok(());
    for line in text::lines(source.read_if_there(buffer)?) {
        let Some((protocol, pairs)) = text::split(line, b':') else { continue };
        let protocol = text::text(protocol);
        let mut fields = text::fields(pairs);
        while let Some(state) = fields.next() {
            let state = text::text(state);
            let Some(count) = fields.next().and_then(text::value) else {
                result = Err(source.malformed(format!("`{}`", text::text(line))));
                break;
            };
            match (&*protocol, &*state) {
                ("sockets", "used") => families.push(USED.with(count)),
                (_, "inuse" | "orphan" | "tw" | "alloc" | "memory") => {
                    families.push(gauge(&protocol, &state, count));
                }
                (_, "mem") => {
                    families.push(gauge(&protocol, &state, count));
                    families.push(gauge(&protocol, "mem_bytes", count * page));
                }
                _ => {}
            }
        }
    }
    result
}

fn gauge(protocol: &str, state: &str, value: f64) -> MetricFamily {
    MetricFamily::gauge(
        format!("node_sockstat_{protocol}_{state}"),
        format!("Number of {protocol} sockets in state {state}."),
    )
    .with(&[], value)
}
