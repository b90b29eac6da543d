//! The times of a block's chunks, each once however many series have them.
//!
//! Invariant: a number that was given stands for the same times for ever.

use std::collections::HashMap;

use crate::chunk::Times;

/// Beyond so many bytes times stay with their series: somebody pushes samples that share none.
const MOST_BYTES: usize = 16 << 20;

/// Times on their way into a block.
#[derive(Debug)]
pub(super) struct SharedTimes {
    bytes: Vec<u8>,
    numbers: HashMap<Box<[u8]>, u32, foldhash::fast::RandomState>,
    most: usize,
}

impl Default for SharedTimes {
    fn default() -> Self {
        Self::with_room(MOST_BYTES)
    }
}

impl SharedTimes {
    /// Room for so many bytes of times.
    pub(super) fn with_room(most: usize) -> Self {
        Self { bytes: Vec::new(), numbers: HashMap::default(), most }
    }

    /// The number of these times; nothing where there is no more room.
    pub(super) fn number(&mut self, times: &[u8]) -> Option<u32> {
        if let Some(number) = self.numbers.get(times) {
            return Some(*number);
        }
        if self.bytes.len() + times.len() > self.most {
            return None;
        }
        let number = u32::try_from(self.numbers.len()).ok()?;
        self.bytes.extend_from_slice(times);
        self.numbers.insert(times.into(), number);
        Some(number)
    }

    /// All times, one behind the other in the order of their numbers.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Times of a block that is read.
#[derive(Debug)]
pub(super) struct KnownTimes {
    bytes: Vec<u8>,
    begins: Vec<u32>,
}

impl KnownTimes {
    /// `None` where the bytes are damaged.
    pub(super) fn of(bytes: Vec<u8>) -> Option<Self> {
        let (mut rest, mut begins) = (bytes.as_slice(), Vec::new());
        while !rest.is_empty() {
            begins.push(u32::try_from(bytes.len() - rest.len()).ok()?);
            Times::take(&mut rest)?;
        }
        Some(Self { bytes, begins })
    }

    pub(super) fn get(&self, number: u32) -> Option<Times<'_>> {
        let begin = *self.begins.get(number as usize)?;
        Times::take(&mut self.bytes.get(begin as usize..)?)
    }
}
