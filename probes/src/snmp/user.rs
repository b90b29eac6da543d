//! Version 3 with the user-based security model (RFC 3412, 3414): what a user's message looks like,
//! and what of a device's messages is to be believed.
//!
//! Invariant: an answer to a user with a password counts only if it carries the code that only who
//! knows the password can make.

use super::cipher::{Cipher, Hash, Key};
use super::message::{self, Answer, REPORT, RESPONSE};
use crate::ber::{self, INTEGER, OCTETS, SEQUENCE, integer, tlv};

/// The largest message that we take.
const MAX_SIZE: i32 = 65_507;
const AUTHENTICATED: u8 = 1;
const HIDDEN: u8 = 2;
const MAY_REPORT: u8 = 4;

/// Who we are.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) context: String,
    pub(super) proof: Option<Proof>,
}

/// The keys of a user's passwords, which are those of no device yet.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    pub(super) hash: Hash,
    pub(super) key: Key,
    pub(super) privacy: Option<(Cipher, Key)>,
}

/// A device as it tells of itself: who it is, how often it has started and for how many seconds it
/// is up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Engine {
    pub(super) id: Vec<u8>,
    pub(super) boots: u32,
    pub(super) time: u32,
}

/// A message of a device.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) engine: Engine,
    pub(super) answer: Answer,
}

/// A user before one device.
#[derive(Debug)]
pub(super) struct Speaker<'a> {
    user: &'a User,
    pub(super) engine: Engine,
    /// The user's keys for this device.
    keys: Option<Proof>,
}

impl<'a> Speaker<'a> {
    /// Before a device that is not known yet: all that it can be asked is who it is.
    pub(super) fn unknown(user: &'a User) -> Self {
        Self { user, engine: Engine::default(), keys: None }
    }

    pub(super) fn new(user: &'a User, engine: Engine) -> Self {
        let keys = user.proof.as_ref().map(|proof| {
            let localized = |key| proof.hash.localized(key, &engine.id);
            let privacy = proof.privacy.as_ref();
            let privacy =
                privacy.map(|(cipher, key)| (*cipher, cipher.fit(localized(key), proof.hash)));
            Proof { hash: proof.hash, key: localized(&proof.key), privacy }
        });
        Self { user, engine, keys }
    }

    /// A message with `pdu`; `id` is found again in the answer.
    pub(super) fn say(&self, id: i32, random: [u8; 8], pdu: &[u8]) -> Option<Vec<u8>> {
        let engine = &self.engine;
        let (name, context) = match engine.id.is_empty() {
            true => ("", ""),
            false => (self.user.name.as_str(), self.user.context.as_str()),
        };
        let scoped =
            tlv(SEQUENCE, &[&tlv(OCTETS, &[&engine.id]), &tlv(OCTETS, &[context.as_bytes()]), pdu]);
        let mut flags = MAY_REPORT;
        let (mut data, mut salt) = (scoped, Vec::new());
        if let Some(Proof { privacy, .. }) = &self.keys {
            flags |= AUTHENTICATED;
            if let Some((cipher, key)) = privacy {
                flags |= HIDDEN;
                let used = cipher.salt(random, engine.boots);
                let hidden = cipher.encrypt(key, [engine.boots, engine.time], used, &data)?;
                data = tlv(OCTETS, &[&hidden]);
                salt = used.to_vec();
            }
        }
        let head = tlv(
            SEQUENCE,
            &[
                &integer(INTEGER, id),
                &integer(INTEGER, MAX_SIZE),
                &tlv(OCTETS, &[&[flags]]),
                &integer(INTEGER, 3),
            ],
        );
        let whole = |code: &[u8]| {
            let number = |number: u32| integer(INTEGER, i32::try_from(number).unwrap_or(i32::MAX));
            let security = tlv(
                SEQUENCE,
                &[
                    &tlv(OCTETS, &[&engine.id]),
                    &number(engine.boots),
                    &number(engine.time),
                    &tlv(OCTETS, &[name.as_bytes()]),
                    &tlv(OCTETS, &[code]),
                    &tlv(OCTETS, &[&salt]),
                ],
            );
            let version = integer(INTEGER, 3);
            tlv(SEQUENCE, &[&version, &head, &tlv(OCTETS, &[&security]), &data])
        };
        // The code is that of the message with zeros in its place.
        Some(match &self.keys {
            None => whole(&[]),
            Some(Proof { hash, key, .. }) => {
                let without = whole(&vec![0; hash.code_length()]);
                whole(&hash.code(key, &without))
            }
        })
    }

