//! The file that a graph is written to, and its format.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    str::FromStr,
};

use traffictrace_crd::human;

use crate::{By, DrawError, Graph, Way, WriteError, file, share};

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Flame graph.
    Svg,
    /// Folded text.
    Folded,
    /// pprof, for other programs.
    Pprof,
}

/// Destination of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Folded text on standard output.
    Standard,
    /// A file.
    File(PathBuf, Format),
}

/// The graph could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Writing the file failed.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// Writing to standard output failed.
    #[error("cannot write to standard output: {0}")]
    Standard(io::Error),
    /// Drawing the picture failed.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// Making the pprof failed.
    #[error(transparent)]
    Pprof(#[from] WriteError),
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMATS: [(&str, Format); 3] =
            [(".svg", Format::Svg), (".folded", Format::Folded), (".pb.gz", Format::Pprof)];
        if text == "-" {
            return Ok(Self::Standard);
        }
        let format = FORMATS.iter().find(|(end, _)| text.ends_with(end));
        match format {
            Some((_, format)) => Ok(Self::File(text.into(), *format)),
            None => {
                Err("the name of the file must end in .svg, .folded or .pb.gz, which says its format; `-` \
                         is .folded on standard output"
                    .to_owned())
            }
        }
    }
}

impl Output {
    /// Checks, before anything is traced or read, that the graph can be written.
    ///
    /// # Errors
    ///
    /// [`OutputError::File`] if it cannot.
    pub fn check(&self) -> Result<(), OutputError> {
        match self {
            Self::Standard => Ok(()),
            Self::File(path, _) => {
                file::check(path).map_err(|source| OutputError::File { path: path.clone(), source })
            }
        }
    }

    /// Writes a graph.
    ///
    /// # Errors
    ///
    /// [`OutputError`] if there is nothing to draw or writing fails; an existing file is then unchanged.
    pub fn write(&self, graph: &Graph, by: By) -> Result<(), OutputError> {
        let folded = || {
            let mut text = Vec::new();
            // Writing to a vector cannot fail.
            graph.folded(by, &mut text).map(|()| text).map_err(OutputError::Standard)
        };
        match self {
            Self::Standard => {
                let text = folded()?;
                let mut out = io::stdout().lock();
                match out.write_all(&text).and_then(|()| out.flush()) {
                    // The reader of a pipe has closed it, which is not an error.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                    other => other.map_err(OutputError::Standard),
                }
            }
            Self::File(path, format) => {
                let bytes = match format {
                    Format::Svg => graph.svg(by)?.into_bytes(),
                    Format::Pprof => graph.pprof()?,
                    Format::Folded => folded()?,
                };
                file::write(path, &bytes).map_err(|source| OutputError::File { path: path.clone(), source })
            }
        }
    }

    /// Describes a written graph in a sentence or two: what was counted, how much of it has a known stack, and where to
    /// look.
    #[must_use]
    pub fn conclusion(&self, graph: &Graph) -> String {
        let (sent, received) = (graph.total(Way::Sent, By::Bytes), graph.total(Way::Received, By::Bytes));
        let (coverage, all) = (&graph.coverage, graph.coverage.bytes());
        let counted = format!(
            "{} sent and {} received; {}: {} of the bytes at their own call, {} without a full stack.",
            human::bytes(sent),
            human::bytes(received),
            human::number_of(coverage.stacks, "stack"),
            share(coverage.own, all),
            share(coverage.cut.saturating_add(coverage.without_stack()), all),
        );
        let Self::File(path, format) = self else { return counted };
        let path = path.display();
        let next = match format {
            Format::Svg => format!("Open {path} in a browser."),
            Format::Folded => {
                format!("{path} has a stack a line, for flamegraph.pl, inferno or speedscope.")
            }
            Format::Pprof => format!("Look at it with `go tool pprof {path}` or speedscope."),
        };
        format!("{counted} {next}")
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn output(path: &Path) -> Output {
        path.to_str().unwrap().parse().unwrap()
    }

    #[test]
    fn the_name_says_the_format() {
        assert_eq!("-".parse(), Ok(Output::Standard));
        for (name, format) in
            [("a.svg", Format::Svg), ("b.c.folded", Format::Folded), ("/d.pb.gz", Format::Pprof)]
        {
            assert_eq!(name.parse(), Ok(Output::File(name.into(), format)));
        }
        for name in ["out", "out.png", "out.gz", "svg", ""] {
            assert!(
                name.parse::<Output>().is_err_and(|error| error.contains(".svg, .folded or .pb.gz")),
                "{name}"
            );
        }
    }

    #[test]
    fn a_file_is_whole_or_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("z.svg");
        fs::write(&path, "before").unwrap();
        assert!(output(&path).write(&Graph::default(), By::Bytes).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        let path = folder.path().join("z.folded");
        output(&path).write(&Graph::default(), By::Bytes).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        let error = output(&folder.path().join("none/y.svg")).check().unwrap_err().to_string();
        assert!(error.starts_with("cannot write ") && error.contains("y.svg: "), "{error}");
    }

    #[test]
    fn the_last_line_says_how_much_is_known_and_where_to_look() {
        let mut graph = Graph::default();
        graph.coverage.own = 900;
        graph.coverage.whole = 800;
        graph.coverage.cut = 100;
        graph.coverage.stacks = 12;
        graph.coverage.missing.insert("lost".into(), 100);
        let conclusion = |output: &str| output.parse::<Output>().unwrap().conclusion(&graph);
        assert_eq!(
            conclusion("out.svg"),
            "0 B sent and 0 B received; 12 stacks: 90.0 % of the bytes at their own call, 20.0 % without a full stack. \
             Open out.svg in a browser."
        );
        assert!(conclusion("a.pb.gz").ends_with("`go tool pprof a.pb.gz` or speedscope."));
        assert!(conclusion("-").ends_with("without a full stack."));
    }
}
