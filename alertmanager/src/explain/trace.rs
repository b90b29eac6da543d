//! What an explanation looks like: stages from top to bottom, for people and for programs.
//!
//! Invariant: at most one stage of a way decides: the first that keeps somebody from being told, else
//! the delivery.

use base::labels::Labels;
use base::sample::Timestamp;
use serde_json::{Value, json};

use crate::time::print_time;

/// The way of one alert.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The alert, as far as it is known.
    pub labels: Labels,
    /// As of when.
    pub at: Timestamp,
    /// From the samples to the state.
    pub stages: Vec<Stage>,
    /// On each route that takes it.
    pub ways: Vec<Way>,
    /// The answer where it does not come so far that somebody is told.
    pub verdict: Option<String>,
}

/// The way of an alert on one route.
#[derive(Clone, Debug)]
pub struct Way {
    /// Who would be told.
    pub receiver: String,
    /// From the route to the delivery.
    pub stages: Vec<Stage>,
    /// The answer, in one sentence.
    pub verdict: String,
}

/// A decision on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Which: `rule`, `silence`.
    pub name: &'static str,
    /// What was decided, and by what.
    pub text: String,
    /// Whether it is why somebody was, or was not, told.
    pub decides: bool,
}

impl Stage {
    /// A stage that passes the alert on.
    pub fn passes(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, text: text.into(), decides: false }
    }

    /// A stage that decides.
    pub fn decides(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, text: text.into(), decides: true }
    }

    fn line(&self) -> String {
        let mark = if self.decides { "=>" } else { "  " };
        let shown: Vec<String> = self.text.lines().map(plain).collect();
        let mut lines = shown.iter();
        let first = lines.next().map_or("", String::as_str);
        let mut text = format!("{mark} {:<10} {first}\n", self.name);
        lines.for_each(|line| text.push_str(&format!("              {line}\n")));
        text
    }

    fn to_json(&self) -> Value {
        json!({"stage": self.name, "text": self.text, "decides": self.decides})
    }
}

impl Trace {
    /// A line for each stage; `=>` marks those that decide.
    pub fn tell(&self) -> String {
        let labels = plain(&self.labels.to_string());
        let mut text = format!("{labels} at {}\n", print_time(self.at));
        self.stages.iter().for_each(|stage| text.push_str(&stage.line()));
        for way in &self.ways {
            way.stages.iter().for_each(|stage| text.push_str(&stage.line()));
            text.push_str(&format!("   {}\n", plain(&way.verdict)));
        }
        if let Some(verdict) = &self.verdict {
            text.push_str(&format!("   {verdict}\n"));
        }
        text
    }

    /// The same for programs.
    pub fn to_json(&self) -> Value {
        let stages = |stages: &[Stage]| stages.iter().map(Stage::to_json).collect::<Vec<_>>();
        let way = |way: &Way| {
            json!({
                "receiver": way.receiver,
                "stages": stages(&way.stages),
                "verdict": way.verdict,
            })
        };
        json!({
            "labels": self.labels.iter().collect::<std::collections::BTreeMap<_, _>>(),
            "at": print_time(self.at),
            "stages": stages(&self.stages),
            "ways": self.ways.iter().map(way).collect::<Vec<_>>(),
            "verdict": self.verdict,
        })
    }
}

/// A line for a terminal: without control characters, and without those that turn the direction of
/// writing.
pub(super) fn plain(text: &str) -> String {
    let odd =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if odd(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_from_top_to_bottom() {
        let trace = Trace {
            labels: Labels::from_pairs([("alertname", "Down")]),
            at: Timestamp::from_millis(0),
            stages: vec![Stage::passes("sample", "up 0\nup 1"), Stage::passes("state", "fires")],
            ways: vec![Way {
                receiver: "ops".to_owned(),
                stages: vec![Stage::decides("silence", "silenced by anna")],
                verdict: "`ops` is not told".to_owned(),
            }],
            verdict: None,
        };
        assert_eq!(
            trace.tell(),
            "{alertname=\"Down\"} at 1970-01-01T00:00:00Z\n   sample     up 0\n              up 1\n   \
             state      fires\n=> silence    silenced by anna\n   `ops` is not told\n"
        );
        // X13: what somebody wrote neither moves the cursor nor makes a line of its own.
        assert_eq!(plain("a\u{1b}[2Jb\u{202e}c"), "a [2Jb c");
        let json = trace.to_json();
        assert_eq!(json["ways"][0]["stages"][0]["decides"], true);
        assert_eq!(json["stages"][1]["stage"], "state");
    }
}
