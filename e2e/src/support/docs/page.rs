//! Pages of the documentation and the shell blocks in them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

use crate::support::{Result, TestError};

/// The place where a block's commands are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// This machine, with the workloads of the host's suite.
    Host,
    /// The namespace with the ten pods of `e2e/cluster/demo.yaml`.
    Cluster,
    /// The namespace of [`Place::Cluster`], in a cluster whose agents may take stacks.
    Stacks,
    /// The cluster, from which the block removes the product.
    Uninstall,
    /// Not run: the commands are targets of the Makefile, and only checked to exist.
    Make,
    /// Not run, for this reason.
    NotRun(String),
}

/// A shell block of a page.
#[derive(Clone, Debug)]
pub struct Block {
    /// Path of the page from the root of the repository.
    pub page: PathBuf,
    /// Number of the line on which the block begins.
    pub line: usize,
    /// Place where the block is run.
    pub place: Place,
    /// True if the commands run until they are interrupted.
    pub is_endless: bool,
    /// The commands, in order.
    pub commands: Vec<Command>,
}

/// A command and the output that the page shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Text of the command; it has several lines if they end in a backslash.
    pub text: String,
    /// Lines of output that follow the command in the page.
    pub shown: Vec<String>,
}

impl Command {
    /// Returns the exit code that the command has to end with: that of a comment such as `# exits with 1 if they
    /// differ`, or 0.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        let told = self.text.split_once("# exits with ").and_then(|(_, rest)| rest.split_whitespace().next());
        told.and_then(|code| code.parse().ok()).unwrap_or(0)
    }
}

/// Path of the repository's root.
pub(super) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Lists the pages of the documentation, from the root of the repository.
///
/// # Errors
///
/// Fails when the folder `docs` cannot be read.
pub fn pages() -> Result<Vec<PathBuf>> {
    let folder = repository().join("docs");
    let entries = fs::read_dir(&folder).map_err(TestError::io("read the folder docs"))?;
    let mut pages: Vec<PathBuf> = entries
        .filter_map(|entry| Some(Path::new("docs").join(entry.ok()?.file_name())))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    let others = [
        "README.md",
        "CONTRIBUTING.md",
        "charts/traffictrace/README.md",
        "e2e/cluster/README.md",
        "e2e/matrix/README.md",
    ];
    pages.extend(others.map(PathBuf::from));
    pages.sort();
    Ok(pages)
}

/// Returns the shell blocks of a page.
///
/// # Errors
///
/// Fails when the page cannot be read, or a block does not name its place.
pub fn blocks(page: &Path) -> Result<Vec<Block>> {
    let text = fs::read_to_string(repository().join(page))
        .map_err(TestError::io(format!("read the page {}", page.display())))?;
    blocks_of(page, &text)
}

fn blocks_of(page: &Path, text: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, usize, String)> = None;
    for (event, range) in Parser::new(text).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                let line = text[..range.start].matches('\n').count() + 1;
                open = Some((info.into_string(), line, String::new()));
            }
            Event::Text(part) => {
                if let Some((_, _, contents)) = &mut open {
                    contents.push_str(&part);
                }
            }
            Event::End(TagEnd::CodeBlock) => {
                if let Some((info, line, contents)) = open.take() {
                    blocks.extend(block(page, line, &info, &contents)?);
                }
            }
            _ => {}
        }
    }
    Ok(blocks)
}

