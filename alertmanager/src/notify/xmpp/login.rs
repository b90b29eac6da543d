//! SASL as XMPP uses it: SCRAM with SHA-256 or SHA-1, and PLAIN.
//!
//! Source: RFC 5802 and RFC 7677 (SCRAM), RFC 4616 (PLAIN).
//!
//! Invariant: by SCRAM the password never leaves us, and the server must show that it knows it, too.

use std::num::NonZeroU32;

use base::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use ring::hmac;
use ring::pbkdf2;

/// How often a server may want the password to be hashed: more is an attack on our processor.
const ROUNDS: std::ops::RangeInclusive<u32> = 4096..=250_000;

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    ScramSha256,
    ScramSha1,
    Plain,
}

impl Mechanism {
    /// The best of those that a server offers.
    pub(super) fn best<'a>(offered: impl Iterator<Item = &'a str> + Clone) -> Option<Self> {
        let all = [Self::ScramSha256, Self::ScramSha1, Self::Plain];
        all.into_iter().find(|known| offered.clone().any(|name| name.trim() == known.name()))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::Plain => "PLAIN",
        }
    }
}

/// The whole of PLAIN.
pub(super) fn plain(user: &str, password: &Secret) -> String {
    STANDARD.encode(format!("\0{user}\0{}", password.expose()))
}

/// A conversation by SCRAM.
#[derive(Debug)]
pub(super) struct Scram {
    sha256: bool,
    bare: String,
    nonce: String,
    /// What the server must say at the end.
    expected: Option<String>,
}

impl Scram {
    /// Begins with a nonce of ours.
    pub(super) fn new(mechanism: Mechanism, user: &str, nonce: &str) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let sha256 = mechanism == Mechanism::ScramSha256;
        let bare = format!("n={user},r={nonce}");
        Self { sha256, bare, nonce: nonce.to_owned(), expected: None }
    }

    /// Our first word.
    pub(super) fn first(&self) -> String {
        STANDARD.encode(format!("n,,{}", self.bare))
    }

    /// The proof that we know the password, in answer to the server's challenge.
    pub(super) fn proof(&mut self, challenge: &str, password: &Secret) -> Result<String, String> {
        let first = decoded(challenge)?;
        let part = |name: &str| {
            let found = first.split(',').find_map(|part| part.strip_prefix(name));
            found.ok_or_else(|| format!("the server's challenge has no `{name}`"))
        };
        let (nonce, salt) = (part("r=")?, part("s=")?);
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the server's challenge is not an answer to ours".to_owned());
        }
        let salt = STANDARD.decode(salt).map_err(|_| "the server's salt cannot be read")?;
        let rounds = part("i=")?.parse().ok().filter(|rounds| ROUNDS.contains(rounds));
        let rounds = rounds.and_then(NonZeroU32::new).ok_or("the server's rounds are not sane")?;

        let salted = self.salted(password, &salt, rounds);
        let client_key = self.keyed(&salted, b"Client Key");
        let stored_key = self.hash(&client_key);
        let without_proof = format!("c=biws,r={nonce}");
        let all = format!("{},{first},{without_proof}", self.bare);
        let signature = self.keyed(&stored_key, all.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let server_key = self.keyed(&salted, b"Server Key");
        self.expected = Some(STANDARD.encode(self.keyed(&server_key, all.as_bytes())));
        Ok(STANDARD.encode(format!("{without_proof},p={}", STANDARD.encode(proof))))
    }

    /// Whether the server has shown at the end that it knows the password.
    pub(super) fn verify(&self, last: &str) -> Result<(), String> {
        let last = decoded(last)?;
        let shown = last.split(',').find_map(|part| part.strip_prefix("v="));
        match (shown, &self.expected) {
            (Some(shown), Some(expected)) if shown == expected => Ok(()),
            _ => Err("the server does not know our password".to_owned()),
        }
    }

    fn salted(&self, password: &Secret, salt: &[u8], rounds: NonZeroU32) -> Vec<u8> {
        let (algorithm, length) = match self.sha256 {
            true => (pbkdf2::PBKDF2_HMAC_SHA256, 32),
            false => (pbkdf2::PBKDF2_HMAC_SHA1, 20),
        };
        let mut out = vec![0; length];
        pbkdf2::derive(algorithm, rounds, salt, password.expose().as_bytes(), &mut out);
        out
    }

    fn keyed(&self, key: &[u8], text: &[u8]) -> Vec<u8> {
        let algorithm = match self.sha256 {
            true => hmac::HMAC_SHA256,
            false => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), text).as_ref().to_vec()
    }

    fn hash(&self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self.sha256 {
            true => &digest::SHA256,
            false => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let bytes = STANDARD.decode(text.trim()).map_err(|_| "the server's word is not base 64")?;
    String::from_utf8(bytes).map_err(|_| "the server's word is not text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 5802, section 5, and of RFC 7677, section 3.
    #[test]
    fn proves_as_the_examples_do() {
        let check = |mechanism, nonce: &str, first: &str, proof: &str, last: &str| {
            let mut scram = Scram::new(mechanism, "user", nonce);
            assert_eq!(decoded(&scram.first()).unwrap(), format!("n,,n=user,r={nonce}"));
            let password = Secret::new("pencil");
            let got = scram.proof(&STANDARD.encode(first), &password).unwrap();
            assert_eq!(decoded(&got).unwrap(), proof);
            assert_eq!(scram.verify(&STANDARD.encode(last)), Ok(()));
            assert!(scram.verify(&STANDARD.encode("v=AAAA")).is_err());
            assert!(scram.verify("").is_err());
        };
        check(
            Mechanism::ScramSha1,
            "fyko+d2lbbFgONRv9qkxdawL",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        );
        check(
            Mechanism::ScramSha256,
            "rOprNGfwEbeRWgbNEkqO",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        );
    }

    #[test]
    fn a_server_that_only_pretends_is_refused() {
        let check = |first: &str, part: &str| {
            let mut scram = Scram::new(Mechanism::ScramSha1, "u", "abc");
            let got = scram.proof(&STANDARD.encode(first), &Secret::new("p"));
            assert!(got.as_ref().is_err_and(|error| error.contains(part)), "{first}: {got:?}");
        };
        check("r=xyz,s=QQ==,i=4096", "not an answer");
        check("r=abc,s=QQ==,i=4096", "not an answer");
        check("r=abcd,s=?,i=4096", "salt");
        check("r=abcd,s=QQ==,i=1", "not sane");
        check("r=abcd,s=QQ==,i=4000000000", "not sane");
        check("r=abcd,i=4096", "no `s=`");
        check("", "no `r=`");
    }

    #[test]
    fn the_best_way_is_taken() {
        let best = |offered: &[&str]| Mechanism::best(offered.iter().copied());
        let all = ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256"];
        assert_eq!(best(&all), Some(Mechanism::ScramSha256));
        assert_eq!(best(&all[..2]), Some(Mechanism::ScramSha1));
        assert_eq!(best(&all[..1]), Some(Mechanism::Plain));
        assert_eq!(best(&["EXTERNAL"]), None);
        assert_eq!(plain("u", &Secret::new("p")), "AHUAcA==");
        let names = Scram::new(Mechanism::ScramSha1, "a=b,c", "n");
        assert_eq!(decoded(&names.first()).unwrap(), "n,,n=a=3Db=2Cc,r=n");
    }
}
