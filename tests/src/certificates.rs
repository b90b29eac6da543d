//! Certificates for tests, made by openssl: an authority, a server, clients good and bad.
//!
//! Invariant: keys never leave the folder that they were made in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with an authority, and what it has signed.
pub struct Authority {
    folder: PathBuf,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A server on this host.
    Server,
    /// A client.
    Client,
    /// A client whose certificate has expired.
    ExpiredClient,
    /// A client whose certificate is signed by way of SHA-1.
    Sha1Client,
    /// A client with an RSA key of 1,024 bits.
    WeakClient,
    /// A server whose certificate has expired.
    ExpiredServer,
    /// A server whose certificate is not good yet.
    FutureServer,
    /// A server on another host.
    OtherServer,
    /// A server whose certificate is signed by way of SHA-1.
    Sha1Server,
    /// A server with an RSA key of 1,024 bits.
    WeakServer,
}

impl Authority {
    /// A new authority: `NAME.crt` and `NAME.key` in `folder`.
    pub fn new(folder: &Path, name: &str) -> Self {
        let authority = Self { folder: folder.join(name) };
        fs::create_dir_all(&authority.folder).unwrap();
        authority.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
             -subj /CN=authority -keyout ca.key -out ca.crt",
        );
        fs::write(authority.folder.join("index"), "").unwrap();
        fs::write(authority.folder.join("serial"), "1000\n").unwrap();
        let config = "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nnew_certs_dir=.\nserial=serial\n\
                      default_md=sha256\npolicy=p\ncrlnumber=serial\n\
                      crl_extensions=e\nunique_subject=no\n[p]\ncommonName=supplied\n\
                      [e]\nauthorityKeyIdentifier=keyid:always\n";
        fs::write(authority.folder.join("config"), config).unwrap();
        authority
    }

    /// The authority's own certificate.
    pub fn certificate(&self) -> String {
        self.path("ca.crt")
    }

    /// Signs a certificate for `name`; returns the files with it and with its key.
    pub fn sign(&self, name: &str, purpose: Purpose) -> (String, String) {
        let usage = match purpose {
            Purpose::Server
            | Purpose::ExpiredServer
            | Purpose::FutureServer
            | Purpose::Sha1Server
            | Purpose::WeakServer => "serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1",
            Purpose::OtherServer => "serverAuth\nsubjectAltName=DNS:other.example",
            _ => &format!("clientAuth\nsubjectAltName=DNS:{name}"),
        };
        fs::write(self.folder.join("extensions"), format!("extendedKeyUsage={usage}\n")).unwrap();
        let key = match purpose {
            Purpose::WeakClient | Purpose::WeakServer => "rsa:1024",
            _ => "ec -pkeyopt ec_paramgen_curve:prime256v1",
        };
        self.openssl(&format!(
            "req -newkey {key} -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        let dates = match purpose {
            Purpose::Sha1Client | Purpose::Sha1Server => "-days 2 -md sha1",
            Purpose::FutureServer => "-startdate 20900101000000Z -enddate 20910101000000Z",
            Purpose::ExpiredClient | Purpose::ExpiredServer => {
                "-startdate 20200101000000Z -enddate 20200201000000Z"
            }
            _ => "-days 2",
        };
        self.openssl(&format!(
            "ca -batch -config config -cert ca.crt -keyfile ca.key {dates} \
             -in {name}.csr -out {name}.crt -notext -extfile extensions"
        ));
        (self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")))
    }

    /// Takes back the certificate that was last signed for `name`.
    pub fn revoke(&self, name: &str) {
        self.openssl(&format!(
            "ca -batch -config config -cert ca.crt -keyfile ca.key -revoke {name}.crt"
        ));
    }

    /// Writes the list of what was taken back; returns its file.
    pub fn list_revoked(&self) -> String {
        self.openssl(
            "ca -batch -config config -cert ca.crt -keyfile ca.key -gencrl -crldays 2 -out new.crl",
        );
        fs::rename(self.folder.join("new.crl"), self.folder.join("ca.crl")).unwrap();
        self.path("ca.crl")
    }

    /// What an OCSP responder of the authority said so many days ago, for one day, of the certificate
    /// that was last signed for `name`; returns its file.
    pub fn staple(&self, name: &str, days_ago: u32) -> String {
        let by = "-CA ca.crt -index index -rsigner ca.crt -rkey ca.key -no_nonce -ndays 1";
        let line = format!("ocsp -issuer ca.crt -cert {name}.crt {by} -respout {name}.ocsp");
        let mut command = Command::new("faketime");
        self.run(command.arg(format!("{days_ago} days ago")).arg("openssl"), &line);
        self.path(&format!("{name}.ocsp"))
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    #[track_caller]
    fn openssl(&self, arguments: &str) {
        self.run(&mut Command::new("openssl"), arguments);
    }

    #[track_caller]
    fn run(&self, command: &mut Command, arguments: &str) {
        let done = command
            .args(arguments.split_whitespace())
            .current_dir(&self.folder)
            .output()
            .expect("the packages openssl and faketime are installed");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}
