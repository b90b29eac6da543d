//! InfiniBand adapters and their ports.
//!
//! Invariant: what a port does not count (`N/A (no PMA)`) is left out.

use super::config::Settings;
use super::table::{Column, Table};
use super::{Collect, attributes, text};

/// The kernel counts data in words of four bytes.
const WORD: f64 = 4.0;
const ONE: f64 = 1.0;
/// A gigabit in bytes.
const GIGABIT: f64 = 1e9 / 8.0;

/// The counters of a port by their files, each with what one of it is in the unit of its metric.
const COUNTERS: [(&str, f64, Column); 24] = [
    (
        "counters/link_downed",
        ONE,
        Column::counter(
            "node_infiniband_link_downed_total",
            "Number of times the link failed to recover from an error state and went down",
        ),
    ),
    (
        "counters/link_error_recovery",
        ONE,
        Column::counter(
            "node_infiniband_link_error_recovery_total",
            "Number of times the link successfully recovered from an error state",
        ),
    ),
    (
        "counters/multicast_rcv_packets",
        ONE,
        Column::counter(
            "node_infiniband_multicast_packets_received_total",
            "Number of multicast packets received (including errors)",
        ),
    ),
    (
        "counters/multicast_xmit_packets",
        ONE,
        Column::counter(
            "node_infiniband_multicast_packets_transmitted_total",
            "Number of multicast packets transmitted (including errors)",
        ),
    ),
    (
        "counters/port_rcv_constraint_errors",
        ONE,
        Column::counter(
            "node_infiniband_port_constraint_errors_received_total",
            "Number of packets received on the switch physical port that are discarded",
        ),
    ),
    (
        "counters/port_xmit_constraint_errors",
        ONE,
        Column::counter(
            "node_infiniband_port_constraint_errors_transmitted_total",
            "Number of packets not transmitted from the switch physical port",
        ),
    ),
    (
        "counters/port_rcv_data",
        WORD,
        Column::counter(
            "node_infiniband_port_data_received_bytes_total",
            "Number of data octets received on all links",
        ),
    ),
    (
        "counters/port_xmit_data",
        WORD,
        Column::counter(
            "node_infiniband_port_data_transmitted_bytes_total",
            "Number of data octets transmitted on all links",
        ),
    ),
    (
        "counters/port_rcv_discards",
        ONE,
        Column::counter(
            "node_infiniband_port_discards_received_total",
            "Number of inbound packets discarded by the port because the port is down or congested",
        ),
    ),
    (
        "counters/port_xmit_discards",
        ONE,
        Column::counter(
            "node_infiniband_port_discards_transmitted_total",
            "Number of outbound packets discarded by the port because the port is down or congested",
        ),
    ),
    (
        "counters/port_rcv_errors",
        ONE,
        Column::counter(
            "node_infiniband_port_errors_received_total",
            "Number of packets containing an error that were received on this port",
        ),
    ),
    (
        "counters/port_rcv_packets",
        ONE,
        Column::counter(
            "node_infiniband_port_packets_received_total",
            "Number of packets received on all VLs by this port (including errors)",
        ),
    ),
    (
        "counters/port_xmit_packets",
        ONE,
        Column::counter(
            "node_infiniband_port_packets_transmitted_total",
            "Number of packets transmitted on all VLs from this port (including errors)",
        ),
    ),
    (
        "counters/port_xmit_wait",
        ONE,
        Column::counter(
            "node_infiniband_port_transmit_wait_total",
            "Number of ticks during which the port had data to transmit but no data was sent during the entire tick",
        ),
    ),
    (
        "counters/unicast_rcv_packets",
        ONE,
        Column::counter(
            "node_infiniband_unicast_packets_received_total",
            "Number of unicast packets received (including errors)",
        ),
    ),
    (
        "counters/unicast_xmit_packets",
        ONE,
        Column::counter(
            "node_infiniband_unicast_packets_transmitted_total",
            "Number of unicast packets transmitted (including errors)",
        ),
    ),
    (
        "counters_ext/port_rcv_data_64",
        WORD,
        Column::counter(
            "node_infiniband_legacy_data_received_bytes_total",
            "Number of data octets received on all links",
        ),
    ),
    (
        "counters_ext/port_xmit_data_64",
        WORD,
        Column::counter(
            "node_infiniband_legacy_data_transmitted_bytes_total",
            "Number of data octets transmitted on all links",
        ),
    ),
    (
        "counters_ext/port_multicast_rcv_packets",
        ONE,
        Column::counter(
            "node_infiniband_legacy_multicast_packets_received_total",
            "Number of multicast packets received",
        ),
    ),
    (
        "counters_ext/port_multicast_xmit_packets",
        ONE,
        Column::counter(
            "node_infiniband_legacy_multicast_packets_transmitted_total",
            "Number of multicast packets transmitted",
        ),
    ),
    (
        "counters_ext/port_rcv_packets_64",
        ONE,
        Column::counter(
            "node_infiniband_legacy_packets_received_total",
            "Number of data packets received on all links",
        ),
    ),
    (
        "counters_ext/port_xmit_packets_64",
        ONE,
        Column::counter(
            "node_infiniband_legacy_packets_transmitted_total",
            "Number of data packets received on all links",
        ),
    ),
    (
        "counters_ext/port_unicast_rcv_packets",
        ONE,
        Column::counter(
            "node_infiniband_legacy_unicast_packets_received_total",
            "Number of unicast packets received",
        ),
    ),
    (
        "counters_ext/port_unicast_xmit_packets",
        ONE,
        Column::counter(
            "node_infiniband_legacy_unicast_packets_transmitted_total",
            "Number of unicast packets transmitted",
        ),
    ),
];
/// What a port is: the number that its file begins with.
const STATES: [(&str, f64, Column); 3] = [
    (
        "state",
        ONE,
        Column::gauge(
            "node_infiniband_state_id",
            "State of the InfiniBand port (0: no change, 1: down, 2: init, 3: armed, 4: active, 5: act defer)",
        ),
    ),
    (
        "phys_state",
        ONE,
        Column::gauge(
            "node_infiniband_physical_state_id",
            "Physical state of the InfiniBand port (0: no change, 1: sleep, 2: polling, 3: disable, 4: shift, 5: link up, 6: link error recover, 7: phytest)",
        ),
    ),
    (
        "rate",
        GIGABIT,
        Column::gauge("node_infiniband_rate_bytes_per_second", "Maximum signal transfer rate"),
    ),
];
const INFO: Column = Column::gauge(
    "node_infiniband_info",
    "Non-numeric data from /sys/class/infiniband/<device>, value is always 1.",
);
const TEXTS: [(&str, &str); 3] =
    [("board_id", "board_id"), ("firmware_version", "fw_ver"), ("hca_type", "hca_type")];

