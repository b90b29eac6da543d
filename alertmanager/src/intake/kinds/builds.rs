//! Builds and deployments: Jenkins, GitLab.
//!
//! Sources: the README of Jenkins's Notification plugin (JSON); GitLab's reference of webhook events.
//!
//! Invariant: a build that fails and the next that succeeds have the same labels: those of the job
//! and the branch, never the number.

use serde_json::Value;

use super::super::event::{Event, Status};
use super::super::json::{first_text, items, text};
use super::unlike;

/// A job's notification. A build tells its result when it is completed, and again when it is
/// finalized.
pub(super) fn jenkins(body: &Value) -> Result<Event, String> {
    let job = first_text(body, &["/display_name", "/name"]);
    if job.is_empty() || !body["build"].is_object() {
        return Err(unlike("Jenkins", "`name` or `build`"));
    }
    let done = ["COMPLETED", "FINALIZED"].contains(&text(body, "/build/phase").as_str());
    let result = text(body, "/build/status");
    let status = match result.as_str() {
        "FAILURE" | "UNSTABLE" if done => Status::Firing,
        "SUCCESS" if done => Status::Resolved,
        _ => Status::Neither,
    };
    let branch = text(body, "/build/scm/branch");
    let branch = branch.strip_prefix("origin/").unwrap_or(&branch);
    let number = text(body, "/build/number");
    let event = Event::new(status, "BuildFailed")
        .label("job", job.as_str())
        .label("branch", branch)
        .label("severity", "warning")
        .text("summary", format!("build {number} of {job}: {}", result.to_lowercase()))
        .text("commit", text(body, "/build/scm/commit"))
        .text("output", text(body, "/build/log"));
    Ok(Event { url: first_text(body, &["/build/full_url", "/url"]), ..event })
}

/// A pipeline, a job or a deployment; other events of a project say nothing of this.
pub(super) fn gitlab(body: &Value) -> Result<Event, String> {
    let kind = text(body, "/object_kind");
    let project = first_text(body, &["/project/path_with_namespace", "/project_name"]);
    if kind.is_empty() {
        return Err(unlike("GitLab", "`object_kind`"));
    }
    let status = |word: String| match word.as_str() {
        "failed" => Status::Firing,
        "success" => Status::Resolved,
        _ => Status::Neither,
    };
    let event = match kind.as_str() {
        "pipeline" => {
            let of = "/object_attributes";
            let get = |name: &str| text(body, &format!("{of}/{name}"));
            let failed = items(body, "/builds").iter().filter(|build| {
                text(build, "/status") == "failed" && text(build, "/allow_failure") != "true"
            });
            let failed: Vec<_> = failed
                .map(|build| format!("{} ({})", text(build, "/name"), text(build, "/stage")))
                .collect();
            let url = match get("url") {
                url if url.is_empty() => {
                    let web = text(body, "/project/web_url");
                    if web.is_empty() { web } else { format!("{web}/-/pipelines/{}", get("id")) }
                }
                url => url,
            };
            let summary =
                format!("pipeline {} of {project} on {}: {}", get("id"), get("ref"), get("status"));
            let event = Event::new(status(get("status")), "PipelineFailed")
                .label("ref", get("ref"))
                .text("summary", summary)
                .text("jobs", failed.join(", "))
                .text("commit", commit(body));
            Event { url, ..event }
        }
        "build" => {
            let (name, stage) = (text(body, "/build_name"), text(body, "/build_stage"));
            let result = text(body, "/build_status");
            let reference = text(body, "/ref");
            let web = text(body, "/project/web_url");
            let web = if web.is_empty() { text(body, "/repository/homepage") } else { web };
            let summary = format!("job {name} of {project} on {reference}: {result}");
            // A job that may fail breaks nothing.
            let may_fail = text(body, "/build_allow_failure") == "true";
            let status = match status(result) {
                Status::Firing if may_fail => Status::Neither,
                status => status,
            };
            let event = Event::new(status, "JobFailed")
                .label("ref", reference)
                .label("ci_job", name)
                .label("stage", stage)
                .text("summary", summary)
                .text("reason", text(body, "/build_failure_reason"))
                .text("commit", commit(body));
            let id = text(body, "/build_id");
            Event { url: if web.is_empty() { web } else { format!("{web}/-/jobs/{id}") }, ..event }
        }
        "deployment" => {
            let (result, environment) = (text(body, "/status"), text(body, "/environment"));
            let summary = format!("deployment of {project} to {environment}: {result}");
            let event = Event::new(status(result), "DeploymentFailed")
                .label("environment", environment)
                .text("summary", summary)
                .text("commit", text(body, "/commit_title"));
            Event { url: text(body, "/deployable_url"), ..event }
        }
        _ => return Ok(Event::default()),
    };
    Ok(event.label("project", project).label("severity", "warning"))
}

