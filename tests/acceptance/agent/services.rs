//! The health tree: services that stand on checks, on one another, and on pages of other hosts; also
//! of hosts that need one another.

use tests::http_server::{HttpServer, Reply};
use tests::program::{End, free_port};
use tests::wait_until;

use crate::stage::{Agent, Stage};

/// A check that a file is there, often.
fn file_check(stage: &Stage, name: &str, path: &str) -> String {
    let program = "#!/bin/sh\n[ -e \"$1\" ] || { echo \"$1 is gone\"; exit 2; }\n";
    let program = stage.program("there", program);
    format!(
        "- {{name: {name}, interval: 200ms, retries: 0, \
         probe: {{script: {{command: [{program}, '{path}']}}}}}}\n"
    )
}

fn culprit(agent: &Agent, service: &str) -> (u16, String) {
    let (status, text) = agent.get(&format!("/health/{service}?format=json"));
    let page: serde_json::Value = serde_json::from_str(&text).unwrap();
    let path = page["culprit"]["path"].as_array().cloned().unwrap_or_default();
    let path: Vec<_> = path.iter().map(|name| name.as_str().unwrap()).collect();
    (status, path.join("/"))
}

#[test]
fn the_first_broken_leaf_is_the_culprit_on_pages_and_as_metrics() {
    let app = HttpServer::start(|_| {
        let body = r#"{"status":"DOWN","components":{"<b>db":{"status":"DOWN","details":{"error":"<i>refused"}},
            "disk":{"status":"UP"}}}"#;
        Reply::Answer(503, "content-type: application/json\r\n".into(), body.into())
    });
    let stage = Stage::new();
    stage.configure(&format!(
        "checks:\n{}- {{name: app, interval: 200ms, retries: 0, probe: {{health: {{url: '{}'}}}}}}\n\
         services:\n  shop: {{needs: [disk, payments], description: Where <customers> order.}}\n  \
         payments: {{needs: [app]}}\n",
        file_check(&stage, "disk", "/"),
        app.url("/actuator/health"),
    ));
    let agent = stage.start();
    agent.wait_for("veilleur_service_up{service=\"shop\"}", 0.0);
    agent.wait_for("veilleur_service_dependency_up{service=\"shop\",dependency=\"disk\"}", 1.0);
    for series in [
        "{service=\"shop\",dependency=\"payments\",culprit=\"payments/app/<b>db\"}",
        "{service=\"payments\",dependency=\"app\",culprit=\"app/<b>db\"}",
    ] {
        assert_eq!(agent.value(&format!("veilleur_service_dependency_up{series}")), Some(0.0));
    }
    let component = "{check=\"app\",component=\"disk\"}";
    assert_eq!(agent.value(&format!("veilleur_health_component_status{component}")), Some(0.0));

    assert_eq!(culprit(&agent, "shop"), (503, "shop/payments/app/<b>db".to_owned()));
    let (status, page) = agent.get("/health/shop?format=html");
    assert_eq!(status, 503);
    // In order: no script, what people wrote is text, and the way to the culprit with its reason.
    for part in [
        "<meta name=\"viewport\"",
        "Where &lt;customers&gt; order.",
        "<strong>payments → app → &lt;b&gt;db</strong>: &lt;i&gt;refused (component-failed)",
        "<details open><summary><span class=\"mark\">failed</span><a class=\"name\" href=\"/health/payments\">",
        "<span class=\"name\">&lt;b&gt;db</span>",
    ] {
        assert!(page.contains(part), "no {part} in\n{page}");
    }
    assert!(!page.contains("<script") && !page.contains("<b>") && !page.contains("<i>"), "{page}");
    assert!(agent.get("/style.css").1.contains("prefers-color-scheme: dark"));
    let (_, all) = agent.health();
    assert_eq!(all["services"]["shop"]["culprit"]["reason"], "component-failed");
    assert_eq!(all["services"]["shop"]["needs"]["payments"], "fail");
    // The page was asked in the background: looking at ours asks it no further.
    let asked = app.asked().len();
    (0..50).for_each(|_| drop(agent.get("/health/shop")));
    assert!(app.asked().len() < asked + 25, "{} after {asked}", app.asked().len());
}

#[test]
fn hosts_that_need_one_another_do_not_keep_each_other_down() {
    // Three agents in a circle, each with a file of its own that it needs too.
    let stages = [Stage::new(), Stage::new(), Stage::new()];
    let ports = [free_port(), free_port(), free_port()];
    let agents: Vec<_> = (0..3)
        .map(|n| {
            std::fs::write(stages[n].path("file"), "").unwrap();
            let next = format!("http://127.0.0.1:{}/health/ring", ports[(n + 1) % 3]);
            let page = format!(
                "- {{name: next, interval: 200ms, retries: 0, probe: {{health: {{url: '{next}'}}}}}}\n"
            );
            let file = file_check(&stages[n], "file", &stages[n].text("file"));
            stages[n].configure(&format!(
                "checks:\n{file}{page}services: {{ring: {{needs: [file, next]}}}}\n"
            ));
            stages[n].start_on(ports[n])
        })
        .collect();
    let all = |expected: [(u16, &str); 3]| {
        wait_until(&format!("the ring is {expected:?}"), || {
            let got: Vec<_> = agents.iter().map(|agent| culprit(agent, "ring")).collect();
            got.iter()
                .zip(expected)
                .all(|(got, (code, path))| (got.0, got.1.as_str()) == (code, path))
        });
    };
    all([(200, ""), (200, ""), (200, "")]);
    for _ in 0..2 {
        std::fs::remove_file(stages[0].path("file")).unwrap();
        all([
            (503, "ring/file"),
            (503, "ring/next/ring/next/ring/file"),
            (503, "ring/next/ring/file"),
        ]);
        std::fs::write(stages[0].path("file"), "").unwrap();
        all([(200, ""), (200, ""), (200, "")]);
    }
    // One that is gone is what is wrong, and the others say so.
    let [first, second, third] = <[Agent; 3]>::try_from(agents).ok().unwrap();
    first.program.kill();
    wait_until("the third misses the first", || {
        culprit(&third, "ring") == (503, "ring/next".to_owned())
    });
    wait_until("the second sees why", || {
        culprit(&second, "ring") == (503, "ring/next/ring/next".to_owned())
    });
}

#[test]
fn a_circle_of_services_is_refused_with_its_place() {
    let stage = Stage::with("services:\n  a: {needs: [b]}\n  b: {needs: [a]}\n");
    let (end, _, told) = stage.check();
    assert_eq!(end, End::Exit(2));
    assert!(told.contains("agent.yml:3:15: `a` needs itself: a → b → a"), "{told}");
}
