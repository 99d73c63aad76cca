use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, symlink},
    time::{Duration, Instant},
};

use rustix::fs::{CWD, FileType, makedev, mknodat};

use super::*;

/// Opens a directory like [`root_of`].
fn handle_of(root: &Path) -> OwnedFd {
    rustix::fs::open(root, HANDLE | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

#[test]
fn regular_files_below_the_root_alone_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
    fs::create_dir(&root).unwrap();
    fs::write(&outside, "outside").unwrap();
    fs::write(root.join("inside"), "inside").unwrap();
    symlink("/inside", root.join("absolute")).unwrap();
    symlink(&outside, root.join("beyond")).unwrap();
    symlink("../outside", root.join("above")).unwrap();
    symlink("/proc/self/exe", root.join("magic")).unwrap();
    symlink("round", root.join("round")).unwrap();
    mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let root = handle_of(&root);
    let open = |path: &str| open_within(&root, Path::new(path)).and_then(io::read_to_string);
    assert_eq!(open("/inside").unwrap(), "inside");
    assert_eq!(open("/absolute").unwrap(), "inside");
    for path in ["/beyond", "/above", "/magic", "/../outside", "/pipe", "/", "/missing", "/round", "\0"] {
        assert!(open(path).is_err(), "{path}");
    }
}

#[test]
fn what_is_no_regular_file_is_not_opened_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let root = handle_of(folder.path());
    // Opening a pipe for writing with O_NONBLOCK fails with ENXIO unless a reader has it open, so this detects whether
    // `open_within` opened the pipe.
    let until = Instant::now() + Duration::from_millis(200);
    let (done, tries) = (std::sync::atomic::AtomicBool::new(false), 2000);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..tries {
                let error = open_within(&root, Path::new("pipe")).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) || Instant::now() < until {
            let written = rustix::fs::open(&pipe, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty());
            assert_eq!(written.unwrap_err(), rustix::io::Errno::NXIO, "a reader has opened the pipe");
        }
    });
    // Opening a device without a driver fails with ENXIO and not with InvalidInput, so this detects whether
    // `open_within` opened the device.
    let device = folder.path().join("device");
    if mknodat(CWD, &device, FileType::CharacterDevice, Mode::RUSR, makedev(240, 255)).is_err() {
        return crate::testing::skip("devices are root's: run as root").unwrap_or_default();
    }
    assert!(fs::symlink_metadata(&device).unwrap().file_type().is_char_device());
    assert_eq!(open_within(&root, Path::new("device")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn files_that_the_kernel_makes_up_are_not_opened() {
    let root = handle_of(Path::new("/"));
    for path in ["/proc/kallsyms", "/proc/self/maps", "/sys/kernel/mm/transparent_hugepage/enabled"] {
        if fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
            let error = open_within(&root, Path::new(path)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
    }
}

#[test]
fn a_mapped_file_is_opened_by_its_mapping_and_by_its_path() {
    let pid = std::process::id();
    let own = std::env::current_exe().unwrap();
    let inode = fs::metadata(&own).unwrap().ino();
    let maps = code_mappings(pid).unwrap();
    let map = maps.iter().find(|map| map.path.as_deref() == Some(own.as_path())).unwrap();
    assert_eq!(map.inode, inode);
    let same = |file: File| file.metadata().unwrap().ino() == inode;
    assert!(same(open_mapped(pid, &own, (map.start, map.end), inode).unwrap()));
    // No mapping has this range, so the file is opened by its path, if that still leads to the same inode.
    assert!(same(open_mapped(pid, &own, (1, 2), inode).unwrap()));
    let other = open_mapped(pid, &own, (1, 2), inode + 1).unwrap_err();
    assert_eq!(other.kind(), io::ErrorKind::NotFound);
    assert!(open_mapped(pid, Path::new("/"), (1, 2), 2).is_err());
}

/// For a file of a lower layer of an overlay, the list of mappings has another device number than the file at the path.
#[test]
fn a_file_of_an_overlay_is_opened_both_ways() {
    const SCRIPT: &str = "mount -t tmpfs tmpfs \"$0\" && cd \"$0\" && mkdir lower upper work merged && \
        cp /bin/cat lower/ && mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged && \
        echo ready && exec merged/cat";
    if !rustix::process::geteuid().is_root() {
        return crate::testing::skip("mounts are root's: run as root").unwrap_or_default();
    }
    let folder = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new("unshare")
        .args(["--mount", "--", "sh", "-c", SCRIPT])
        .arg(folder.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    io::BufRead::read_line(&mut io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line).unwrap();
    if line.trim() != "ready" {
        let _ = child.wait();
        return crate::testing::skip("overlays cannot be mounted here").unwrap_or_default();
    }
    let pid = child.id();
    let until = Instant::now() + Duration::from_secs(20);
    let map = loop {
        let maps = code_mappings(pid).unwrap_or_default();
        let found =
            maps.into_iter().find(|map| map.path.as_ref().is_some_and(|path| path.ends_with("merged/cat")));
        match found {
            Some(map) => break map,
            None => assert!(Instant::now() < until, "the program does not begin"),
        }
        std::thread::yield_now();
    };
    let path = map.path.clone().unwrap();
    let cat = fs::read("/bin/cat").unwrap();
    for range in [(map.start, map.end), (1, 2)] {
        let mut bytes = Vec::new();
        let mut file = open_mapped(pid, &path, range, map.inode).unwrap();
        io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        assert!(bytes == cat, "{range:?}");
    }
    drop(child.stdin.take());
    child.wait().unwrap();
}
