//! The key exchange of SSH as far as the host key (RFC 4253, 5656, 8332, 8709, 8731).
//!
//! Invariant: a key is handed out only when the server has signed this very exchange with it.

use base64::prelude::*;
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey as Point, X25519, agree_ephemeral};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};

use crate::Reason;
use crate::text::shown_line;
use crate::wire::{Failed, Wire};

/// Who we are.
pub(super) const BANNER: &[u8] = b"SSH-2.0-veilleur";

const DISCONNECT: u8 = 1;
const KEXINIT: u8 = 20;
const ECDH_INIT: u8 = 30;
const ECDH_REPLY: u8 = 31;

/// The largest packet that everybody must take.
const MAX_PACKET: usize = 35_000;

/// What we offer: exchange, host keys, and what would follow but never does.
const OFFERED: [&str; 10] = [
    "curve25519-sha256,curve25519-sha256@libssh.org",
    "ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256",
    CIPHERS,
    CIPHERS,
    "hmac-sha2-256,hmac-sha2-512,hmac-sha2-256-etm@openssh.com,hmac-sha1",
    "hmac-sha2-256,hmac-sha2-512,hmac-sha2-256-etm@openssh.com,hmac-sha1",
    "none",
    "none",
    "",
    "",
];
const CIPHERS: &str = "aes128-ctr,aes256-ctr,aes128-gcm@openssh.com,chacha20-poly1305@openssh.com";

/// The key of a host.
#[derive(Debug)]
pub(super) struct HostKey {
    /// As SSH names it: `ssh-ed25519`.
    pub(super) kind: String,
    /// As `ssh-keygen -l` prints it: `SHA256:...`.
    pub(super) fingerprint: String,
}

/// Makes the exchange.
pub(super) async fn host_key(wire: &mut Wire, banner: &[u8]) -> Result<HostKey, Failed> {
    let internal = |_| Failed::new(Reason::Internal, "the system has no random numbers");
    let random = SystemRandom::new();
    let secret = EphemeralPrivateKey::generate(&X25519, &random).map_err(internal)?;
    let public = secret.compute_public_key().map_err(internal)?;
    let mut cookie = [0; 16];
    random.fill(&mut cookie).map_err(internal)?;

    let mut ours = vec![KEXINIT];
    ours.extend_from_slice(&cookie);
    for names in OFFERED {
        string(&mut ours, names.as_bytes());
    }
    ours.extend_from_slice(&[0; 5]);
    send(wire, &ours).await?;
    let theirs = receive(wire, KEXINIT).await?;
    agreed(&theirs)?;

    let mut init = vec![ECDH_INIT];
    string(&mut init, public.as_ref());
    send(wire, &init).await?;
    let reply = receive(wire, ECDH_REPLY).await?;
    let mut rest = &reply[1..];
    let (key, point, signed) = (|| Some((take(&mut rest)?, take(&mut rest)?, take(&mut rest)?)))()
        .ok_or_else(|| Failed::protocol("SSH", &reply))?;
    let shared = agree_ephemeral(secret, &Point::new(&X25519, point), |shared| shared.to_vec())
        .map_err(|_| Failed::protocol("SSH", point))?;

    let mut hashed = Vec::new();
    for part in [BANNER, banner, &ours, &theirs, key, public.as_ref(), point] {
        string(&mut hashed, part);
    }
    let start = shared.iter().position(|byte| *byte != 0).unwrap_or(shared.len());
    let sign = shared.get(start).is_some_and(|byte| *byte >= 0x80);
    let number = [if sign { &[0][..] } else { &[] }, &shared[start..]].concat();
    string(&mut hashed, &number);
    let hash = digest(&SHA256, &hashed);
    let kind = verify(key, signed, hash.as_ref()).ok_or_else(|| {
        let summary = "the server does not prove that it has its host key";
        Failed::new(Reason::HostKeyMismatch, summary)
    })?;
    let fingerprint = BASE64_STANDARD.encode(digest(&SHA256, key).as_ref());
    let fingerprint = format!("SHA256:{}", fingerprint.trim_end_matches('='));
    Ok(HostKey { kind, fingerprint })
}

