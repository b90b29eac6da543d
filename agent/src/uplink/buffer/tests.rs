//! The buffer over crashes, full disks and long outages.
//!
//! Invariant: what is expected is what was put in and not yet taken out.

use super::*;

fn record(number: u32, length: usize) -> Record {
    let mut body = vec![number as u8; length];
    body.extend(number.to_le_bytes());
    Record { body, samples: number }
}

fn open(dir: &Path) -> Buffer {
    Buffer::open(dir, 4 << 20).unwrap()
}

#[track_caller]
fn take(buffer: &mut Buffer) -> Option<u32> {
    let (place, record) = buffer.front()?;
    buffer.pop(place, &record).unwrap();
    Some(record.samples)
}

#[test]
fn what_goes_in_comes_out_in_order_also_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut buffer = open(dir.path());
    // Several files of them.
    (1..=40).for_each(|n| buffer.push(record(n, 100_000)));
    assert!(buffer.segments.len() > 3);
    for n in 1..=20 {
        assert_eq!(take(&mut buffer), Some(n));
        drop(buffer);
        buffer = open(dir.path());
    }
    assert_eq!(buffer.samples(), (21..=40).sum::<u64>());
    buffer.push(record(41, 10));
    for n in 21..=41 {
        assert_eq!(take(&mut buffer), Some(n));
    }
    assert_eq!((take(&mut buffer), buffer.samples()), (None, 0));
    buffer.push(record(42, 10));
    assert_eq!(take(&mut buffer), Some(42));
    let files = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files, 3, "the last file, what was sent, and the lock");
}

#[test]
fn the_oldest_that_go_together_are_taken_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut buffer = open(dir.path());
    (1..=30).for_each(|n| buffer.push(record(n, 100_000)));
    buffer.segments.back_mut().unwrap().file = File::open(dir.path().join("00000003.buf")).unwrap();
    (31..=33).for_each(|n| buffer.push(record(n, 10)));
    let numbers = |buffer: &mut Buffer, most| {
        let oldest = buffer.oldest(most);
        oldest.iter().map(|(_, record)| record.samples).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&mut buffer, 0), [1]);
    assert_eq!(numbers(&mut buffer, 14), [1, 2, 3, 4]);
    let all = buffer.oldest(u32::MAX);
    assert_eq!(all.iter().map(|(_, r)| r.samples).collect::<Vec<_>>(), Vec::from_iter(1..=33));
    all.iter().take(30).for_each(|(place, record)| buffer.pop(*place, record).unwrap());
    assert_eq!(numbers(&mut buffer, 70), [31, 32]);
}

#[test]
fn what_was_not_noted_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut buffer = open(dir.path());
    (1..=3).for_each(|n| buffer.push(record(n, 10)));
    assert_eq!(take(&mut buffer), Some(1));
    assert_eq!(buffer.front().unwrap().1.samples, 2);
    drop(buffer);
    assert_eq!(take(&mut open(dir.path())), Some(2));
}

#[test]
fn a_second_agent_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _buffer = open(dir.path());
    let error = Buffer::open(dir.path(), 1 << 20).unwrap_err();
    assert_eq!(error.to_string(), "another agent uses it");
}

#[test]
fn the_oldest_go_when_it_is_full_and_are_counted_f59() {
    let dir = tempfile::tempdir().unwrap();
    let mut buffer = Buffer::open(dir.path(), 3 << 20).unwrap();
    (1..=100).for_each(|n| buffer.push(record(n, 100_000)));
    assert!(buffer.bytes() <= 3 << 20, "{}", buffer.bytes());
    let first = buffer.front().unwrap().1.samples;
    assert!((60..90).contains(&first), "{first}");
    assert_eq!(buffer.take_dropped(), (1..first).map(u64::from).sum::<u64>());
    for n in first..=100 {
        assert_eq!(take(&mut buffer), Some(n));
    }
    assert_eq!((take(&mut buffer), buffer.take_dropped()), (None, 0));
}

#[test]
fn what_went_for_want_of_room_while_it_was_sent_takes_no_other_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut buffer = Buffer::open(dir.path(), 2 << 20).unwrap();
    buffer.push(record(1, 100_000));
    let (place, sent) = buffer.front().unwrap();
    (2..=60).for_each(|n| buffer.push(record(n, 100_000)));
    let next = buffer.front().unwrap();
    buffer.pop(place, &sent).unwrap();
    assert_eq!(buffer.front().unwrap(), next);
}

#[test]
fn a_torn_or_damaged_file_gives_what_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut buffer = open(dir.path());
    (1..=5).for_each(|n| buffer.push(record(n, 50)));
    drop(buffer);
    let path = dir.path().join("00000001.buf");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        for bytes in [&whole[..at], &damaged[..]] {
            fs::write(&path, bytes).unwrap();
            let _ = fs::remove_file(dir.path().join("sent"));
            let mut buffer = open(dir.path());
            buffer.push(record(9, 50));
            let got: Vec<u32> = std::iter::from_fn(|| take(&mut buffer)).collect();
            let kept = got.len() - 1;
            assert_eq!(got[..kept], [1, 2, 3, 4, 5][..kept], "{at}");
            assert_eq!(got[kept], 9, "{at}");
        }
    }
}

#[test]
fn what_the_disk_does_not_take_waits_in_memory_f32() {
    let dir = tempfile::tempdir().unwrap();
    let mut buffer = open(dir.path());
    buffer.push(record(1, 10));
    // A file that can only be read stands for a disk that takes nothing more.
    let path = dir.path().join("00000001.buf");
    buffer.segments[0].file = File::open(&path).unwrap();
    (2..=4).for_each(|n| buffer.push(record(n, 10)));
    assert!(buffer.fault().unwrap().contains("cannot write to"), "{:?}", buffer.fault());
    for n in 1..=4 {
        assert_eq!(take(&mut buffer), Some(n));
    }
    // It can be written again.
    buffer.segments[0].file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    buffer.push(record(5, 10));
    assert_eq!((take(&mut buffer), buffer.fault()), (Some(5), None));
    buffer.segments[0].file = File::open(&path).unwrap();
    (1..=100).for_each(|n| buffer.push(record(n, 10)));
    assert_eq!((take(&mut buffer), buffer.take_dropped()), (Some(37), (1..=36).sum()));
}
