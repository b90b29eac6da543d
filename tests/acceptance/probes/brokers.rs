//! Debian's Mosquitto, NATS and RabbitMQ.

use std::process::Command;

use probes::Reason;
use tests::program::free_port;

use crate::stage::{Stage, metric, run, value};

#[test]
fn an_mqtt_broker_lets_us_in_and_answers() {
    let stage = Stage::new();
    stage.certificate();
    let passwords = stage.text("passwords");
    run(Command::new("mosquitto_passwd").args(["-b", "-c", &passwords, "ann", "s3cret"]));
    run(Command::new("chmod").args(["644", &passwords]));
    let (open, secure) = (free_port(), free_port());
    let config = stage.write(
        "mosquitto.conf",
        &format!(
            "per_listener_settings true\nlistener PORT 127.0.0.1\nallow_anonymous false\n\
             password_file DIR/passwords\nlistener {open} 127.0.0.1\nallow_anonymous true\n\
             listener {secure} 127.0.0.1\nallow_anonymous true\ncertfile DIR/cert.pem\n\
             keyfile DIR/key.pem\n"
        ),
    );
    let _server = stage.start("/usr/sbin/mosquitto", &["-c", &config]);
    let o = stage.check(&format!("mqtt: {{address: '127.0.0.1:{open}'}}"), Reason::None, "answers");
    assert!(metric(&o, "probe_mqtt_duration_seconds{phase=\"request\"}") > 0.0);
    let ask = |more: &str| format!("mqtt: {{address: '127.0.0.1:PORT'{more}}}");
    stage.check(&ask(", username: ann, password: s3cret"), Reason::None, "answers");
    let wrong = ask(", username: ann, password: guess");
    stage.check(&wrong, Reason::AuthenticationFailed, "does not");
    stage.check(&ask(""), Reason::AuthenticationFailed, "does not let us in");
    let tls = |more: &str| format!("mqtt: {{address: '127.0.0.1:{secure}', tls: {{{more}}}}}");
    let o = stage.check(&tls("ca_file: DIR/cert.pem"), Reason::None, "answers");
    assert!(value(&o, "days_left") > 19.0);
    stage.check(&tls(""), Reason::CertificateSelfSigned, "");
}

#[test]
fn a_nats_server_lets_us_in_and_answers() {
    let serve = |more: &str| {
        let stage = Stage::new();
        stage.certificate();
        let config = stage.write("nats.conf", &format!("host: 127.0.0.1\nport: PORT\n{more}\n"));
        let server = stage.start("/usr/sbin/nats-server", &["-c", &config]);
        (stage, server)
    };
    let ask = |more: &str| format!("nats: {{address: '127.0.0.1:PORT'{more}}}");
    let (stage, _server) = serve("");
    stage.check(&ask(""), Reason::None, "NATS 2.");
    let (stage, _server) = serve("authorization { user: ann, password: s3cret }");
    stage.check(&ask(", username: ann, password: s3cret"), Reason::None, "NATS 2.");
    let wrong = ask(", username: ann, password: guess");
    stage.check(&wrong, Reason::AuthenticationFailed, "Authorization Violation");
    stage.check(&ask(""), Reason::AuthenticationFailed, "Authorization Violation");
    let (stage, _server) = serve("authorization { token: t0ken }");
    stage.check(&ask(", password: t0ken"), Reason::None, "NATS 2.");
    let (stage, _server) = serve("tls { cert_file: \"DIR/cert.pem\", key_file: \"DIR/key.pem\" }");
    let o = stage.check(&ask(", tls: {ca_file: DIR/cert.pem}"), Reason::None, "NATS 2.");
    assert!(value(&o, "days_left") > 19.0);
    stage.check(&ask(", tls: {}"), Reason::CertificateSelfSigned, "");
}

/// The port of the program by which Erlang's nodes find each other; RabbitMQ starts one and leaves
/// it behind.
struct Names(String);

impl Drop for Names {
    fn drop(&mut self) {
        // The broker has to be gone first, and may take a moment.
        for _ in 0..100 {
            let end = Command::new("epmd").arg("-kill").env("ERL_EPMD_PORT", &self.0).output();
            if end.is_ok_and(|end| String::from_utf8_lossy(&end.stdout).contains("Killed")) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

#[test]
fn an_amqp_broker_lets_us_in_and_tells_of_a_queue() {
    let stage = Stage::new();
    let distribution = free_port();
    stage.write("enabled_plugins", "[].\n");
    stage.write(
        "definitions.json",
        r#"{"users": [{"name": "ann", "password": "s3cret", "tags": ""}],
            "vhosts": [{"name": "/"}, {"name": "shop"}],
            "permissions": [{"user": "ann", "vhost": "shop", "configure": ".*", "write": ".*", "read": ".*"}],
            "queues": [{"name": "orders", "vhost": "shop", "durable": true, "auto_delete": false, "arguments": {}}]}"#,
    );
    let config = stage.write(
        "rabbitmq.conf",
        "listeners.tcp.1 = 127.0.0.1:PORT\nload_definitions = DIR/definitions.json\n",
    );
    for folder in ["home", "log", "mnesia"] {
        std::fs::create_dir_all(stage.path(folder)).unwrap();
    }
    let names = Names(free_port().to_string());
    let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
    command
        .env("HOME", stage.path("home"))
        .env("RABBITMQ_NODENAME", format!("veilleur{}@localhost", stage.port))
        .env("RABBITMQ_NODE_PORT", stage.port.to_string())
        .env("RABBITMQ_DIST_PORT", distribution.to_string())
        .env("RABBITMQ_CONFIG_FILE", config)
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("RABBITMQ_LOG_BASE", stage.path("log"))
        .env("RABBITMQ_MNESIA_BASE", stage.path("mnesia"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", stage.path("enabled_plugins"))
        // The script becomes the broker, so that ending it ends the broker.
        .env("RUNNING_UNDER_SYSTEMD", "1")
        .env("ERL_EPMD_PORT", &names.0);
    let _server = stage.spawn(command);
    let ask = |more: &str| format!("amqp: {{address: '127.0.0.1:PORT'{more}}}");
    let ann = ", username: ann, password: s3cret, virtual_host: shop";
    stage.wait_for(&ask(ann));
    let o = stage.check(&ask(&format!("{ann}, queue: orders")), Reason::None, "has 0 messages");
    assert_eq!((value(&o, "messages"), value(&o, "consumers")), (0.0, 0.0));
    let limits = ", queue: orders, thresholds: {consumers: {crit: '1:'}}";
    let idle = ask(&format!("{ann}{limits}"));
    stage.check(&idle, Reason::Threshold, "`consumers` is 0, critical by `1:`");
    stage.check(&ask(&format!("{ann}, queue: none")), Reason::AnswerMismatch, "404");
    let wrong = ask(", username: ann, password: guess");
    stage.check(&wrong, Reason::AuthenticationFailed, "403");
    let host = ask(", username: ann, password: s3cret, virtual_host: none");
    stage.check(&host, Reason::ErrorAnswer, "530");
}
