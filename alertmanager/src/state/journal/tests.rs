//! Tests of the journal: what is found again after crashes, damage and copies.
//!
//! Invariant: what is expected is what a map would hold.

use std::collections::BTreeMap;

use super::*;

fn put(id: u64, text: &str) -> Batch {
    let mut batch = Batch::default();
    batch.put(Table::Push, id, |to| to.extend_from_slice(text.as_bytes()));
    batch
}

fn all(journal: &Journal) -> BTreeMap<u64, String> {
    let mut all = BTreeMap::new();
    let show = |id, record: &[u8]| {
        all.insert(id, String::from_utf8(record.to_vec()).unwrap());
    };
    journal.each(Table::Push, show).unwrap();
    all
}

#[track_caller]
fn check(journal: &Journal, expected: &[(u64, &str)]) {
    let expected = expected.iter().map(|(id, text)| (*id, (*text).to_owned())).collect();
    assert_eq!(all(journal), expected);
}

#[tokio::test]
async fn what_was_committed_is_found_again_and_what_was_taken_out_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.journal");
    {
        let journal = Journal::open(&path).unwrap();
        journal.commit(put(1, "one")).await.unwrap();
        journal.commit(put(2, "two")).await.unwrap();
        let mut batch = put(1, "another");
        batch.remove(Table::Push, 2);
        batch.put(Table::Told, 2, |_| ());
        batch.put(Table::Push, 3, |_| ());
        journal.write(batch).unwrap();
        check(&journal, &[(1, "another"), (3, "")]);
    }
    let journal = Journal::open(&path).unwrap();
    check(&journal, &[(1, "another"), (3, "")]);
    assert_eq!(journal.new_id(), 4);
}

#[tokio::test]
async fn many_who_wait_at_once_are_all_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.journal");
    let journal = Journal::open(&path).unwrap();
    let waits: Vec<_> = (1..=50)
        .map(|id| {
            let journal = journal.clone();
            async move { journal.commit(put(id, "x")).await }
        })
        .collect();
    let mut waiting: Vec<_> = waits.into_iter().map(Box::pin).collect();
    // All of them write before the first one has waited.
    for wait in &mut waiting {
        let first = std::future::poll_fn(|context| {
            std::task::Poll::Ready(wait.as_mut().poll(context).is_ready())
        });
        first.await;
    }
    for wait in waiting {
        wait.await.unwrap();
    }
    assert_eq!(all(&Journal::open(&path).unwrap()).len(), 50);
}

#[tokio::test]
async fn a_tail_that_broke_off_at_any_byte_loses_the_last_batch_alone_f31() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.journal");
    let journal = Journal::open(&path).unwrap();
    journal.commit(put(1, "one")).await.unwrap();
    let before = fs::metadata(&path).unwrap().len();
    let mut batch = put(2, "two");
    batch.remove(Table::Push, 1);
    journal.commit(batch).await.unwrap();
    let whole = fs::read(&path).unwrap();
    for length in before..whole.len() as u64 {
        fs::write(&path, &whole[..length as usize]).unwrap();
        check(&Journal::open(&path).unwrap(), &[(1, "one")]);
        // As a file system may leave it: the length is there, the data are not.
        let mut zeros = whole[..length as usize].to_vec();
        zeros.resize(whole.len() + 100, 0);
        fs::write(&path, &zeros).unwrap();
        let journal = Journal::open(&path).unwrap();
        check(&journal, &[(1, "one")]);
        journal.commit(put(5, "five")).await.unwrap();
        assert_eq!(all(&Journal::open(&path).unwrap())[&5], "five");
    }
}

#[tokio::test]
async fn a_byte_that_flipped_costs_its_batch_and_the_file_is_kept_f31() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.journal");
    let journal = Journal::open(&path).unwrap();
    for id in 1..=3 {
        journal.commit(put(id, "a record")).await.unwrap();
    }
    let whole = fs::read(&path).unwrap();
    let frame = (whole.len() - MAGIC.len()) / 3;
    let second = MAGIC.len() + frame..MAGIC.len() + 2 * frame;
    for at in second.clone() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        let journal = Journal::open(&path).unwrap();
        let found: Vec<_> = all(&journal).into_keys().collect();
        // A length that is wrong leads nowhere: what is behind it cannot be found.
        let length = at < second.start + 4;
        assert!(found == [1, 3] || length && found == [1], "{at}: {found:?}");
        journal.commit(put(9, "nine")).await.unwrap();
        let again = all(&Journal::open(&path).unwrap());
        assert!(again.contains_key(&1) && again.contains_key(&9), "{at}: {again:?}");
    }
    assert!(path.with_extension("damaged").exists());
    fs::write(&path, b"something else of some length").unwrap();
    assert!(Journal::open(&path).is_err());
}

#[tokio::test]
async fn a_copy_holds_what_is_left_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.journal");
    let journal = Journal::open(&path).unwrap();
    for round in 0..50 {
        for id in 0..20 {
            journal.write(put(id, &format!("{round} {id}"))).unwrap();
        }
    }
    let before = fs::metadata(&path).unwrap().len();
    // As after a disk that failed (F33).
    journal.shared.lock().suspect = true;
    journal.commit(put(20, "new")).await.unwrap();
    assert!(fs::metadata(&path).unwrap().len() < before / 20);
    let expected: BTreeMap<u64, String> =
        (0..20).map(|id| (id, format!("49 {id}"))).chain([(20, "new".to_owned())]).collect();
    assert_eq!(all(&journal), expected);
    assert_eq!(all(&Journal::open(&path).unwrap()), expected);
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_done_without_until_it_does_f35() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.journal");
    let put = |id| {
        let mut batch = Batch::default();
        batch.put(Table::Told, id, |to| to.push(id as u8));
        batch
    };
    let ids = |journal: &Journal| {
        let mut ids = Vec::new();
        journal.each(Table::Told, |id, _| ids.push(id)).unwrap();
        ids.sort_unstable();
        ids
    };
    let journal = Journal::open(&path).unwrap();
    journal.commit(put(1)).await.unwrap();
    // A file that can only be read, and no room for another.
    let blocked = path.with_extension("new");
    fs::create_dir(&blocked).unwrap();
    journal.shared.lock().file = Arc::new(File::open(&path).unwrap());
    journal.commit(put(2)).await.unwrap();
    journal.write(put(3)).unwrap();
    let mut batch = Batch::default();
    batch.remove(Table::Told, 1);
    journal.commit(batch).await.unwrap();
    assert!(journal.is_adrift());
    assert_eq!(ids(&journal), [2, 3]);
    assert!(!journal.land().await);
    assert_eq!(ids(&journal), [2, 3]);
    // A crash now forgets what happened since.
    let copy = dir.path().join("copy.journal");
    fs::copy(&path, &copy).unwrap();
    assert_eq!(ids(&Journal::open(&copy).unwrap()), [1]);
    fs::remove_dir(&blocked).unwrap();
    assert!(journal.land().await);
    assert!(!journal.is_adrift() && !journal.land().await);
    journal.commit(put(4)).await.unwrap();
    drop(journal);
    assert_eq!(ids(&Journal::open(&path).unwrap()), [2, 3, 4]);
}
