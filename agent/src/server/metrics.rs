//! `/metrics`: everything that is known, in the format that the reader asks for.
//!
//! The evaluator asks for what the checks said, too (`veilleur-outputs: 1`): a comment a check, after
//! the metrics, and the text format whatever it accepts. No other reader sees texts, and none of them ever is a label.
//!
//! Invariant: what is written is valid in its format, whatever the probes have measured.

use std::sync::Arc;

use base::exposition::{Encoding, OUTPUTS_HEADER, encode, encode_output};
use base::family::{LabelPairs, MetricFamily, MetricKind};
use base::http::{
    Full, HeaderMap, Packed, Response, StatusCode, accepts_gzip, answer_packed, header,
};
use base::labels::Labels;
use base::sample::Timestamp;
use hyper::body::Bytes;
use tokio::time::timeout;

use super::Shown;
use super::check_metrics::{Seen, of_checks, of_services};
use super::choice::Choice;
use super::merge::Merge;
use crate::host::{HostReading, PATIENCE, Wanted};
use crate::service::Forest;

/// The most that is handed on of what a check said.
const MAX_OUTPUT: usize = 4 << 10;

/// A kind of page: all who ask for the same get the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    encoding: Encoding,
    /// Whether with what the checks said.
    outputs: bool,
    accepts_gzip: bool,
    choice: Choice,
}

