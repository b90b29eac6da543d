//! `veilleur storage`: looks at the samples of a data folder, takes them out and others in.
//!
//! Invariant: `check`, `stats` and `export` change nothing, and may look at a folder in use; `import`
//! holds the folder's lock.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use base::exposition::{Entry, Format, ParseError, Parser, encode_point};
use base::histogram::is_tag;
use base::labels::Labels;
use base::matcher::Matcher;
use base::number::counted;
use base::sample::{Timestamp, is_stale};
use clap::{Args, Subcommand};
use promql::Query;
use storage::{Imported, Options, SeriesSamples, Storage};

use super::{complain, print};
use crate::app::hold_folder;

/// So many samples are held in memory before they are stored.
const PIECE: usize = 5_000_000;
/// The longest body that is believed, for a file.
const ANY: usize = usize::MAX;

/// What follows `storage`.
#[derive(Debug, Subcommand)]
pub(super) enum StorageCommand {
    /// Read everything, compare it with its checksums, and tell what is damaged and what is lost
    Check(Folder),
    /// Show how much there is: series, samples, bytes, the largest metrics
    Stats {
        #[command(flatten)]
        folder: Folder,
        /// How many metrics and labels are named
        #[arg(long, default_value_t = 10)]
        top: usize,
    },
    /// Write samples as OpenMetrics text with timestamps, to standard output
    Export {
        #[command(flatten)]
        folder: Folder,
        /// Only series that this selector accepts, such as `up{job="node"}`
        #[arg(long = "match", value_name = "SELECTOR", value_parser = selector)]
        selector: Option<Selector>,
        #[command(flatten)]
        when: When,
    },
    /// Delete samples of series, for good; the evaluator must not run
    Delete {
        #[command(flatten)]
        folder: Folder,
        /// Of the series that this selector accepts, such as `up{job="node"}`
        #[arg(long = "match", value_name = "SELECTOR", value_parser = selector)]
        selector: Selector,
        #[command(flatten)]
        when: When,
    },
    /// Take in OpenMetrics text with timestamps, or blocks of Prometheus; the evaluator must not run
    Import {
        #[command(flatten)]
        folder: Folder,
        /// Files of text, folders of blocks, or folders with such folders
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Copy the samples into a new folder; the evaluator must not run
    Snapshot {
        #[command(flatten)]
        folder: Folder,
        /// The folder to make
        #[arg(value_name = "FOLDER")]
        to: PathBuf,
    },
}

/// A selector of PromQL, as its matchers.
#[derive(Clone, Debug)]
pub(super) struct Selector(Vec<Matcher>);

fn selector(text: &str) -> Result<Selector, String> {
    let query = Query::new(text).map_err(|faults| faults.to_string())?;
    match query.reads().as_slice() {
        [one] => Ok(Selector(one.matchers().to_vec())),
        _ => Err("it is not one selector".to_owned()),
    }
}

/// Which part of time.
#[derive(Debug, Args)]
pub(super) struct When {
    /// From when on, in seconds since the Unix epoch
    #[arg(long, value_name = "SECONDS")]
    from: Option<f64>,
    /// Until when
    #[arg(long, value_name = "SECONDS")]
    to: Option<f64>,
}

impl When {
    fn span(&self) -> (Timestamp, Timestamp) {
        let at = |seconds: Option<f64>, other| seconds.map_or(other, Timestamp::from_seconds);
        (at(self.from, Timestamp::MIN), at(self.to, Timestamp::MAX))
    }
}

/// Where the samples are.
#[derive(Debug, Args)]
pub(super) struct Folder {
    /// The data folder
    #[arg(long, value_name = "FOLDER", default_value = "veilleur-data")]
    data: PathBuf,
}

impl Folder {
    fn samples(&self) -> PathBuf {
        self.data.join("samples")
    }

