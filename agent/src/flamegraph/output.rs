//! The file that is written: its format, and that it is there whole or not at all.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    str::FromStr,
};

use tempfile::{Builder, NamedTempFile};

use super::error::FlamegraphError;
use crate::stacks::profile::{By, Graph};

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A picture.
    Svg,
    /// Text.
    Folded,
    /// A profile for other programs.
    Pprof,
}

/// Where the result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// Folded text on standard output.
    Standard,
    /// A file.
    File(PathBuf, Format),
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
    /// Makes sure, before anything is traced, that the result can be written.
    ///
    /// # Errors
    ///
    /// When it cannot.
    pub(super) fn check(&self) -> Result<(), FlamegraphError> {
        let Self::File(path, _) = self else { return Ok(()) };
        let failed = |source| FlamegraphError::Output { path: path.clone(), source };
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => {
                let kind =
                    if metadata.is_dir() { io::ErrorKind::IsADirectory } else { io::ErrorKind::InvalidInput };
                return Err(failed(io::Error::new(kind, "it is there, and no regular file")));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        beside(&target(path)).map_err(failed)?;
        Ok(())
    }

    /// Writes a graph.
    ///
    /// # Errors
    ///
    /// When there is nothing to draw, or it cannot be written; a file of that name is as it was then.
    pub(super) fn write(&self, graph: &Graph, by: By) -> Result<(), FlamegraphError> {
        match self {
            Self::Standard => {
                let mut text = Vec::new();
                let result = graph.folded(by, &mut text).and_then(|()| {
                    let mut out = io::stdout().lock();
                    out.write_all(&text)?;
                    out.flush()
                });
                match result {
                    // Whoever reads it has had enough.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                    other => other.map_err(FlamegraphError::StandardOutput),
                }
            }
            Self::File(path, format) => {
                let bytes = match format {
                    Format::Svg => graph.svg(by)?.into_bytes(),
                    Format::Pprof => graph.pprof()?,
                    Format::Folded => {
                        let mut text = Vec::new();
                        graph.folded(by, &mut text).map_err(FlamegraphError::StandardOutput)?;
                        text
                    }
                };
                whole(path, &bytes).map_err(|source| FlamegraphError::Output { path: path.clone(), source })
            }
        }
    }
}

/// The file itself, where the name is that of a link to it.
fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// A temporary file in the folder of `path`, which is removed when it is dropped.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The user's mask takes away from these rights.
    let rights = fs::Permissions::from_mode(0o666);
    Builder::new().prefix(".traffictrace-").permissions(rights).tempfile_in(folder)
}

/// Writes a file whole, or leaves what was there.
fn whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = target(path);
    let mut file = beside(&path)?;
    file.write_all(bytes)?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
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
    fn what_cannot_be_written_is_known_before() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("x.svg");
        fs::create_dir(&directory).unwrap();
        let error = output(&directory).check().unwrap_err().to_string();
        assert!(error.contains("x.svg") && error.contains("no regular file"), "{error}");
        let error = output(&folder.path().join("none/y.svg")).check().unwrap_err().to_string();
        assert!(error.contains("y.svg"), "{error}");
        output(&folder.path().join("z.svg")).check().unwrap();
        // Nothing is left of the attempt.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_whole_or_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("z.svg");
        fs::write(&path, "before").unwrap();
        assert!(output(&path).write(&Graph::default(), By::Bytes).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        let link = folder.path().join("link.folded");
        let there = folder.path().join("there");
        fs::write(&there, "before").unwrap();
        std::os::unix::fs::symlink(&there, &link).unwrap();
        output(&link).write(&Graph::default(), By::Bytes).unwrap();
        assert_eq!(fs::read_to_string(&there).unwrap(), "");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
