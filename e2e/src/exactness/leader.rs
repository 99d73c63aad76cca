//! The process that leads one case. It is this program again, so that each case begins with one thread, which may
//! fork, and with no descriptors of other cases.

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

/// A case that takes longer than asked for is killed; under emulation everything takes many times as long.
pub const LIMIT: Duration = Duration::from_secs(120);

/// What the runner tells a leader.
#[derive(Args, Clone, Debug)]
pub struct LeaderArgs {
    /// Name of the case.
    pub name: String,
    /// The cgroup that is traced.
    #[arg(long)]
    pub selected: PathBuf,
    /// One beside it.
    #[arg(long)]
    pub outside: PathBuf,
    /// Seed of the amounts.
    #[arg(long)]
    pub seed: u64,
    /// How long it goes on, where it goes on for a time.
    #[arg(long, default_value_t = 0)]
    pub seconds: u64,
    /// How finely it counts.
    #[arg(long, value_enum, default_value_t = Detail::Flows)]
    pub detail: Detail,
}

/// One line of a leader's output. To all but the last, the runner answers with a line when it has done its part.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Message {
    /// The trace may begin.
    Ready,
    /// The product is to print so many documents.
    AwaitDocuments {
        /// How many.
        count: u32,
    },
    /// The product is to show these counts while the case goes on.
    Compare {
        /// What the case's processes have counted so far.
        counts: Vec<ProcessCount>,
    },
    /// The case is over.
    Ended {
        /// What its processes counted.
        counts: Vec<ProcessCount>,
        /// Why it did not come to its end.
        failure: Option<String>,
        /// Why this kernel cannot do it.
        unsupported: Option<String>,
    },
}

/// Prints a line for the runner.
///
/// # Errors
///
/// When the runner is gone.
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
/// When there is no such case or its outcome cannot be told.
pub fn run(args: LeaderArgs) -> Done {
    let name = &args.name;
    let time = Duration::from_secs(args.seconds);
    let case = cases::all()
        .into_iter()
        .chain(soak::cases(time))
        .find(|case| case.name == *name)
        .ok_or_else(|| CaseError::unexpected(format!("there is no case {name}")))?;
    sys::end_with_parent(time + LIMIT)?;
    // Each case has amounts of its own.
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
