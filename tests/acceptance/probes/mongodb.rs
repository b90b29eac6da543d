//! A MongoDB server: login, replica set, commands. Debian has none, so it is a stand-in of our own,
//! by the published protocol; pymongo, which knows nothing of us, is content with it.

use std::process::Command;

use probes::Reason;
use tests::peers;
use tests::program::Program;

use crate::stage::{Stage, run, value};

/// A server with these settings, in which `DIR` stands for the folder.
fn serve(stage: &Stage, settings: &str) -> Option<Program> {
    let python = peers::python()?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/acceptance/probes/mongodb_server.py");
    let settings = settings.replace("DIR", stage.text("").trim_end_matches('/'));
    let settings = format!("{{\"port\": {}, {settings}}}", stage.port);
    Some(stage.start(python.to_str().unwrap(), &[script, &settings]))
}

const USERS: &str = r#""users": {"new": ["SCRAM-SHA-1", "SCRAM-SHA-256"], "old": ["SCRAM-SHA-1"]}"#;

const CLIENT: &str = r#"
import sys
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from pymongo.server_api import ServerApi

def client(**more):
    return MongoClient("127.0.0.1", int(sys.argv[1]), server_api=ServerApi("1"), directConnection=True, **more)

for user, mechanism in [("new", "SCRAM-SHA-256"), ("new", "SCRAM-SHA-1"), ("old", "SCRAM-SHA-1")]:
    admin = client(username=user, password="s3cret", authMechanism=mechanism).admin
    assert admin.command("ping")["ok"] == 1
    status = admin.command("serverStatus")
    assert status["connections"]["current"] == 12, status
    assert len(admin.command("replSetGetStatus")["members"]) == 4
for login in [{}, {"username": "new", "password": "guess"}, {"username": "old", "password": "guess"}]:
    try:
        client(**login).admin.command("serverStatus")
    except OperationFailure as failure:
        assert failure.code in (13, 18), failure
    else:
        raise SystemExit(f"{login} was let in")
"#;

#[test]
fn the_stand_in_is_a_server_to_an_independent_client() {
    let stage = Stage::new();
    let Some(_server) = serve(&stage, &format!("{USERS}, \"set\": \"shop\"")) else { return };
    let python = peers::python().unwrap();
    run(Command::new(python).args(["-c", CLIENT, &stage.port.to_string()]));
}

#[test]
fn a_server_lets_us_in_and_answers() {
    let stage = Stage::new();
    let Some(_server) = serve(&stage, &format!("{USERS}, \"set\": \"shop\"")) else { return };
    let ask = |more: &str| format!("mongodb: {{address: '127.0.0.1:PORT'{more}}}");
    let good = |more: &str, part: &str| stage.check(&ask(more), Reason::None, part);
    let bad = |more: &str, reason, part: &str| stage.check(&ask(more), reason, part);
    good("", "MongoDB, primary");
    let denied = Reason::AuthenticationFailed;
    for user in ["new", "old"] {
        good(&format!(", username: {user}, password: s3cret"), "MongoDB, primary");
        let o = bad(&format!(", username: {user}, password: guess"), denied, "answers 18");
        assert!(!o.summary.contains("guess"), "{}", o.summary);
    }
    bad(", username: eve, password: s3cret", denied, "answers 18");
    bad(", command: serverStatus, field: connections.current", denied, "answers 13");
    let new = |more: &str| format!(", username: new, password: s3cret{more}");
    let set = new(", replica_set: shop");
    let o = good(&set, "MongoDB, primary of 4 members, the slowest 30 s behind");
    assert_eq!((value(&o, "members"), value(&o, "down"), value(&o, "lag")), (4.0, 1.0, 30.0));
    let late = format!("{set}, thresholds: {{lag: {{warn: 10, crit: 60}}, down: {{crit: 1}}}}");
    bad(&late, Reason::Threshold, "`lag` is 30s, warning by `10`");
    bad(&new(", replica_set: other"), Reason::AnswerMismatch, "of the replica set `shop`");
    bad(&new(", role: secondary"), Reason::AnswerMismatch, "is primary, wanted secondary");

    let current = new(", command: serverStatus, field: connections.current");
    let o = good(&current, "connections.current is 12");
    assert_eq!(value(&o, "value"), 12.0);
    let over = format!("{current}, thresholds: {{value: {{warn: 10}}}}");
    bad(&over, Reason::Threshold, "`value` is 12, warning by `10`");
    let field = |field: &str| new(&format!(", command: serverStatus, field: {field}"));
    bad(&field("connections.none"), Reason::AnswerMismatch, "has no `connections.none`");
    bad(&field("host"), Reason::AnswerMismatch, "`host` of the answer is no number");
    bad(&new(", command: hostInfo, field: x"), Reason::QueryFailed, "no such command");
    let count =
        |query: &str| new(&format!(", database: shop, command: count, collection: jobs{query}"));
    good(&count(""), "n is 42");
    good(&count(", query: {state: failed}"), "n is 7");
}

#[test]
fn a_server_that_is_not_as_it_should_be_says_so() {
    let stage = Stage::new();
    let Some(_server) = serve(&stage, r#""set": "shop", "role": "secondary""#) else { return };
    let ask = |more: &str| format!("mongodb: {{address: '127.0.0.1:PORT'{more}}}");
    stage.check(&ask(""), Reason::None, "MongoDB, secondary");
    stage.check(&ask(", role: primary"), Reason::AnswerMismatch, "is secondary, wanted primary");
    stage.check(&ask(", replica_set: shop"), Reason::NotServing, "has no primary");
    let stage = Stage::new();
    let _server = serve(&stage, r#""set": "shop", "role": "starting""#);
    stage.check(&ask(""), Reason::NotServing, "neither primary nor secondary");
    let stage = Stage::new();
    let _server = serve(&stage, "\"role\": \"primary\"");
    stage.check(&ask(""), Reason::None, "MongoDB, standalone");
    stage.check(&ask(", replica_set: shop"), Reason::AnswerMismatch, "of no replica set");
}

#[test]
fn an_old_server_over_tls() {
    let stage = Stage::new();
    stage.certificate();
    let settings =
        format!("{USERS}, \"old\": true, \"cert\": \"DIR/cert.pem\", \"key\": \"DIR/key.pem\"");
    let Some(_server) = serve(&stage, &settings) else { return };
    let ask = |more: &str| format!("mongodb: {{address: '127.0.0.1:PORT'{more}}}");
    let tls = ", tls: {ca_file: DIR/cert.pem}";
    for user in ["new", "old"] {
        let login = format!("{tls}, username: {user}, password: s3cret");
        let o = stage.check(&ask(&login), Reason::None, "MongoDB, standalone");
        assert!(value(&o, "days_left") > 19.0);
    }
    let guess = format!("{tls}, username: old, password: guess");
    stage.check(&ask(&guess), Reason::AuthenticationFailed, "answers 18");
    stage.check(&ask(", tls: {}"), Reason::CertificateSelfSigned, "");
}
