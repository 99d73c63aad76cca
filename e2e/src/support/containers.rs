//! Real containers of Docker, Podman and containerd. The runtimes use their own folders, so they see nothing else on the
//! machine and leave nothing behind.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::Signal;

use super::{Result, TestError, cgroup::Cgroup, needs, process::Process, wait, workload::Workload};

/// Maximum time that a daemon or a command may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The image of the containers, which has only empty folders.
const IMAGE: &str = "localhost/tt-e2e:1";
/// Folders of the machine that a workload needs, mounted at the same paths in the container.
const SHARED: [&str; 3] = ["/usr", "/lib", "/lib64"];
/// Folder that Docker always makes, wherever its other folders are.
const PLUGINS: &str = "/run/docker/plugins";
/// Path of this workspace's programs in a container.
const PROGRAMS: &str = "/programs";

/// A kind of container runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Docker, with its own daemon.
    Docker,
    /// Podman, which has no daemon.
    Podman,
    /// containerd through `ctr`, with the annotations that Kubernetes sets through CRI.
    Containerd,
}

/// A running container runtime.
#[derive(Debug)]
pub struct Runtime {
    kind: Kind,
    folder: tempfile::TempDir,
    /// Name of the cgroup that contains all containers.
    parent: PathBuf,
    programs: PathBuf,
    daemons: Vec<Process>,
    /// True if a daemon has made [`PLUGINS`].
    made_plugins: bool,
}

impl Runtime {
    /// Starts a runtime whose containers are in `cgroup`. The test is [skipped](needs::skip) if the runtime is
    /// not installed.
    ///
    /// # Errors
    ///
    /// Fails if the runtime is installed but does not work.
    pub fn start(kind: Kind, cgroup: &Cgroup, root: &Path) -> Result<Option<Self>> {
        let needed: &[&str] = match kind {
            Kind::Docker => &["dockerd", "docker", "containerd", "containerd-shim-runc-v2", "runc"],
            Kind::Podman => &["podman", "conmon", "runc"],
            Kind::Containerd => &["containerd", "ctr", "containerd-shim-runc-v2", "runc"],
        };
        let missing: Vec<_> = needed.iter().filter(|program| find(program).is_none()).collect();
        if !missing.is_empty() {
            needs::skip(format!("not installed: {missing:?}; scripts/setup.sh installs what tests use"));
            return Ok(None);
        }
        let programs = needs::program("tt-workload")?;
        let mut runtime = Self {
            kind,
            folder: tempfile::tempdir().map_err(TestError::io("make a folder"))?,
            parent: cgroup.path().strip_prefix(root).unwrap_or(cgroup.path()).to_owned(),
            programs: programs.parent().unwrap_or(Path::new("/")).to_owned(),
            daemons: Vec::new(),
            made_plugins: kind == Kind::Docker && !Path::new(PLUGINS).exists(),
        };
        runtime.make_folders()?;
        match kind {
            Kind::Docker => runtime.start_docker()?,
            Kind::Podman => runtime.prepare_podman()?,
            Kind::Containerd => runtime.start_containerd()?,
        }
        Ok(Some(runtime))
    }

    /// Runs `tt-workload` in a container. The process id of the returned workload is the
    /// host's.
    ///
    /// # Errors
    ///
    /// Fails if the container cannot be started.
    pub fn run(&self, names: &Names, arguments: &[&str]) -> Result<Workload> {
        let mut command = self.command();
        let shared = SHARED.iter().filter(|folder| Path::new(folder).exists());
        let mounts = shared.map(|folder| (Path::new(folder), *folder)).chain([(&*self.programs, PROGRAMS)]);
        match self.kind {
            Kind::Docker | Kind::Podman => {
                command.args([
                    "run",
                    "--rm",
                    "--network",
                    "host",
                    "--pid",
                    "host",
                    "--name",
                    &names.container,
                ]);
                if self.kind == Kind::Podman {
                    command.arg("--cgroup-parent").arg(Path::new("/").join(&self.parent));
                }
                for (from, to) in mounts {
                    command.arg("-v").arg(format!("{}:{to}:ro", from.display()));
                }
                command.arg(IMAGE);
            }
            Kind::Containerd => {
                let id =
                    format!("{:064x}", u128::from(fastrand::u64(..)) << 32 | u128::from(fastrand::u32(..)));
                command.args(["run", "--rm", "--rootfs", "--net-host", "--with-ns", "pid:/proc/self/ns/pid"]);
                for (key, value) in [
                    ("container-type", "container"),
                    ("container-name", &names.container),
                    ("sandbox-name", &names.pod),
                    ("sandbox-namespace", &names.namespace),
                ] {
                    command.arg("--annotation").arg(format!("io.kubernetes.cri.{key}={value}"));
                }
                for (from, to) in mounts {
                    let mount = format!("type=bind,src={},dst={to},options=rbind:ro", from.display());
                    command.args(["--mount", &mount]);
                }
                let pod = "kubepods/pod0d2f3ad1-8c1e-4d5b-9f0a-1b2c3d4e5f60";
                command.arg("--cgroup").arg(Path::new("/").join(&self.parent).join(pod).join(&id));
                command.arg(self.folder.path().join("rootfs")).arg(&id);
            }
        }
        command.arg(format!("{PROGRAMS}/tt-workload")).args(["--for", "120"]).args(arguments);
        Workload::of(&mut command)
    }

