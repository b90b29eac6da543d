//! What flees without a trace: in a session of its own and without the marker. Alone in its file,
//! because such a process is ended only when all runs have that were there when it was first seen.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::time::Duration;

use common::{alive, eventually, run, shell, tag, zombies};
use probes::Status;

#[tokio::test]
async fn what_has_shed_its_marker_is_ended_too_f45() {
    for script in [
        "echo done; (env -i setsid sleep {} >/dev/null 2>&1 &) ; sleep 0.05",
        "echo done; env -i setsid sh -c 'setsid sleep {} & sleep {}' >/dev/null 2>&1 & sleep 0.1",
        "echo done; env -i setsid sh -c '(setsid sleep {} &) ; sleep {}' & sleep 0.1",
    ] {
        let tag = tag();
        let outcome = run(shell(&script.replace("{}", &tag), "").as_ref()).await;
        assert_eq!((outcome.status, outcome.summary.as_str()), (Status::Ok, "done"), "{script}");
        assert!(alive(&tag).is_empty(), "{script}: {:?}", alive(&tag));
        let none = || zombies() == 0;
        assert!(eventually(Duration::from_secs(1), none).await, "{script}: {}", zombies());
    }
}
