//! CRC-32C, by which Prometheus checks its files; crc32fast has only the other polynomial.
//!
//! Invariant: the sum of `123456789` is the one of the standard.

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut sum = n as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
            bit += 1;
        }
        table[n] = sum;
        n += 1;
    }
    table
}

const TABLE: [u32; 256] = table();

/// The CRC-32C of `bytes`.
pub fn castagnoli(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| sum >> 8 ^ TABLE[usize::from(sum as u8 ^ byte)];
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    #[test]
    fn is_the_sum_of_the_standard() {
        assert_eq!(super::castagnoli(b"123456789"), 0xe306_9283);
    }
}