fn commit(body: &Value) -> String {
    let title = first_text(body, &["/commit/title", "/commit/message"]);
    let title = title.lines().next().unwrap_or_default().to_owned();
    match first_text(body, &["/commit/author/name", "/commit/author_name"]) {
        author if author.is_empty() || title.is_empty() => title,
        author => format!("{title} ({author})"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Kind;
    use super::super::tests::check;

    #[test]
    fn jenkins_tells_the_result_of_a_build() {
        let build = |phase: &str, status: &str| {
            json!({
                "name": "shop", "display_name": "shop", "url": "job/shop/",
                "build": {
                    "full_url": "https://jenkins.example.org/job/shop/42/", "number": 42, "queue_id": 7,
                    "timestamp": 1_700_000_000_000_i64, "phase": phase, "status": status,
                    "url": "job/shop/42/", "log": "",
                    "scm": {"url": "git@git.example.org:shop.git", "branch": "origin/main", "commit": "a1b2c3"},
                },
            })
        };
        let told = |what: &str, result: &str| {
            format!(
                "{what} {{alertname=\"BuildFailed\", branch=\"main\", job=\"shop\", severity=\"warning\", \
                 source=\"s\"}} https://jenkins.example.org/job/shop/42/ [0, 0] commit: a1b2c3; \
                 summary: build 42 of shop: {result}"
            )
        };
        let jenkins = |body, expected: &str| check(Kind::Jenkins, "", &body, &[expected]);
        jenkins(build("COMPLETED", "FAILURE"), &told("firing", "failure"));
        jenkins(build("FINALIZED", "UNSTABLE"), &told("firing", "unstable"));
        jenkins(build("FINALIZED", "SUCCESS"), &told("resolved", "success"));
        jenkins(build("STARTED", "SUCCESS"), "nothing");
        jenkins(build("FINALIZED", "ABORTED"), "nothing");
        jenkins(
            json!({"build": {}}),
            "this is no message of Jenkins: `name` or `build` is missing",
        );
        jenkins(json!([1]), "this is no message of Jenkins: `name` or `build` is missing");
    }

    #[test]
    fn gitlab_tells_of_pipelines_jobs_and_deployments() {
        let project = json!({"path_with_namespace": "web/shop", "web_url": "https://git.example.org/web/shop"});
        let commit = json!({"title": "Sell more", "author": {"name": "Jo"}});
        let pipeline = |status: &str| {
            json!({
                "object_kind": "pipeline", "project": project, "commit": commit,
                "object_attributes": {"id": 31, "ref": "main", "tag": false, "status": status,
                    "created_at": "2023-11-14 22:13:20 UTC", "duration": 63},
                "builds": [
                    {"id": 1, "stage": "test", "name": "unit", "status": "failed", "allow_failure": false},
                    {"id": 2, "stage": "test", "name": "lint", "status": "failed", "allow_failure": true},
                    {"id": 3, "stage": "build", "name": "image", "status": "success", "allow_failure": false},
                ],
            })
        };
        let gitlab = |body, expected: &str| check(Kind::Gitlab, "", &body, &[expected]);
        let told = |what: &str, status: &str| {
            format!(
                "{what} {{alertname=\"PipelineFailed\", project=\"web/shop\", ref=\"main\", \
                 severity=\"warning\", source=\"s\"}} https://git.example.org/web/shop/-/pipelines/31 [0, 0] \
                 commit: Sell more (Jo); jobs: unit (test); \
                 summary: pipeline 31 of web/shop on main: {status}"
            )
        };
        gitlab(pipeline("failed"), &told("firing", "failed"));
        gitlab(pipeline("success"), &told("resolved", "success"));
        for status in ["running", "pending", "canceled", "skipped", "manual"] {
            gitlab(pipeline(status), "nothing");
        }
        let job = |status: &str, may_fail: bool| {
            json!({
                "object_kind": "build", "ref": "main", "build_id": 9, "build_name": "unit",
                "build_stage": "test", "build_status": status, "build_allow_failure": may_fail,
                "build_failure_reason": "script_failure", "project": project,
                "commit": {"message": "Sell more\n\nA lot.", "author_name": "Jo"},
            })
        };
        gitlab(
            job("failed", false),
            "firing {alertname=\"JobFailed\", ci_job=\"unit\", project=\"web/shop\", ref=\"main\", \
             severity=\"warning\", source=\"s\", stage=\"test\"} https://git.example.org/web/shop/-/jobs/9 \
             [0, 0] commit: Sell more (Jo); reason: script_failure; \
             summary: job unit of web/shop on main: failed",
        );
        gitlab(job("failed", true), "nothing");
        gitlab(
            json!({"object_kind": "deployment", "status": "failed", "environment": "staging", "project": project,
                "deployable_url": "https://git.example.org/web/shop/-/jobs/9", "commit_title": "Sell more"}),
            "firing {alertname=\"DeploymentFailed\", environment=\"staging\", project=\"web/shop\", \
             severity=\"warning\", source=\"s\"} https://git.example.org/web/shop/-/jobs/9 [0, 0] \
             commit: Sell more; summary: deployment of web/shop to staging: failed",
        );
        gitlab(json!({"object_kind": "push", "ref": "refs/heads/main"}), "nothing");
        gitlab(json!({}), "this is no message of GitLab: `object_kind` is missing");
    }
}