    /// What a device says to the message `id`: nothing where it is no message of version 3 to that,
    /// or not to be believed. Reports are believed as they are: they say why there is no answer.
    pub(super) fn hear(&self, id: i32, datagram: &[u8]) -> Option<Heard> {
        let mut rest = ber::expect(&mut &datagram[..], SEQUENCE)?;
        let version = ber::number(ber::expect(&mut rest, INTEGER)?, true)?;
        let mut head = ber::expect(&mut rest, SEQUENCE)?;
        let heard_id = ber::number(ber::expect(&mut head, INTEGER)?, true)?;
        ber::expect(&mut head, INTEGER)?;
        let flags = *ber::expect(&mut head, OCTETS)?.first()?;
        let model = ber::number(ber::expect(&mut head, INTEGER)?, true)?;
        if version != 3 || model != 3 || heard_id != i128::from(id) {
            return None;
        }
        let mut security = ber::expect(&mut ber::expect(&mut rest, OCTETS)?, SEQUENCE)?;
        let engine_id = ber::expect(&mut security, OCTETS)?.to_vec();
        let mut number = || ber::number(ber::expect(&mut security, INTEGER)?, true);
        let (boots, time) = (u32::try_from(number()?).ok()?, u32::try_from(number()?).ok()?);
        ber::expect(&mut security, OCTETS)?;
        let code = ber::expect(&mut security, OCTETS)?;
        let salt = ber::expect(&mut security, OCTETS)?;
        let is_proven = flags & AUTHENTICATED != 0 && self.is_proven(datagram, code);
        let engine = Engine { id: engine_id, boots, time };
        if flags & HIDDEN == 0 {
            return self.believed(engine, ber::expect(&mut rest, SEQUENCE)?, is_proven);
        }
        let (cipher, key) = self.keys.as_ref()?.privacy.as_ref()?;
        let hidden = ber::expect(&mut rest, OCTETS)?;
        let shown = cipher.decrypt(key, [boots, time], salt.try_into().ok()?, hidden)?;
        self.believed(engine, ber::expect(&mut &shown[..], SEQUENCE)?, is_proven)
    }

    /// The answer in what a device says in clear, or said in secret.
    fn believed(&self, engine: Engine, mut scoped: &[u8], is_proven: bool) -> Option<Heard> {
        ber::expect(&mut scoped, OCTETS)?;
        ber::expect(&mut scoped, OCTETS)?;
        let answer = message::answer(scoped)?;
        let counts = match answer.tag {
            REPORT => true,
            RESPONSE => (self.keys.is_none() || is_proven) && engine.id == self.engine.id,
            _ => false,
        };
        counts.then_some(Heard { engine, answer })
    }

    /// Whether `code`, a part of `datagram`, is the one that our key makes of it.
    fn is_proven(&self, datagram: &[u8], code: &[u8]) -> bool {
        let Some(Proof { hash, key, .. }) = &self.keys else { return false };
        if code.len() != hash.code_length() {
            return false;
        }
        let at = (code.as_ptr() as usize).saturating_sub(datagram.as_ptr() as usize);
        let mut without = datagram.to_vec();
        let Some(place) = without.get_mut(at..at + code.len()) else { return false };
        place.fill(0);
        // Without an end at the first byte that differs: how long this takes tells nothing.
        let differing =
            hash.code(key, &without).iter().zip(code).fold(0, |sum, (a, b)| sum | (a ^ b));
        differing == 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{GET, question};
    use super::*;

    fn user(privacy: Option<Cipher>) -> User {
        let hash = Hash::Sha256;
        let privacy = privacy.map(|cipher| (cipher, hash.key("hide and seek")));
        let proof = Proof { hash, key: hash.key("maplesyrup"), privacy };
        User { name: "watch".to_owned(), context: String::new(), proof: Some(proof) }
    }

    fn device() -> Engine {
        Engine { id: b"\x80\0\x1f\x88\x04engine".to_vec(), boots: 3, time: 400 }
    }

    /// What a device would answer: a question has the form of one.
    fn response(id: i32) -> Vec<u8> {
        let oid = ber::oid("1.3.6.1.2.1.1.3.0").unwrap();
        let mut pdu = question(GET, id, [0, 0], Some(&oid));
        pdu[0] = RESPONSE;
        pdu
    }

    #[test]
    fn an_answer_counts_only_as_it_was_sent_and_only_with_our_key() {
        for privacy in [None, Some(Cipher::Des), Some(Cipher::Aes128), Some(Cipher::Aes256)] {
            let user = user(privacy);
            let speaker = Speaker::new(&user, device());
            let said = speaker.say(7, [5; 8], &response(7)).unwrap();
            let heard = speaker.hear(7, &said).unwrap();
            assert_eq!((heard.engine, heard.answer.id), (device(), 7));
            assert!(speaker.hear(8, &said).is_none(), "an answer to another question");
            for at in 0..said.len() {
                let mut changed = said.clone();
                changed[at] ^= 0x10;
                assert!(speaker.hear(7, &changed).is_none(), "{privacy:?}: byte {at} is another");
                assert!(speaker.hear(7, &said[..at]).is_none(), "{privacy:?}: cut at {at}");
            }
            let nobody = User { proof: None, ..user.clone() };
            let forged = Speaker::new(&nobody, device()).say(7, [5; 8], &response(7)).unwrap();
            assert!(speaker.hear(7, &forged).is_none(), "one without a code");
            let elsewhere = Engine { id: b"another".to_vec(), ..device() };
            let other = Speaker::new(&user, elsewhere).say(7, [5; 8], &response(7)).unwrap();
            assert!(speaker.hear(7, &other).is_none(), "one of another device");
        }
    }

    #[test]
    fn a_report_is_heard_without_a_code() {
        let user = user(None);
        let nobody = User { proof: None, ..user.clone() };
        let mut pdu = response(7);
        pdu[0] = REPORT;
        let report = Speaker::new(&nobody, device()).say(7, [5; 8], &pdu).unwrap();
        let heard = Speaker::new(&user, device()).hear(7, &report).unwrap();
        assert_eq!(heard.answer.tag, REPORT);
    }
}
