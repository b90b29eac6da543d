//! A hash of labels that is the same on every machine and at any time: XXH64 (Yann Collet) of the
//! encoding that Prometheus keeps labels in, so that both choose the same series by it.
//!
//! Invariant: it is not for tables: who chooses labels can choose its value.

use base::labels::Labels;

const PRIMES: [u64; 5] = [
    0x9e37_79b1_85eb_ca87,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x85eb_ca77_c2b2_ae63,
    0x27d4_eb2f_1656_67c5,
];

/// The hash of a set of labels.
pub(crate) fn label_hash(labels: &Labels) -> u64 {
    let mut bytes = Vec::new();
    let mut push = |text: &str| {
        let length = text.len() as u32;
        match u8::try_from(length) {
            Ok(short) if short < 255 => bytes.push(short),
            _ => {
                bytes.push(255);
                bytes.extend_from_slice(&length.to_le_bytes()[..3]);
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    };
    for (name, value) in labels.iter() {
        push(name);
        push(value);
    }
    hash(&bytes)
}

fn round(state: u64, word: u64) -> u64 {
    state.wrapping_add(word.wrapping_mul(PRIMES[1])).rotate_left(31).wrapping_mul(PRIMES[0])
}

fn hash(bytes: &[u8]) -> u64 {
    let (stripes, mut rest) = bytes.as_chunks::<32>();
    let mut state = if stripes.is_empty() {
        PRIMES[4]
    } else {
        let mut lanes =
            [PRIMES[0].wrapping_add(PRIMES[1]), PRIMES[1], 0, 0_u64.wrapping_sub(PRIMES[0])];
        for stripe in stripes {
            let (words, _) = stripe.as_chunks::<8>();
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane = round(*lane, u64::from_le_bytes(*word));
            }
        }
        let turns = [1, 7, 12, 18];
        let all = lanes.iter().zip(turns).map(|(lane, by)| lane.rotate_left(by));
        let begun = all.fold(0_u64, u64::wrapping_add);
        lanes.iter().fold(begun, |state, lane| {
            (state ^ round(0, *lane)).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3])
        })
    };
    state = state.wrapping_add(bytes.len() as u64);
    let (words, left) = rest.as_chunks::<8>();
    for word in words {
        let mixed = state ^ round(0, u64::from_le_bytes(*word));
        state = mixed.rotate_left(27).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]);
    }
    rest = left;
    let (halves, left) = rest.as_chunks::<4>();
    for half in halves {
        let word = u64::from(u32::from_le_bytes(*half));
        let mixed = state ^ word.wrapping_mul(PRIMES[0]);
        state = mixed.rotate_left(23).wrapping_mul(PRIMES[1]).wrapping_add(PRIMES[2]);
    }
    for byte in left {
        let mixed = state ^ u64::from(*byte).wrapping_mul(PRIMES[4]);
        state = mixed.rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    state = (state ^ state >> 33).wrapping_mul(PRIMES[1]);
    state = (state ^ state >> 29).wrapping_mul(PRIMES[2]);
    state ^ state >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known values of XXH64 with the seed 0.
    #[test]
    fn hashes_as_everybody_does() {
        assert_eq!(hash(b""), 0xef46_db37_51d8_e999);
        assert_eq!(hash(b"a"), 0xd24e_c4f1_a98c_6e5b);
        assert_eq!(hash(b"abc"), 0x44bc_2cf5_ad77_0999);
    }
}
