//! Bodies that come packed: gzip, deflate and Brotli.
//!
//! Invariant: of what comes out no more is kept than the limit, and nothing is unpacked beyond it
//! (X21): a bomb costs a body of the limit's size.

use std::io::{self, Write};

use brotli_decompressor::DecompressorWriter;
use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};

/// How much is unpacked at a time.
const PIECE: usize = 16 << 10;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Deflate,
    Brotli,
}

/// The names of all codings, as headers and configurations have them.
pub(crate) const CODINGS: [&str; 3] = ["gzip", "br", "deflate"];

/// What came out of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// As far as it was unpacked.
    pub(crate) body: Vec<u8>,
    pub(crate) fault: Option<Fault>,
}

/// Why a body was not unpacked to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// There would be more than the limit.
    #[error("the body is over {0} bytes when it is unpacked")]
    TooLarge(usize),
    /// It does not even begin as what is packed in that way does.
    #[error("the body cannot be unpacked: {0}")]
    NotBegun(String),
    /// It is cut off, or spoilt.
    #[error("the body cannot be unpacked: {0}")]
    Broken(String),
}

impl Coding {
    /// The coding of that name, in whatever case.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "br" => Some(Self::Brotli),
            _ => None,
        }
    }

    /// Unpacks `packed` to at most `limit` bytes.
    pub(crate) fn unpack(self, packed: &[u8], limit: usize) -> Unpacked {
        let mut kept = Kept { body: Vec::new(), limit, is_over: false };
        let result = match self {
            Self::Gzip => {
                let mut decoder = MultiGzDecoder::new(&mut kept);
                decoder.write_all(packed).and_then(|()| decoder.try_finish())
            }
            Self::Deflate => inflate(packed, &mut kept),
            Self::Brotli => {
                let mut decoder = DecompressorWriter::new(&mut kept, PIECE);
                decoder.write_all(packed).and_then(|()| decoder.close())
            }
        };
        let fault = match result {
            _ if kept.is_over => Some(Fault::TooLarge(limit)),
            Ok(()) => None,
            // Only gzip has a head that says what it is.
            Err(_) if self == Self::Gzip && !has_gzip_header(packed) => {
                Some(Fault::NotBegun("it is not gzip".to_owned()))
            }
            Err(error) => Some(Fault::Broken(error.to_string())),
        };
        Unpacked { body: kept.body, fault }
    }
}

/// Unpacks what is called deflate: zlib's format by the book, and often the bare data.
fn inflate(packed: &[u8], kept: &mut Kept) -> io::Result<()> {
    // The decoders of `flate2` take data that are cut off for whole.
    let mut decompress = Decompress::new(has_zlib_header(packed));
    let mut piece = vec![0; PIECE];
    loop {
        let (read, written) = (decompress.total_in(), decompress.total_out());
        let rest = usize::try_from(read).ok().and_then(|read| packed.get(read..));
        let status = decompress
            .decompress(rest.unwrap_or_default(), &mut piece, FlushDecompress::None)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let count = usize::try_from(decompress.total_out() - written).unwrap_or(0);
        kept.write_all(&piece[..count.min(PIECE)])?;
        match status {
            Status::StreamEnd => return Ok(()),
            _ if count == 0 && decompress.total_in() == read => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut off"));
            }
            _ => {}
        }
    }
}

/// Whether the data begin as gzip's do, in full (RFC 1952, 2.3).
fn has_gzip_header(packed: &[u8]) -> bool {
    packed.len() >= 10 && packed.starts_with(&[0x1f, 0x8b, 8])
}

/// Whether the data begin as zlib's do (RFC 1950, 2.2).
fn has_zlib_header(packed: &[u8]) -> bool {
    match packed {
        [first, second, ..] => {
            first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31)
        }
        _ => false,
    }
}

/// What came out so far.
struct Kept {
    body: Vec<u8>,
    limit: usize,
    is_over: bool,
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.limit.saturating_sub(self.body.len());
        self.body.extend_from_slice(&bytes[..room.min(bytes.len())]);
        if bytes.len() > room {
            self.is_over = true;
            return Err(io::Error::other("it is too large"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const TEXT: &str = "fine\n";
    /// What `brotli` makes of [`TEXT`].
    const BROTLI: &[u8] = &[0x0f, 0x02, 0x80, 0x66, 0x69, 0x6e, 0x65, 0x0a, 0x03];

    /// What it makes of 64 MiB of zeros.
    const BROTLI_BOMB: &[u8] = &[
        0xcf, 0xff, 0xff, 0x7f, 0xf8, 0x27, 0x00, 0xe2, 0xb1, 0x40, 0x20, 0xf7, 0xfe, 0x9f, 0xff,
        0xff, 0xff, 0x04, 0xf0, 0x0c, 0x46, 0x10, 0x18, 0x0e, 0xef, 0xd3, 0xff, 0xff, 0xff,
    ];

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[track_caller]
    fn check(coding: &str, packed: &[u8], expected: &str) {
        let unpacked = Coding::parse(coding).unwrap().unpack(packed, 1 << 20);
        assert_eq!((unpacked.fault, unpacked.body.as_slice()), (None, expected.as_bytes()));
    }

    #[test]
    fn unpacks_what_servers_send() {
        check("gzip", &gzip(TEXT.as_bytes()), TEXT);
        check("X-GZIP", &gzip(TEXT.as_bytes()), TEXT);
        check("gzip", &[gzip(b"a"), gzip(b"b")].concat(), "ab");
        check("deflate", &deflate(TEXT.as_bytes()), TEXT);
        check("deflate", &zlib(TEXT.as_bytes()), TEXT);
        check("br", BROTLI, TEXT);
        check("br", &[0x3f], "");
        assert_eq!(Coding::parse("zstd"), None);
    }

    #[test]
    fn what_is_broken_is_told_and_what_came_before_is_kept() {
        let text: String = (0..20_000).map(|n| format!("{n} ")).collect();
        for (coding, packed) in [
            ("gzip", gzip(text.as_bytes())),
            ("deflate", deflate(text.as_bytes())),
            ("deflate", zlib(text.as_bytes())),
            ("br", BROTLI.to_vec()),
        ] {
            let coding = Coding::parse(coding).unwrap();
            let cut = coding.unpack(&packed[..packed.len() - 2], 1 << 20);
            assert!(matches!(cut.fault, Some(Fault::Broken(_))), "{coding:?} {:?}", cut.fault);
            assert!(coding == Coding::Brotli || cut.body.len() > text.len() / 2, "{coding:?}");
            let other = coding.unpack(b"<!doctype html>", 1 << 20);
            let not_begun = matches!(other.fault, Some(Fault::NotBegun(_)));
            let broken = matches!(other.fault, Some(Fault::Broken(_)));
            assert_eq!((not_begun, broken), (coding == Coding::Gzip, coding != Coding::Gzip));
            assert_eq!(other.body, b"", "{coding:?}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit_x21() {
        let zeros = vec![0; 64 << 20];
        for (coding, packed) in [
            (Coding::Gzip, gzip(&zeros)),
            (Coding::Deflate, deflate(&zeros)),
            (Coding::Deflate, zlib(&zeros)),
            (Coding::Brotli, BROTLI_BOMB.to_vec()),
        ] {
            assert!(packed.len() < 1 << 17, "{coding:?}");
            let unpacked = coding.unpack(&packed, 1 << 20);
            assert_eq!(unpacked.fault, Some(Fault::TooLarge(1 << 20)), "{coding:?}");
            assert_eq!(unpacked.body.len(), 1 << 20, "{coding:?}");
        }
    }
}
