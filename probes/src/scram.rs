//! SCRAM-SHA-256 and SCRAM-SHA-1 (RFC 5802, 7677): proving a password without sending it, and the
//! other side's proof that it knows it, too.
//!
//! Invariant: whoever does not know the password is not taken for the server.

use base64::prelude::*;
use std::num::NonZeroU32;

use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};

/// The most rounds that a server may ask for: it is our processor.
const MAX_ROUNDS: u32 = 1_000_000;

/// The hash that a login is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Sha1,
    Sha256,
}

impl Mechanism {
    /// As it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SCRAM-SHA-1",
            Self::Sha256 => "SCRAM-SHA-256",
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        }
    }
}

/// A login under way.
pub(crate) struct Scram {
    mechanism: Mechanism,
    first_bare: String,
    nonce: String,
}

/// What the server must say in the end.
pub(crate) struct ServerProof(String);

impl Scram {
    /// Begins with `user`; nothing where the system has no random numbers.
    pub(crate) fn begin(mechanism: Mechanism, user: &str) -> Option<Self> {
        let mut nonce = [0; 18];
        SystemRandom::new().fill(&mut nonce).ok()?;
        Some(Self::with_nonce(mechanism, user, BASE64_STANDARD.encode(nonce)))
    }

    fn with_nonce(mechanism: Mechanism, user: &str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { mechanism, first_bare: format!("n={user},r={nonce}"), nonce }
    }

    /// The first message.
    pub(crate) fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// The answer to the server's challenge, and what it has to say to that; nothing where the
    /// challenge is none.
    pub(crate) fn answer(&self, challenge: &str, password: &str) -> Option<(String, ServerProof)> {
        let field = |key: &str| challenge.split(',').find_map(|part| part.strip_prefix(key));
        let nonce = field("r=").filter(|nonce| nonce.starts_with(&self.nonce))?;
        let salt = BASE64_STANDARD.decode(field("s=")?).ok()?;
        let rounds: NonZeroU32 = field("i=")?.parse().ok()?;
        if rounds.get() > MAX_ROUNDS {
            return None;
        }
        let mechanism = self.mechanism;
        let mut salted = vec![0; mechanism.digest().output_len()];
        pbkdf2::derive(mechanism.pbkdf2(), rounds, &salt, password.as_bytes(), &mut salted);
        let sign = |key: &[u8], text: &str| {
            hmac::sign(&hmac::Key::new(mechanism.hmac(), key), text.as_bytes())
        };
        let last_bare = format!("c=biws,r={nonce}");
        let signed = format!("{},{challenge},{last_bare}", self.first_bare);
        let client_key = sign(&salted, "Client Key");
        let stored_key = digest::digest(mechanism.digest(), client_key.as_ref());
        let signature = sign(stored_key.as_ref(), &signed);
        let proof: Vec<u8> =
            client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server_key = sign(&salted, "Server Key");
        let server = BASE64_STANDARD.encode(sign(server_key.as_ref(), &signed).as_ref());
        let last = format!("{last_bare},p={}", BASE64_STANDARD.encode(&proof));
        Some((last, ServerProof(format!("v={server}"))))
    }
}

impl ServerProof {
    /// Whether the server has said what only who knows the password can say.
    pub(crate) fn is(&self, said: &str) -> bool {
        said.split(',').next() == Some(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_as_in_rfc_7677() {
        let scram = Scram::with_nonce(Mechanism::Sha256, "user", "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                         s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (last, proof) = scram.answer(challenge, "pencil").unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(proof.is("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(!proof.is("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="));
    }

    #[test]
    fn is_as_in_rfc_5802() {
        let nonce = "fyko+d2lbbFgONRv9qkxdawL".to_owned();
        let scram = Scram::with_nonce(Mechanism::Sha1, "user", nonce);
        let challenge = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
        let (last, proof) = scram.answer(challenge, "pencil").unwrap();
        assert_eq!(
            last,
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
        );
        assert!(proof.is("v=rmF9pqV8S7suAoZWja4dJRkFsKQ="));
    }

    #[test]
    fn a_challenge_that_is_not_to_us_or_too_hard_is_refused() {
        let scram = Scram::with_nonce(Mechanism::Sha256, "user", "abc".to_owned());
        for challenge in [
            "",
            "r=abd,s=Zg==,i=1",
            "r=abcd,s=?,i=1",
            "r=abcd,s=Zg==,i=0",
            "r=abcd,s=Zg==,i=99999999",
        ] {
            assert!(scram.answer(challenge, "x").is_none(), "{challenge}");
        }
    }
}
