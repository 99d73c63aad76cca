//! A fake counter that counts what the test tells it.

use std::collections::BTreeMap;

use traffictrace_ebpf::layout::SESSIONS;
use traffictrace_http::endpoint::{Counts, Row as Endpoint, Table};
use traffictrace_http::{Exchange, Protocol as HttpProtocol, Side, Status};

use crate::engine::{EngineError, HttpMissing, HttpOwner, HttpSnapshot, Losses, SessionSpec, Snapshot};
use crate::flows::{Direction, FlowState, Key, Protocol, Row, Seed, Totals};
use crate::kernel::KernelError;
use crate::node::counter::{Counter, OwnerOf};
use crate::report::Profiled;
use crate::session::Uid;

/// The sessions, and the failures to simulate.
#[derive(Debug, Default)]
pub(super) struct Fake {
    pub(super) sessions: BTreeMap<Uid, Session>,
    /// If set, the kernel refuses every start and change, with a message of this number of characters.
    pub(super) refuses: Option<usize>,
    /// Set if the kernel refuses to show HTTP.
    pub(super) refuses_http: bool,
    /// Set if the kernel refuses to take stacks.
    pub(super) refuses_stacks: bool,
}

/// A session with a single row.
#[derive(Debug)]
pub(super) struct Session {
    spec: SessionSpec,
    rx_bytes: u64,
    /// Bytes received by this run of counting.
    stacked_bytes: u64,
    requests: Table<HttpOwner>,
    /// Number of records lost between the kernel and the agent.
    pub(super) lost_records: u64,
}

impl Fake {
    /// Receives bytes in a traced container. They count if the session selects anything.
    pub(super) fn receive(&mut self, id: &str, bytes: u64) {
        if let Some(session) = self.sessions.get_mut(id).filter(|session| !session.spec.cgroups.is_empty()) {
            session.rx_bytes += bytes;
            session.stacked_bytes += bytes;
        }
    }

    /// Answers a request in a traced container. The request counts if the session asks for requests.
    pub(super) fn answer(&mut self, id: &str, path: &str, status: u16) {
        let wants = |session: &&mut Session| session.spec.http.is_some() && !session.spec.cgroups.is_empty();
        if let Some(session) = self.sessions.get_mut(id).filter(wants) {
            let exchange = Exchange {
                side: Side::Server,
                protocol: HttpProtocol::Http11,
                method: "GET".into(),
                host: "shop".into(),
                path: path.into(),
                status: Status::Code(status),
                grpc_status: None,
                request_bytes: 100,
                response_bytes: 1000,
                began: 0,
                first_byte: Some(1_000_000),
                ended: 2_000_000,
            };
            session.requests.record(&HttpOwner { cgroup: 1 << 40, command: nginx() }, &exchange);
        }
    }

    fn refusal(&self, spec: &SessionSpec) -> Result<(), EngineError> {
        if self.refuses_http && spec.http.is_some() {
            let missing = KernelError::NoHelper { feature: "show HTTP", helper: "bpf_loop", since: "5.17" };
            return Err(EngineError::Kernel(missing));
        }
        if self.refuses_stacks && spec.stacks.is_some() {
            let missing =
                KernelError::NoHelper { feature: "take stacks", helper: "bpf_stacks", since: "6.3" };
            return Err(EngineError::Kernel(missing));
        }
        match self.refuses {
            Some(length) => Err(EngineError::Kernel(KernelError::Permission {
                step: "x".repeat(length),
                advice: String::new(),
            })),
            None => Ok(()),
        }
    }
}

impl Counter for Fake {
    fn start(&mut self, id: &Uid, spec: SessionSpec) -> Result<(), EngineError> {
        self.refusal(&spec)?;
        if self.sessions.len() == SESSIONS {
            return Err(EngineError::Full);
        }
        let session =
            Session { spec, rx_bytes: 0, stacked_bytes: 0, requests: Table::default(), lost_records: 0 };
        let before = self.sessions.insert(id.clone(), session);
        assert!(before.is_none(), "{id} was begun twice");
        Ok(())
    }

