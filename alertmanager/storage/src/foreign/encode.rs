//! Floats as a chunk of Prometheus, for those who read samples of us.
//!
//! Invariant: what [`super::floats::read`] makes of it is what was given, bit for bit.

/// The most samples of a chunk.
pub const CHUNK_SAMPLES: usize = 120;

/// Writes bit by bit, the highest of a byte first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// How many bits of the last byte are free.
    free: u32,
}

impl Bits {
    /// The lowest `count` bits of `value`, at most 64.
    fn push(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = self.free.min(left);
            left -= taken;
            let bits = (value >> left) as u8 & (0xff_u16 >> (8 - taken)) as u8;
            self.free -= taken;
            if let Some(last) = self.bytes.last_mut() {
                *last |= bits << self.free;
            }
        }
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.push(value, 8);
    }
}

/// The bits in which a float differs from the one before it.
struct Xor {
    before: u64,
    /// Zeros before and behind the bits that were written last; nothing where none were.
    window: Option<(u32, u32)>,
}

impl Xor {
    fn push(&mut self, value: f64, to: &mut Bits) {
        let differ = value.to_bits() ^ self.before;
        self.before = value.to_bits();
        if differ == 0 {
            return to.push(0, 1);
        }
        to.push(1, 1);
        let (leading, trailing) = (differ.leading_zeros().min(31), differ.trailing_zeros());
        match self.window {
            Some((before, behind)) if leading >= before && trailing >= behind => {
                to.push(0, 1);
                to.push(differ >> behind, 64 - before - behind);
            }
            _ => {
                let meaning = 64 - leading - trailing;
                to.push(1, 1);
                to.push(u64::from(leading), 5);
                // 64 has no place in six bits, and 0 never comes.
                to.push(u64::from(meaning & 63), 6);
                to.push(differ >> trailing, meaning);
                self.window = Some((leading, trailing));
            }
        }
    }
}

/// The samples of `times` and `values`, the first [`CHUNK_SAMPLES`] of them, as a chunk.
pub fn float_chunk(times: &[i64], values: &[f64]) -> Vec<u8> {
    let count = times.len().min(values.len()).min(CHUNK_SAMPLES);
    let mut bits = Bits::default();
    bits.push(count as u64, 16);
    let (mut before, mut step) = (0_i64, 0_i64);
    let mut xor = Xor { before: 0, window: None };
    for (n, (&time, &value)) in times.iter().zip(values).take(count).enumerate() {
        let this = time.wrapping_sub(before);
        match n {
            0 => {
                bits.varint(((time << 1) ^ (time >> 63)) as u64);
                bits.push(value.to_bits(), 64);
                xor.before = value.to_bits();
            }
            1 => {
                bits.varint(this as u64);
                xor.push(value, &mut bits);
            }
            _ => {
                let change = this.wrapping_sub(step);
                let fits = |length: u32| {
                    (-((1_i64 << (length - 1)) - 1)..=1_i64 << (length - 1)).contains(&change)
                };
                match [(14, 0b10, 2), (17, 0b110, 3), (20, 0b1110, 4)]
                    .into_iter()
                    .find(|(length, ..)| fits(*length))
                {
                    _ if change == 0 => bits.push(0, 1),
                    Some((length, prefix, width)) => {
                        bits.push(prefix, width);
                        bits.push(change as u64, length);
                    }
                    None => {
                        bits.push(0b1111, 4);
                        bits.push(change as u64, 64);
                    }
                }
                xor.push(value, &mut bits);
            }
        }
        (before, step) = (time, this);
    }
    bits.bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_read_as_it_was_written(
            start in -(1_i64 << 50)..1 << 50,
            samples in prop::collection::vec(
                (prop_oneof![Just(15_000_i64), 0_i64..40_000, 0_i64..1 << 40],
                 prop_oneof![any::<f64>(), (0..9_i64).prop_map(|n| n as f64)]),
                1..CHUNK_SAMPLES,
            ),
        ) {
            let mut time = start;
            let times: Vec<i64> = samples.iter().map(|(step, _)| { time += step; time }).collect();
            let values: Vec<f64> = samples.iter().map(|(_, value)| *value).collect();
            let read = super::super::floats::read(&float_chunk(&times, &values)).unwrap();
            prop_assert_eq!(read.times, times);
            let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&read.values), bits(&values));
        }
    }

    #[test]
    fn a_chunk_holds_no_more_than_it_may() {
        let (times, values): (Vec<i64>, Vec<f64>) = (0..200).map(|n| (n * 1000, 1.0)).unzip();
        let read = super::super::floats::read(&float_chunk(&times, &values)).unwrap();
        assert_eq!(read.times.len(), CHUNK_SAMPLES);
    }
}
