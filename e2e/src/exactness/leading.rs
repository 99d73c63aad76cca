//! The runner's side of the leaders, which are the processes that run the cases.

use std::{
    env,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use super::{
    leader::{LIMIT, Message},
    runner::Ground,
    screen::Screen,
    stage::answer,
    tally::{Detail, ProcessCount},
    verdict::{self, Outcome},
};
use crate::support::{Result, TestError, process::Process, top::Document, wait::POLL};

/// Number of documents of `top` within which it must show what a case has counted while its sockets are open. One or
/// two readings of the kernel's table are enough, but the machine may be busy.
const DOCUMENTS: u32 = 10;
/// Number of consecutive documents of `top` that must agree with the counts.
const AGREEING: u32 = 2;

/// Description of what a leader has to run.
#[derive(Clone, Debug, Default)]
pub(super) struct Task {
    pub(super) case: String,
    pub(super) seed: u64,
    pub(super) seconds: u64,
    pub(super) detail: Detail,
}

/// The process that runs a case, as the runner sees it.
pub(super) struct Leader {
    task: Task,
    process: Process,
    stdin: Option<ChildStdin>,
    asked: Option<Asked>,
    ended: Option<Message>,
    /// Differences that were found while the case was running.
    differences: Vec<String>,
}

/// A request of the leader that is not yet answered.
enum Asked {
    Documents { left: u32 },
    Agreement { counts: Vec<ProcessCount>, left: u32, agreed: u32 },
}

impl Leader {
    pub(super) fn start(task: Task, ground: &Ground) -> Result<Self> {
        let program = env::current_exe().map_err(TestError::io("find this program"))?;
        let mut command = Command::new(program);
        command.args(["case", &task.case, "--seed", &task.seed.to_string()]);
        command.args(["--seconds", &task.seconds.to_string(), "--detail", task.detail.name()]);
        command.arg("--selected").arg(&ground.selected).arg("--outside").arg(&ground.outside);
        command.stdin(Stdio::piped());
        let mut stdin = None;
        let process = Process::start_with(&mut command, |child: &mut Child| stdin = child.stdin.take())?;
        Ok(Self { task, process, stdin, asked: None, ended: None, differences: Vec::new() })
    }

    /// Waits until the case has made everything that must be older than the trace, or has failed.
    pub(super) fn ready(mut self) -> Result<Self> {
        match self.message(LIMIT)? {
            Message::Ready => {}
            ended => self.ended = Some(ended),
        }
        Ok(self)
    }

    /// Tells the leader that its request is fulfilled.
    pub(super) fn go_on(&mut self) {
        // If the leader has ended already, its outcome says why.
        if let Some(stdin) = &mut self.stdin {
            let _ = answer(stdin);
        }
    }

    /// Returns whether the leader has sent its last message.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        while self.ended.is_none() && self.asked.is_none() {
            match self.message(Duration::ZERO) {
                Err(TestError::Deadline { .. }) => break,
                message => self.take(message?),
            }
        }
        Ok(self.ended.is_some())
    }

    /// Waits for the end of the leader and returns its outcome.
    pub(super) fn end(mut self) -> Result<Outcome> {
        let message = match self.ended.take().map_or_else(|| self.message(LIMIT), Ok) {
            // A case that hangs has failed, and the other cases go on. Its process is killed when this [`Leader`] is
            // dropped.
            Err(TestError::Deadline { .. }) => {
                let Self { task, differences, .. } = self;
                let failure = Some(format!("it did not end within {} s", LIMIT.as_secs()));
                let told = String::new();
                return Ok(Outcome {
                    case: task.case,
                    counts: Vec::new(),
                    failure,
                    unsupported: None,
                    differences,
                    told,
                });
            }
            message => message?,
        };
        let Message::Ended { counts, failure, unsupported } = message else {
            return Err(TestError::unexpected(&self.task.case, format!("{message:?} in place of its end")));
        };
        let ended = self.process.wait(LIMIT)?;
        let failure = failure.or_else(|| (!ended.status.success()).then(|| ended.status.to_string()));
        let differences = self.differences;
        Ok(Outcome { case: self.task.case, counts, failure, unsupported, differences, told: ended.stderr })
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::AwaitDocuments { count } => self.asked = Some(Asked::Documents { left: count }),
            Message::Compare { counts } => {
                self.asked = Some(Asked::Agreement { counts, left: DOCUMENTS, agreed: 0 });
            }
            ended => self.ended = Some(ended),
        }
    }

    /// Checks a document of `top` against the leader's request, and answers a request that is fulfilled.
    fn show(&mut self, document: &Document) {
        let done = match &mut self.asked {
            None => return,
            Some(Asked::Documents { left }) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            Some(Asked::Agreement { counts, left, agreed }) => {
                let notes = verdict::difference_now(&self.task.case, counts, document);
                *left = left.saturating_sub(1);
                *agreed = if notes.is_empty() { *agreed + 1 } else { 0 };
                if *left == 0 && *agreed < AGREEING {
                    self.differences
                        .extend(notes.into_iter().map(|note| format!("while it was open: {note}")));
                }
                *left == 0 || *agreed == AGREEING
            }
        };
        if done {
            self.asked = None;
            self.go_on();
        }
    }

    /// Waits for the leader's next line. A leader that ended without one has failed, and its standard error says why.
    fn message(&self, limit: Duration) -> Result<Message> {
        match self.process.line(limit)? {
            Some(line) => serde_json::from_str(&line)
                .map_err(|error| TestError::unexpected(&self.task.case, format!("{error}: {line}"))),
            None => Ok(Message::Ended {
                counts: Vec::new(),
                failure: Some(
                    "its process ended without a word; it may have run into its time limit".to_owned(),
                ),
                unsupported: None,
            }),
        }
    }
}

/// Runs simultaneous cases to their ends, and passes them the documents that they wait for.
pub(super) fn lead(mut leaders: Vec<Leader>, screen: &Screen) -> Result<Vec<Outcome>> {
    let mut seen = 0;
    loop {
        let mut all_ended = true;
        for leader in &mut leaders {
            all_ended &= leader.has_ended()?;
        }
        if all_ended {
            return leaders.into_iter().map(Leader::end).collect();
        }
        if let Some((number, document)) = screen.newer(seen, POLL)? {
            seen = number;
            leaders.iter_mut().for_each(|leader| leader.show(&document));
        }
    }
}