pub(super) fn collector(settings: &Settings) -> Collect {
    let folder = settings.paths.sysfs.join("class/infiniband");
    let mut columns = vec![INFO];
    columns.extend(COUNTERS.iter().chain(&STATES).map(|(.., column)| *column));
    Box::new(move |reading| {
        let buffer = &mut reading.buffer;
        let mut table = Table::new(&columns);
        for device in attributes::names(&folder)? {
            let path = folder.join(&device);
            let texts = TEXTS
                .map(|(_, file)| attributes::text_of(&path.join(file), buffer).unwrap_or_default());
            let mut labels = vec![("device", device.as_str())];
            let all = TEXTS.iter().zip(&texts);
            labels.extend(all.map(|((label, _), text)| (*label, text.as_str())));
            table.add(0, &labels, 1.0);
            for port in attributes::names_if_there(&path.join("ports")).unwrap_or_default() {
                let path = path.join("ports").join(&port);
                let labels = [("device", device.as_str()), ("port", port.as_str())];
                for (column, (file, unit, _)) in (1..).zip(COUNTERS.iter().chain(&STATES)) {
                    let text = attributes::text_of(&path.join(file), buffer);
                    if let Some(number) = text.as_deref().and_then(first) {
                        table.add(column, &labels, number * unit);
                    }
                }
            }
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}

/// The number at the beginning of `4: ACTIVE` and `40 Gb/sec (4X QDR)`.
fn first(content: &str) -> Option<f64> {
    let end = content.find([':', ' ']).unwrap_or(content.len());
    text::float(&content.as_bytes()[..end])
}
