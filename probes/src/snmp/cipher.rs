//! The hashes and ciphers that SNMP's users have: RFC 3414, 3826, 7860, and for long keys
//! draft-blumenthal-aes-usm-04.
//!
//! Invariant: a key never prints, and no length that comes from outside makes this panic.

use std::fmt;

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use md5::{Digest, Md5};
use ring::digest;
use serde::Deserialize;

/// How a user proves who it is.
#[derive(Clone, Copy, Debug, Deserialize, schemars::JsonSchema, PartialEq, Eq)]
pub(super) enum Hash {
    #[serde(rename = "md5")]
    Md5,
    #[serde(rename = "sha")]
    Sha,
    #[serde(rename = "sha-256")]
    Sha256,
    #[serde(rename = "sha-384")]
    Sha384,
    #[serde(rename = "sha-512")]
    Sha512,
}

/// How what is said is hidden.
#[derive(Clone, Copy, Debug, Deserialize, schemars::JsonSchema, PartialEq, Eq)]
pub(super) enum Cipher {
    #[serde(rename = "des")]
    Des,
    #[serde(rename = "aes-128")]
    Aes128,
    #[serde(rename = "aes-192")]
    Aes192,
    #[serde(rename = "aes-256")]
    Aes256,
}

/// A key, which prints as `<secret>`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key(Vec<u8>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl Hash {
    fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        let algorithm = match self {
            Self::Md5 => {
                let mut hash = Md5::new();
                parts.iter().for_each(|part| hash.update(part));
                return hash.finalize().to_vec();
            }
            Self::Sha => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        let mut hash = digest::Context::new(algorithm);
        parts.iter().for_each(|part| hash.update(part));
        hash.finish().as_ref().to_vec()
    }

    /// How many bytes of the code go with a message.
    pub(super) fn code_length(self) -> usize {
        match self {
            Self::Md5 | Self::Sha => 12,
            Self::Sha256 => 24,
            Self::Sha384 => 32,
            Self::Sha512 => 48,
        }
    }

    /// The code of a message (RFC 2104), as long as it is sent.
    pub(super) fn code(self, key: &Key, message: &[u8]) -> Vec<u8> {
        let block = if matches!(self, Self::Sha384 | Self::Sha512) { 128 } else { 64 };
        let padded = |pad: u8| {
            let key = key.0.iter().copied().chain(std::iter::repeat(0));
            key.take(block).map(|byte| byte ^ pad).collect::<Vec<_>>()
        };
        let inner = self.digest(&[&padded(0x36), message]);
        let mut code = self.digest(&[&padded(0x5c), &inner]);
        code.truncate(self.code_length());
        code
    }

    /// The key of a password: the hash of a megabyte of it, which takes some milliseconds.
    pub(super) fn key(self, password: &str) -> Key {
        let many = password.as_bytes().iter().copied().cycle().take(1 << 20).collect::<Vec<_>>();
        Key(self.digest(&[&many]))
    }

    /// The key of a password for one device.
    pub(super) fn localized(self, key: &Key, engine: &[u8]) -> Key {
        Key(self.digest(&[&key.0, engine, &key.0]))
    }
}

impl Cipher {
    fn key_length(self) -> usize {
        match self {
            Self::Des | Self::Aes128 => 16,
            Self::Aes192 => 24,
            Self::Aes256 => 32,
        }
    }

    /// As many bytes of a localized key as are needed, the hash of it behind it where it is short.
    pub(super) fn fit(self, key: Key, hash: Hash) -> Key {
        let mut bytes = key.0;
        while bytes.len() < self.key_length() {
            let more = hash.digest(&[&bytes]);
            bytes.extend(more);
        }
        bytes.truncate(self.key_length());
        Key(bytes)
    }

    /// Eight bytes that make what is sent differ each time, of eight random ones.
    pub(super) fn salt(self, random: [u8; 8], boots: u32) -> [u8; 8] {
        let mut salt = random;
        if self == Self::Des {
            salt[..4].copy_from_slice(&boots.to_be_bytes());
        }
        salt
    }

    /// Hides `text`; nothing where the key does not fit, which [`Self::fit`] sees to.
    pub(super) fn encrypt(
        self,
        key: &Key,
        clock: [u32; 2],
        salt: [u8; 8],
        text: &[u8],
    ) -> Option<Vec<u8>> {
        if self == Self::Des {
            return des(key, salt, text, true);
        }
        self.feedback(key, clock, salt, text, true)
    }

    /// Shows what was hidden; nothing where it cannot be.
    pub(super) fn decrypt(
        self,
        key: &Key,
        clock: [u32; 2],
        salt: [u8; 8],
        text: &[u8],
    ) -> Option<Vec<u8>> {
        if self == Self::Des {
            return des(key, salt, text, false);
        }
        self.feedback(key, clock, salt, text, false)
    }

