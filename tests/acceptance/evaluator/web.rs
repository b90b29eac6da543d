//! Who may reach the evaluator: the same settings as the agent's, and a target that asks for them.
//!
//! Invariant: nobody reads or reloads who is not let in.

use std::fs;

use tests::certificates::{Authority, Purpose};
use tests::program::{End, Program, free_port, run};
use tests::{curl, wait_until};

use crate::rig::Evaluator;

/// Of `swordfish`.
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuupWDwJQeCHYIBQy8WvkVB6ImhZ476YYy";

#[test]
fn an_evaluator_and_its_agent_speak_tls_and_ask_for_passwords() {
    let evaluator = Evaluator::new();
    let authority = Authority::new(&evaluator.path(""), "pki");
    authority.sign("server", Purpose::Server);
    let web = format!(
        "web:\n  tls_server_config: {{cert_file: pki/server.crt, key_file: pki/server.key}}\n  \
         basic_auth_users: {{anne: '{HASH}'}}\n"
    );
    let agent_port = free_port();
    evaluator.write("agent.yml", &format!("listen: 127.0.0.1:{agent_port}\n{web}checks: []\n"));
    let ca = authority.certificate();
    let config = format!(
        "{web}  unauthenticated_paths: [/-/ready]\nglobal: {{scrape_interval: 1s}}\n\
         scrape_configs:\n- job_name: agent\n  scheme: https\n  tls_config: {{ca_file: {ca}}}\n  \
         basic_auth: {{username: anne, password: swordfish}}\n  static_configs: \
         [{{targets: ['127.0.0.1:{agent_port}']}}]\n"
    );
    evaluator.write("veilleur.yml", &config);
    let agent = evaluator.path("agent.yml");
    let _agent = Program::start("veilleur-agent", ["--config".as_ref(), agent.as_os_str()]);
    let mut program = Program::start("veilleur", evaluator.arguments());
    let url = program.url();
    assert!(url.starts_with("https://"), "{url}");
    let ask = |path: &str, more: &[&str]| {
        let address = format!("{url}{path}");
        let (_, status, body) = curl(&[&["--cacert", &ca, &address][..], more].concat());
        (status, body)
    };
    let known = ["-u", "anne:swordfish"];
    for (path, more, expected) in [
        ("/-/ready", &[][..], 200),
        ("/", &[], 401),
        ("/metrics", &[], 401),
        ("/api/v1/query?query=up", &["-u", "anne:wrong"], 401),
        ("/-/reload", &["-X", "POST"], 401),
        ("/-/quit", &["-X", "POST"], 401),
        ("/api/v1/admin/tsdb/snapshot", &["-X", "POST"], 401),
        ("/debug/pprof/", &[], 401),
        ("/api/v1/query?query=up", &known, 200),
        ("/metrics", &known, 200),
        ("/-/reload", &["-X", "POST", "-u", "anne:swordfish"], 200),
    ] {
        assert_eq!(ask(path, more).0, expected, "{path} {more:?}");
    }
    wait_until("the agent is scraped", || {
        ask("/api/v1/query?query=up", &known).1.contains(",\"1\"]")
    });
    // A reload that would open the port changes nothing.
    program.terminate();
    let arguments = evaluator.arguments();
    let open: Vec<_> = arguments
        .iter()
        .map(|argument| argument.to_str().unwrap().replace("127.0.0.1:", "0.0.0.0:"))
        .collect();
    let program = Program::start("veilleur", &open);
    wait_until("it is ready", || ask("/-/ready", &[]).0 == 200);
    evaluator.write("veilleur.yml", &config.replace(&web, "").replace("  unauth", "# "));
    let (status, told) = ask("/-/reload", &["-X", "POST", "-u", "anne:swordfish"]);
    assert_eq!(status, 500, "{told}");
    assert!(told.contains("without TLS and without a password"), "{told}");
    assert_eq!(ask("/metrics", &[]).0, 401);
    drop(program);
    let (end, _, told) = run("veilleur", &open);
    assert_eq!(end, End::Exit(2), "{told}");
    assert!(told.contains("tls_server_config") && told.contains("--insecure-listen"), "{told}");
    fs::write(evaluator.path("web.yml"), "{tls_server_config: {cert_file: none}}").unwrap();
    let (config, web) = (evaluator.path("veilleur.yml"), evaluator.path("web.yml"));
    let check = ["check", config.to_str().unwrap(), "--web.config.file", web.to_str().unwrap()];
    let (end, _, told) = run("veilleur", check);
    assert!(end == End::Exit(2) && told.contains("web.yml:1:21: `key_file` is missing"), "{told}");
}
