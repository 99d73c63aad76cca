//! `traffictrace record`: the numbers of every interval, written to a file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::Args;
use traffictrace_crd::human;
use traffictrace_view::json;

use crate::{
    host::{
        EngineArgs, HostError, Plan, Printer, TargetArgs, Traced, TrafficArgs, interruption, interval,
        some_time,
    },
    logging,
};

/// Record who uses the network, to show it later with `top --from` or `report`.
///
/// The file has one JSON object per line and interval, as `traffictrace top -o json` prints them. Each line is complete in
/// itself and written at once, so a recording can be read up to its last complete line, however it ended.
#[derive(Debug, Clone, Args)]
pub(crate) struct RecordArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// Write to this file; `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Replace the file if it exists.
    #[arg(long)]
    overwrite: bool,

    /// Time between two snapshots, such as 1s, 500ms or 1m; at least 100ms.
    #[arg(long, default_value = "1s", value_parser = interval)]
    interval: Duration,

    /// End after this time, such as 30s or 5m [default: continue until Ctrl-C].
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    duration: Option<Duration>,

    /// Maximum number of flows in each snapshot, those with the most bytes first. The totals include all flows. A flow
    /// takes about 500 bytes.
    #[arg(long, value_name = "FLOWS", default_value_t = 1000, value_parser = listed)]
    top: usize,

    #[command(flatten)]
    engine: EngineArgs,

    // Must be the last field, since its heading would also apply to the options after it.
    #[command(flatten)]
    filter: TrafficArgs,
}

fn listed(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(flows @ 0..=400_000) => Ok(flows),
        _ => Err("must be a number from 0 to 400000".into()),
    }
}

/// Records until Ctrl-C, SIGTERM, `--duration`, or the end of the target.
pub(crate) async fn run(args: RecordArgs) -> Result<(), HostError> {
    logging::init(logging::LevelFilter::WARN);
    let mut stopped = interruption()?;
    let filter = args.filter.read()?;
    // The file is opened before tracing starts, so that a file that cannot be written is reported at once.
    let recording = Recording::create(&args.output, args.overwrite)?;
    let Some(mut traced) = Traced::start(&args.target, &args.engine, filter, &mut stopped).await? else {
        return Ok(());
    };
    eprintln!("Recording {}. Ctrl-C ends.", traced.subject);
    let plan = Plan { interval: args.interval, count: None, duration: args.duration, listed: args.top };
    let written = recording.written();
    traced.each_interval(&plan, recording.printer(), &mut stopped).await.map_err(|error| match error {
        HostError::Output(source) => {
            HostError::Recording { action: "write", path: args.output.clone(), source }
        }
        other => other,
    })?;
    let (lines, bytes) = written.read();
    let snapshots = human::number_of(lines, "snapshot");
    if args.output == Path::new("-") {
        eprintln!("{snapshots}.");
    } else {
        let path = args.output.display();
        eprintln!(
            "{snapshots} in {path} ({}). Look at them with `traffictrace top --from {path}`, or make a page of them with \
             `traffictrace report {path} -o report.html`.",
            human::bytes(bytes)
        );
    }
    Ok(())
}

/// The recording that is being written.
struct Recording {
    out: Mutex<Box<dyn Write + Send>>,
    written: Arc<Written>,
}

/// Number of lines and bytes written so far.
#[derive(Debug, Default)]
struct Written {
    lines: AtomicU64,
    bytes: AtomicU64,
}

impl Written {
    fn read(&self) -> (u64, u64) {
        (self.lines.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl Recording {
    fn create(path: &Path, overwrite: bool) -> Result<Self, HostError> {
        let out: Box<dyn Write + Send> = if path == Path::new("-") {
            Box::new(io::stdout())
        } else {
            Box::new(Output::open(path, overwrite).map_err(|source| match source.kind() {
                io::ErrorKind::AlreadyExists => HostError::RecordingExists(path.to_owned()),
                _ => HostError::Recording { action: "create", path: path.to_owned(), source },
            })?)
        };
        Ok(Self { out: Mutex::new(out), written: Arc::default() })
    }

    fn written(&self) -> Arc<Written> {
        Arc::clone(&self.written)
    }

    /// Makes a printer that appends a line for each snapshot.
    fn printer(self) -> Printer {
        Printer::new(move |snapshot, _| {
            let line = json::line(&snapshot)?;
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            // Each line is flushed at once, so a killed process loses no line that it has written.
            out.write_all(line.as_bytes())?;
            out.flush()?;
            self.written.lines.fetch_add(1, Ordering::Relaxed);
            self.written.bytes.fetch_add(line.len() as u64, Ordering::Relaxed);
            Ok(())
        })
    }
}

/// A file that stays unchanged until the first line is written. If the trace does not begin, an existing file keeps its
/// content, and a new file is removed.
struct Output {
    file: File,
    path: PathBuf,
    is_new: bool,
    has_lines: bool,
}

impl Output {
    fn open(path: &Path, overwrite: bool) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true);
        let (file, is_new) = match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && overwrite => {
                (options.create(true).truncate(false).open(path)?, false)
            }
            created => (created?, true),
        };
        Ok(Self { file, path: path.to_owned(), is_new, has_lines: false })
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The first line replaces the content of an existing file. A pipe or a device has no content and cannot be
        // truncated.
        if !self.has_lines && self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.has_lines = true;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.is_new
            && !self.has_lines
            && let Err(error) = fs::remove_file(&self.path)
        {
            eprintln!("cannot remove {}, which is empty: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use traffictrace_view::{Snapshot, replay};

    use super::*;

    #[tokio::test]
    async fn what_is_recorded_is_read_back_and_nothing_is_replaced_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let recording = Recording::create(&path, false).unwrap();
        let written = recording.written();
        let mut printer = recording.printer();
        let snapshots = [1, 2].map(|flows_total| Snapshot { flows_total, ..Snapshot::default() });
        for snapshot in &snapshots {
            printer.start(snapshot.clone());
            assert!(printer.finish().await.unwrap());
        }
        let read: Vec<_> =
            replay::read(BufReader::new(File::open(&path).unwrap())).map(Result::unwrap).collect();
        assert_eq!(read, snapshots);
        assert_eq!(written.read(), (2, fs::metadata(&path).unwrap().len()));

        let refused = Recording::create(&path, false).err().unwrap().to_string();
        assert!(refused.contains("a.jsonl") && refused.contains("--overwrite"), "{refused}");
        let refused = Recording::create(&folder.path().join("none/b"), true).err().unwrap().to_string();
        assert!(refused.contains("none/b"), "{refused}");
    }

    #[tokio::test]
    async fn a_file_is_as_before_until_the_first_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        // If the trace does not begin, no empty file is left, which would make the next attempt fail.
        drop(Recording::create(&path, false).unwrap());
        assert!(!path.exists());

        let before = "a longer recording than the next one\n".repeat(1000);
        fs::write(&path, &before).unwrap();
        drop(Recording::create(&path, true).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), before);

        let mut printer = Recording::create(&path, true).unwrap().printer();
        printer.start(Snapshot::default());
        assert!(printer.finish().await.unwrap());
        drop(printer);
        assert_eq!(fs::read_to_string(&path).unwrap(), json::line(&Snapshot::default()).unwrap());
    }
}
