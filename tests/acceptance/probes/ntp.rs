//! Debian's chrony, with a clock and without one.

use std::process::Command;

use probes::Reason;
use tests::program::Program;
use tests::wait_until;

use crate::stage::{Stage, metric, value};

fn serve(stage: &Stage, more: &str) -> Program {
    let config = format!(
        "port PORT\nbindaddress 127.0.0.1\nallow 127.0.0.1\ncmdport 0\nbindcmdaddress /\n\
         pidfile DIR/pid\ndriftfile DIR/drift\n{more}\n"
    );
    let config = stage.write("chrony.conf", &config);
    let mut command = Command::new("/usr/sbin/chronyd");
    Program::spawn({
        command.args(["-d", "-x", "-u", "root", "-f", &config]);
        command
    })
}

#[test]
fn the_offset_of_our_clock_is_measured() {
    let stage = Stage::new();
    let _server = serve(&stage, "local stratum 3");
    let ask = "ntp: {server: '127.0.0.1:PORT'";
    stage.wait_for(&format!("{ask}}}"));
    let o = stage.check(&format!("{ask}}}"), Reason::None, "stratum 3");
    assert!(value(&o, "offset").abs() < 0.1, "it is the same clock");
    assert!(metric(&o, "probe_ntp_delay_seconds") < 1.0);
    let strict =
        format!("{ask}, thresholds: {{stratum: {{warn: '1:2'}}, offset: {{crit: '-1:1'}}}}}}");
    stage.check(&strict, Reason::Threshold, "`stratum` is 3, warning by `1:2`");
    let off = format!("{ask}, thresholds: {{offset: {{crit: '@-1:1'}}}}}}");
    stage.check(&off, Reason::Threshold, "critical by `@-1:1`");
}

#[test]
fn a_server_whose_clock_is_not_set_is_told() {
    let stage = Stage::new();
    let mut server = serve(&stage, "");
    let ask = "ntp: {server: '127.0.0.1:PORT'}";
    wait_until("chrony answers", || {
        assert!(server.is_running(), "{}", server.log());
        stage.look(ask).reason != Reason::ConnectionRefused
    });
    stage.check(ask, Reason::NotServing, "its own clock is not set");
}