    /// Starts a server in a container and waits until it listens. Also returns its address.
    ///
    /// # Errors
    ///
    /// Fails if the server ends before it listens.
    pub fn server(&self, names: &Names) -> Result<(Workload, std::net::SocketAddr)> {
        self.run(names, &["server", "--listen", "127.0.0.1:0"])?.listening()
    }

    fn make_folders(&self) -> Result<()> {
        let rootfs = self.folder.path().join("rootfs");
        let needed = ["proc", "sys", "dev", "etc", "tmp", "run"].into_iter();
        for name in needed.chain(SHARED.iter().chain([&PROGRAMS]).map(|path| path.trim_start_matches('/'))) {
            fs::create_dir_all(rootfs.join(name)).map_err(TestError::io("make a root folder"))?;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Returns the runtime's command line up to the subcommand.
    fn command(&self) -> Command {
        let program = |name| Command::new(find(name).unwrap_or_else(|| name.into()));
        match self.kind {
            Kind::Docker => {
                let mut command = program("docker");
                command.args([
                    "--config",
                    &self.path("config"),
                    "-H",
                    &format!("unix://{}", self.path("d.sock")),
                ]);
                command
            }
            Kind::Podman => {
                let mut command = program("podman");
                command.env("CONTAINERS_CONF", self.path("containers.conf"));
                command.args(["--root", &self.path("root"), "--runroot", &self.path("run")]);
                command.args(["--tmpdir", &self.path("tmp"), "--storage-driver", "vfs"]);
                command
            }
            Kind::Containerd => {
                let mut command = program("ctr");
                command.args(["-a", &self.path("c.sock"), "-n", "k8s.io"]);
                command
            }
        }
    }

    fn start_containerd(&mut self) -> Result<()> {
        let config = self.path("containerd.toml");
        // The CRI plugin is not needed here, and takes a while to start.
        fs::write(&config, "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n")
            .map_err(TestError::io("write containerd's configuration"))?;
        let mut command = Command::new("containerd");
        command.args(["--config", &config, "--root", &self.path("c.root"), "--state", &self.path("c.state")]);
        command.args(["--address", &self.path("c.sock")]);
        self.daemons.push(Process::start(&mut command)?);
        let socket = self.path("c.sock");
        await_answer("containerd", Command::new("ctr").args(["-a", &socket, "version"]))
    }

    fn start_docker(&mut self) -> Result<()> {
        self.start_containerd()?;
        let mut command = Command::new(find("dockerd").unwrap_or_default());
        let folders = env::split_paths(&env::var_os("PATH").unwrap_or_default())
            .chain(own_folders())
            .collect::<Vec<_>>();
        command.env("PATH", env::join_paths(folders).unwrap_or_default());
        command.args(["--containerd", &self.path("c.sock"), "--data-root", &self.path("data")]);
        command.args(["--exec-root", &self.path("exec"), "--pidfile", &self.path("dockerd.pid")]);
        command.args(["-H", &format!("unix://{}", self.path("d.sock")), "--group", "root"]);
        command.args([
            "--iptables=false",
            "--ip6tables=false",
            "--bridge=none",
            "--default-ulimit",
            "nofile=1024:1024",
        ]);
        command.arg("--cgroup-parent").arg(Path::new("/").join(&self.parent));
        command.args(["--storage-driver", "vfs"]);
        self.daemons.push(Process::start(&mut command)?);
        await_answer("dockerd", self.command().arg("version"))?;
        self.import(&["import"])
    }

    fn prepare_podman(&self) -> Result<()> {
        // The defaults ask for more open files than every user may have. The last lines keep Podman out of /dev/shm and the
        // journal.
        let settings = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
                        [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nlock_type = \"file\"\n\
                        events_logger = \"none\"\n";
        fs::write(self.path("containers.conf"), settings)
            .map_err(TestError::io("write Podman's settings"))?;
        self.import(&["import"])
    }

    /// Makes the image from an empty root folder.
    fn import(&self, words: &[&str]) -> Result<()> {
        let tar = self.path("rootfs.tar");
        succeed(Command::new("tar").args(["-C", &self.path("rootfs"), "-cf", &tar, "."]))?;
        succeed(self.command().args(words).args([&tar, IMAGE]))
    }
}

impl Drop for Runtime {
    /// Ends the daemons, and removes the mounts and the cgroups (version 1 hierarchies) that they leave.
    fn drop(&mut self) {
        for daemon in self.daemons.drain(..).rev() {
            let ended = daemon.signal(Signal::TERM).and_then(|()| daemon.wait(LIMIT));
            if let Err(error) = ended {
                eprintln!("left behind: {error}");
            }
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let targets = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        // Docker leaves mounts of its own network namespace.
        for target in targets.filter(|target| Path::new(target).starts_with(self.folder.path())) {
            if let Err(error) = rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH) {
                eprintln!("left behind: {target}: {error}");
            }
        }
        if self.made_plugins {
            let _ = fs::remove_dir(PLUGINS).and_then(|()| fs::remove_dir("/run/docker"));
        }
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().filter_map(io::Result::ok);
        for hierarchy in hierarchies.filter(|entry| entry.path().join("tasks").is_file()) {
            remove_cgroups(&hierarchy.path().join(&self.parent));
        }
    }
}

/// Names of a container. Docker and Podman use only the last one.
#[derive(Clone, Debug)]
pub struct Names {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
}

impl Names {
    /// Makes names that no other container on this machine has.
    pub fn unique(container: &str) -> Self {
        let part = fastrand::u32(..);
        Self {
            namespace: format!("tt-e2e-{part:08x}"),
            pod: format!("shop-{part:08x}"),
            container: format!("{container}-{part:08x}"),
        }
    }
}

/// Returns the folders into which scripts/setup.sh unpacks Docker, beside the build.
fn own_folders() -> Vec<PathBuf> {
    let target =
        needs::program("traffictrace").ok().and_then(|program| Some(program.ancestors().nth(2)?.to_owned()));
    target
        .map(|target| ["usr/bin", "usr/sbin"].map(|folder| target.join("tools/docker").join(folder)).into())
        .unwrap_or_default()
}

fn find(program: &str) -> Option<PathBuf> {
    let system = env::var_os("PATH").unwrap_or_default();
    let folders = own_folders()
        .into_iter()
        .chain(env::split_paths(&system))
        .chain(["/usr/sbin".into(), "/sbin".into()]);
    // Docker's two programs must come from the same build, so each is taken from a place that has both.
    let pair = if program == "docker" { "../sbin/dockerd" } else { "." };
    folders
        .into_iter()
        .find(|folder| folder.join(program).is_file() && folder.join(pair).exists())
        .map(|folder| folder.join(program))
}

fn succeed(command: &mut Command) -> Result<()> {
    let ended = Process::start(command)?.wait(LIMIT)?;
    if ended.status.success() {
        return Ok(());
    }
    Err(TestError::unexpected(format!("{command:?}"), format!("{}, {}", ended.status, ended.stderr)))
}

fn await_answer(what: &str, command: &mut Command) -> Result<()> {
    wait::until(&format!("{what} to answer"), LIMIT, || {
        let output = command.output().map_err(TestError::io(format!("ask {what}")))?;
        Ok(if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        })
    })
}

/// Removes a cgroup folder that has no processes left, with the folders below it.
fn remove_cgroups(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().filter_map(io::Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}
