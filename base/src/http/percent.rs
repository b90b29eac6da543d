//! Texts as parts of a URL: every byte but letters, digits and `-._~` as `%` and two digits.
//!
//! Invariant: what was encoded is decoded into the same bytes.

/// `text` as a part of a path, of a query or of a form; a space is `%20`.
pub fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The bytes that `text` stands for; a `%` without two digits behind it stands for itself.
pub fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let digits = text.get(at + 1..at + 3).filter(|_| *byte == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_part_of_a_url_and_comes_back() {
        let check = |text: &str, expected: &str| {
            assert_eq!(percent_encoded(text), expected);
            assert_eq!(percent_decoded(expected), text.as_bytes());
        };
        check("Down-1_2.3~", "Down-1_2.3~");
        check("!a b:c/d~é", "%21a%20b%3Ac%2Fd~%C3%A9");
        check("{a=\"é b\"}", "%7Ba%3D%22%C3%A9%20b%22%7D");
        assert_eq!(percent_decoded("100%, %zz%4"), b"100%, %zz%4");
    }
}