/// Answers a scrape, with what is known at the time when the page is made, by `clock`.
pub(super) async fn answer(
    shown: &Arc<Shown>,
    headers: &HeaderMap,
    query: &str,
    clock: impl Fn() -> Timestamp,
) -> Response<Full<Bytes>> {
    let choice = match Choice::of(query, &shown.host.collectors()) {
        Ok(choice) => choice,
        Err(why) => {
            let why = format!("{why}\n");
            return base::http::answer(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", why);
        }
    };
    let header =
        |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let outputs = header(OUTPUTS_HEADER) == Some("1");
    // Outputs are lines of the text format, whatever else the reader would accept.
    let accepted = if outputs { None } else { header(header::ACCEPT.as_str()) };
    let encoding = Encoding::negotiate(accepted.unwrap_or(""));
    let kind = Kind { encoding, outputs, accepts_gzip: accepts_gzip(headers), choice };
    let shared = shown.pages.get(kind.clone(), || async {
        let (now, made_of, kind) = (clock(), Arc::clone(shown), kind.clone());
        let wanted = kind.choice.host.clone();
        shown.host.read(now, wanted, move |host| page(&made_of, &kind, host, now)).await
    });
    // Where those that are made for others hang, by the host, this one goes without it.
    let made = timeout(PATIENCE * 2, shared).await;
    let page = made.unwrap_or_else(|_| page(shown, &kind, HostReading::late(), clock()));
    answer_packed(StatusCode::OK, &encoding.content_type(), page)
}

fn page(shown: &Shown, kind: &Kind, host: HostReading, now: Timestamp) -> Packed {
    let text = write(shown, host, kind, now);
    Packed::new(text.into_bytes(), kind.accepts_gzip)
}

/// The whole page.
fn write(shown: &Shown, host: HostReading, kind: &Kind, now: Timestamp) -> String {
    let seen = kind.choice.seen(shown);
    let mut text = String::with_capacity(16 << 10);
    let mut missed = host.faults.clone();
    let merge = merged(shown, seen.as_deref(), host, now);
    encode(&merge.families, kind.encoding, &mut text);
    missed.extend(merge.told);
    // What a part had to go without says nothing of the rest.
    if kind.choice == Choice::default() {
        shown.missed.store(Arc::new(missed));
    }
    if kind.outputs {
        for one in seen.iter().flatten() {
            let Some(output) = output(one) else { continue };
            let labels = Labels::from_pairs([("check", one.check.name.as_ref())]);
            encode_output(&labels, &output, &mut text);
        }
    }
    text
}

/// Every family that there is as of `now`, for whoever hands them on.
pub(super) async fn families(shown: &Arc<Shown>, now: Timestamp) -> Vec<MetricFamily> {
    let made_of = Arc::clone(shown);
    let make = move |host| {
        let seen = Seen::of(&made_of.results.slots());
        merged(&made_of, Some(&seen), host, now).families
    };
    shown.host.read(now, Wanted::All, make).await
}

/// All families: ours, the agent's version first, then those of the process and the host, then those
/// of the probes, which make way. Where nothing of the checks is wanted, `seen` is nothing.
fn merged(shown: &Shown, seen: Option<&[Seen]>, host: HostReading, now: Timestamp) -> Merge {
    let mut merge = Merge::default();
    let about_checks = seen.map_or_else(Vec::new, |seen| {
        let (slots, services) = (shown.results.slots(), shown.services.load());
        let (forest, labels) = (Forest::of_services(&services, &slots, now), shown.labels.load());
        of_checks(seen).into_iter().chain(of_services(&forest, &labels)).collect()
    });
    let ours = about_us(shown).into_iter().chain(about_checks);
    let ours = ours.chain(host.in_time.map(host_in_time)).chain(shown.own().families());
    ours.chain(host.families).for_each(|family| merge.add_own(family));
    let Some(seen) = seen else { return merge };
    for one in seen {
        let Some(result) = &one.latest.result else { continue };
        let labels = one.labels();
        for family in &result.outcome.families {
            merge.add(family, &one.check.name, &labels);
        }
    }
    let help = "Samples of the check that are left out here, because they would clash.";
    let mut left_out = MetricFamily::gauge("veilleur_check_samples_left_out", help);
    for one in seen {
        let count = merge.left_out.get(one.check.name.as_ref()).copied().unwrap_or(0);
        left_out.add_pairs("", one.labels(), count as f64);
    }
    // A script may not give names that begin as ours do, so that this one is free.
    merge.families.push(left_out);
    merge
}

fn host_in_time(in_time: bool) -> MetricFamily {
    let help = "Whether the host's own numbers could be read in time; they are missing where not.";
    MetricFamily::gauge("veilleur_host_read_in_time", help).with(&[], f64::from(u8::from(in_time)))
}

/// What we know of ourselves.
fn about_us(shown: &Shown) -> [MetricFamily; 5] {
    let (reload, scripts) = (shown.reload(), probes::script::totals());
    let info = MetricFamily::new("veilleur_agent_info", "The agent's version.", MetricKind::Info);
    let successful = f64::from(u8::from(reload.faults.is_none()));
    [
        info.with(&[("version", env!("CARGO_PKG_VERSION"))], 1.0),
        MetricFamily::gauge(
            "veilleur_config_last_reload_successful",
            "Whether the configuration that was read last could be taken.",
        )
        .with(&[], successful),
        MetricFamily::gauge(
            "veilleur_config_last_reload_success_timestamp_seconds",
            "When a configuration was read last that could be taken.",
        )
        .with(&[], reload.taken.seconds()),
        MetricFamily::counter("veilleur_scripts_started_total", "Scripts that were started.")
            .with(&[], scripts.started as f64),
        MetricFamily::counter(
            "veilleur_scripts_killed_total",
            "Processes that were ended by force: scripts past their time, and what they left behind.",
        )
        .with(&[], scripts.killed as f64),
    ]
}

/// What each check said last, with the labels of everything that it measures.
pub(super) fn outputs(shown: &Shown) -> Vec<(LabelPairs, String)> {
    let seen = Seen::of(&shown.results.slots());
    seen.iter().filter_map(|one| Some((one.labels(), output(one)?))).collect()
}

/// What a check said last, as much of it as is handed on.
fn output(one: &Seen) -> Option<String> {
    let result = one.latest.result.as_ref()?;
    let (summary, details) = (&result.outcome.summary, &result.outcome.details);
    let mut output = String::with_capacity(summary.len() + details.len() + 1);
    output.push_str(summary);
    if !details.is_empty() {
        output.push('\n');
        output.push_str(details);
    }
    let end = (0..=MAX_OUTPUT.min(output.len())).rev().find(|at| output.is_char_boundary(*at));
    output.truncate(end.unwrap_or(0));
    Some(output)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base::exposition::{Format, check as check_text};
    use http_body_util::BodyExt;
    use probes::{Outcome, Reason, Status};

    use super::*;
    use crate::config::{Source, Terms};
    use crate::host::HostNumbers;
    use crate::results::{CheckResult, Results, Slot};
    use crate::server::Reload;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    /// An agent with the checks `disk` and `shop`, which have not run, and nothing of the host.
    fn shown() -> Arc<Shown> {
        let text = "checks:\n\
            - {name: disk, interval: 5s, retries: 1, probe: {tcp: {address: 'x:1'}}}\n\
            - {name: shop, interval: 5s, probe: {tcp: {address: 'x:2'}}}\n";
        let source = Source::Embedded { name: "test", text: text.to_owned() };
        let config = source.load(Terms::default()).unwrap_or_else(|faults| panic!("{faults}"));
        let results = Arc::new(Results::new(config.checks));
        Arc::new(Shown::new(results, HostNumbers::new(None), Reload::default()))
    }

    fn record(slot: &Slot, outcome: Outcome) {
        let generation = slot.begin();
        let (duration, lateness) = (Duration::from_millis(1), Duration::ZERO);
        slot.record(generation, CheckResult { outcome, started: NOW, duration, lateness });
    }

    /// The content type and the page.
    async fn get(shown: &Arc<Shown>, headers: &[(&'static str, &'static str)]) -> (String, String) {
        let headers = headers.iter().map(|(name, value)| {
            let name = header::HeaderName::from_static(name);
            (name, header::HeaderValue::from_static(value))
        });
        let response = answer(shown, &headers.collect(), "", || NOW).await;
        let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (content_type, String::from_utf8(body.to_vec()).unwrap())
    }

    const OPEN: &str = "application/openmetrics-text;version=1.0.0;q=0.9,*/*;q=0.1";

    #[tokio::test]
    async fn every_format_is_valid_and_begins_with_who_we_are() {
        let shown = shown();
        let (content_type, text) = get(&shown, &[]).await;
        assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
        check_text(text.as_bytes(), Format::Text, usize::MAX).unwrap();
        let first = text.lines().find(|line| !line.starts_with('#')).unwrap();
        assert!(first.starts_with("veilleur_agent_info{version=\""), "{first}");
        let (content_type, text) = get(&shown, &[("accept", OPEN)]).await;
        assert!(content_type.starts_with("application/openmetrics-text"), "{content_type}");
        check_text(text.as_bytes(), Format::OpenMetrics, usize::MAX).unwrap();
    }

    #[tokio::test]
    async fn outputs_go_to_those_who_ask_for_them_as_text_whatever_they_accept() {
        let shown = shown();
        let slots = shown.results.slots();
        let mut outcome = Outcome::critical(Reason::Threshold, "disk full: \"/\" \\ 99 %");
        outcome.details = "/var too\n# EOF\nup 1".to_owned();
        record(&slots[0], outcome);
        let line = "# OUTPUT {check=\"disk\"} disk full: \"/\" \\\\ 99 %\\n/var too\\n# EOF\\nup 1";
        for accept in [OPEN, "text/plain", "*/*"] {
            let asked = [("accept", accept), ("veilleur-outputs", "1")];
            let (content_type, text) = get(&shown, &asked).await;
            assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
            assert_eq!(text.lines().last(), Some(line), "{accept}");
            assert_eq!(
                text.matches("# OUTPUT").count(),
                1,
                "a check that has not run says nothing"
            );
            check_text(text.as_bytes(), Format::Text, usize::MAX).unwrap();
        }
        for asked in [vec![], vec![("accept", OPEN)], vec![("veilleur-outputs", "0")]] {
            let (_, text) = get(&shown, &asked).await;
            assert!(!text.contains("OUTPUT") && !text.contains("99 %"), "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_chosen_is_there_and_the_rest_is_not() {
        let shown = shown();
        let host = probes::host::HostConfig::default();
        shown.host.replace(Some(host.build(&mut base::diagnostic::Diagnostics::new("test"))));
        let part = async |query: &str| {
            let response = answer(&shown, &HeaderMap::new(), query, || NOW).await;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8(body.to_vec()).unwrap();
            if status == 200 {
                check_text(text.as_bytes(), Format::Text, usize::MAX).unwrap();
            }
            let has = |series: &str| text.lines().any(|line| line.starts_with(series));
            let (load, uname) = (has("node_load1 "), has("node_uname_info{"));
            (status, load, uname, has("veilleur_check_status{"), has("veilleur_agent_info{"))
        };
        assert_eq!(part("").await, (200, true, true, true, true));
        shown.missed.store(Arc::new(vec!["of the whole".to_owned()]));
        assert_eq!(part("collect[]=loadavg").await, (200, true, false, false, true));
        assert_eq!(part("exclude%5B%5D=loadavg").await, (200, false, true, true, true));
        assert_eq!(part("collect[]=checks").await, (200, false, false, true, true));
        assert_eq!(part("collect[]=nope").await.0, 400);
        assert_eq!(*shown.missed.load_full(), ["of the whole"], "a part says nothing of the rest");
    }

    #[tokio::test]
    async fn long_outputs_are_cut_between_characters() {
        let shown = shown();
        record(&shown.results.slots()[0], Outcome::ok(format!("a{}", "é".repeat(MAX_OUTPUT))));
        let (_, text) = get(&shown, &[("veilleur-outputs", "1")]).await;
        let output = text.lines().last().unwrap().rsplit(' ').next().unwrap();
        assert_eq!(output.len(), MAX_OUTPUT - 1);
    }

    #[tokio::test]
    async fn a_check_that_has_not_run_yet_has_no_hard_status() {
        let shown = shown();
        let hard = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.starts_with("veilleur_check_hard_status{"));
            lines.map(str::to_owned).collect()
        };
        let (_, text) = get(&shown, &[]).await;
        assert_eq!(hard(&text), [""; 0]);
        assert!(text.contains("veilleur_check_reason{check=\"disk\",reason=\"never-run\"} 1"));
        // One attempt of two: what it is remains to be seen.
        let slots = shown.results.slots();
        record(&slots[0], Outcome::critical(Reason::Threshold, "?"));
        assert_eq!(hard(&get(&shown, &[]).await.1), [""; 0]);
        record(&slots[0], Outcome::new(Status::Unknown, Reason::Timeout, "?"));
        record(&slots[1], Outcome::ok("fine"));
        assert_eq!(
            hard(&get(&shown, &[]).await.1),
            [
                "veilleur_check_hard_status{check=\"disk\"} 3",
                "veilleur_check_hard_status{check=\"shop\"} 0"
            ]
        );
    }

    #[tokio::test]
    async fn a_script_cannot_pass_for_the_host_and_health_says_what_was_left_out() {
        let shown = shown();
        let host = probes::host::HostConfig::default();
        let mut diagnostics = base::diagnostic::Diagnostics::new("test");
        shown.host.replace(Some(host.build(&mut diagnostics)));
        let family = MetricFamily::gauge("node_load1", "Mine.").with(&[], 1e9);
        record(&shown.results.slots()[0], Outcome::ok("fine").with_family(family));
        let (_, text) = get(&shown, &[]).await;
        assert_eq!(text.matches("\nnode_load1 ").count(), 1, "{text}");
        assert!(text.contains("\nveilleur_host_read_in_time 1\n"));
        assert!(text.contains("veilleur_check_samples_left_out{check=\"disk\"} 1"), "{text}");
        let told = "left out of the metrics: `node_load1` of `disk`";
        let missed = shown.missed.load();
        assert!(missed.iter().any(|line| line.starts_with(told)), "{missed:?}");
        check_text(text.as_bytes(), Format::Text, usize::MAX).unwrap();
    }
}
