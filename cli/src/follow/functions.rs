//! The functions that move the bytes of a trace with stacks. Profiles are large, so they are not watched, but read once
//! in a while.

use std::time::Duration;

use tokio::{task::JoinHandle, time::Instant};
use traffictrace_crd::{StackTotals, TrafficTrace};
use traffictrace_view::{Snapshot, snapshot::Function};

use crate::{cluster::Cluster, error::CliError, profiles};

/// Minimum time between two reads: nodes write a profile at most once a minute.
const PAUSE: Duration = Duration::from_secs(60);
/// Minimum time between two reads while there is no profile: a status can have the sums of a profile that is not written
/// yet.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Reason shown while no profile has been read.
const NONE_YET: &str =
    "No profile was read yet: nodes write the first a minute after they begin, or at the end of the trace.";

/// The functions of a trace, from the profiles read so far.
pub(super) struct Functions {
    /// `None` if the output does not show functions.
    cluster: Option<Cluster>,
    known: Vec<Function>,
    /// The reason why no function is known.
    notice: String,
    /// Sums of the stacks in the status when the profiles were last read. Other sums mean that profiles have changed.
    read: StackTotals,
    next: Option<Instant>,
    reading: Option<JoinHandle<Result<Vec<Function>, CliError>>>,
}

impl Functions {
    pub(super) fn new(cluster: Option<&Cluster>) -> Self {
        Self {
            cluster: cluster.cloned(),
            known: Vec::new(),
            notice: NONE_YET.to_owned(),
            read: StackTotals::default(),
            next: None,
            reading: None,
        }
    }

    /// Starts reading the profiles if they have changed and the last read is long enough ago.
    pub(super) fn look(&mut self, trace: &TrafficTrace, now: Instant) {
        let Some(cluster) = self.cluster.clone() else { return };
        let stacks = trace.status.as_ref().and_then(|status| status.stacks.as_ref());
        let Some(stacks) = stacks.filter(|stacks| stacks.totals != self.read) else { return };
        if self.reading.is_some() || self.next.is_some_and(|next| next > now) {
            return;
        }
        self.read = stacks.totals.clone();
        self.next = Some(now + PAUSE);
        let trace = trace.clone();
        self.reading = Some(tokio::spawn(async move {
            let profiles = profiles::of(&cluster, &trace).await?;
            Ok(profiles::functions(&profiles.graph).functions)
        }));
    }

    /// Waits until the profiles are read, or until reading fails for a new reason. Cancelling the wait loses nothing.
    pub(super) async fn read(&mut self) {
        loop {
            let Some(reading) = &mut self.reading else { return std::future::pending().await };
            let read = reading.await;
            self.reading = None;
            if let Ok(read) = read
                && self.take(read)
            {
                return;
            }
        }
    }

    /// Keeps the functions that were read. While none is known, the profiles are read again after [`FIRST_PAUSE`]. Returns
    /// true if there is something new to show.
    fn take(&mut self, read: Result<Vec<Function>, CliError>) -> bool {
        // Whoever may not read profiles is asked for them no more often than anybody else.
        let is_refused = matches!(&read, Err(error) if !matches!(error, CliError::Unreachable { .. }));
        let notice = match read {
            Ok(functions) if !functions.is_empty() => {
                self.known = functions;
                return true;
            }
            Ok(_) => NONE_YET.to_owned(),
            // The watch reports that the API server cannot be reached.
            Err(CliError::Unreachable { .. }) => self.notice.clone(),
            Err(error) => format!("The profiles cannot be read: {error}"),
        };
        if self.known.is_empty() {
            self.read = StackTotals::default();
            self.next = Some(Instant::now() + if is_refused { PAUSE } else { FIRST_PAUSE });
        }
        let is_news = self.notice != notice;
        self.notice = notice;
        is_news && self.known.is_empty()
    }

    /// Reads the last profiles of a trace that is over; agents write them after their last numbers. If the user may not read them,
    /// or reading fails, the functions stay as they are.
    pub(super) async fn read_last(&mut self, trace: &TrafficTrace) {
        let Some(cluster) = &self.cluster else { return };
        if trace.status.as_ref().is_none_or(|status| status.stacks.is_none()) {
            return;
        }
        if let Ok((profiles, _)) = profiles::settled(cluster, trace).await {
            self.known = profiles::functions(&profiles.graph).functions;
        }
    }

    /// Adds the functions to a snapshot of the trace.
    pub(super) fn add_to(&self, snapshot: &mut Snapshot) {
        if let Some(functions) = &mut snapshot.functions {
            functions.functions.clone_from(&self.known);
            functions.notice = self.known.is_empty().then(|| self.notice.clone());
        }
    }
}

impl Drop for Functions {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use serde_json::json;
    use traffictrace_profile::{Way, testing::graph};

