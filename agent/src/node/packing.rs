//! The slow work on profiles (compressing, joining), outside of the loop that reads the kernel's records.

use std::sync::Arc;

use tokio::sync::Semaphore;
use traffictrace_crd::TrafficTraceProfileSpec;

use crate::report::{Packed, Profile};

/// Packs profiles one at a time, since packing takes several times a profile's memory. All clones share the limit.
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

    /// Adds the profile of an earlier run of counting.
    pub(super) async fn join(&self, mut profile: Packed, earlier: Arc<TrafficTraceProfileSpec>) -> Packed {
        self.beside(move || {
            profile.go_on(&earlier);
            profile
        })
        .await
    }

    async fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // Cannot fail, since the semaphore is never closed.
        let _alone = self.0.acquire().await;
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            // Blocking work that has begun is not cancelled, so this error is a panic.
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}
