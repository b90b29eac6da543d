//! What fails is told at once, however rarely rules are evaluated.
//!
//! Invariant: no evaluation that is planned comes within the test.

use tests::http_server::{HttpServer, Reply};
use tests::wait_until;

use crate::rig::Evaluator;

#[test]
fn a_target_that_fails_is_told_before_the_next_planned_evaluation() {
    let target = HttpServer::start(|_| Reply::text("heat 21.5\n"));
    let sink = HttpServer::sink();
    let mut evaluator = Evaluator::new();
    evaluator.write(
        "rules.yml",
        "groups:\n- name: rare\n  interval: 10d\n  rules:\n  \
         - {alert: TargetDown, expr: 'up{job=\"probe\"} == 0'}\n\
         - name: records\n  interval: 10d\n  rules:\n  \
         - {record: down, expr: 'up == 0'}\n",
    );
    let config = format!(
        "global: {{scrape_interval: 1s}}\nrule_files: [rules.yml]\nscrape_configs:\n\
         - job_name: probe\n  static_configs: [{{targets: ['{}']}}]\n\
         route: {{receiver: sink, group_wait: 0s}}\n\
         receivers: [{{name: sink, webhook_configs: [{{url: '{}'}}]}}]\n",
        target.address(),
        sink.url("/"),
    );
    evaluator.write("veilleur.yml", &config);
    evaluator.start();
    wait_until("the target is seen to be well", || evaluator.value("up") == "1");
    assert_eq!(evaluator.own("veilleur_rule_group_early_total"), 0.0);
    target.reply_with(|_| Reply::status(500));
    wait_until("the webhook is told", || !sink.asked().is_empty());
    assert_eq!(sink.asked()[0].json()["alerts"][0]["labels"]["alertname"], "TargetDown");
    wait_until("it is counted", || evaluator.own("veilleur_rule_group_early_total") > 0.0);
    // Samples that others count on come at even times only.
    assert_eq!(evaluator.value("down"), "");
}
