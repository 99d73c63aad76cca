//! Writing of files such that a file is always either complete or unchanged.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use tempfile::{Builder, NamedTempFile};

/// Maximum number of symbolic links that are followed, which is Linux's limit.
const MAX_LINKS: usize = 40;

/// Checks, before any work is done, that a file can be written.
///
/// # Errors
///
/// The operating system's error, for example if the folder does not exist or is not writable, or if the path is not a
/// regular file.
pub fn check(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            let kind =
                if metadata.is_dir() { io::ErrorKind::IsADirectory } else { io::ErrorKind::InvalidInput };
            return Err(io::Error::new(kind, "it is there, and no regular file"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    beside(&target(path)?).map(drop)
}

/// Writes a complete file, or leaves the existing one unchanged. If the path is a symbolic link, the file that it
/// points to is written. A file that is replaced keeps its permissions.
///
/// # Errors
///
/// The operating system's error; an existing file is then unchanged.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = target(path)?;
    let mut file = beside(&path)?;
    // Permissions are set before the first byte is written, since the content may be for the owner only.
    #[cfg(unix)]
    match fs::metadata(&path) {
        Ok(before) => file.as_file().set_permissions(before.permissions())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.write_all(bytes)?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(())
}

/// Follows symbolic links to the path of the file itself, which need not exist.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(next) = fs::read_link(&target) else { return Ok(target) };
        target = target.parent().unwrap_or(Path::new("")).join(next);
    }
    // With too many links, this call returns the system's own error.
    fs::canonicalize(path)
}

/// Makes a temporary file in the folder of `path`; dropping it removes it.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = Builder::new();
    builder.prefix(".traffictrace-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // The user's umask restricts these permissions.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_known_before() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("x.svg");
        fs::create_dir(&directory).unwrap();
        let error = check(&directory).unwrap_err().to_string();
        assert!(error.contains("no regular file"), "{error}");
        check(&folder.path().join("none/y.svg")).unwrap_err();
        check(&folder.path().join("z.svg")).unwrap();
        // The checks have left no temporary file behind: there is only the directory `x.svg`.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (link, there) = (folder.path().join("link"), folder.path().join("there"));
        fs::write(&there, "before").unwrap();
        std::os::unix::fs::symlink(&there, &link).unwrap();
        write(&link, b"after").unwrap();
        assert_eq!(fs::read_to_string(&there).unwrap(), "after");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);

        // The target of a link may be missing.
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        std::os::unix::fs::symlink("second", &first).unwrap();
        std::os::unix::fs::symlink("new", &second).unwrap();
        check(&first).unwrap();
        write(&first, b"new").unwrap();
        assert!([&first, &second].iter().all(|link| fs::symlink_metadata(link).unwrap().is_symlink()));
        assert_eq!(fs::read_to_string(folder.path().join("new")).unwrap(), "new");

        fs::remove_file(&second).unwrap();
        std::os::unix::fs::symlink("first", &second).unwrap();
        assert!(check(&first).is_err() && write(&first, b"").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_is_replaced_keeps_its_permissions() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("private.html");
        fs::write(&path, "before").unwrap();
        for mode in [0o600, 0o664] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            write(&path, b"after").unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        }
    }
}
