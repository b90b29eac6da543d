//! Whether there is room for one more series.
//!
//! Invariant: a job whose labels never repeat takes nothing from the others (F37), and no more where
//! series are read again after a start (F36).

use base::labels::Labels;

use super::{Head, SeriesRef};

/// Who has taken all the room.
#[derive(Debug)]
pub(crate) enum NoRoom {
    /// All together.
    All,
    /// This job.
    Job { job: String, has: usize },
}

/// What is always said of a job, however many series it has.
const OWN: [&str; 3] = ["up", "ALERTS", "ALERTS_FOR_STATE"];

/// How many series may be there after a start.
#[derive(Debug)]
pub(crate) struct Limit {
    most: usize,
    /// Whether a job leaves room to others: not where all fit that were there.
    shares: bool,
    /// How often there was no room for one.
    pub(crate) left_out: u64,
}

impl Limit {
    /// Of `most` series.
    pub(crate) fn of(most: usize) -> Self {
        Self { most, shares: false, left_out: 0 }
    }

    /// The same, of which a job `shares` with others.
    pub(crate) fn sharing(self, shares: bool) -> Self {
        Self { shares, ..self }
    }

    /// The series with `labels`, if there is one or room for it.
    pub(crate) fn find_or_create(&mut self, head: &mut Head, labels: &Labels) -> Option<SeriesRef> {
        let found = head.find(labels);
        let shares = || self.shares && !OWN.contains(&labels.metric_name());
        if found.is_none() && head.room_for(labels, self.most, shares()).is_err() {
            self.left_out += 1;
            return None;
        }
        Some(found.unwrap_or_else(|| head.find_or_create(labels)))
    }
}

impl Head {
    /// Whether one more series may begin, where `most` may be there and a job `shares` with others.
    pub(crate) fn room_for(
        &self,
        labels: &Labels,
        most: usize,
        shares: bool,
    ) -> Result<(), NoRoom> {
        if self.len() >= most {
            return Err(NoRoom::All);
        }
        let share = most / 10;
        if !shares || self.len() < most - share {
            return Ok(());
        }
        let job = labels.get("job").unwrap_or_default();
        let has = self.index().list("job", job).map_or(0, |list| list.len() as usize);
        if has < share {
            return Ok(());
        }
        Err(NoRoom::Job { job: job.to_owned(), has })
    }
}
