//! A real mail server: an instance of Debian's Postfix of our own, with STARTTLS and passwords,
//! that keeps every message it takes.
//!
//! Invariant: nothing of the system's Postfix is used but its programs; the instance has its own
//! folders, and ends with its owner.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::program::free_port;

/// Who may send.
pub const USER: &str = "veilleur@veilleur.test";
/// With which password.
pub const PASSWORD: &str = "not so secret";

const SERVICES: &str = "\
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
postlog unix-dgram n - n - 1 postlogd
";

/// The server.
pub struct MailServer {
    dir: TempDir,
    port: u16,
}

impl MailServer {
    /// Starts a server on a free port. Takes root and the packages `postfix`, `sasl2-bin`,
    /// `libsasl2-modules`, `libsasl2-modules-db`.
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("veilleur-mail").tempdir().unwrap();
        let port = free_port();
        let server = Self { dir, port };
        let root = server.dir.path();
        fs::set_permissions(root, Permissions::from_mode(0o755)).unwrap();
        for folder in ["conf/sasl", "queue", "data", "mail"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        server.certificate();
        server.passwords();
        server.configuration();
        run(Command::new("chown").arg("postfix").args([root.join("data"), root.join("mail")]));
        server.resume();
        server
    }

    /// Takes messages again after [`Self::stop`].
    pub fn resume(&self) {
        run(self.postfix("start"));
        crate::wait_until("the mail server listens", || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    /// Takes no messages for a while.
    pub fn stop(&self) {
        run(self.postfix("stop"));
    }

    /// From now on refuses whatever comes to `stage` with `answer`; takes everything again where that
    /// is empty. Stages: `client`, `helo`, `sender`, `recipient`, `data`, `end_of_data`.
    pub fn refuse(&self, stage: &str, answer: &str) {
        for name in ["client", "helo", "sender", "recipient", "data", "end_of_data"] {
            let checks = match (name == stage && !answer.is_empty(), name) {
                (true, _) => format!("check_client_access static:{{{answer}}}"),
                (false, "recipient") => "permit_sasl_authenticated, reject".to_owned(),
                (false, _) => String::new(),
            };
            run(Command::new("/usr/sbin/postconf")
                .arg("-c")
                .arg(self.dir.path().join("conf"))
                .args([
                    "-e".to_owned(),
                    format!("smtpd_{name}_restrictions = {checks}"),
                    // Each where it belongs, not all at the recipient.
                    "smtpd_delay_reject = no".to_owned(),
                ]));
        }
        // A reload is taken up by the next connection at some time; a start is there when it is.
        self.stop();
        self.resume();
    }

    /// `localhost:port`.
    pub fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The file of the certificate that vouches for it.
    pub fn certificate_file(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// Every message that it has delivered, headers and all, oldest first.
    pub fn messages(&self) -> Vec<String> {
        let folder = self.dir.path().join("mail/box/new");
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let mut found: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (fs::metadata(&path).unwrap().modified().unwrap(), path))
            .collect();
        found.sort();
        found.iter().map(|(_, path)| fs::read_to_string(path).unwrap()).collect()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn postfix(&self, what: &str) -> Command {
        let mut command = Command::new("/usr/sbin/postfix");
        command.arg("-c").arg(self.dir.path().join("conf")).arg(what);
        command
    }

    fn certificate(&self) {
        let root = self.dir.path();
        let name = "subjectAltName=DNS:localhost,IP:127.0.0.1";
        run(Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", name])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(root.join("key.pem"))
            .arg("-out")
            .arg(root.join("cert.pem")));
    }

    fn passwords(&self) {
        let file = self.dir.path().join("conf/sasl/sasldb2");
        let (user, domain) = USER.split_once('@').unwrap();
        let mut child = Command::new("/usr/sbin/saslpasswd2")
            .args(["-p", "-c", "-f"])
            .arg(&file)
            .args(["-u", domain, user])
            .stdin(Stdio::piped())
            .spawn()
            .expect("the package sasl2-bin is installed");
        child.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        run(Command::new("chown").arg("postfix").arg(&file));
    }

    fn configuration(&self) {
        let root = self.dir.path().display();
        let id = |flag: &str| {
            let output = Command::new("id").args([flag, "postfix"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let sasl = format!(
            "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\n\
             sasldb_path: {root}/conf/sasl/sasldb2\n"
        );
        self.write("conf/sasl/smtpd.conf", &sasl);
        let services = format!("127.0.0.1:{} inet n - n - - smtpd\n{SERVICES}", self.port);
        self.write("conf/master.cf", &services);
        let main = [
            "compatibility_level = 3.6",
            &format!("queue_directory = {root}/queue"),
            &format!("data_directory = {root}/data"),
            "command_directory = /usr/sbin",
            "daemon_directory = /usr/lib/postfix/sbin",
            "mail_owner = postfix",
            "setgid_group = postdrop",
            "myhostname = veilleur.test",
            "mydestination =",
            "mynetworks =",
            "inet_interfaces = 127.0.0.1",
            "inet_protocols = ipv4",
            "virtual_mailbox_domains = static:all",
            "virtual_mailbox_maps = static:box/",
            &format!("virtual_mailbox_base = {root}/mail"),
            &format!("virtual_uid_maps = static:{}", id("-u")),
            &format!("virtual_gid_maps = static:{}", id("-g")),
            &format!("smtpd_tls_cert_file = {root}/cert.pem"),
            &format!("smtpd_tls_key_file = {root}/key.pem"),
            "smtpd_tls_security_level = encrypt",
            "smtpd_sasl_auth_enable = yes",
            "smtpd_sasl_path = smtpd",
            "smtpd_sasl_local_domain = veilleur.test",
            "smtpd_relay_restrictions = permit_sasl_authenticated, reject",
            "smtpd_recipient_restrictions = permit_sasl_authenticated, reject",
            &format!("maillog_file = {root}/log"),
            &format!("maillog_file_prefixes = {root}"),
            "alias_maps =",
            "alias_database =",
        ];
        self.write("conf/main.cf", &(main.join("\n") + "\n"));
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.dir.path().join(path), text).unwrap();
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.postfix("stop").output();
    }
}

#[track_caller]
fn run(mut command: impl std::borrow::BorrowMut<Command>) {
    let command = command.borrow_mut();
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// The headers of a message by name in lower case, unfolded; and its body.
pub fn split_message(message: &str) -> (Vec<(String, String)>, &str) {
    let (head, body) = message.split_once("\n\n").unwrap_or((message, ""));
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in head.lines() {
        match (line.starts_with([' ', '\t']), headers.last_mut(), line.split_once(':')) {
            (true, Some((_, value)), _) => {
                value.push(' ');
                value.push_str(line.trim());
            }
            (_, _, Some((name, value))) => {
                headers.push((name.to_lowercase(), value.trim().to_owned()));
            }
            _ => {}
        }
    }
    (headers, body)
}

/// The value of a header.
#[track_caller]
pub fn header(message: &str, name: &str) -> String {
    let (headers, _) = split_message(message);
    let found = headers.into_iter().find(|(other, _)| other == name);
    found.unwrap_or_else(|| panic!("no {name} in {message}")).1
}