/// Parses a block; `None` if it is not a shell block.
fn block(page: &Path, line: usize, info: &str, contents: &str) -> Result<Option<Block>> {
    let (language, rest) = info.split_once(' ').unwrap_or((info, ""));
    if !["sh", "bash", "shell", "console"].contains(&language) {
        return Ok(None);
    }
    let at = || format!("the block at {}:{line}", page.display());
    let mut words = rest.split(' ');
    let place = match words.next() {
        Some("host") => Place::Host,
        Some("cluster") => Place::Cluster,
        Some("stacks") => Place::Stacks,
        Some("uninstall") => Place::Uninstall,
        Some("make") => Place::Make,
        Some("not-run") => {
            let reason = words.by_ref().collect::<Vec<_>>().join(" ");
            if reason.is_empty() {
                return Err(TestError::unexpected(at(), "not-run without a reason"));
            }
            Place::NotRun(reason)
        }
        _ => {
            let ways =
                "write `sh host`, `cluster`, `stacks`, `uninstall`, `make` or `not-run REASON` behind ```";
            return Err(TestError::unexpected(at(), format!("without a place where it is run: {ways}")));
        }
    };
    let is_endless = match words.next() {
        None => false,
        Some("ctrl-c") => true,
        Some(word) => return Err(TestError::unexpected(at(), format!("with the unknown word {word}"))),
    };
    let commands = if language == "console" { typed(contents) } else { script(contents) };
    if commands.is_empty() {
        return Err(TestError::unexpected(at(), "without a command; in console blocks they follow `$ `"));
    }
    Ok(Some(Block { page: page.to_owned(), line, place, is_endless, commands }))
}

/// Returns the commands of a console block, each with its output.
fn typed(contents: &str) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    let mut is_continued = false;
    for line in contents.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push(Command { text: command.to_owned(), shown: Vec::new() });
            is_continued = command.ends_with('\\');
        } else if let Some(last) = commands.last_mut() {
            if is_continued {
                last.text.push('\n');
                last.text.push_str(line);
                is_continued = line.ends_with('\\');
            } else if !line.trim().is_empty() {
                last.shown.push(line.to_owned());
            }
        }
    }
    commands
}

fn script(contents: &str) -> Vec<Command> {
    if contents.trim().is_empty() {
        return Vec::new();
    }
    vec![Command { text: contents.to_owned(), shown: Vec::new() }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_what_they_print() -> Result<()> {
        let page = "# Title\n\n```console host ctrl-c\n$ one \\\n  --two\nA  B\n1  2\n$ three\n```\n\n```yaml\na: 1\n```\n";
        let blocks = blocks_of(Path::new("page.md"), page)?;
        let [block] = &blocks[..] else { return Err(TestError::unexpected("blocks", format!("{blocks:?}"))) };
        assert_eq!((block.line, &block.place, block.is_endless), (3, &Place::Host, true));
        let command = |text: &str, shown: &[&str]| Command {
            text: text.to_owned(),
            shown: shown.iter().map(|line| (*line).to_owned()).collect(),
        };
        assert_eq!(block.commands, [command("one \\\n  --two", &["A  B", "1  2"]), command("three", &[])]);
        let codes = ["diff a b  # exits with 1 if they differ", "diff a b", "true # exits"];
        assert_eq!(codes.map(|text| command(text, &[]).exit_code()), [1, 0, 0]);
        Ok(())
    }

    #[test]
    fn blocks_without_a_place_are_refused() {
        for bad in ["sh", "console somewhere", "sh not-run", "sh host later"] {
            let refused = blocks_of(Path::new("page.md"), &format!("```{bad}\n$ true\n```\n"));
            assert!(refused.is_err_and(|error| error.to_string().contains("page.md:1")), "{bad}");
        }
    }

    /// Checks that each block names its place, and that the Makefile has the targets of the `make` blocks.
    #[test]
    fn every_block_of_the_documentation_has_a_place() -> Result<()> {
        let makefile =
            fs::read_to_string(repository().join("Makefile")).map_err(TestError::io("read the Makefile"))?;
        let is_target = |name: &str| {
            makefile.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')))
        };
        let mut run = 0;
        for page in pages()? {
            for block in blocks(&page)? {
                if block.place != Place::Make {
                    run += usize::from(!matches!(block.place, Place::NotRun(_)));
                    continue;
                }
                for line in block.commands.iter().flat_map(|command| command.text.lines()) {
                    let command = line.split(" #").next().unwrap_or_default().trim();
                    let mut words = command.split_whitespace();
                    let known = match (words.next(), words.next()) {
                        (None, _) => true,
                        (Some("make"), Some(target)) => is_target(target),
                        _ => false,
                    };
                    assert!(
                        known,
                        "{}:{}: {line:?} is no target of the Makefile",
                        page.display(),
                        block.line
                    );
                }
            }
        }
        assert!(run > 0, "no block of the documentation is run");
        Ok(())
    }
}