    /// AES in the mode CFB: what went before, encrypted, is what the text is mixed with.
    fn feedback(
        self,
        key: &Key,
        clock: [u32; 2],
        salt: [u8; 8],
        text: &[u8],
        hides: bool,
    ) -> Option<Vec<u8>> {
        let aes = Aes::new(self, key)?;
        let [boots, time] = clock.map(u32::to_be_bytes);
        let start = [&boots[..], &time, &salt].concat();
        let mut state: [u8; 16] = start.try_into().ok()?;
        let mut out = Vec::with_capacity(text.len());
        for block in text.chunks(16) {
            let mask = aes.encrypt(state);
            let mixed: Vec<u8> = block.iter().zip(mask).map(|(a, b)| a ^ b).collect();
            let hidden = if hides { &mixed } else { block };
            state[..hidden.len()].copy_from_slice(hidden);
            out.extend(mixed);
        }
        Some(out)
    }
}

enum Aes {
    Short(Box<aes::Aes128>),
    Middle(Box<aes::Aes192>),
    Long(Box<aes::Aes256>),
}

impl Aes {
    fn new(cipher: Cipher, key: &Key) -> Option<Self> {
        match cipher {
            Cipher::Des => None,
            Cipher::Aes128 => {
                Some(Self::Short(Box::new(aes::Aes128::new_from_slice(&key.0).ok()?)))
            }
            Cipher::Aes192 => {
                Some(Self::Middle(Box::new(aes::Aes192::new_from_slice(&key.0).ok()?)))
            }
            Cipher::Aes256 => Some(Self::Long(Box::new(aes::Aes256::new_from_slice(&key.0).ok()?))),
        }
    }

    fn encrypt(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = Array::from(block);
        match self {
            Self::Short(aes) => aes.encrypt_block(&mut block),
            Self::Middle(aes) => aes.encrypt_block(&mut block),
            Self::Long(aes) => aes.encrypt_block(&mut block),
        }
        block.into()
    }
}

/// DES in the mode CBC: eight bytes of the key, and eight that the salt is mixed with.
fn des(key: &Key, salt: [u8; 8], text: &[u8], hides: bool) -> Option<Vec<u8>> {
    let (key, start) = key.0.split_at_checked(8)?;
    let des = des::Des::new_from_slice(key).ok()?;
    let mut state: [u8; 8] = start.try_into().ok()?;
    state.iter_mut().zip(salt).for_each(|(byte, salt)| *byte ^= salt);
    let mut out = Vec::with_capacity(text.len() + 8);
    for chunk in text.chunks(8) {
        let mut block = [0; 8];
        block[..chunk.len()].copy_from_slice(chunk);
        if hides {
            block.iter_mut().zip(state).for_each(|(byte, state)| *byte ^= state);
            let mut hidden = Array::from(block);
            des.encrypt_block(&mut hidden);
            state = hidden.into();
            out.extend(state);
        } else {
            if chunk.len() != 8 {
                return None;
            }
            let mut shown = Array::from(block);
            des.decrypt_block(&mut shown);
            out.extend(shown.iter().zip(state).map(|(a, b)| a ^ b));
            state = block;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(key: &Key) -> String {
        key.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    const ENGINE: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

    #[test]
    fn keys_are_those_of_rfc_3414() {
        let check = |hash: Hash, key: &str, localized: &str| {
            let user = hash.key("maplesyrup");
            assert_eq!(hex(&user), key);
            assert_eq!(hex(&hash.localized(&user, &ENGINE)), localized);
        };
        check(Hash::Md5, "9faf3283884e92834ebc9847d8edd963", "526f5eed9fcce26f8964c2930787d82b");
        check(
            Hash::Sha,
            "9fb5cc0381497b3793528939ff788d5d79145211",
            "6695febc9288e36282235fc7151f128497b38f3f",
        );
    }

    #[test]
    fn what_is_hidden_is_shown_again() {
        for (cipher, hash) in [
            (Cipher::Des, Hash::Md5),
            (Cipher::Aes128, Hash::Md5),
            (Cipher::Aes192, Hash::Sha),
            (Cipher::Aes256, Hash::Sha),
            (Cipher::Aes256, Hash::Sha512),
        ] {
            let key = cipher.fit(hash.key("maplesyrup"), hash);
            let salt = cipher.salt(*b"abcdefgh", 3);
            for length in [0, 1, 8, 15, 16, 17, 100] {
                let text: Vec<u8> = (0..length).collect();
                let hidden = cipher.encrypt(&key, [3, 4], salt, &text).unwrap();
                let shown = cipher.decrypt(&key, [3, 4], salt, &hidden).unwrap();
                assert_eq!(shown[..text.len()], text, "{cipher:?} {length}");
                assert!(length < 8 || hidden != text);
            }
        }
        let key = Cipher::Des.fit(Hash::Md5.key("maplesyrup"), Hash::Md5);
        assert_eq!(Cipher::Des.decrypt(&key, [0, 0], [0; 8], b"1234567"), None);
        assert_eq!(format!("{key:?}"), "<secret>");
    }
}
