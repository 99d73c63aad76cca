//! The writing of profiles into files, outside of the loop that reads the kernel's records, because compressing is
//! slow.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use traffictrace_crd::TrafficTraceProfileSpec;

use super::replace;
use crate::report::Profile;

/// The channel to the writing task, and the task.
pub(super) struct ProfileFiles {
    jobs: mpsc::UnboundedSender<Job>,
    writer: JoinHandle<()>,
}

enum Job {
    Write(PathBuf, Box<Profile>),
    Remove(PathBuf),
}

impl ProfileFiles {
    pub(super) fn new() -> Self {
        let (jobs, mut received) = mpsc::unbounded_channel();
        let writer = tokio::task::spawn_blocking(move || {
            let mut files = Files::default();
            while let Some(job) = received.blocking_recv() {
                files.work(job);
            }
        });
        Self { jobs, writer }
    }

    /// Replaces a trace's profile.
    pub(super) fn write(&self, file: &Path, profile: Box<Profile>) {
        self.give(Job::Write(file.to_owned(), profile));
    }

    /// Removes the profile of a trace that is gone, including one that still waits to be written.
    pub(super) fn remove(&self, file: &Path) {
        self.give(Job::Remove(file.to_owned()));
    }

    fn give(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            tracing::error!("profiles are written no more: the thread that writes them has ended");
        }
    }

    /// Waits until all profiles are written.
    pub(super) async fn finish(self) {
        drop(self.jobs);
        if let Err(error) = self.writer.await {
            tracing::error!("profiles are missing: {error}");
        }
    }
}

/// Written profiles, by file.
#[derive(Default)]
struct Files(BTreeMap<PathBuf, Written>);

struct Written {
    /// The run of counting; `ProfileState` in `node/session.rs` explains runs.
    epoch: i64,
    profile: Arc<TrafficTraceProfileSpec>,
    /// The last profile of the previous run, which is added to each profile of this run.
    earlier: Option<Arc<TrafficTraceProfileSpec>>,
}

impl Files {
    fn work(&mut self, job: Job) {
        let (file, result) = match job {
            Job::Write(file, profile) => {
                let result = self.write(&file, *profile);
                (file, result.map_err(|error| ("write", error)))
            }
            Job::Remove(file) => {
                self.0.remove(&file);
                let result = match fs::remove_file(&file) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(("remove", error)),
                    _ => Ok(()),
                };
                (file, result)
            }
        };
        if let Err((what, error)) = result {
            tracing::error!("cannot {what} {}: {error}", file.display());
        }
    }

    fn write(&mut self, file: &Path, profile: Profile) -> io::Result<()> {
        let mut packed = profile.pack();
        let epoch = packed.object().spec.epoch;
        let earlier = match self.0.get(file) {
            Some(written) if written.epoch == epoch => written.earlier.clone(),
            Some(written) => Some(Arc::clone(&written.profile)),
            None => None,
        };
        if let Some(earlier) = &earlier {
            packed.go_on(earlier);
        }
        if packed.pprof().is_empty() {
            return Ok(());
        }
        replace(file, packed.pprof())?;
        let profile = Arc::new(packed.into_object().spec);
        self.0.insert(file.to_owned(), Written { epoch, profile, earlier });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::report::{Profiled, closing_profile, profile};
    use crate::session::example;
    use traffictrace_profile::{By, Graph, Way, testing::graph};

    fn made(epoch: i64, bytes: u64) -> Box<Profile> {
        let times = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        let profiled = Profiled::of(graph(&[(Way::Sent, &["main", "write"], bytes, 1)]));
        Box::new(profile(&example("u1"), "here", epoch, times, false, profiled))
    }

    #[tokio::test]
    async fn runs_of_counting_add_up_and_what_is_gone_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("shop.pb.gz"), folder.path().join("db.pb.gz"));
        let files = ProfileFiles::new();
        for (epoch, bytes) in [(1, 10), (1, 100), (2, 1000), (2, 3000)] {
            files.write(&file, made(epoch, bytes));
        }
        let closing = closing_profile(&example("u1"), "here", 3, Timestamp::UNIX_EPOCH);
        files.write(&file, Box::new(closing));
        files.write(&other, made(1, 5));
        files.remove(&other);
        files.finish().await;
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["shop.pb.gz"]);
        let read = Graph::from_pprof(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(read.total(Way::Sent, By::Bytes), 3100);
    }
}
