//! How far the clock is off, and how the kernel steers it: `adjtimex`.
//!
//! Invariant: asks and never sets; the kernel decides whether the clock is in step.

use super::config::Settings;
use super::table::Column;
use super::{Collect, CollectError};

/// Nanoseconds and not microseconds are told.
const STA_NANO: i32 = 0x2000;
/// What the kernel answers while the clock is not in step.
const TIME_ERROR: i32 = 5;
const MICROSECONDS: f64 = 1e6;
const NANOSECONDS: f64 = 1e9;
/// Parts in a million, with 16 bits behind the point.
const SCALED_PPM: f64 = 1e6 * 65_536.0;

const OFFSET: Column = Column::gauge(
    "node_timex_offset_seconds",
    "Time offset in between local system and reference clock.",
);
const FREQUENCY: Column =
    Column::gauge("node_timex_frequency_adjustment_ratio", "Local clock frequency adjustment.");
const MAXERROR: Column = Column::gauge("node_timex_maxerror_seconds", "Maximum error in seconds.");
const ESTIMATED: Column =
    Column::gauge("node_timex_estimated_error_seconds", "Estimated error in seconds.");
const STATUS: Column = Column::gauge("node_timex_status", "Value of the status array bits.");
const CONSTANT: Column =
    Column::gauge("node_timex_loop_time_constant", "Phase-locked loop time constant.");
const TICK: Column = Column::gauge("node_timex_tick_seconds", "Seconds between clock ticks.");
const PPS_FREQUENCY: Column =
    Column::gauge("node_timex_pps_frequency_hertz", "Pulse per second frequency.");
const PPS_JITTER: Column =
    Column::gauge("node_timex_pps_jitter_seconds", "Pulse per second jitter.");
const PPS_SHIFT: Column =
    Column::gauge("node_timex_pps_shift_seconds", "Pulse per second interval duration.");
const PPS_STABILITY: Column = Column::gauge(
    "node_timex_pps_stability_hertz",
    "Pulse per second stability, average of recent frequency changes.",
);
const PPS_JITTERS: Column = Column::counter(
    "node_timex_pps_jitter_total",
    "Pulse per second count of jitter limit exceeded events.",
);
const PPS_CALIBRATIONS: Column = Column::counter(
    "node_timex_pps_calibration_total",
    "Pulse per second count of calibration intervals.",
);
const PPS_ERRORS: Column =
    Column::counter("node_timex_pps_error_total", "Pulse per second count of calibration errors.");
const PPS_UNSTABLE: Column = Column::counter(
    "node_timex_pps_stability_exceeded_total",
    "Pulse per second count of stability limit exceeded events.",
);
const TAI: Column =
    Column::gauge("node_timex_tai_offset_seconds", "International Atomic Time (TAI) offset.");
const SYNC: Column = Column::gauge(
    "node_timex_sync_status",
    "Is clock synchronized to a reliable server (1 = yes, 0 = no).",
);

pub(super) fn collector(_: &Settings) -> Collect {
    Box::new(move |reading| {
        let (state, timex) =
            ask().map_err(|error| CollectError::Unreadable { path: "adjtimex".into(), error })?;
        let unit = if timex.status & STA_NANO == 0 { MICROSECONDS } else { NANOSECONDS };
        let values = [
            (OFFSET, timex.offset as f64 / unit),
            (FREQUENCY, 1.0 + timex.freq as f64 / SCALED_PPM),
            (MAXERROR, timex.maxerror as f64 / MICROSECONDS),
            (ESTIMATED, timex.esterror as f64 / MICROSECONDS),
            (STATUS, f64::from(timex.status)),
            (CONSTANT, timex.constant as f64),
            (TICK, timex.tick as f64 / MICROSECONDS),
            (PPS_FREQUENCY, timex.ppsfreq as f64 / SCALED_PPM),
            (PPS_JITTER, timex.jitter as f64 / unit),
            (PPS_SHIFT, f64::from(timex.shift)),
            (PPS_STABILITY, timex.stabil as f64 / SCALED_PPM),
            (PPS_JITTERS, timex.jitcnt as f64),
            (PPS_CALIBRATIONS, timex.calcnt as f64),
            (PPS_ERRORS, timex.errcnt as f64),
            (PPS_UNSTABLE, timex.stbcnt as f64),
            (TAI, f64::from(timex.tai)),
            (SYNC, f64::from(u8::from(state != TIME_ERROR))),
        ];
        reading.families.extend(values.map(|(column, value)| column.with(value)));
        Ok(())
    })
}

/// The kernel's answer, and what it says of the clock.
#[expect(unsafe_code, reason = "neither rustix nor nix has adjtimex")]
fn ask() -> std::io::Result<(i32, libc::timex)> {
    // SAFETY: the structure is plain numbers, for which zero is a value; all zero asks and sets
    // nothing. The kernel writes into it and keeps no pointer.
    let (state, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex)
    };
    if state < 0 { Err(std::io::Error::last_os_error()) } else { Ok((state, timex)) }
}
