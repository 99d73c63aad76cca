//! The environment of a page's commands: files of the repository, programs, and replacements for names in the page.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::Path,
    process::Command as Process,
    time::{Duration, Instant},
};

use super::page::{Block, Command, repository};
use crate::support::{Result, TestError, needs};

/// Time limit of a command.
const LIMIT: Duration = Duration::from_secs(180);
/// Time in seconds after which a command that runs until it is interrupted gets interrupted.
const INTERRUPTED: &str = "8";

/// A folder in which commands run, with the files and programs that they use.
#[derive(Debug)]
pub struct World {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    replaced: Vec<(String, String)>,
}

impl World {
    /// Creates a folder with the repository's files, and its programs in PATH. Files that commands write stay in this
    /// folder.
    ///
    /// # Errors
    ///
    /// Fails when the folder cannot be created, or when the programs were not built.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir().map_err(TestError::io("make a folder"))?;
        let root = fs::canonicalize(repository()).map_err(TestError::io("find the repository"))?;
        for name in ["charts", "manifests", "scripts", "e2e"] {
            symlink(root.join(name), folder.path().join(name))
                .map_err(TestError::io("link to the repository"))?;
        }
        let programs = folder.path().join(".programs");
        fs::create_dir(&programs).map_err(TestError::io("make a folder for programs"))?;
        for name in ["traffictrace", "kubectl-traffictrace"] {
            symlink(needs::program(name)?, programs.join(name))
                .map_err(TestError::io("link to a program"))?;
        }
        let path = format!("{}:{}", programs.display(), env::var("PATH").unwrap_or_default());
        Ok(Self { folder, environment: vec![("PATH".to_owned(), path)], replaced: Vec::new() })
    }

    /// Path of the folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sets an environment variable of the commands.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.environment.push((name.to_owned(), value.to_string()));
    }

    /// Makes commands use `real` instead of the text `written` in the pages.
    pub fn replace(&mut self, written: &str, real: impl ToString) {
        self.replaced.push((written.to_owned(), real.to_string()));
    }

    /// Prepares a command to run as those of the pages do: in the folder, with its programs in PATH.
    pub fn prepare(&self, command: &mut Process) {
        command.current_dir(self.folder.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
    }

    /// Runs the commands of a block one after the other.
    ///
    /// # Errors
    ///
    /// Fails when a command fails, does not end, or does not print the heading that the page shows.
    pub fn run(&self, block: &Block) -> Result<()> {
        block.commands.iter().try_for_each(|command| self.run_command(block, command))
    }

    fn run_command(&self, block: &Block, command: &Command) -> Result<()> {
        let at = format!("{}:{}: {}", block.page.display(), block.line, command.text.trim());
        let text = self.replaced.iter().fold(command.text.clone(), |text, (from, to)| text.replace(from, to));
        let limit = LIMIT.as_secs().to_string();
        let (signal, limit) = if block.is_endless { ("INT", INTERRUPTED) } else { ("KILL", &limit[..]) };
        // `timeout` has a process group of its own, so that its signal reaches all processes of the shell.
        let mut timeout = Process::new("timeout");
        timeout.args(["--preserve-status", "--kill-after=20", "--signal", signal, limit]);
        timeout.args(["bash", "-euo", "pipefail", "-c", &text]);
        self.prepare(&mut timeout);
        let began = Instant::now();
        let output = timeout.stdin(std::process::Stdio::null()).output();
        let output = output.map_err(TestError::io(format!("run {at}")))?;
        let printed =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        println!("{at}: {} after {:.1} s", output.status, began.elapsed().as_secs_f64());
        // An interrupted command has no exit code because the signal ended it, or 130 if the shell reports that for it.
        let is_interrupted = block.is_endless && output.status.code().is_none_or(|code| code == 130);
        let is_wanted = output.status.code() == Some(command.exit_code());
        if !is_wanted && !is_interrupted {
            return Err(TestError::unexpected(at, format!("{}, {printed}", output.status)));
        }
        match command.shown.iter().find(|line| is_heading(line) && !has_line(&printed, line)) {
            None => Ok(()),
            Some(heading) => Err(TestError::unexpected(at, format!("without {heading:?}, but {printed}"))),
        }
    }
}

/// Returns whether a line is the heading of a table: two or more words in capital letters.
fn is_heading(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_upper =
        |word: &&str| word.chars().any(char::is_alphabetic) && !word.chars().any(char::is_lowercase);
    words.len() > 1 && words.iter().all(is_upper)
}

/// Returns whether a line of `printed` has the words of `wanted`, with any space between them.
fn has_line(printed: &str, wanted: &str) -> bool {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let wanted = words(wanted);
    printed.lines().any(|line| words(line) == wanted)
}
