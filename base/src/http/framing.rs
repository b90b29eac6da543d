//! Where a request ends, judged more strictly than hyper does: a proxy in front of us must never see
//! another request in the same bytes (X35).
//!
//! ```text
//! bytes ─▶ Head ──blank line──▶ Body(length) ──▶ Head ...
//!            │                └▶ Chunked: nothing more is judged, the connection ends with the answer
//!            └ a line that is ambiguous: its line feed becomes NUL, for which hyper answers 400
//! ```
//!
//! Invariant: a head with a line feed alone, with two lengths, with a length and an encoding, or with
//! an encoding but `chunked`, reaches no handler.

/// What is kept of a line; the names and values that count are shorter.
const KEPT: usize = 64;

/// Follows what a peer sends.
#[derive(Debug, Default)]
pub(super) struct Framing {
    at: At,
    line: Vec<u8>,
    /// How long the line is, also where not all of it is kept.
    length: usize,
    /// Whether the request's own line was there.
    has_begun: bool,
    content_length: Option<u64>,
    is_chunked: bool,
}

#[derive(Debug, Default)]
enum At {
    #[default]
    Head,
    Body(u64),
    Chunked,
}

impl Framing {
    /// Judges the next bytes, and spoils the first line among them that is ambiguous.
    pub(super) fn judge(&mut self, bytes: &mut [u8]) {
        let mut rest = bytes;
        loop {
            match self.at {
                At::Chunked => return,
                At::Body(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    rest = &mut rest[taken..];
                    self.at = match left - taken as u64 {
                        0 => At::Head,
                        left => At::Body(left),
                    };
                }
                At::Head => {}
            }
            if rest.is_empty() {
                return;
            }
            let Some(end) = memchr::memchr(b'\n', rest) else {
                self.keep(rest);
                return;
            };
            let (line, after) = rest.split_at_mut(end + 1);
            self.keep(&line[..end]);
            if !self.end_line() {
                line[end] = 0;
            }
            rest = after;
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = KEPT.saturating_sub(self.line.len()).min(bytes.len());
        self.line.extend_from_slice(&bytes[..room]);
        self.length += bytes.len();
        // The end says whether a line feed is alone.
        if self.length > KEPT
            && let (Some(last), Some(kept)) = (bytes.last(), self.line.last_mut())
        {
            *kept = *last;
        }
    }

    /// Judges the line that is complete but for its line feed; whether it may pass.
    fn end_line(&mut self) -> bool {
        let line = std::mem::take(&mut self.line);
        let is_whole = std::mem::take(&mut self.length) <= KEPT;
        let Some(text) = line.strip_suffix(b"\r") else { return false };
        if text.is_empty() {
            if self.has_begun {
                let at = match (self.is_chunked, self.content_length) {
                    (true, _) => At::Chunked,
                    (false, Some(length)) if length > 0 => At::Body(length),
                    _ => At::Head,
                };
                *self = Self { at, ..Self::default() };
            }
            return true;
        }
        if !std::mem::replace(&mut self.has_begun, true) {
            // The request's own line; hyper knows what is wrong with it.
            return true;
        }
        let Some(colon) = memchr::memchr(b':', text) else { return true };
        let (name, value) = (text[..colon].trim_ascii(), text[colon + 1..].trim_ascii());
        let is_alone = self.content_length.is_none() && !self.is_chunked;
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = std::str::from_utf8(value).ok().filter(|_| is_whole);
            let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            self.content_length = digits.and_then(|text| text.parse().ok());
            return is_alone && self.content_length.is_some();
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.is_chunked = true;
            return is_alone && is_whole && value.eq_ignore_ascii_case(b"chunked");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of `text` however it is cut into pieces; `!` stands for a spoilt line feed.
    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        for size in [1, 3, text.len()] {
            let (mut framing, mut all) = (Framing::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                let mut piece = piece.to_vec();
                framing.judge(&mut piece);
                all.extend(piece);
            }
            let all = String::from_utf8(all).unwrap().replace('\0', "!");
            assert_eq!(all, expected.unwrap_or(text), "{text:?} by {size}");
        }
    }

    #[test]
    fn what_is_clear_passes_x35() {
        check("GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n", None);
        check("\r\nGET / HTTP/1.1\r\ncontent-length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n", None);
        check("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na\nbGET / HTTP/1.1\r\n\r\n", None);
        check("POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n1\na\n\n", None);
        check(&format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(300)), None);
    }

    #[test]
    fn what_is_ambiguous_is_spoilt_x35() {
        let refused = |head: &str| {
            check(
                &format!("P / H\r\n{head}"),
                Some(&format!("P / H\r\n{}", head.replace('\n', "!"))),
            );
        };
        check("P / H\n", Some("P / H!"));
        refused("a: b\n");
        refused(&format!("a: {}\n", "b".repeat(300)));
        refused("content-length: +3\r\n");
        refused("content-length: 3, 3\r\n");
        refused("content-length:\r\n");
        refused("content-length: 99999999999999999999\r\n");
        refused(&format!("content-length: {}3\r\n", "0".repeat(100)));
        refused("transfer-encoding: xchunked\r\n");
        refused("transfer-encoding: gzip, chunked\r\n");
        refused("Transfer-Encoding : identity\r\n");
        let second = |first: &str, second: &str| {
            let head = format!("P / H\r\n{first}\r\n{second}\r");
            check(&format!("{head}\n"), Some(&format!("{head}!")));
        };
        second("content-length: 3", "content-length: 3");
        second("content-length: 3", "Content-Length: 4");
        second("content-length: 3", "transfer-encoding: chunked");
        second("transfer-encoding: chunked", "content-length: 3");
        second("transfer-encoding: chunked", "transfer-encoding: chunked");
        // Behind a body it is a head again.
        let body = "P / H\r\ncontent-length: 2\r\n\r\n\n\n";
        check(&format!("{body}P / H\n"), Some(&format!("{body}P / H!")));
    }
}