/// Whether the server offers an exchange and a host key that we can make.
fn agreed(theirs: &[u8]) -> Result<(), Failed> {
    let mut rest = theirs.get(17..).unwrap_or_default();
    for (what, ours) in [("key exchange", OFFERED[0]), ("host key", OFFERED[1])] {
        let names = take(&mut rest).ok_or_else(|| Failed::protocol("SSH", theirs))?;
        let names = String::from_utf8_lossy(names);
        if !names.split(',').any(|name| ours.split(',').any(|our| our == name)) {
            let names = shown_line(names.as_bytes(), 200);
            let summary = format!("the server has no {what} that is known here: {names}");
            return Err(Failed::new(Reason::ProtocolError, summary));
        }
    }
    Ok(())
}

/// The kind of `key`, if `signed` is a signature of `hash` by it.
fn verify(mut key: &[u8], mut signed: &[u8], hash: &[u8]) -> Option<String> {
    let kind = take(&mut key)?;
    let (scheme, mut signed) = (take(&mut signed)?, take(&mut signed)?);
    let good = match kind {
        b"ssh-ed25519" => {
            UnparsedPublicKey::new(&signature::ED25519, take(&mut key)?).verify(hash, signed)
        }
        b"ecdsa-sha2-nistp256" => {
            take(&mut key)?;
            let fixed = [fixed(take(&mut signed)?)?, fixed(take(&mut signed)?)?].concat();
            let algorithm = &signature::ECDSA_P256_SHA256_FIXED;
            UnparsedPublicKey::new(algorithm, take(&mut key)?).verify(hash, &fixed)
        }
        b"ssh-rsa" => {
            let algorithm = match scheme {
                b"rsa-sha2-512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                b"rsa-sha2-256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                _ => return None,
            };
            let (e, n) = (unsigned(take(&mut key)?), unsigned(take(&mut key)?));
            RsaPublicKeyComponents { n, e }.verify(algorithm, hash, signed)
        }
        _ => return None,
    };
    good.ok()?;
    Some(shown_line(kind, 50))
}

/// A number without its leading zeros.
fn unsigned(number: &[u8]) -> &[u8] {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    &number[start..]
}

/// A number in 32 bytes.
fn fixed(number: &[u8]) -> Option<[u8; 32]> {
    let number = unsigned(number);
    let mut fixed = [0; 32];
    fixed.get_mut(32_usize.checked_sub(number.len())?..)?.copy_from_slice(number);
    Some(fixed)
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Takes a text with its length before it.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let text = after.get(..length)?;
    *rest = &after[length..];
    Some(text)
}

async fn send(wire: &mut Wire, payload: &[u8]) -> Result<(), Failed> {
    let padding = 4 + (8 - (payload.len() + 5 + 4) % 8) % 8;
    let mut packet = Vec::with_capacity(payload.len() + 16);
    let length = payload.len() + padding + 1;
    packet.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    packet.push(u8::try_from(padding).unwrap_or(u8::MAX));
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + padding, 0);
    wire.send(&packet).await
}

/// The next packet of that kind; others that mean nothing to us are skipped.
async fn receive(wire: &mut Wire, kind: u8) -> Result<Vec<u8>, Failed> {
    for _ in 0..20 {
        let head = wire.exact(5).await?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let padding = usize::from(head[4]);
        if !(padding + 2..=MAX_PACKET).contains(&length) {
            return Err(Failed::protocol("SSH", &head));
        }
        let mut payload = wire.exact(length - 1).await?;
        payload.truncate(length - 1 - padding);
        match payload[0] {
            DISCONNECT => {
                let mut rest = payload.get(5..).unwrap_or_default();
                let said = shown_line(take(&mut rest).unwrap_or_default(), 200);
                let summary = format!("the server hangs up: `{said}`");
                return Err(Failed::new(Reason::ErrorAnswer, summary));
            }
            found if found == kind => return Ok(payload),
            _ => {}
        }
    }
    Err(Failed::new(Reason::ProtocolError, "the server does not come to the key exchange"))
}
