//! Who may ask: user names with hashes of their passwords, and tokens.
//!
//! Hashing a password is slow by intent. A password that was right is remembered, as a keyed hash of
//! user, stored hash and password, until the configuration changes; one that was wrong is hashed
//! again each time, few at a time, so that guessing is slow and takes little from us.
//!
//! Invariant: secrets are compared in constant time, and an unknown user takes as long to refuse as
//! a known one; neither a password nor a token is kept.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

/// Passwords that are hashed at a time, by which guessing is kept from taking all processors.
const HASHING: usize = 2;
/// Requests that may wait for that; one more is told to come again.
const WAITING: usize = 32;
/// Right passwords that are remembered; when there are more all are forgotten.
const REMEMBERED: usize = 256;

/// What is known of those who may ask.
pub(super) struct Credentials {
    /// The hashes of their passwords by user.
    users: BTreeMap<String, String>,
    tokens: Vec<hmac::Tag>,
    /// Random, and new with each configuration.
    key: hmac::Key,
    right: Mutex<HashSet<Vec<u8>>>,
    waiting: Semaphore,
    hashing: Semaphore,
}

/// Whether somebody may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Admitted,
    Refused,
    /// Too many passwords are being looked at.
    Busy,
}

/// Without hashes and keys.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users: Vec<_> = self.users.keys().collect();
        f.debug_struct("Credentials").field("users", &users).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Those of `users`, with the hashes of their passwords, and of whoever has one of `tokens`.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub(super) fn new(users: BTreeMap<String, String>, tokens: &[String]) -> Result<Self, String> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| "the system has no random numbers".to_owned())?;
        let tokens = tokens.iter().map(|token| hmac::sign(&key, token.as_bytes())).collect();
        Ok(Self {
            users,
            tokens,
            key,
            right: Mutex::default(),
            waiting: Semaphore::new(HASHING + WAITING),
            hashing: Semaphore::new(HASHING),
        })
    }

    /// Whether nobody is asked.
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.tokens.is_empty()
    }

    /// What a client is told to come with.
    pub(super) fn challenge(&self) -> &'static str {
        if self.users.is_empty() {
            "Bearer realm=\"veilleur\""
        } else {
            "Basic realm=\"veilleur\", charset=\"UTF-8\""
        }
    }

    /// Whether a request with these headers is admitted.
    pub(super) async fn check(&self, headers: &HeaderMap) -> Verdict {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        // Of two it is not clear which one counts.
        let (Some(given), None) = (given.next(), given.next()) else { return Verdict::Refused };
        let Some((scheme, rest)) = given.to_str().ok().and_then(|text| text.split_once(' ')) else {
            return Verdict::Refused;
        };
        let rest = rest.trim_matches(' ');
        if scheme.eq_ignore_ascii_case("bearer") {
            let known = |token: &&hmac::Tag| {
                hmac::verify(&self.key, rest.as_bytes(), token.as_ref()).is_ok()
            };
            // All are compared, whichever it is.
            let known = self.tokens.iter().filter(known).count();
            return if known > 0 { Verdict::Admitted } else { Verdict::Refused };
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Verdict::Refused;
        }
        let pair = STANDARD.decode(rest).ok().and_then(|pair| String::from_utf8(pair).ok());
        match pair.as_deref().and_then(|pair| pair.split_once(':')) {
            Some((user, password)) => self.password(user, password).await,
            None => Verdict::Refused,
        }
    }

    async fn password(&self, user: &str, password: &str) -> Verdict {
        // The password of an unknown user is compared with the slowest hash there is.
        let Some(slowest) = self.users.values().max_by_key(|hash| cost(hash)) else {
            return Verdict::Refused;
        };
        let known = self.users.get(user);
        let hash = known.unwrap_or(slowest).clone();
        let mut all = Vec::new();
        for part in [user, &hash, password] {
            // With their lengths, so that no two triples read the same.
            all.extend_from_slice(&(part.len() as u64).to_be_bytes());
            all.extend_from_slice(part.as_bytes());
        }
        let remembered = hmac::sign(&self.key, &all).as_ref().to_vec();
        if known.is_some() && self.right().contains(&remembered) {
            return Verdict::Admitted;
        }
        let Ok(_waiting) = self.waiting.try_acquire() else { return Verdict::Busy };
        let Ok(_turn) = self.hashing.acquire().await else { return Verdict::Busy };
        let password = password.to_owned();
        let verified =
            tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false));
        if !verified.await.unwrap_or(false) || known.is_none() {
            return Verdict::Refused;
        }
        let mut right = self.right();
        if right.len() >= REMEMBERED {
            right.clear();
        }
        right.insert(remembered);
        Verdict::Admitted
    }

    fn right(&self) -> std::sync::MutexGuard<'_, HashSet<Vec<u8>>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cost of a hash, of which each more doubles the time.
