//! Debian's Mosquitto, NATS and RabbitMQ.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

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

/// Keeps a message for whoever asks for its topic, as a client of MQTT 3.1.1.
fn retain(port: u16, topic: &str, text: &str) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.write_all(b"\x10\x0f\0\x04MQTT\x04\x02\0\x3c\0\x03put").unwrap();
    let length = u8::try_from(2 + topic.len() + text.len()).unwrap();
    let head = [0x31, length, 0, u8::try_from(topic.len()).unwrap()];
    socket.write_all(&[&head, topic.as_bytes(), text.as_bytes(), &[0xe0, 0]].concat()).unwrap();
    // The broker hangs up once it has taken all.
    std::io::copy(&mut socket, &mut std::io::sink()).unwrap();
}

#[test]
fn a_message_of_mqtt_is_a_value_or_a_text() {
    let stage = Stage::new();
    let config = stage
        .write("mosquitto.conf", "listener PORT 127.0.0.1\nallow_anonymous true\nsys_interval 1\n");
    let _server = stage.start("/usr/sbin/mosquitto", &["-c", &config]);
    retain(stage.port, "shop/waiting", "12 orders");
    retain(stage.port, "shop/state", "degraded");
    let ask = |more: &str| format!("mqtt: {{address: '127.0.0.1:PORT', {more}}}");
    let o =
        stage.check(&ask("topic: shop/waiting"), Reason::None, "`shop/waiting` says `12 orders`");
    assert_eq!(value(&o, "value"), 12.0);
    assert!(metric(&o, "probe_mqtt_duration_seconds{phase=\"request\"}") > 0.0);
    let over = ask("topic: shop/waiting, thresholds: {value: {warn: 5, crit: 10}}");
    stage.check(&over, Reason::Threshold, "`value` is 12, critical by `10`");
    let state = |more: &str| ask(&format!("topic: shop/+, {more}"));
    stage.check(&state("expect: ^(degraded|12)"), Reason::None, "`shop/");
    stage.check(&state("expect: ^up$"), Reason::AnswerMismatch, "does not match `^up$`");
    let no_number = ask("topic: shop/state, thresholds: {value: {warn: 5}}");
    stage.check(&no_number, Reason::AnswerMismatch, "says `degraded`, which is no number");
    // What the broker says of itself.
    let clients = ask("topic: $SYS/broker/clients/connected, thresholds: {value: {crit: 100}}");
    let o = stage.check(&clients, Reason::None, "`$SYS/broker/clients/connected` says");
    assert!(value(&o, "value") >= 0.0);
    let o = stage.look_for(&ask("topic: shop/none"), Duration::from_millis(300));
    assert_eq!(o.reason, Reason::Timeout, "{o:?}");
    assert!(o.summary.contains("has not sent a message of `shop/none` after"), "{}", o.summary);
}

/// Answers requests to a subject as a client of NATS, until the server hangs up.
fn reply(port: u16, subject: &str, answer: &'static str) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut said = BufReader::new(socket.try_clone().unwrap()).lines();
    write!(socket, "CONNECT {{\"verbose\":false}}\r\nSUB {subject} 1\r\nPING\r\n").unwrap();
    // Once it has answered the ping, it has taken the subscription.
    while said.next().unwrap().unwrap() != "PONG" {}
    std::thread::spawn(move || {
        while let Some(Ok(line)) = said.next() {
            let words: Vec<_> = line.split(' ').collect();
            let ["MSG", _, _, to, _] = words[..] else { continue };
            let asked = said.next().unwrap().unwrap();
            let text = answer.replace("{asked}", &asked);
            write!(socket, "PUB {to} {}\r\n{text}\r\n", text.len()).unwrap();
        }
    });
}

#[test]
fn a_reply_of_nats_is_a_value_or_a_text() {
    let stage = Stage::new();
    let account = "authorization { users: [{user: ann, password: s3cret, permissions: \
                   {publish: ['shop.>'], subscribe: ['_INBOX.>', 'shop.>']}}, {user: all, password: any}] }\n\
                   no_auth_user: all\n";
    let config = stage.write("nats.conf", &format!("host: 127.0.0.1\nport: PORT\n{account}"));
    let _server = stage.start("/usr/sbin/nats-server", &["-c", &config]);
    reply(stage.port, "shop.depth", "7 of {asked}");
    let ask = |more: &str| format!("nats: {{address: '127.0.0.1:PORT', {more}}}");
    let o = stage.check(
        &ask("subject: shop.depth, request: orders, expect: ' of orders$'"),
        Reason::None,
        "`shop.depth` says `7 of orders`",
    );
    assert_eq!(value(&o, "value"), 7.0);
    let over = ask("subject: shop.depth, request: '', thresholds: {value: {warn: 5}}");
    stage.check(&over, Reason::Threshold, "`value` is 7, warning by `5`");
    let other = ask("subject: shop.depth, request: a, expect: ^8");
    stage.check(&other, Reason::AnswerMismatch, "says `7 of a`, does not match `^8`");
    stage.check(&ask("subject: shop.none, request: a"), Reason::NotServing, "nobody answers");
    let who = "username: ann, password: s3cret";
    let secret = ask(&format!("{who}, subject: secret, request: a"));
    stage.check(&secret, Reason::QueryFailed, "Permissions Violation for Publish");
    // Without a request it is the next message.
    let o = stage.look_for(&ask("subject: shop.events.*"), Duration::from_millis(300));
    assert_eq!(o.reason, Reason::Timeout, "{o:?}");
    let port = stage.port;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ended = std::sync::Arc::clone(&stop);
    let teller = std::thread::spawn(move || {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.write_all(b"CONNECT {\"verbose\":false}\r\n").unwrap();
        while !ended.load(std::sync::atomic::Ordering::Relaxed) {
            socket.write_all(b"PUB shop.events.paid 2\r\n42\r\n").unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let o =
        stage.check(&ask("subject: shop.events.*"), Reason::None, "`shop.events.paid` says `42`");
    assert_eq!(value(&o, "value"), 42.0);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    teller.join().unwrap();
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
