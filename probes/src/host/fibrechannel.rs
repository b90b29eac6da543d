//! Fibre Channel adapters.
//!
//! Invariant: a counter that an adapter does not keep, which it says by all ones, is left out.

use super::config::Settings;
use super::table::{Column, Table};
use super::{Collect, attributes, text};

const NUMBERS: [(&str, Column); 14] = [
    (
        "dumped_frames",
        Column::counter("node_fibrechannel_dumped_frames_total", "Number of dumped frames"),
    ),
    (
        "error_frames",
        Column::counter("node_fibrechannel_error_frames_total", "Number of errors in frames"),
    ),
    (
        "fcp_packet_aborts",
        Column::counter("node_fibrechannel_fcp_packet_aborts_total", "Number of aborted packets"),
    ),
    (
        "invalid_crc_count",
        Column::counter(
            "node_fibrechannel_invalid_crc_total",
            "Invalid Cyclic Redundancy Check count",
        ),
    ),
    (
        "invalid_tx_word_count",
        Column::counter(
            "node_fibrechannel_invalid_tx_words_total",
            "Number of invalid words transmitted by host port",
        ),
    ),
    (
        "link_failure_count",
        Column::counter(
            "node_fibrechannel_link_failure_total",
            "Number of times the host port link has failed",
        ),
    ),
    (
        "loss_of_signal_count",
        Column::counter(
            "node_fibrechannel_loss_of_signal_total",
            "Number of times signal has been lost",
        ),
    ),
    (
        "loss_of_sync_count",
        Column::counter(
            "node_fibrechannel_loss_of_sync_total",
            "Number of failures on either bit or transmission word boundaries",
        ),
    ),
    (
        "nos_count",
        Column::counter(
            "node_fibrechannel_nos_total",
            "Number Not_Operational Primitive Sequence received by host port",
        ),
    ),
    (
        "rx_frames",
        Column::counter("node_fibrechannel_rx_frames_total", "Number of frames received"),
    ),
    (
        "rx_words",
        Column::counter(
            "node_fibrechannel_rx_words_total",
            "Number of words received by host port",
        ),
    ),
    (
        "seconds_since_last_reset",
        Column::counter(
            "node_fibrechannel_seconds_since_last_reset_total",
            "Number of seconds since last host port reset",
        ),
    ),
    (
        "tx_frames",
        Column::counter(
            "node_fibrechannel_tx_frames_total",
            "Number of frames transmitted by host port",
        ),
    ),
    (
        "tx_words",
        Column::counter(
            "node_fibrechannel_tx_words_total",
            "Number of words transmitted by host port",
        ),
    ),
];
const INFO: Column = Column::gauge(
    "node_fibrechannel_info",
    "Non-numeric data from /sys/class/fc_host/<host>, value is always 1.",
);
const TEXTS: [&str; 10] = [
    "dev_loss_tmo",
    "fabric_name",
    "port_id",
    "port_name",
    "port_state",
    "port_type",
    "speed",
    "supported_classes",
    "supported_speeds",
    "symbolic_name",
];
const NOT_KEPT: u64 = u64::MAX;

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("class/fc_host");
    let mut columns: Vec<_> = NUMBERS.iter().map(|(_, column)| *column).collect();
    columns.push(INFO);
    Box::new(move |reading| {
        let buffer = &mut reading.buffer;
        let mut table = Table::new(&columns);
        for host in attributes::names(&folder)? {
            let path = folder.join(&host);
            let texts = TEXTS.map(|file| {
                let text = attributes::text_of(&path.join(file), buffer).unwrap_or_default();
                text.strip_prefix("0x").map(str::to_owned).unwrap_or(text)
            });
            let mut labels = vec![("fc_host", host.as_str())];
            labels.extend(TEXTS.into_iter().zip(texts.iter().map(String::as_str)));
            table.add(NUMBERS.len(), &labels, 1.0);
            for (column, (file, _)) in NUMBERS.iter().enumerate() {
                let text = attributes::text_of(&path.join("statistics").join(file), buffer);
                let number = text.and_then(|text| text::hexadecimal(text.as_bytes()));
                if let Some(number) = number.filter(|number| *number != NOT_KEPT) {
                    table.add(column, &[("fc_host", &host)], number as f64);
                }
            }
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}
