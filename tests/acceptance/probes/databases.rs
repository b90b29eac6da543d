//! Debian's PostgreSQL and MariaDB: logins of every kind, queries, TLS.

use std::process::Command;

use probes::Reason;
use tests::program::Program;

use crate::stage::{Stage, run, value};

/// A command as a user without rights.
fn as_user(user: &str, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups", program]);
    command
}

fn postgres() -> (Stage, Program) {
    let stage = Stage::new();
    stage.certificate();
    let folder = std::fs::read_dir("/usr/lib/postgresql").unwrap().next().unwrap().unwrap();
    let program = |name: &str| folder.path().join("bin").join(name).display().to_string();
    let data = stage.text("data");
    let mut init = as_user("postgres", &program("initdb"));
    run(init.args(["-D", &data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8"]));
    run(Command::new("chown").args(["postgres", &stage.text("key.pem")]));
    run(Command::new("chmod").args(["600", &stage.text("key.pem")]));
    stage.write(
        "data/pg_hba.conf",
        "host all postgres 127.0.0.1/32 trust\nhost all old 127.0.0.1/32 md5\n\
         host all plain 127.0.0.1/32 password\nhostssl all secure 127.0.0.1/32 scram-sha-256\n\
         host all new 127.0.0.1/32 scram-sha-256\n",
    );
    let mut server = as_user("postgres", &program("postgres"));
    let port = stage.port.to_string();
    let (cert, key) = (stage.text("cert.pem"), stage.text("key.pem"));
    server.args(["-D", &data, "-p", &port, "-c", "listen_addresses=127.0.0.1"]);
    server.args(["-c", "unix_socket_directories=", "-c", "ssl=on", "-c", "fsync=off"]);
    server.args(["-c", &format!("ssl_cert_file={cert}"), "-c", &format!("ssl_key_file={key}")]);
    let server = stage.spawn(server);
    stage.wait_for("postgres: {address: '127.0.0.1:PORT', username: postgres}");
    let sql = "SET password_encryption = 'md5'; CREATE ROLE old LOGIN PASSWORD 's3cret';
        CREATE ROLE plain LOGIN PASSWORD 's3cret'; SET password_encryption = 'scram-sha-256';
        CREATE ROLE new LOGIN PASSWORD 's3cret'; CREATE ROLE secure LOGIN PASSWORD 's3cret';
        CREATE TABLE jobs (id int); INSERT INTO jobs SELECT generate_series(1, 42);
        GRANT ALL ON jobs TO new;";
    run(Command::new("psql").args([
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-U",
        "postgres",
        "-q",
        "-c",
        sql,
    ]));
    (stage, server)
}

#[test]
fn a_postgresql_server_lets_us_in_and_answers() {
    let (stage, _server) = postgres();
    let ask = |user: &str, more: &str| {
        format!(
            "postgres: {{address: '127.0.0.1:PORT', database: postgres, username: {user}{more}}}"
        )
    };
    let good =
        |user: &str, more: &str, part: &str| stage.check(&ask(user, more), Reason::None, part);
    let bad =
        |user: &str, more: &str, reason, part: &str| stage.check(&ask(user, more), reason, part);
    let pass = ", password: s3cret";
    let tls = ", tls: {ca_file: DIR/cert.pem}";
    good("postgres", "", "PostgreSQL 1");
    good("new", pass, "PostgreSQL 1");
    good("old", pass, "PostgreSQL 1");
    for user in ["new", "old"] {
        let o = bad(user, ", password: guess", Reason::AuthenticationFailed, "28P01");
        assert!(!o.summary.contains("guess"), "{}", o.summary);
        bad(user, "", Reason::AuthenticationFailed, "none is configured");
    }
    bad("plain", pass, Reason::TlsPolicy, "in clear, without encryption");
    good("plain", &format!("{pass}{tls}"), "PostgreSQL");
    let o = good("secure", &format!("{pass}{tls}"), "PostgreSQL");
    assert!(value(&o, "days_left") > 19.0);
    bad("secure", pass, Reason::AuthenticationFailed, "28000");
    bad("secure", ", tls: {}", Reason::CertificateSelfSigned, "");
    let seen = "tls: {address: '127.0.0.1:PORT', starttls: postgres, tls: {ca_file: DIR/cert.pem}}";
    stage.check(seen, Reason::None, "good for 19 days");
    bad("nobody", pass, Reason::AuthenticationFailed, "28000");
    let none = ask("new", pass).replace("database: postgres", "database: none");
    stage.check(&none, Reason::ErrorAnswer, "3D000");

    let query = |sql: &str, more: &str| format!("{pass}, query: \"{sql}\"{more}");
    let o = good("new", &query("SELECT count(*) FROM jobs", ""), "the query gives 42");
    assert_eq!(value(&o, "query"), 42.0);
    let limits = ", thresholds: {query: {warn: 10, crit: 100}}";
    let over = query("SELECT count(*) FROM jobs", limits);
    bad("new", &over, Reason::Threshold, "`query` is 42, warning by `10`");
    good("new", &query("SELECT id FROM jobs ORDER BY id DESC", ""), "the query gives 42");
    good("new", &query("SELECT true", ""), "the query gives 1");
    bad("new", &query("SELECT 'x'", ""), Reason::AnswerMismatch, "gives `x`, wanted a number");
    bad("new", &query("SELECT NULL", ""), Reason::AnswerMismatch, "gives nothing");
    bad("new", &query("SELECT nonsense", ""), Reason::QueryFailed, "42703");
    bad("new", &query("DELETE FROM jobs", ""), Reason::QueryFailed, "read-only");
}

fn mariadb() -> (Stage, Program) {
    let stage = Stage::new();
    stage.certificate();
    let (data, port) = (stage.text("data"), stage.port.to_string());
    let folder = format!("--datadir={data}");
    run(Command::new("mariadb-install-db").args([
        "--no-defaults",
        &folder,
        "--user=mysql",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
    ]));
    let (cert, key) = (stage.text("cert.pem"), stage.text("key.pem"));
    let socket = stage.text("s");
    let server = stage.start(
        "/usr/sbin/mariadbd",
        &[
            "--no-defaults",
            &folder,
            "--user=mysql",
            "--bind-address=127.0.0.1",
            &format!("--port={port}"),
            &format!("--socket={socket}"),
            &format!("--ssl-cert={cert}"),
            &format!("--ssl-key={key}"),
            "--innodb-flush-log-at-trx-commit=0",
        ],
    );
    let sql = "CREATE DATABASE shop; CREATE TABLE shop.jobs (id int);
        INSERT INTO shop.jobs VALUES (1), (2), (42);
        CREATE USER new@'127.0.0.1' IDENTIFIED BY 's3cret'; GRANT ALL ON shop.* TO new@'127.0.0.1';
        CREATE USER secure@'127.0.0.1' IDENTIFIED BY 's3cret' REQUIRE SSL;";
    run(Command::new("mariadb").args([
        "--no-defaults",
        "-u",
        "root",
        &format!("--socket={socket}"),
        "-e",
        sql,
    ]));
    (stage, server)
}

#[test]
fn a_mariadb_server_lets_us_in_and_answers() {
    let (stage, _server) = mariadb();
    let ask = |more: &str| format!("mysql: {{address: '127.0.0.1:PORT'{more}}}");
    let good = |more: &str, part: &str| stage.check(&ask(more), Reason::None, part);
    let bad = |more: &str, reason, part: &str| stage.check(&ask(more), reason, part);
    let new = ", username: new, password: s3cret";
    let tls = ", tls: {ca_file: DIR/cert.pem}";
    good("", "MariaDB");
    good(new, "MariaDB");
    let o = good(&format!("{new}{tls}"), "MariaDB");
    assert!(value(&o, "days_left") > 19.0);
    good(&format!(", username: secure, password: s3cret{tls}"), "MariaDB");
    let only_tls =
        "tls: {address: '127.0.0.1:PORT', starttls: mysql, tls: {ca_file: DIR/cert.pem}}";
    stage.check(only_tls, Reason::None, "good for 19 days");
    bad(", username: secure, password: s3cret", Reason::AuthenticationFailed, "1045");
    bad(", tls: {}", Reason::CertificateSelfSigned, "");
    let o = bad(", username: new, password: guess", Reason::AuthenticationFailed, "1045");
    assert!(!o.summary.contains("guess"), "{}", o.summary);
    bad(", username: nobody", Reason::AuthenticationFailed, "1045");
    bad(&format!("{new}, database: none"), Reason::AuthenticationFailed, "1044");

    let query = |sql: &str, more: &str| format!("{new}, database: shop, query: \"{sql}\"{more}");
    let o = good(&query("SELECT count(*) FROM jobs", ""), "the query gives 3");
    assert_eq!(value(&o, "query"), 3.0);
    let limits = ", thresholds: {query: {crit: 40}}";
    let over = query("SELECT id FROM jobs ORDER BY id DESC", limits);
    bad(&over, Reason::Threshold, "`query` is 42, critical by `40`");
    bad(&query("SELECT 'x'", ""), Reason::AnswerMismatch, "gives `x`, wanted a number");
    bad(&query("SELECT NULL", ""), Reason::AnswerMismatch, "gives nothing");
    bad(&query("SELECT nonsense", ""), Reason::QueryFailed, "1054");
    bad(&query("DELETE FROM jobs", ""), Reason::QueryFailed, "1792");
}
