//! What takes long of a profile, beside the loop that reads the kernel's records: compressing it, and joining two.

use std::sync::Arc;

use tokio::sync::Semaphore;
use traffictrace_crd::TrafficTraceProfileSpec;

use crate::report::{Packed, Profile};

/// Packs profiles, one at a time: each takes several times its memory meanwhile. All copies are one.
#[derive(Clone, Debug)]
pub(super) struct Packing(Arc<Semaphore>);

impl Default for Packing {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Packing {
    /// Compresses a profile.
    pub(super) async fn pack(&self, profile: Profile) -> Packed {
        self.beside(move || profile.pack()).await
    }

    /// Adds to a profile what an earlier run of counting had written.
    pub(super) async fn join(&self, mut profile: Packed, earlier: Arc<TrafficTraceProfileSpec>) -> Packed {
        self.beside(move || {
            profile.go_on(&earlier);
            profile
        })
        .await
    }

    async fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // It is never closed.
        let _alone = self.0.acquire().await;
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            // Work that has begun is not cancelled.
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}
