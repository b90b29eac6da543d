//! Debian's own servers, each an instance of ours with a folder and a port of its own.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use tests::program::{Program, free_port};
use tests::wait_until;

const SLAPD: &str = "include /etc/ldap/schema/core.schema\npidfile DIR/slapd.pid\n\
    modulepath /usr/lib/ldap\nmoduleload back_mdb\ndatabase mdb\nsuffix \"dc=shop,dc=test\"\n\
    rootdn \"cn=admin,dc=shop,dc=test\"\nrootpw s3cret\ndirectory DIR/directory\n";
const NAMED: &str = "options { directory \"DIR\"; listen-on port PORT { 127.0.0.1; };
    listen-on-v6 { none; }; pid-file none; session-keyfile none; recursion no; };
    controls { }; zone \"shop.test\" { type primary; file \"zone\"; };\n";
const ZONE: &str =
    "$TTL 300\n@ SOA ns x 1 60 60 60 60\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.80\n";
const NGINX: &str = "daemon off; master_process off; pid DIR/nginx.pid; error_log stderr; events {}
    http { access_log off; client_body_temp_path DIR/a; proxy_temp_path DIR/b;
    fastcgi_temp_path DIR/c; uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;
    server { listen 127.0.0.1:PORT; default_type text/html; return 200 'the shop'; } }\n";
const SSHD: &str = "Port PORT\nListenAddress 127.0.0.1\nHostKey DIR/key\nPidFile none\nUsePAM no\n\
    StrictModes no\nAuthorizedKeysFile DIR/key.pub\n";
const CHRONY: &str = "port PORT\nbindaddress 127.0.0.1\nallow 127.0.0.1\ncmdport 0\n\
    bindcmdaddress /\npidfile DIR/chrony.pid\ndriftfile DIR/drift\nlocal stratum 3\n";

/// The servers that run.
pub(crate) struct Servers {
    folder: TempDir,
    programs: Vec<Program>,
}

impl Servers {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("veilleur-plugins").tempdir().unwrap();
        // Those that give up root must get in.
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(folder.path(), open).unwrap();
        Self { folder, programs: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a configuration in which `DIR` and `PORT` stand for the folder and the port.
    fn write(&self, name: &str, text: &str, port: u16) -> String {
        let folder = self.folder.path().display().to_string();
        let text = text.replace("DIR", &folder).replace("PORT", &port.to_string());
        std::fs::write(self.path(name), text).unwrap();
        self.text(name)
    }

    /// Starts a server, in whose arguments `CONFIG` stands for its configuration.
    fn start(&mut self, program: &str, arguments: &str, config: &str) -> u16 {
        let port = free_port();
        let name = program.rsplit('/').next().unwrap();
        let config = self.write(&format!("{name}.conf"), config, port);
        let words = arguments.replace("PORT", &port.to_string()).replace("CONFIG", &config);
        let words = words.replace("DIR", &self.folder.path().display().to_string());
        let mut command = Command::new(program);
        command.args(words.split(' ')).current_dir(self.folder.path());
        self.programs.push(Program::spawn(command));
        port
    }

    fn await_connection(&mut self, port: u16) -> u16 {
        let server = self.programs.last_mut().unwrap();
        wait_until("the server listens", || {
            assert!(server.is_running(), "the server ended: {}{}", server.stdout(), server.log());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        port
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {said}");
    }

    /// BIND, with `www.shop.test`.
    pub(crate) fn named(&mut self) -> u16 {
        self.write("zone", ZONE, 0);
        let port = self.start("/usr/sbin/named", "-g -c CONFIG", NAMED);
        self.await_connection(port)
    }

    /// nginx, with a page that says "the shop".
    pub(crate) fn nginx(&mut self) -> u16 {
        let port = self.start("/usr/sbin/nginx", "-c CONFIG", NGINX);
        self.await_connection(port)
    }

    /// OpenSSH, which lets `key` of the folder in.
    pub(crate) fn sshd(&mut self) -> u16 {
        self.run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &self.text("key")]);
        std::fs::create_dir_all("/run/sshd").unwrap();
        let port = self.start("/usr/sbin/sshd", "-D -e -f CONFIG", SSHD);
        self.await_connection(port)
    }

    /// OpenLDAP, with an empty directory.
    pub(crate) fn slapd(&mut self) -> u16 {
        std::fs::create_dir_all(self.path("directory")).unwrap();
        let arguments = "-f CONFIG -h ldap://127.0.0.1:PORT/ -d 0";
        let port = self.start("/usr/sbin/slapd", arguments, SLAPD);
        self.await_connection(port)
    }

    /// net-snmp, to be asked with the community `s3cret`.
    pub(crate) fn snmpd(&mut self) -> u16 {
        let config = "agentAddress udp:127.0.0.1:PORT\nrocommunity s3cret 127.0.0.1\n\
                      sysServices 72\n";
        self.start("/usr/sbin/snmpd", "-f -Lo -C -c CONFIG -p DIR/snmpd.pid", config)
    }

    /// chrony, which takes its own clock for right.
    pub(crate) fn chronyd(&mut self) -> u16 {
        self.start("/usr/sbin/chronyd", "-d -x -u root -f CONFIG", CHRONY)
    }

    /// MariaDB, which lets `watch` in with `s3cret`.
    pub(crate) fn mariadb(&mut self) -> u16 {
        let data = format!("--datadir={}", self.text("data"));
        // Without its nameless users, who are found before those from anywhere.
        let method = "--auth-root-authentication-method=normal";
        let install = ["--no-defaults", &data, "--user=mysql", "--skip-test-db", method];
        self.run("mariadb-install-db", &install);
        let sql = "CREATE USER watch@'127.0.0.1' IDENTIFIED BY 's3cret';\n\
                   CREATE DATABASE shop;\nGRANT SELECT ON shop.* TO watch@'127.0.0.1';\n";
        let init = self.write("init.sql", sql, 0);
        let arguments = format!(
            "--no-defaults {data} --skip-name-resolve --user=mysql --bind-address=127.0.0.1 --port=PORT \
             --socket=DIR/mysql.sock --init-file={init}"
        );
        let port = self.start("/usr/sbin/mariadbd", &arguments, "");
        self.await_connection(port)
    }
}