pub(super) fn cost(hash: &str) -> Option<u32> {
    hash.parse::<bcrypt::HashParts>().ok().map(|parts| parts.get_cost())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `swordfish`, at the least cost.
    fn hash() -> String {
        bcrypt::hash("swordfish", 4).unwrap()
    }

    async fn verdict(credentials: &Credentials, given: &[&str]) -> Verdict {
        let mut headers = HeaderMap::new();
        for value in given {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        credentials.check(&headers).await
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[tokio::test]
    async fn admits_who_knows_the_password_or_a_token() {
        let users = BTreeMap::from([("anne".to_owned(), hash()), ("zoe".to_owned(), hash())]);
        let tokens = ["0123456789abcdef".to_owned()];
        let credentials = Credentials::new(users, &tokens).unwrap();
        let check = async |given: &[&str], expected: Verdict| {
            // Once as a stranger, once remembered.
            for _ in 0..2 {
                assert_eq!(verdict(&credentials, given).await, expected, "{given:?}");
            }
        };
        let right = basic("anne:swordfish");
        check(&[&right], Verdict::Admitted).await;
        check(&[&right.replace("Basic", "bASIC")], Verdict::Admitted).await;
        check(&["Bearer 0123456789abcdef"], Verdict::Admitted).await;
        check(&[], Verdict::Refused).await;
        check(&[&right, &right], Verdict::Refused).await;
        check(&[&basic("anne:wrong")], Verdict::Refused).await;
        check(&[&basic("anne:")], Verdict::Refused).await;
        check(&[&basic("anne")], Verdict::Refused).await;
        check(&[&basic("bob:swordfish")], Verdict::Refused).await;
        check(&[&basic(":swordfish")], Verdict::Refused).await;
        check(&["Basic %%%"], Verdict::Refused).await;
        check(&["Basic"], Verdict::Refused).await;
        check(&["Bearer 0123456789abcde"], Verdict::Refused).await;
        check(&["Bearer "], Verdict::Refused).await;
        check(&["Digest x"], Verdict::Refused).await;
        assert_eq!(credentials.right().len(), 1);
    }

    #[tokio::test]
    async fn a_part_of_one_cannot_be_taken_for_a_part_of_another() {
        // What Prometheus's cache of 2022 mixed up (CVE-2022-46146).
        let users = BTreeMap::from([("anne".to_owned(), hash())]);
        let credentials = Credentials::new(users, &[]).unwrap();
        assert_eq!(verdict(&credentials, &[&basic("anne:swordfish")]).await, Verdict::Admitted);
        let stored = credentials.users["anne"].clone();
        for pair in [format!("anne{stored}:swordfish"), format!("anne:{stored}swordfish")] {
            assert_eq!(verdict(&credentials, &[&basic(&pair)]).await, Verdict::Refused, "{pair}");
        }
    }

    #[tokio::test]
    async fn guesses_beyond_what_can_wait_are_turned_away() {
        let users = BTreeMap::from([("anne".to_owned(), bcrypt::hash("x", 6).unwrap())]);
        let credentials = Credentials::new(users, &[]).unwrap();
        let waiting = credentials.waiting.acquire_many((HASHING + WAITING) as u32).await.unwrap();
        assert_eq!(verdict(&credentials, &[&basic("anne:y")]).await, Verdict::Busy);
        drop(waiting);
        assert_eq!(verdict(&credentials, &[&basic("anne:y")]).await, Verdict::Refused);
    }
}
