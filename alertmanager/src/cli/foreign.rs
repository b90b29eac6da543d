//! Flags of Prometheus and Alertmanager that are none of ours: what does the same here.
//!
//! Source: the command line references of both.
//!
//! Invariant: what is said names a flag, a setting or a command that there is, or says that there is none.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Beginnings of flags, and what to do instead.
const FLAGS: &[(&str, &str)] = &[
    ("web.external-url", "use --external-url, and --web.route-prefix for a path in it"),
    ("web.console", "there are no consoles here: leave it out"),
    ("web.page-title", "leave it out"),
    ("web.user-assets", "leave it out: the pages are built in"),
    ("web.cors.origin", "leave it out: other sites are answered nothing that changes something"),
    ("web.read-timeout", "leave it out: every connection has limits"),
    ("web.max-connections", "leave it out: every listener has a limit"),
    ("web.max-notifications-subscribers", "leave it out"),
    ("web.timeout", "use --query.timeout"),
    ("web.get-concurrency", "use --query.max-concurrency"),
    ("web.systemd-socket", "use --listen"),
    ("storage.tsdb.min-block-duration", "leave it out: blocks are made as they are needed"),
    ("storage.tsdb.max-block-duration", "leave it out: blocks are made as they are needed"),
    ("storage.tsdb", "leave it out: samples are kept in a form of our own"),
    ("storage.remote", "leave it out"),
    ("storage.agent.path", "use --data"),
    ("storage.agent", "leave it out"),
    ("agent", "use --config.prometheus with a file that has no rules"),
    (
        "rules.alert",
        "leave it out: `for` goes on after a restart, plus the time that nobody watched",
    ),
    ("rules.max-concurrent-evals", "leave it out: groups are evaluated side by side"),
    ("scrape.adjust-timestamps", "leave it out: times of samples are even"),
    ("scrape", "leave it out"),
    ("alertmanager.notification", "leave it out: alerts go to `route` without a detour"),
    ("alertmanager", "leave it out: alerts go to `route` without a detour"),
    ("enable-otlp-receiver", "use --web.enable-otlp-receiver"),
    ("enable-remote-write-receiver", "use --web.enable-remote-write-receiver"),
    ("auto-gomemlimit", "leave it out: it is about Go"),
    ("auto-gomaxprocs", "leave it out: it is about Go"),
    ("log.format", "leave it out: the log is logfmt"),
    ("data.retention", "use --history-retention for what was told to whom"),
    ("data.maintenance-interval", "leave it out"),
    ("alerts.gc-interval", "leave it out"),
    ("alerts.per-alertname-limit", "leave it out: alerts have a limit of their own"),
    ("dispatch", "leave it out"),
    ("silences", "use the section `silences:` of the configuration"),
    ("cluster", "leave it out: there is no cluster here"),
];

/// What does the same here as the flag that `error` is about, if it is one of theirs.
pub(super) fn instead(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(written)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let name = written.trim_start_matches('-');
    let name = name.strip_prefix("no-").unwrap_or(name);
    let is_of = |flag: &&(&str, &str)| {
        name.strip_prefix(flag.0)
            .is_some_and(|rest| rest.is_empty() || !rest.starts_with(char::is_alphanumeric))
    };
    let (_, instead) = FLAGS.iter().find(is_of)?;
    let name = name.split('=').next().unwrap_or(name);
    Some(format!("\nhint: --{name} is not ours: {instead}\n"))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::super::Line;
    use super::*;

    #[track_caller]
    fn check(written: &str, expected: &str) {
        let error = Line::try_parse_from(["veilleur", written]).unwrap_err();
        assert_eq!(instead(&error).unwrap_or_default(), expected, "{error}");
    }

    #[test]
    fn a_flag_of_theirs_names_ours() {
        check(
            "--web.external-url=http://x",
            "\nhint: --web.external-url is not ours: use --external-url, and --web.route-prefix for \
             a path in it\n",
        );
        check(
            "--storage.tsdb.wal-compression",
            "\nhint: --storage.tsdb.wal-compression is not ours: leave it out: samples are kept in \
             a form of our own\n",
        );
        check(
            "--no-scrape.adjust-timestamps",
            "\nhint: --scrape.adjust-timestamps is not ours: leave it out: times of samples are \
             even\n",
        );
        check("--nonsense", "");
        check("--agents", "");
    }

    #[test]
    fn what_is_named_is_there() {
        let command = Line::command();
        let known: Vec<&str> = command.get_arguments().filter_map(|arg| arg.get_long()).collect();
        for (flag, instead) in FLAGS {
            let words = instead.split([' ', ',', ':']).filter_map(|word| word.strip_prefix("--"));
            words.for_each(|word| assert!(known.contains(&word), "{flag}: {word}"));
        }
    }

    #[test]
    fn flags_of_theirs_that_mean_the_same_are_taken() {
        let line = Line::try_parse_from([
            "veilleur",
            "--config.file=p.yml",
            "--storage.tsdb.path=/data",
            "--storage.tsdb.retention.time=30d",
            "--storage.tsdb.retention.size=50GB",
            "--web.listen-address=:9090",
            "--web.enable-lifecycle",
            "--query.lookback-delta=1m",
            "--query.timeout=30s",
            "--query.max-samples=1000",
            "--query.max-concurrency=20",
            "--log.level=warn",
        ]);
        let run = line.unwrap().run;
        assert_eq!(run.prometheus.unwrap().to_str(), Some("p.yml"));
        assert_eq!(run.data.to_str(), Some("/data"));
        assert_eq!(
            (run.retention.to_string().as_str(), run.retention_size),
            ("30d", Some(50 << 30))
        );
        assert_eq!(run.listen.to_string(), "0.0.0.0:9090");
        assert_eq!(
            (run.lookback.to_string(), run.timeout.to_string()),
            ("1m".into(), "30s".into())
        );
        assert_eq!((run.samples, run.at_a_time), (1000, 20));
        assert_eq!(run.log_level, tracing::Level::WARN);
    }
}
