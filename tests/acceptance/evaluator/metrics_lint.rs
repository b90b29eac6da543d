//! `veilleur check metrics` beside a real promtool: the same verdicts in the same words.
//!
//! Invariant: what both say is compared as a whole, but for why a text cannot be read at all.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tests::peers;
use tests::program::path_of;

/// The status, what is printed and what is complained of.
fn check(program: &Path, text: &str) -> (i32, String, String) {
    let mut command = Command::new(program);
    command.args(["check", "metrics"]);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// A metric of each type, with and without help text, under each of these names.
fn many() -> String {
    let names = [
        "a",
        "a_total",
        "a_sum",
        "a_count",
        "a_bucket",
        "aB",
        "a:b",
        "a_ms",
        "a_kb_m",
        "a_S_x",
        "s",
        "a_milliseconds",
        "a_seconds_total",
        "kilobits",
        "a_gauge",
        "gauge_a",
        "a_counter_b",
        "a_histogram",
        "a_summary_x",
        "a_untyped",
        "a_hours_bytes",
        "a_microhours",
        "a_kelvins",
    ];
    let mut text = String::new();
    for (number, name) in names.iter().enumerate() {
        for kind in ["counter", "gauge", "untyped", "histogram", "summary"] {
            let name = format!("{kind}{number}_{name}");
            if number % 2 == 0 {
                text.push_str(&format!("# HELP {name} Something.\n"));
            }
            text.push_str(&format!("# TYPE {name} {kind}\n"));
            let parts: &[&str] = match kind {
                "histogram" => &["_bucket{le=\"1\"}", "_bucket{le=\"+Inf\"}", "_sum", "_count"],
                "summary" => &["{quantile=\"0.5\",x=\"y\"}", "_sum{x=\"y\"}", "_count{x=\"y\"}"],
                _ => &["{le=\"1\",camelCase=\"x\"}", "{quantile=\"1\"}", "{quantile=\"1\"}", ""],
            };
            parts.iter().for_each(|part| text.push_str(&format!("{name}{part} 1\n")));
        }
    }
    text
}

#[test]
fn metrics_are_judged_as_by_promtool() {
    let Some(promtool) = peers::program("promtool") else { return };
    let ours = path_of("veilleur");
    for text in [
        "",
        "\n",
        "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n",
        "# HELP a\n# TYPE a gauge\na 1\n",
        "# HELP a A.\n",
        "# TYPE a counter\n",
        "a 1\na 1\na 1\n",
        "a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 1\n",
        "# TYPE h histogram\nh_bucket{le=\"1\",aB=\"x\"} 1\nh_sum{aB=\"x\",quantile=\"1\"} 1\nh_count{aB=\"x\"} 1\n",
        "# HELP a_bucket x\n# TYPE a_bucket gaugehistogram\na_bucket_bucket{le=\"1\",fooBar=\"1\"} 1\n",
        &many(),
    ] {
        assert_eq!(check(&ours, text), check(&promtool, text), "{text}");
    }
    // What cannot be read has the same status, and a text of ours.
    for text in ["a 1", "a{ 1\n", "# TYPE a info\na 1\n", "a b\n"] {
        let (ours, theirs) = (check(&ours, text), check(&promtool, text));
        assert_eq!((ours.0, ours.1), (theirs.0, theirs.1), "{text}");
        assert!(ours.2.starts_with("error while linting: "), "{}", ours.2);
        assert!(theirs.2.starts_with("error while linting: "), "{}", theirs.2);
    }
}
