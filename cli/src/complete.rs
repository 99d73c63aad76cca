//! Completions of a command line, for `kubectl_complete-traffictrace`, which kubectl runs when the user presses Tab.

use std::{io, io::Write as _, process::ExitCode, time::Duration};

use clap::{Arg, ArgAction, Command, CommandFactory as _, FromArgMatches as _};
use kube::api::ListParams;
use tokio::time::timeout;

use crate::{Cli, cluster::ClusterArgs, error::CliError};

/// Name of the hidden command, the same as that of kubectl's own.
pub(crate) const NAME: &str = "__complete";
/// Maximum time to wait for the names of traces.
const PATIENCE: Duration = Duration::from_secs(2);
/// Value name of the arguments that are names of traces.
const TRACE: &str = "TRACE";
/// Directive that tells kubectl not to complete names of files.
const NO_FILES: &str = ":4";
/// Directive that tells kubectl to complete names of files if there is no other completion.
const FILES: &str = ":0";

/// Print the completions of a command line.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The words after `kubectl traffictrace`. The last one is incomplete.
    #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
    words: Vec<String>,
}

/// The possible completions of a word.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// One of these words, each followed by a tab and its help.
    Words(Vec<String>),
    /// The name of a trace.
    Trace,
    /// Any text, such as the name of a file.
    Anything,
}

pub(crate) async fn run(args: &Args) -> Result<ExitCode, CliError> {
    let (last, before) = match args.words.split_last() {
        Some((last, before)) => (last.as_str(), before),
        None => ("", &[][..]),
    };
    let mut command = Cli::command();
    command.build();
    let mut lines = match answer(&command, before, last) {
        Answer::Words(words) => words,
        Answer::Trace => traces(before).await,
        Answer::Anything => {
            io::stdout().write_all(format!("{FILES}\n").as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    lines.retain(|line| line.starts_with(last));
    lines.push(NO_FILES.to_owned());
    io::stdout().write_all((lines.join("\n") + "\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the possible completions of the word after `before`.
fn answer(root: &Command, before: &[String], last: &str) -> Answer {
    let mut command = root;
    let mut positions = 0;
    // The option of the previous word, if the next word is its value.
    let mut open: Option<&Arg> = None;
    for word in before {
        if open.take().is_some() {
            continue;
        }
        if let Some(option) = option(command, word) {
            let wants_value = matches!(option.get_action(), ArgAction::Set | ArgAction::Append);
            let may_do_without = option.is_require_equals_set();
            open = Some(option).filter(|_| wants_value && !may_do_without && !word.contains('='));
        } else if !word.starts_with('-') {
            match command.find_subcommand(word) {
                Some(found) => command = found,
                None => positions += 1,
            }
        }
    }
    if let Some(option) = open {
        return values(option);
    }
    if last.starts_with('-') {
        let options = command.get_arguments().filter(|arg| !arg.is_hide_set());
        let options = options.filter_map(|arg| Some((format!("--{}", arg.get_long()?), arg.get_help())));
        return Answer::Words(options.map(|(name, help)| line(&name, help)).collect());
    }
    if command.has_subcommands() {
        let commands = command.get_subcommands().filter(|command| !command.is_hide_set());
        return Answer::Words(commands.map(|found| line(found.get_name(), found.get_about())).collect());
    }
    let positionals: Vec<&Arg> = command.get_positionals().collect();
    match positionals.get(positions).or(positionals.last()) {
        Some(positional) => values(positional),
        None => Answer::Words(Vec::new()),
    }
}

/// Returns the option that a word names, with or without its value.
fn option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let name = word.split('=').next().unwrap_or_default();
    let short =
        name.strip_prefix('-').and_then(|rest| rest.chars().next().filter(|c| rest.len() == c.len_utf8()));
    let long = name.strip_prefix("--");
    command.get_arguments().find(|arg| match long {
        Some(long) => arg.get_long() == Some(long),
        None => short.is_some() && arg.get_short() == short,
    })
}

fn values(arg: &Arg) -> Answer {
    let possible = arg.get_possible_values();
    if !possible.is_empty() {
        let shown = possible.iter().filter(|value| !value.is_hide_set());
        return Answer::Words(shown.map(|value| line(value.get_name(), value.get_help())).collect());
    }
    let names = arg.get_value_names().unwrap_or_default();
    if names.iter().any(|name| name == TRACE) { Answer::Trace } else { Answer::Anything }
}

/// Returns a word, a tab and the first line of the word's help.
fn line(word: &str, help: Option<&clap::builder::StyledStr>) -> String {
    match help.map(ToString::to_string).as_deref().and_then(|help| help.lines().next()) {
        None => word.to_owned(),
        Some(help) => format!("{word}\t{help}"),
    }
}

/// Returns the names of the traces in the namespace that the words name; no names if they cannot be read in time.
async fn traces(words: &[String]) -> Vec<String> {
    let command = Cli::command().ignore_errors(true);
    let matches = command.try_get_matches_from([NAME.to_owned()].iter().chain(words));
    let args = matches.ok().and_then(|matches| ClusterArgs::from_arg_matches(&matches).ok());
    let names = async {
        let cluster = args.unwrap_or_default().connect().await.ok()?;
        let traces = cluster.traces().list_metadata(&ListParams::default()).await.ok()?;
        Some(traces.items.into_iter().filter_map(|trace| trace.metadata.name).collect())
    };
    timeout(PATIENCE, names).await.ok().flatten().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(line: &str) -> Answer {
        let mut command = Cli::command();
        command.build();
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (last, before) = words.split_last().unwrap();
        match answer(&command, before, last) {
            Answer::Words(words) => {
                let names = words.iter().map(|word| word.split('\t').next().unwrap().to_owned());
                Answer::Words(names.filter(|word| word.starts_with(last)).collect())
            }
            other => other,
        }
    }

    fn words(words: &[&str]) -> Answer {
        Answer::Words(words.iter().map(|&word| word.to_owned()).collect())
    }

    #[test]
    fn commands_options_values_and_traces_are_completed() {
        assert_eq!(answered("ch"), words(&["check"]));
        assert_eq!(answered("-n shop to"), words(&["top"]));
        assert_eq!(answered("top "), Answer::Trace);
        assert_eq!(answered("top web -n "), Answer::Anything);
        assert_eq!(answered("get --watch w"), Answer::Trace);
        assert_eq!(answered("get web w"), Answer::Trace);
        assert_eq!(answered("top --by p"), words(&["process", "pod", "peer"]));
        assert_eq!(answered("run --dry-run -o y"), words(&["yaml"]));
        assert_eq!(answered("top --no-t"), words(&["--no-tui"]));
        assert_eq!(answered("top --kubec"), words(&["--kubeconfig"]));
        assert_eq!(answered("completion z"), words(&["zsh"]));
        assert_eq!(answered("check x"), words(&[]));
    }
}
