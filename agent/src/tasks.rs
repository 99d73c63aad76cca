//! Tasks that the process needs. If one ends, the process ends too, so that it does not go on with outdated data.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};

/// Tasks, each with a name for messages.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    set: JoinSet<()>,
    names: HashMap<Id, String>,
}

/// A task ended that must not end.
#[derive(Debug, thiserror::Error)]
#[error("{name} has ended: {cause}; the process cannot go on without it and begins anew")]
pub(crate) struct TaskEnded {
    pub(crate) name: String,
    pub(crate) cause: String,
}

impl Tasks {
    /// Begins a task. The name is for messages, for example `the watch of pods`.
    pub(crate) fn spawn(&mut self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.set.spawn(task).id();
        self.names.insert(id, name.into());
    }

    /// Waits until any task ends, and returns its name and the cause. Never returns while all tasks run.
    pub(crate) async fn ended(&mut self) -> TaskEnded {
        let (id, cause) = match self.set.join_next_with_id().await {
            Some(Ok((id, ()))) => (id, "nothing more comes from it".to_owned()),
            Some(Err(failed)) => (failed.id(), failed.to_string()),
            None => std::future::pending().await,
        };
        TaskEnded { name: self.names.remove(&id).unwrap_or_default(), cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_task_that_ends_is_named_with_its_cause() {
        let mut tasks = Tasks::default();
        tasks.spawn("the watch of pods", std::future::pending());
        tasks.spawn("the watch of nodes", async {});
        let ended = tasks.ended().await;
        assert_eq!(ended.name, "the watch of nodes");
        tasks.spawn("the watch of traces", async { panic!("out of order") });
        let ended = tasks.ended().await;
        assert_eq!(ended.name, "the watch of traces");
        assert!(ended.cause.contains("panicked"), "{}", ended.cause);
    }
}
