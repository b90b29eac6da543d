//! Lists as answers, written piece by piece while they are sent: a hundred thousand alerts take no
//! more memory than a thousand.
//!
//! Invariant: every entry of a list ends with a comma; what the whole answer has more than the
//! entries is the brackets.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base::http::{Frame, accepts_gzip, answer_compressed};

/// A piece is at least so long.
const PIECE: usize = 64 << 10;

/// Entries of a list.
pub(super) trait Pieces: Send + Unpin + 'static {
    /// Appends the next entry, or a few, each with a comma behind it, or none at all; false where
    /// there are no more.
    fn next(&mut self, to: &mut Vec<u8>) -> bool;
}

/// The list of all entries.
pub(super) fn answer(request: &HeaderMap, pieces: impl Pieces) -> Response {
    let mut list = List { pieces, state: Written::Nothing };
    let json = "application/json";
    if accepts_gzip(request) {
        let mut body = Vec::new();
        while let Some(piece) = list.piece() {
            body.extend_from_slice(&piece);
        }
        return answer_compressed(request, StatusCode::OK, json, body).map(Body::new);
    }
    let headers = [(header::CONTENT_TYPE, json), (header::VARY, "accept, accept-encoding")];
    (headers, Body::new(list)).into_response()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Nothing,
    /// The bracket and entries, of which the last one's comma is held back.
    Some {
        comma: bool,
    },
    All,
}

struct List<P> {
    pieces: P,
    state: Written,
}

impl<P: Pieces> List<P> {
    fn piece(&mut self) -> Option<Vec<u8>> {
        let mut piece = Vec::with_capacity(PIECE + PIECE / 4);
        match self.state {
            Written::All => return None,
            Written::Nothing => piece.push(b'['),
            Written::Some { comma } => piece.extend(comma.then_some(b',')),
        }
        let before = piece.len();
        let mut more = true;
        while more && piece.len() < PIECE {
            more = self.pieces.next(&mut piece);
        }
        let comma = piece.len() > before && piece.last() == Some(&b',');
        if comma {
            piece.pop();
        } else if matches!(self.state, Written::Some { comma: true }) && piece.len() == before {
            // Nothing came after the comma that was held back.
            piece.clear();
        }
        self.state = Written::Some { comma };
        if !more {
            piece.push(b']');
            self.state = Written::All;
        }
        Some(piece)
    }
}

impl<P: Pieces> HttpBody for List<P> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.piece().map(|piece| Ok(Frame::data(piece.into()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries of these lengths; nothing for an entry that is not wanted.
    struct Lengths(Vec<usize>);

    impl Pieces for Lengths {
        fn next(&mut self, to: &mut Vec<u8>) -> bool {
            let Some(length) = self.0.pop() else { return false };
            if length > 0 {
                to.push(b'"');
                to.extend(std::iter::repeat_n(b'x', length));
                to.extend_from_slice(b"\",");
            }
            true
        }
    }

    #[test]
    fn the_pieces_are_a_list() {
        let wide = PIECE + 5;
        for lengths in [
            vec![],
            vec![0],
            vec![3],
            vec![1, 2, 3],
            vec![wide],
            vec![wide, wide],
            vec![wide, 0, wide, 0, 0],
            vec![0, wide],
            vec![5; 50_000],
        ] {
            let mut list = List { pieces: Lengths(lengths.clone()), state: Written::Nothing };
            let mut whole = Vec::new();
            while let Some(piece) = list.piece() {
                whole.extend(piece);
            }
            let texts: Vec<String> = serde_json::from_slice(&whole).unwrap();
            let got: Vec<usize> = texts.iter().map(String::len).rev().collect();
            let expected: Vec<usize> = lengths.into_iter().filter(|length| *length > 0).collect();
            assert_eq!(got, expected);
        }
    }
}
