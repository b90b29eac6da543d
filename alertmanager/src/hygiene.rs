//! Keeps silences and windows of maintenance from being forgotten: what they would hold, who is told
//! of them, and when they are of no use.
//!
//! ```text
//! matchers, ALERTS of a week, what fires ─▶ Preview: what would be held, is a confirmation needed?
//! silences and windows, what they hold ───▶ Keeper ─▶ notices in the lanes of those concerned
//!                                                  ─▶ a silence that matched nothing ends
//!                                                  ─▶ veilleur_maintenance, veilleur_pushed_alert
//! ```
//!
//! A notice goes through the outbox like any message, and what a receiver was told of a silence is kept
//! like what it was told of a group: so it is told once, over restarts too, and whoever was told of a
//! begin is told of the end.
//!
//! Invariant: nothing here decides what is held back; that is `mute`'s part alone.

mod notice;
mod preview;
mod keep;
mod run;

pub use keep::{Keeper, KeeperParts};
pub use preview::{Breadth, Past, Preview, add_firing, history, preview};

use std::time::Duration;

use base::diagnostic::{Diagnostics, Spanned};
use base::period::Period;
use serde::Deserialize;

/// The series of an alert that others push: at its end, since when it fired, in seconds. Ours have
/// `ALERTS`.
pub const PUSHED_METRIC: &str = "veilleur_pushed_alert";

/// The section `silences:`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SilencesConfig {
    /// The longest that a silence may hold; as long as one likes, where it is not set.
    longest: Option<Spanned<Period>>,
    /// With more alerts than these, now or in the last week, a confirmation is needed.
    confirm_above: Option<Spanned<u32>>,
    /// Who is asked for it: `ours` (the command line and `/api/v1`) or `everywhere`.
    confirm: Option<Spanned<String>>,
    /// How long before the end of a silence a reminder comes; `0s` is never.
    remind: Option<Spanned<Period>>,
    /// After which time without an alert that it holds a silence ends; `0s` is never.
    expire_unused: Option<Spanned<Period>>,
    /// By which ways people are told: `people` (mail and chat), `all` or `none`.
    notices: Option<Spanned<String>>,
}

/// By which ways people are told of silences and windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notices {
    /// By mail and chat: whatever pages somebody, makes a ticket or is read by a program is left out.
    #[default]
    People,
    /// By all.
    All,
    /// By none.
    None,
}

/// How silences are kept in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hygiene {
    /// The longest that a silence may hold.
    pub longest: Option<Duration>,
    /// With more alerts than these a confirmation is needed.
    pub confirm_above: usize,
    /// Whether the API of Alertmanager asks for it, too.
    pub confirm_everywhere: bool,
    /// How long before the end of a silence a reminder comes.
    pub remind: Duration,
    /// After which time without an alert a silence ends.
    pub expire_unused: Option<Duration>,
    /// Who is told.
    pub notices: Notices,
}

impl Default for Hygiene {
    fn default() -> Self {
        Self {
            longest: None,
            confirm_above: 50,
            confirm_everywhere: false,
            remind: Duration::from_secs(15 * 60),
            expire_unused: Some(Duration::from_secs(14 * 86_400)),
            notices: Notices::People,
        }
    }
}

impl SilencesConfig {
    /// The settings as meant.
    pub fn build(&self, diagnostics: &mut Diagnostics) -> Hygiene {
        let default = Hygiene::default();
        let given = |period: &Option<Spanned<Period>>| period.as_ref().map(|p| p.value.duration());
        let or_never = |period: Duration| Some(period).filter(|period| !period.is_zero());
        let mut word = |text: &Option<Spanned<String>>, known: &[&str]| {
            let text = text.as_ref()?;
            let place = known.iter().position(|word| *word == text.value);
            if place.is_none() {
                let help = format!("write one of: {}", known.join(", "));
                diagnostics.report_with_help(
                    text,
                    format!("`{}` is not known here", text.value),
                    help,
                );
            }
            place
        };
        let notices = word(&self.notices, &["people", "all", "none"]);
        Hygiene {
            longest: given(&self.longest).map_or(default.longest, or_never),
            confirm_above: self
                .confirm_above
                .as_ref()
                .and_then(|above| usize::try_from(above.value).ok())
                .unwrap_or(default.confirm_above),
            confirm_everywhere: word(&self.confirm, &["ours", "everywhere"]) == Some(1),
            remind: given(&self.remind).unwrap_or(default.remind),
            expire_unused: given(&self.expire_unused).map_or(default.expire_unused, or_never),
            notices: match notices {
                Some(1) => Notices::All,
                Some(2) => Notices::None,
                _ => Notices::People,
            },
        }
    }
}

impl Notices {
    /// Services at which people read, and which wake nobody up.
    const OF_PEOPLE: [&'static str; 16] = [
        "console",
        "discord",
        "email",
        "googlechat",
        "irc",
        "matrix",
        "mattermost",
        "msteams",
        "msteamsv2",
        "rocketchat",
        "slack",
        "telegram",
        "webex",
        "wechat",
        "xmpp",
        "zulip",
    ];

    /// Whether a lane, by its name `receiver/service/number`, is told.
    fn tells(self, lane: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::People => {
                lane.split('/').nth(1).is_some_and(|service| Self::OF_PEOPLE.contains(&service))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_defaults_and_faults_a_place() {
        let build = |yaml: &str| {
            let mut diagnostics = Diagnostics::new("f.yml");
            let config: SilencesConfig = base::yaml::read(yaml, &mut diagnostics).unwrap();
            (config.build(&mut diagnostics), diagnostics.to_string())
        };
        assert_eq!(build("{}"), (Hygiene::default(), String::new()));
        let (settings, faults) = build(
            "{longest: 30d, confirm_above: 5, confirm: everywhere, remind: 0s, expire_unused: 0s, notices: all}",
        );
        let expected = Hygiene {
            longest: Some(Duration::from_secs(30 * 86_400)),
            confirm_above: 5,
            confirm_everywhere: true,
            remind: Duration::ZERO,
            expire_unused: None,
            notices: Notices::All,
        };
        assert_eq!((settings, faults.as_str()), (expected, ""));
        let (_, faults) = build("{notices: some, confirm: perhaps}");
        assert!(faults.contains("f.yml:1:11: `some` is not known here"), "{faults}");
        assert!(faults.contains("f.yml:1:26: `perhaps` is not known here"), "{faults}");
    }

    #[test]
    fn notices_page_nobody() {
        let people = |lane| Notices::People.tells(lane);
        assert!(people("ops/email/0") && people("ops/slack/1"));
        assert!(!people("ops/webhook/0") && !people("ops/pagerduty/0") && !people("ops"));
        assert!(Notices::All.tells("ops/webhook/0") && !Notices::None.tells("ops/email/0"));
    }
}