    fn read(&self) -> anyhow::Result<Storage> {
        Ok(Storage::open_read_only(&self.samples())?)
    }
}

impl StorageCommand {
    /// Does it.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(folder) => check(&folder.samples()),
            Self::Stats { folder, top } => stats(&folder.read()?, top),
            Self::Export { folder, selector, when } => {
                export(&folder.read()?, selector.as_ref(), when.span())
            }
            Self::Delete { folder, selector, when } => {
                let _lock = hold_folder(&folder.data)?;
                let storage = Storage::open(&folder.samples(), Options::default())?;
                let (from, to) = when.span();
                let deleted = storage.delete(&selector.0, from, to)?;
                // A series in memory and the same one in a block are two.
                print(&format!("deleted samples of {}\n", counted(deleted, "stored series")))?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Import { folder, paths } => {
                let _lock = hold_folder(&folder.data)?;
                import(&folder.samples(), &paths)
            }
            Self::Snapshot { folder, to } => {
                let _lock = hold_folder(&folder.data)?;
                let storage = Storage::open(&folder.samples(), Options::default())?;
                let shown = to.display();
                storage.snapshot(&to).with_context(|| format!("cannot copy into {shown}"))?;
                print(&format!("the samples are in {shown}\n"))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn check(samples: &Path) -> anyhow::Result<ExitCode> {
    if !samples.is_dir() {
        bail!("there are no samples in {}; name the data folder with --data", samples.display());
    }
    let checked = storage::check(samples)
        .with_context(|| format!("cannot read the samples in {}", samples.display()))?;
    for fault in &checked.faults {
        print(&format!("{}: {}\n", fault.path.display(), fault.what))?;
    }
    let blocks = counted(checked.blocks, "block");
    let segments = counted(checked.segments, "segment");
    let what = format!("{blocks}, {segments} of the log, {} samples", checked.samples);
    if checked.faults.is_empty() {
        print(&format!("ok: {what}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let faults = counted(checked.faults.len(), "fault");
    print(&format!("{faults}: {what} are sound\n"))?;
    Ok(ExitCode::FAILURE)
}

fn stats(storage: &Storage, top: usize) -> anyhow::Result<ExitCode> {
    let census = storage.census()?;
    let mut text = format!("series {}\nsamples {}\n", census.series, census.samples);
    if let Some((first, last)) = census.span {
        let (first, last) = (first.seconds(), last.seconds());
        text.push_str(&format!("first sample {first}\nlast sample {last}\n"));
    }
    let (bytes, samples) = (census.block_bytes, census.block_samples);
    text.push_str(&format!("bytes in blocks {bytes}\n"));
    if samples > 0 {
        let each = bytes as f64 / samples as f64;
        text.push_str(&format!("bytes a sample in blocks {each:.2}\n"));
    }
    text.push_str(&format!("bytes of chunks not in blocks yet {}\n", census.memory_bytes));
    for (title, list) in [("series by metric", census.names), ("values by label", census.labels)] {
        text.push_str(&format!("\n{title}\n"));
        for (name, count) in list.iter().take(top) {
            text.push_str(&format!("{count:>10} {name}\n"));
        }
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// What OpenMetrics cannot hold is counted and told at the end.
fn export(
    storage: &Storage,
    selector: Option<&Selector>,
    (from, to): (Timestamp, Timestamp),
) -> anyhow::Result<ExitCode> {
    let (mut histograms, mut markers) = (0_u64, 0_u64);
    let mut text = String::new();
    for name in storage.label_values("__name__")? {
        let mut matchers = selector.map(|selector| selector.0.clone()).unwrap_or_default();
        matchers.push(Matcher::equal("__name__", &name));
        storage.scan(
            &matchers,
            from,
            to,
            |_| Ok(()),
            |series| {
                for (time, value) in series.times.iter().zip(series.values) {
                    if is_tag(*value) {
                        histograms += 1;
                    } else if is_stale(*value) {
                        markers += 1;
                    } else {
                        let at = Timestamp::from_millis(*time);
                        encode_point(series.labels, *value, at, &mut text);
                    }
                }
                print(&text)?;
                text.clear();
                anyhow::Ok(())
            },
        )?;
    }
    print("# EOF\n")?;
    if histograms + markers > 0 {
        complain(&format!(
            "veilleur: left out, because OpenMetrics has no form for them: {histograms} native \
             histograms, {markers} markers of the end of a series\n"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn import(samples: &Path, paths: &[PathBuf]) -> anyhow::Result<ExitCode> {
    // Whatever is imported is older than what is there, and nothing of it may go meanwhile.
    let ever = Duration::from_secs(1 << 40);
    let options = Options { out_of_order: ever, retention: ever, ..Options::default() };
    let mut importer = Importer {
        storage: Storage::open(samples, options)?,
        waiting: Vec::new(),
        held: 0,
        imported: Imported::default(),
    };
    for path in paths {
        importer.path(path)?;
    }
    importer.store()?;
    importer.storage.sync().context("cannot write the samples")?;
    let Imported { stored, left_out } = importer.imported;
    print(&format!("imported {stored} samples\n"))?;
    if left_out > 0 {
        complain(&format!(
            "veilleur: {left_out} samples are left out: others have their time already, or are \
             histograms older than the newest of their series\n"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

struct Importer {
    storage: Storage,
    waiting: Vec<SeriesSamples>,
    held: usize,
    imported: Imported,
}

impl Importer {
    fn path(&mut self, path: &Path) -> anyhow::Result<()> {
        let shown = path.display();
        if storage::is_foreign_block(path) {
            return storage::read_foreign_block(path, |series| self.series(series));
        }
        if !path.is_dir() {
            return self.text(path).with_context(|| format!("cannot import {shown}"));
        }
        let mut blocks = Vec::new();
        for entry in std::fs::read_dir(path).with_context(|| format!("cannot read {shown}"))? {
            let path = entry?.path();
            if storage::is_foreign_block(&path) {
                blocks.push(path);
            }
        }
        let has_log =
            storage::has_foreign_log(path).with_context(|| format!("cannot read {shown}"))?;
        if blocks.is_empty() && has_log {
            bail!("{shown} has no block; {}", in_log(path));
        }
        if has_log {
            complain(&format!("veilleur: {}\n", in_log(path)));
        }
        if blocks.is_empty() {
            bail!("{shown} is neither a block of Prometheus nor a folder with such blocks");
        }
        blocks.sort();
        blocks
            .iter()
            .try_for_each(|block| storage::read_foreign_block(block, |series| self.series(series)))
    }

    fn series(&mut self, series: SeriesSamples) -> anyhow::Result<()> {
        self.held += series.times.len() + 16 * series.histograms.len();
        self.waiting.push(series);
        if self.held >= PIECE { self.store() } else { Ok(()) }
    }

    fn store(&mut self) -> anyhow::Result<()> {
        self.held = 0;
        let Imported { stored, left_out } =
            self.storage.import(std::mem::take(&mut self.waiting))?;
        self.imported.stored += stored;
        self.imported.left_out += left_out;
        Ok(())
    }

    fn text(&mut self, path: &Path) -> anyhow::Result<()> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
        let mut parser = Parser::new(Format::OpenMetrics, ANY);
        let mut found = Found::default();
        loop {
            let piece = file.fill_buf()?;
            let length = piece.len();
            if length == 0 {
                break;
            }
            parser.feed(piece, &mut |entry| found.entry(entry))?;
            file.consume(length);
            if found.held >= PIECE {
                found.take().try_for_each(|series| self.series(series))?;
                self.store()?;
            }
        }
        parser.finish(&mut |entry| found.entry(entry))?;
        found.take().try_for_each(|series| self.series(series))
    }
}

/// What of the data folder of a Prometheus is not in its blocks.
fn in_log(path: &Path) -> String {
    format!(
        "{}: the last samples, of two or three hours, are in this log of Prometheus only, and are not \
         imported. To have them, start that Prometheus with `--web.enable-admin-api`, ask it for \
         `curl -X POST http://localhost:9090/api/v1/admin/tsdb/snapshot`, and import the folder below \
         `snapshots/` that it answers with: what was imported already is not taken twice",
        path.join("wal").display()
    )
}

/// The samples of a text, by series.
#[derive(Default)]
struct Found {
    series: std::collections::BTreeMap<Labels, Vec<(i64, f64)>>,
    held: usize,
}

impl Found {
    fn entry(&mut self, entry: Entry<'_>) -> Result<(), ParseError> {
        let Entry::Sample(sample) = entry else { return Ok(()) };
        let labels = sample.labels()?;
        let Some(timestamp) = sample.timestamp else {
            let reason = format!("`{}` has no timestamp: it cannot be imported", sample.series);
            return Err(ParseError { line: 0, reason });
        };
        let value = base::sample::without_markers(sample.value);
        self.series.entry(labels).or_default().push((timestamp.millis(), value));
        self.held += 1;
        Ok(())
    }

    /// Each series with its samples in order of time; of several at one time the first counts.
    fn take(&mut self) -> impl Iterator<Item = SeriesSamples> + use<> {
        self.held = 0;
        std::mem::take(&mut self.series).into_iter().map(|(labels, mut samples)| {
            samples.sort_by_key(|(time, _)| *time);
            samples.dedup_by_key(|(time, _)| *time);
            let (times, values) = samples.into_iter().unzip();
            SeriesSamples { labels, times, values, histograms: Vec::new(), starts: Vec::new() }
        })
    }
}