    use super::*;
    use crate::{
        snapshot,
        testing::{cluster, completed, forbidden, profile, running, status},
    };

    #[tokio::test]
    async fn profiles_are_read_when_they_have_changed_and_rarely() {
        let (requests, uid) = (Arc::new(AtomicU32::new(0)), running().metadata.uid.unwrap());
        let counted = Arc::clone(&requests);
        let cluster = cluster(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            let profile = profile(&uid, "a", &graph(&[(Way::Sent, &["main", "write"], 700, 1)]));
            (200, json!({"metadata": {}, "items": [profile]}))
        });
        let mut functions = Functions::new(Some(&cluster));
        let (mut trace, now) = (running(), Instant::now());
        functions.look(&trace, now);
        functions.look(&trace, now);
        functions.read().await;
        let mut snapshot = snapshot::of(&trace);
        functions.add_to(&mut snapshot);
        let shown = &snapshot.functions.as_ref().unwrap().functions;
        assert_eq!((shown.len(), shown[1].name.as_str(), shown[1].tx_bytes), (2, "write", 700));
        // Nothing is read while the sums in the status are unchanged, or if they change within [`PAUSE`] of the last
        // read.
        functions.look(&trace, now + PAUSE);
        assert!(functions.reading.is_none());
        status(&mut trace).stacks.as_mut().unwrap().totals.bytes += 1;
        functions.look(&trace, now + PAUSE / 2);
        assert!(functions.reading.is_none());
        functions.look(&trace, now + PAUSE);
        functions.read().await;
        assert_eq!(requests.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn the_last_profiles_are_read_however_soon_a_trace_ends() {
        let requests = Arc::new(AtomicU32::new(0));
        let (counted, trace) = (Arc::clone(&requests), completed());
        let uid = trace.metadata.uid.clone().unwrap();
        let cluster = cluster(move |_| {
            // The first read returns profiles from before the end of the trace.
            let bytes = if counted.fetch_add(1, Ordering::Relaxed) == 0 { 100 } else { 700 };
            let mut items = Vec::new();
            for node in ["a", "b", "c"] {
                let mut profile = profile(&uid, node, &graph(&[(Way::Sent, &["main", "write"], bytes, 1)]));
                profile.spec.is_final = true;
                items.push(profile);
            }
            (200, json!({"metadata": {}, "items": items}))
        });
        let mut functions = Functions::new(Some(&cluster));
        functions.look(&running(), Instant::now());
        functions.read().await;
        functions.look(&trace, Instant::now());
        assert!(functions.reading.is_none(), "too soon for another look");
        functions.read_last(&trace).await;
        assert_eq!(functions.known.iter().map(|function| function.tx_bytes).max(), Some(2100));
        let mut unread = Functions::new(None);
        unread.read_last(&trace).await;
        assert!(unread.known.is_empty() && requests.load(Ordering::Relaxed) == 2);
    }

    #[tokio::test]
    async fn a_trace_without_stacks_and_a_user_without_the_right_go_without() {
        let mut functions = Functions::new(Some(&cluster(|_| forbidden())));
        let mut plain = running();
        status(&mut plain).stacks = None;
        functions.look(&plain, Instant::now());
        assert!(functions.reading.is_none());
        functions.look(&running(), Instant::now());
        functions.read().await;
        assert!(functions.reading.is_none() && functions.known.is_empty());
        let mut snapshot = snapshot::of(&running());
        functions.add_to(&mut snapshot);
        let notice = snapshot.functions.unwrap().notice.unwrap();
        assert_eq!(notice, "The profiles cannot be read: Error from server (Forbidden): no");
    }

    #[tokio::test]
    async fn a_profile_that_is_written_after_the_sums_is_soon_read() {
        let (requests, uid) = (Arc::new(AtomicU32::new(0)), running().metadata.uid.unwrap());
        let cluster = cluster(move |_| {
            let is_written = requests.fetch_add(1, Ordering::Relaxed) > 0;
            let profile = profile(&uid, "a", &graph(&[(Way::Sent, &["main", "write"], 700, 1)]));
            (200, json!({"metadata": {}, "items": if is_written { vec![profile] } else { vec![] }}))
        });
        let mut functions = Functions::new(Some(&cluster));
        functions.look(&running(), Instant::now());
        let waited = tokio::time::timeout(Duration::from_millis(300), functions.read()).await;
        assert!(waited.is_err(), "that there is none is no news");
        let mut snapshot = snapshot::of(&running());
        functions.add_to(&mut snapshot);
        assert_eq!(snapshot.functions.unwrap().notice.as_deref(), Some(NONE_YET));
        functions.look(&running(), Instant::now());
        assert!(functions.reading.is_none(), "too soon");
        functions.look(&running(), Instant::now() + FIRST_PAUSE);
        functions.read().await;
        assert_eq!(functions.known.len(), 2);
    }
}
