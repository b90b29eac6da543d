//! Asking name servers, each of them, and judging what they answer.
//!
//! ```yaml
//! dns:
//!   servers: [192.0.2.53, '[2001:db8::53]:53']
//!   name: shop.example
//!   type: A                              # the default
//!   transport: tcp                       # udp, and tcp where an answer does not fit
//!   expect_answers: [192.0.2.80]         # exactly these, in any order
//!   expect_matches: '192\.0\.2\.'        # some answer, as a line of a zone file
//!   dnssec: true                         # the answer must be vouched for
//! ```
//!
//! Invariant: an answer counts only if it is to our question; a datagram that is not is dropped.

pub(crate) mod config;
pub(crate) mod exchange;
pub(crate) mod expect;
pub(crate) mod message;

pub use config::DnsConfig;

use async_trait::async_trait;
use base::family::MetricFamily;
use tokio_util::sync::CancellationToken;

use self::exchange::Transport;
use self::expect::Expectations;
use self::message::{Message, Question};
use crate::session::{Endpoint, Session, join_all};
use crate::thresholds::Limits;
use crate::wire::Failed;
use crate::{Outcome, Probe, Reason};

/// What limits can be set for.
const VALUES: [&str; 3] = ["seconds", "answers", "ttl"];

/// Asks name servers.
#[derive(Debug)]
pub struct DnsProbe {
    servers: Vec<Endpoint>,
    question: Question,
    transport: Transport,
    expect: Expectations,
    limits: Limits,
}

/// What one server did.
struct Asked {
    session: Session,
    message: Option<Message>,
    result: Option<Result<String, Failed>>,
}

#[async_trait]
impl Probe for DnsProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let asked = self.servers.iter().map(|server| self.ask(server, stop)).collect();
        let mut asked = join_all(asked).await;
        if self.servers.len() == 1
            && let Some(one) = asked.pop()
        {
            return self.outcome(one);
        }
        let several = self.servers.iter().zip(asked);
        let outcomes = several.map(|(server, asked)| (server.to_string(), self.outcome(asked)));
        merge(outcomes.collect())
    }
}

impl DnsProbe {
    async fn ask(&self, server: &Endpoint, stop: &CancellationToken) -> Asked {
        let mut session = Session::start("dns", &["resolve", "connect", "request"]);
        let mut message = None;
        let look = async {
            let answer = exchange::ask(self.transport, &self.question, server, &mut session);
            let answer = message.insert(answer.await?);
            self.expect.judge(answer)
        };
        let result = stop.run_until_cancelled(look).await;
        Asked { session, message, result }
    }

    fn outcome(&self, asked: Asked) -> Outcome {
        let Asked { mut session, message, result } = asked;
        let sections = message.as_ref();
        let mut count = |name, list, records: Option<usize>| {
            let help = format!("Returns number of entries in the {list} resource record list");
            session.metrics.gauge(name, &help, records.unwrap_or(0) as f64);
        };
        count("probe_dns_answer_rrs", "answer", sections.map(|m| m.answer.len()));
        count("probe_dns_authority_rrs", "authority", sections.map(|m| m.authority.len()));
        count("probe_dns_additional_rrs", "additional", sections.map(|m| m.additional.len()));
        let help = "Displays whether or not the query was executed successfully";
        let succeeded = f64::from(u8::from(message.is_some()));
        session.metrics.gauge("probe_dns_query_succeeded", help, succeeded);
        if let Some(message) = &message {
            if let Some(serial) = message.answer.iter().find_map(|record| record.serial) {
                let help = "Returns the serial number of the zone";
                session.metrics.gauge("probe_dns_serial", help, f64::from(serial));
            }
            session.value("answers", message.answer.len() as f64, "");
            if let Some(ttl) = message.answer.iter().map(|record| record.ttl).min() {
                session.value("ttl", f64::from(ttl), "s");
            }
            let lines: Vec<_> = message.answer.iter().take(50).map(message::Record::line).collect();
            session.details = lines.join("\n").replace('\t', " ");
        }
        session.finish(result, &self.limits)
    }
}

/// One outcome of those of several servers: as bad as the worst, each metric and value with its
/// server.
fn merge(outcomes: Vec<(String, Outcome)>) -> Outcome {
    let mut merged = Outcome::ok("");
    let (mut summaries, mut details) = (Vec::new(), Vec::new());
    let mut families: Vec<MetricFamily> = Vec::new();
    for (server, mut outcome) in outcomes {
        let worse = merged.status.worse(outcome.status) != merged.status;
        if worse {
            (merged.status, merged.reason) = (outcome.status, outcome.reason);
        }
        let good = outcome.reason == Reason::None;
        details.push(format!("{server}: {}", outcome.summary));
        if !good {
            summaries.push(format!("{server}: {}", outcome.summary));
        }
        for value in &mut outcome.measurements {
            value.label = format!("{}_{server}", value.label);
        }
        merged.measurements.append(&mut outcome.measurements);
        for mut family in outcome.families {
            for sample in &mut family.samples {
                sample.labels.push(("server".into(), server.clone()));
            }
            match families.iter_mut().find(|known| known.name == family.name) {
                Some(known) => known.samples.append(&mut family.samples),
                None => families.push(family),
            }
        }
    }
    merged.summary = match summaries.is_empty() {
        true => format!("{} servers answer as they should", details.len()),
        false => summaries.join("; "),
    };
    merged.details = details.join("\n");
    merged.families = families;
    merged
}