    fn update(&mut self, id: &Uid, spec: SessionSpec) -> Result<(), EngineError> {
        self.refusal(&spec)?;
        self.sessions.get_mut(id).ok_or_else(|| EngineError::NoSession(id.clone()))?.spec = spec;
        Ok(())
    }

    fn spec(&self, id: &Uid) -> Option<&SessionSpec> {
        self.sessions.get(id).map(|session| &session.spec)
    }

    fn seed(&mut self, id: &Uid, totals: &Totals, rows: Vec<Seed>) {
        let session = self.sessions.get_mut(id).expect("a session that goes on");
        session.rx_bytes += totals.rx_bytes;
        let seeded: u64 = rows.iter().map(|row| row.totals.rx_bytes).sum();
        assert_eq!(seeded, totals.rx_bytes, "rows and totals of what is gone on from");
    }

    fn snapshot(&mut self, id: &Uid, _: usize) -> Option<Snapshot> {
        let rx_bytes = self.sessions.get(id)?.rx_bytes;
        let totals = Totals { rx_bytes, connections: 1, ..Totals::default() };
        let key = Key {
            cgroup: 1 << 40,
            caller_cgroup: 1 << 40,
            pid: 7,
            container_pid: 1,
            command: nginx(),
            protocol: Protocol::Tcp,
            direction: Direction::Inbound,
            local_address: Some("10.0.0.1".parse().unwrap()),
            remote_address: Some("10.0.0.2".parse().unwrap()),
            local_port: Some(80),
            remote_port: None,
        };
        let row = Row {
            key,
            totals,
            rx_bytes_per_second: 5,
            tx_bytes_per_second: 0,
            connections_open: 1,
            rtt_us: 0,
            state: FlowState::Open,
            folded: false,
            flows: 1,
        };
        Some(Snapshot {
            totals,
            rx_bytes_per_second: 5,
            tx_bytes_per_second: 0,
            connections_open: 1,
            rows: vec![row],
            rows_total: 1,
            losses: Losses::default(),
            slots: 1,
            slots_in_use: 1,
            hook_tier: "tp_btf",
            older_sockets_found: true,
            not_seen: Vec::new(),
            interval: std::time::Duration::from_secs(10),
        })
    }

    fn seed_http(&mut self, id: &Uid, rows: &[Endpoint<HttpOwner>], rest: &Counts) {
        let session = self.sessions.get_mut(id).expect("a session that goes on");
        rows.iter().for_each(|row| session.requests.restore(row));
        session.requests.restore_rest(rest, &Default::default());
    }

    fn http(&mut self, id: &Uid) -> Option<HttpSnapshot> {
        let session = self.sessions.get(id).filter(|session| session.spec.http.is_some())?;
        let mut missing = HttpMissing::default();
        missing.lost.records = session.lost_records;
        Some(HttpSnapshot {
            totals: session.requests.totals(),
            rows: session.requests.top(usize::MAX),
            rows_total: session.requests.len(),
            missing,
            tls: Vec::new(),
        })
    }

    fn profile(&mut self, id: &Uid, owner_of: &mut OwnerOf<'_>) -> Option<Profiled> {
        let session = self.sessions.get(id).filter(|session| session.spec.stacks.is_some())?;
        let owned = owner_of(1 << 40, &|| None);
        let received = if owned.is_some() { session.stacked_bytes } else { 0 };
        Some(Profiled { received, stacks: 1, bytes_at_own_call: received, ..Profiled::default() })
    }

    fn stop(&mut self, id: &Uid) {
        self.sessions.remove(id);
    }

    fn tick(&mut self) {}

    fn container_folder(&self, _: u64) -> Option<String> {
        None
    }
}

fn nginx() -> [u8; 16] {
    let mut command = [0; 16];
    command[..5].copy_from_slice(b"nginx");
    command
}
