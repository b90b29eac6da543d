//! An OCSP staple (RFC 6960): what its authority says of a server's certificate, handed on by the server.
//!
//! The signature is not looked at: whoever has the certificate's key could hand on another staple, but
//! then he would hand on none. What is found is what a server does by mistake.
//!
//! Invariant: only a staple that is about this certificate, and is to be believed now, says something.

use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use crate::ber::{ENUMERATED, INTEGER, OCTETS, OID, SEQUENCE, expect, number, take, tlv};

/// What a staple says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Staple {
    /// The certificate is good.
    Good,
    /// It was taken back.
    Revoked,
    /// Nothing that counts; why not.
    Useless(String),
}

/// The tags of RFC 6960: `[0]`, and the three states of a certificate.
const TAGGED: u8 = 0xa0;
const GOOD: u8 = 0x80;
const REVOKED: u8 = 0xa1;
const GENERALIZED_TIME: u8 = 0x18;
/// Clocks differ: so many seconds a staple may be from the future, or too old.
const TOLERANCE: f64 = 300.0;

/// What `staple` says of `certificate`, both in DER, at `now` in seconds since 1970.
pub(super) fn judge(staple: &[u8], certificate: &[u8], now: f64) -> Staple {
    let useless = |why: &str| Staple::Useless(why.to_owned());
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return useless("is for a certificate that cannot be read");
    };
    let Some(said) = read(staple, certificate.raw_serial()) else {
        return useless("cannot be read");
    };
    let Said::About(said) = said else {
        return useless(match said {
            Said::Error => "is an error of the authority",
            _ => "is about another certificate",
        });
    };
    match said.state {
        _ if said.from > now + TOLERANCE => useless("is not valid yet"),
        _ if said.until.is_some_and(|until| until < now - TOLERANCE) => useless("is out of date"),
        GOOD => Staple::Good,
        REVOKED => Staple::Revoked,
        _ => useless("says that the authority does not know the certificate"),
    }
}

/// What stands in a staple.
enum Said {
    /// The authority could not answer whoever asked.
    Error,
    Another,
    About(About),
}

struct About {
    state: u8,
    from: f64,
    until: Option<f64>,
}

/// Reads a staple as far as it is about the certificate with this serial number.
fn read(staple: &[u8], serial: &[u8]) -> Option<Said> {
    let mut response = expect(&mut &*staple, SEQUENCE)?;
    let status = number(expect(&mut response, ENUMERATED)?, false)?;
    if status != 0 {
        return Some(Said::Error);
    }
    let mut bytes = expect(&mut expect(&mut response, TAGGED)?, SEQUENCE)?;
    expect(&mut bytes, OID)?;
    let mut basic = expect(&mut expect(&mut bytes, OCTETS)?, SEQUENCE)?;
    let mut data = expect(&mut basic, SEQUENCE)?;
    let (mut tag, _) = take(&mut data)?;
    if tag == TAGGED {
        // The version; who answers comes behind it.
        (tag, _) = take(&mut data)?;
    }
    if !matches!(tag, 0xa1 | 0xa2) {
        return None;
    }
    expect(&mut data, GENERALIZED_TIME)?;
    let mut answers = expect(&mut data, SEQUENCE)?;
    while !answers.is_empty() {
        let mut answer = expect(&mut answers, SEQUENCE)?;
        let mut id = expect(&mut answer, SEQUENCE)?;
        expect(&mut id, SEQUENCE)?;
        expect(&mut id, OCTETS)?;
        expect(&mut id, OCTETS)?;
        if expect(&mut id, INTEGER)? != serial {
            continue;
        }
        let (state, _) = take(&mut answer)?;
        let from = seconds(expect(&mut answer, GENERALIZED_TIME)?)?;
        let until = match take(&mut answer) {
            Some((TAGGED, mut inner)) => Some(seconds(expect(&mut inner, GENERALIZED_TIME)?)?),
            _ => None,
        };
        return Some(Said::About(About { state, from, until }));
    }
    Some(Said::Another)
}

/// A time in seconds since 1970.
fn seconds(text: &[u8]) -> Option<f64> {
    let (_, time) = ASN1Time::from_der(&tlv(GENERALIZED_TIME, &[text])).ok()?;
    Some(time.timestamp() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A staple about the number 5 in this state, of the day 2026-11-20 until the 27th.
    fn staple(state: &[u8], until: Option<&[u8]>) -> Vec<u8> {
        let name = tlv(OCTETS, &[b"12345678901234567890"]);
        let id = tlv(SEQUENCE, &[&tlv(SEQUENCE, &[]), &name, &name, &tlv(INTEGER, &[&[5]])]);
        let time = |text: &[u8]| tlv(GENERALIZED_TIME, &[text]);
        let until = until.map(|text| tlv(TAGGED, &[&time(text)])).unwrap_or_default();
        let single = tlv(SEQUENCE, &[&id, state, &time(b"20261120000000Z"), &until]);
        let who = tlv(0xa2, &[&name]);
        let data = tlv(SEQUENCE, &[&who, &time(b"20261120000000Z"), &tlv(SEQUENCE, &[&single])]);
        let basic = tlv(SEQUENCE, &[&data]);
        let kind = tlv(OID, &[&[0x2b, 6, 1, 5, 5, 7, 48, 1, 1]]);
        let bytes = tlv(SEQUENCE, &[&kind, &tlv(OCTETS, &[&basic])]);
        tlv(SEQUENCE, &[&tlv(ENUMERATED, &[&[0]]), &tlv(TAGGED, &[&bytes])])
    }

    #[test]
    fn what_a_staple_says_is_read_and_whatever_is_broken_says_nothing() {
        let good = staple(&[GOOD, 0], Some(b"20261127000000Z"));
        let about = |bytes: &[u8], serial: &[u8]| match read(bytes, serial) {
            Some(Said::About(about)) => Some((about.state, about.from, about.until)),
            _ => None,
        };
        let (from, until) = (1_795_132_800.0, 1_795_737_600.0);
        assert_eq!(about(&good, &[5]), Some((GOOD, from, Some(until))));
        assert!(matches!(read(&good, &[6]), Some(Said::Another)));
        let revoked = tlv(REVOKED, &[&tlv(GENERALIZED_TIME, &[b"20261101000000Z"])]);
        assert_eq!(about(&staple(&revoked, None), &[5]), Some((REVOKED, from, None)));
        let error = tlv(SEQUENCE, &[&tlv(ENUMERATED, &[&[6]])]);
        assert!(matches!(read(&error, &[5]), Some(Said::Error)));
        for end in 0..good.len() {
            assert_eq!(about(&good[..end], &[5]), None, "{end}");
        }
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 0x55;
            let _ = read(&changed, &[5]);
        }
        assert_eq!(
            judge(&good, b"no certificate", from),
            Staple::Useless("is for a certificate that cannot be read".to_owned(),)
        );
    }
}
