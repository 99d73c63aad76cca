//! The process that leads one case. It is a new instance of this program, so that each case begins with a single
//! thread, which may fork, and without descriptors of other cases.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    cases,
    error::{CaseError, Done},
    soak,
    stage::Stage,
    sys,
    tally::{Detail, ProcessCount},
};

/// Time limit of a case, beyond its requested duration: generous, because an emulated machine is many times slower.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Arguments of a leader.
#[derive(Args, Clone, Debug)]
pub struct LeaderArgs {
    /// Name of the case.
    pub name: String,
    /// Cgroup that is traced.
    #[arg(long)]
    pub selected: PathBuf,
    /// Cgroup that is not traced.
    #[arg(long)]
    pub outside: PathBuf,
    /// Seed of the amounts of bytes.
    #[arg(long)]
    pub seed: u64,
    /// Duration in seconds, for cases that run for a given time.
    #[arg(long, default_value_t = 0)]
    pub seconds: u64,
    /// Granularity of the counts.
    #[arg(long, value_enum, default_value_t = Detail::Flows)]
    pub detail: Detail,
}

/// One line of a leader's output. The runner answers every line but the last when it has done what the line asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Message {
    /// The case is ready for the trace to begin.
    Ready,
    /// The leader waits until `top` has printed a number of documents (JSON snapshots).
    AwaitDocuments {
        /// Number of documents.
        count: u32,
    },
    /// The leader waits until the product shows these counts while the case continues.
    Compare {
        /// Counts of the case's processes so far.
        counts: Vec<ProcessCount>,
    },
    /// The case is over.
    Ended {
        /// Final counts of the case's processes.
        counts: Vec<ProcessCount>,
        /// Reason why the case did not finish.
        failure: Option<String>,
        /// Reason why this kernel cannot run the case.
        unsupported: Option<String>,
    },
}

/// Prints a message for the runner.
///
/// # Errors
///
/// Fails when the runner has ended.
pub fn tell(message: &Message) -> Done {
    let mut line =
        serde_json::to_string(message).map_err(|error| CaseError::unexpected(error.to_string()))?;
    line.push('\n');
    Ok(io::stdout().lock().write_all(line.as_bytes())?)
}

/// Runs a case to its end.
///
/// # Errors
///
/// Fails when there is no such case, or its outcome cannot be printed.
pub fn run(args: LeaderArgs) -> Done {
    let name = &args.name;
    let time = Duration::from_secs(args.seconds);
    let case = cases::all()
        .into_iter()
        .chain(soak::cases(time))
        .find(|case| case.name == *name)
        .ok_or_else(|| CaseError::unexpected(format!("there is no case {name}")))?;
    sys::end_with_parent(time + LIMIT)?;
    // The seed depends on the case's name, so that each case has amounts of its own.
    let seed = name.bytes().fold(args.seed, |seed, byte| seed.rotate_left(5) ^ u64::from(byte));
    let mut stage = Stage::new(args.selected.clone(), args.outside, args.detail, seed);
    stage.enter(&args.selected)?;
    let (failure, unsupported) = match (case.run)(&mut stage) {
        Ok(()) => (None, None),
        Err(CaseError::Unsupported(why)) => (None, Some(why)),
        Err(error) => (Some(error.to_string()), None),
    };
    tell(&Message::Ended { counts: stage.counts()?, failure, unsupported })
}
