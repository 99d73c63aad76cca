//! Tests of the programs on this machine's kernel, at both sockets of a connection that the test makes.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::MetadataExt as _,
};

use traffictrace_ebpf::layout::http::{BEGIN, RAW};

use super::*;
use crate::testing::{skip, writable_cgroups};

/// Size of a body in bytes, far larger than any head.
const BODY: usize = 100_000;
/// Upper bound of the bytes of both heads of one exchange.
const HEADS: usize = 2_000;
/// Maximum number of records in one read, more than can be waiting.
const ALL: usize = 1_000_000;

const GET: &str = "GET /page HTTP/1.1\r\nHost: h\r\n\r\n";
const HEAD: &str = "HEAD /page HTTP/1.1\r\nHost: h\r\n\r\n";
/// A request whose head only user space can parse: one header line continues in the next line.
const FOLDED: &str = "GET /page HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n";

/// A connection within this process, and the programs at both of its sockets.
struct Fixture {
    capture: HttpCapture,
    client: TcpStream,
    server: TcpStream,
    /// Socket cookies of the client and of the server.
    cookies: [u64; 2],
    /// Sequence numbers of the first byte of the next request and of the next response.
    next: [u32; 2],
}

impl Fixture {
    fn new() -> Option<Self> {
        let root = writable_cgroups()?;
        let mut capture = match HttpCapture::load(root.path(), 8 << 20) {
            Ok(capture) => capture,
            Err(
                error @ (KernelError::Permission { .. }
                | KernelError::NoBtf { .. }
                | KernelError::NoHelper { .. }),
            ) => return skip(&error.to_string()),
            Err(error) => panic!("{error}"),
        };
        // The root cgroup is selected, because other tests move this process between cgroups.
        let id = fs::metadata(root.path()).unwrap().ino();
        capture.select(&[(id, PathBuf::new())].into()).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
        }
        let mut fixture = Self { capture, client, server, cookies: [0; 2], next: [0; 2] };
        fixture.introduce();
        Some(fixture)
    }

    /// Runs a first exchange. The programs' first records say which connection each socket belongs to.
    fn introduce(&mut self) {
        let ports = [&self.client, &self.server].map(|stream| stream.local_addr().unwrap().port());
        self.pass(GET, &response(""));
        let Self { capture, cookies, next, .. } = self;
        capture.read(ALL, &mut |record| {
            let Some(connection) = record.connection.filter(|_| record.flags & BEGIN != 0) else { return };
            let end = (connection.local.1, connection.remote.1);
            if end == (ports[0], ports[1]) {
                cookies[0] = record.cookie;
                *next = [connection.first_sent, connection.first_received];
            } else if end == (ports[1], ports[0]) {
                cookies[1] = record.cookie;
            }
        });
        assert!(cookies.iter().all(|cookie| *cookie != 0), "{cookies:?}");
        self.advance(GET, &response(""));
    }

    fn advance(&mut self, request: &str, response: &str) {
        for (next, text) in self.next.iter_mut().zip([request, response]) {
            *next = next.wrapping_add(text.len() as u32);
        }
    }

    fn pass(&mut self, request: &str, response: &str) {
        self.client.write_all(request.as_bytes()).unwrap();
        self.server.read_exact(&mut vec![0; request.len()]).unwrap();
        self.server.write_all(response.as_bytes()).unwrap();
        self.client.read_exact(&mut vec![0; response.len()]).unwrap();
    }

    /// Runs an exchange. Returns for each socket the number of bytes that were handed over, and whether the programs
    /// lost the position in one of its directions.
    fn exchange(&mut self, request: &str, response: &str) -> [(usize, bool); 2] {
        self.pass(request, response);
        self.advance(request, response);
        let mut sums = [(0, false); 2];
        let cookies = self.cookies;
        self.capture.read(ALL, &mut |record| {
            if let Some(at) = cookies.iter().position(|cookie| *cookie == record.cookie) {
                sums[at].0 += record.bytes.len();
                sums[at].1 |= record.flags & RAW != 0;
            }
        });
        sums
    }

    /// Tells the programs of both sockets where the next messages begin. In a pause, the direction that a socket
    /// receives comes first.
    fn resume(&mut self, [request, response]: [u32; 2]) {
        let [client, server] = self.cookies;
        self.capture.resume(client, [response, request]);
        self.capture.resume(server, [request, response]);
    }
}

fn response(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn is_skipped(sums: [(usize, bool); 2]) -> bool {
    sums.iter().all(|(bytes, raw)| *bytes < HEADS && !raw)
}

fn is_raw(sums: [(usize, bool); 2]) -> bool {
    sums.iter().all(|(bytes, raw)| *bytes >= BODY && *raw)
}

#[test]
fn a_place_that_is_lost_is_found_again_in_a_pause() {
    let Some(mut fixture) = Fixture::new() else { return };
    let page = response(&"x".repeat(BODY));
    let sums = fixture.exchange(GET, &page);
    assert!(is_skipped(sums), "{sums:?}");
    let sums = fixture.exchange(FOLDED, &page);
    assert!(is_raw(sums), "{sums:?}");
    let sums = fixture.exchange(GET, &page);
    assert!(is_raw(sums), "nobody has told where messages begin: {sums:?}");

    fixture.resume(fixture.next);
    let sums = fixture.exchange(GET, &page);
    assert!(is_skipped(sums), "{sums:?}");
    // The programs match responses with their requests again: they know that this response, to HEAD, has no body.
    let sums = fixture.exchange(HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    assert!(is_skipped(sums), "{sums:?}");
    let sums = fixture.exchange(GET, &page);
    assert!(is_skipped(sums), "{sums:?}");
}

#[test]
fn what_was_a_pause_before_something_passed_tells_nothing() {
    let Some(mut fixture) = Fixture::new() else { return };
    let page = response(&"x".repeat(BODY));
    fixture.exchange(FOLDED, &page);
    let before = fixture.next;
    fixture.exchange(GET, &page);
    for pause in [before, [fixture.next[0], before[1]], [before[0], fixture.next[1]]] {
        fixture.resume(pause);
        let sums = fixture.exchange(GET, &page);
        assert!(is_raw(sums), "{sums:?}");
    }
    fixture.resume(fixture.next);
    let sums = fixture.exchange(GET, &page);
    assert!(is_skipped(sums), "{sums:?}");
}

/// User space reports a position from before a request whose response is still to come. In the direction of responses
/// the position is right, but alone it does not end the handing over of all bytes.
#[test]
fn a_way_alone_does_not_end_a_pause() {
    let Some(mut fixture) = Fixture::new() else { return };
    let page = response(&"x".repeat(BODY));
    fixture.exchange(FOLDED, &page);
    let pause = fixture.next;
    fixture.client.write_all(GET.as_bytes()).unwrap();
    fixture.server.read_exact(&mut vec![0; GET.len()]).unwrap();
    fixture.resume(pause);
    fixture.server.write_all(page.as_bytes()).unwrap();
    fixture.client.read_exact(&mut vec![0; page.len()]).unwrap();
    fixture.advance(GET, &page);
    fixture.resume(fixture.next);
    let sums = fixture.exchange(GET, &page);
    // The records that are read here include those of the previous exchange, whose body was handed over.
    assert!(sums.iter().all(|(bytes, raw)| (BODY..2 * BODY).contains(bytes) && *raw), "{sums:?}");
    let sums = fixture.exchange(GET, &page);
    assert!(is_skipped(sums), "{sums:?}");
}
