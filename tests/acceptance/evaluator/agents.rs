//! Agents that push: killed, and there again.
//!
//! Invariant: what is asked is what people see: alerts, targets, `/health`.

use tests::program::Program;
use tests::wait_until;

use crate::rig::Evaluator;

/// An agent that pushes to `evaluator` every second.
fn agent(evaluator: &Evaluator) -> Program {
    let config = format!(
        "listen: 127.0.0.1:{}\nhost: {{enabled: false}}\nchecks: [{{name: quiet, interval: 1s, \
         probe: {{script: {{command: [/bin/true]}}}}}}]\nuplink:\n  \
         url: http://127.0.0.1:{}/api/v1/write\n  interval: 1s\n  labels: {{instance: far}}\n  \
         buffer: {{dir: {}}}\n",
        tests::program::free_port(),
        evaluator.port,
        evaluator.path("buffer").display()
    );
    evaluator.write("agent.yml", &config);
    let config = evaluator.path("agent.yml");
    Program::start("veilleur-agent", ["--config".as_ref(), config.as_os_str()])
}

/// How the agent is among the targets.
fn health(evaluator: &Evaluator) -> String {
    let targets = evaluator.data("/api/v1/targets")["activeTargets"].clone();
    let shown = targets.as_array().cloned().unwrap_or_default();
    let far = shown.iter().find(|target| target["labels"]["instance"] == "far");
    far.map_or_else(String::new, |target| target["health"].as_str().unwrap_or("").to_owned())
}

#[test]
fn one_that_is_killed_is_down_until_it_pushes_again_also_over_a_restart() {
    let mut evaluator = Evaluator::new();
    let config = "global: {evaluation_interval: 1s}\n\
                  builtin_rules: {interval: 1s, for: {AgentDown: 1s}}\nrule_files: [rules.yml]\n\
                  route: {receiver: nobody}\nreceivers: [{name: nobody}]\n";
    evaluator.write("veilleur.yml", config);
    evaluator.write(
        "rules.yml",
        "groups: [{name: g, rules: [{alert: Down, expr: up == 0}, \
         {alert: Quiet, expr: veilleur_check_status == 0}]}]\n",
    );
    evaluator.start();
    let first = agent(&evaluator);
    wait_until("the agent is up", || {
        health(&evaluator) == "up" && evaluator.alerts("firing") == ["Quiet"]
    });
    assert_eq!(evaluator.value("veilleur_agent_up{instance=\"far\"}"), "1");

    first.kill();
    wait_until("it is missed", || evaluator.alerts("firing") == ["AgentDown", "Down", "Quiet"]);
    assert_eq!(health(&evaluator), "down");
    let said = evaluator.get("/health").unwrap().1;
    assert!(said.contains("`far` among them: it has pushed nothing for"), "{said}");
    // What its check said last is neither true nor over.
    wait_until("its alerts are stale", || {
        evaluator.value("veilleur_alert_stale{alert=\"Quiet\"}") == "1"
    });
    assert_eq!(evaluator.value("veilleur_check_status"), "");

    evaluator.kill();
    evaluator.start();
    wait_until("it is missed still", || {
        health(&evaluator) == "down" && evaluator.alerts("firing").len() == 3
    });

    let second = agent(&evaluator);
    wait_until("it is up again", || {
        health(&evaluator) == "up" && evaluator.alerts("firing") == ["Quiet"]
    });
    assert_eq!(evaluator.value("up{instance=\"far\"}"), "1");
    assert_eq!(evaluator.own("veilleur_remote_write_refused_total"), 0.0);
    second.kill();
}
