//! The writer of one trace's profiles.

use std::collections::VecDeque;
use std::sync::Arc;

use kube::Api;
use kube::api::{Patch, PatchParams};
use tokio::sync::mpsc;
use traffictrace_crd::{TrafficTrace, TrafficTraceProfile, TrafficTraceProfileSpec, report_name};

use super::beginning::Spread;
use super::writer::{Failure, REQUEST, within};
use crate::kubeapi::{ApiServer, Backoff, explain, retry_after};
use crate::node::packing::Packing;
use crate::report::{Packed, Profile};

/// Field manager of server-side apply: the API server records that all fields of a profile belong to the agent.
const MANAGER: &str = "traffictrace-agent";
/// Maximum number of runs of counting whose profiles wait to be written.
const MOST_RUNS: usize = 4;

/// The only writer of this node's profile of one trace.
pub(super) struct ProfileWriter {
    profiles: Api<TrafficTraceProfile>,
    traces: Api<TrafficTrace>,
    trace_name: String,
    trace_uid: String,
    profile_name: String,
    /// The API server's address, for error messages.
    url: String,
    /// Epoch of the run of counting that was last written; `ProfileState` in `node/session.rs` explains runs.
    epoch: Option<i64>,
    /// The last profile of the previous run, to which this run's profiles are added.
    earlier: Option<Arc<TrafficTraceProfileSpec>>,
    /// The time over which the last profiles of a trace's nodes are spread.
    spread: Spread,
    packing: Packing,
}

/// Profiles that are not written yet: the newest of each run of counting, the oldest run first. A run continues the
/// stored profile of the previous run, so runs are written in order.
#[derive(Default)]
struct Waiting(VecDeque<Packed>);

impl Waiting {
    fn add(&mut self, draft: Packed) {
        let spec = &draft.object().spec;
        if let Some(last) = self.0.back_mut().filter(|last| last.object().spec.epoch == spec.epoch) {
            *last = draft;
            return;
        }
        if self.0.len() == MOST_RUNS {
            tracing::warn!(
                trace = spec.trace_name,
                "stacks of a run of counting are left out of the profile: too many runs wait to be written"
            );
            // There are too many runs: the oldest one is given up.
            self.0.pop_front();
        }
        self.0.push_back(draft);
    }
}

impl ProfileWriter {
    /// Creates a writer for profiles of the same trace and node as `first`.
    pub(super) fn new(api: &ApiServer, first: &Profile, spread: Spread, packing: Packing) -> Self {
        let object = first.object();
        let (namespace, spec) = (object.metadata.namespace.clone().unwrap_or_default(), &object.spec);
        Self {
            profiles: Api::namespaced(api.client.clone(), &namespace),
            traces: Api::namespaced(api.client.clone(), &namespace),
            trace_name: spec.trace_name.clone(),
            trace_uid: spec.trace_uid.clone(),
            profile_name: report_name(&spec.trace_uid, &spec.node_name),
            url: api.url.clone(),
            epoch: None,
            earlier: None,
            spread,
            packing,
        }
    }

    /// Writes the newest profile of each run of counting, until the last profile is written, the trace is gone, or the
    /// channel is closed.
    pub(super) async fn run(mut self, mut drafts: mpsc::UnboundedReceiver<Profile>) {
        let mut backoff = Backoff::default();
        let mut waiting = Waiting::default();
        let mut spread_out = false;
        loop {
            if waiting.0.is_empty() {
                let Some(draft) = drafts.recv().await else { return };
                waiting.add(self.packing.pack(draft).await);
            }
            // Takes the profiles that arrived while another one was written.
            while let Ok(draft) = drafts.try_recv() {
                waiting.add(self.packing.pack(draft).await);
            }
            let Some(draft) = waiting.0.front().cloned() else { continue };
            let is_final = draft.object().spec.is_final;
            if is_final && !std::mem::replace(&mut spread_out, true) {
                self.spread.pause().await;
            }
            match self.write(draft).await {
                Ok(()) if is_final => return,
                Ok(()) => {
                    waiting.0.pop_front();
                    backoff.reset();
                }
                // The trace was deleted, alone or with its namespace.
                Err(_) if self.is_gone().await => return,
                Err(failure) => self.wait(&failure, &mut backoff).await,
            }
        }
    }

    /// Creates the profile, or replaces it as a whole.
    async fn write(&mut self, mut draft: Packed) -> Result<(), Failure> {
        let epoch = draft.object().spec.epoch;
        if self.epoch != Some(epoch) {
            self.earlier = self.read().await?.filter(|earlier| earlier.epoch < epoch).map(Arc::new);
            self.epoch = Some(epoch);
        }
        if let Some(earlier) = &self.earlier {
            draft = self.packing.join(draft, Arc::clone(earlier)).await;
        }
        if draft.says_nothing() {
            return Ok(());
        }
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(draft.into_object());
        within(self.profiles.patch(&self.profile_name, &params, &patch)).await.map(drop)
    }

    /// Reads the stored profile of this trace and node, if there is one.
    async fn read(&self) -> Result<Option<TrafficTraceProfileSpec>, Failure> {
        let found = within(self.profiles.get_opt(&self.profile_name)).await?;
        Ok(found.map(|found| found.spec).filter(|spec| spec.trace_uid == self.trace_uid))
    }

    /// Returns true if the trace no longer exists. Without an answer, it is assumed to exist.
    async fn is_gone(&self) -> bool {
        match within(self.traces.get_opt(&self.trace_name)).await {
            Ok(found) => found.is_none_or(|trace| trace.metadata.uid.as_ref() != Some(&self.trace_uid)),
            Err(_) => false,
        }
    }

    /// Waits before the next attempt.
    async fn wait(&self, failure: &Failure, backoff: &mut Backoff) {
        let (cause, asked) = match failure {
            Failure::Outdated => ("the API server says that it is outdated".to_owned(), None),
            Failure::Missing => ("its namespace or type is not there".to_owned(), None),
            Failure::Request(error) => {
                (explain(error, "traffictraceprofiles", &self.url), retry_after(error))
            }
            Failure::Silence => (format!("no answer from {} in {} s", self.url, REQUEST.as_secs()), None),
        };
        tracing::warn!(
            trace = self.trace_name,
            profile = self.profile_name,
            "cannot write the profile, trying again: {cause}"
        );
        tokio::time::sleep(backoff.next(asked)).await;
    }
}

#[cfg(test)]
mod tests;
