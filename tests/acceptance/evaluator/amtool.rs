//! Alertmanager's own judgement of what may be configured, beside ours.
//!
//! Invariant: each case is judged by both programs; where the peer is not there, by neither.

use std::process::Command;

use tests::peers;

/// Holds receivers against `amtool check-config` and our own check: what stands under `global:`, the
/// receiver's lists, and whether it is right.
#[track_caller]
pub(crate) fn same_judgement(cases: &[(&str, &str, bool)]) {
    let Some(amtool) = peers::program("amtool") else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("alertmanager.yml");
    for (global, receiver, right) in cases {
        let text = format!(
            "global: {{{global}}}\nroute: {{receiver: a}}\nreceivers:\n- name: a\n  {receiver}\n"
        );
        std::fs::write(&file, &text).unwrap();
        let theirs = Command::new(&amtool).arg("check-config").arg(&file).output().unwrap();
        let said = [theirs.stdout, theirs.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(theirs.status.success(), *right, "amtool on\n{text}{said}");
        let ours = alertmanager::config::read(&file, None).map_err(|faults| faults.to_string());
        assert_eq!(ours.is_ok(), *right, "we on\n{text}{:?}", ours.err());
    }
}
