//! Random HTTP/1.1 conversations on real sockets, cut into random writes, compared with what was really sent.

use fastrand::Rng;
use traffictrace_http::Status;

use super::*;
use crate::kernel::HttpLost;

/// Number of conversations.
const SEEDS: u64 = 30;

/// One exchange and its bytes.
struct Said {
    method: &'static str,
    path: String,
    status: u16,
    request: Vec<u8>,
    response: Vec<u8>,
}

/// Returns a size that is mostly small and sometimes large.
fn size(rng: &mut Rng) -> usize {
    match rng.u8(..10) {
        0 => 0,
        1..7 => rng.usize(..600),
        7..9 => rng.usize(..20_000),
        _ => rng.usize(..300_000),
    }
}

fn filler(rng: &mut Rng, length: usize) -> Vec<u8> {
    // Body text that looks like heads and chunks but must not be parsed as such.
    let text = [
        "GET /false HTTP/1.1\r\n\r\n",
        "HTTP/1.1 500 False\r\n\r\n",
        "\r\n0\r\n\r\n",
        "Content-Length: 7\r\n",
    ];
    let mut bytes = Vec::new();
    while bytes.len() < length {
        bytes.extend_from_slice(rng.choice(text).unwrap().as_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn chunked(rng: &mut Rng, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, more) = rest.split_at(rng.usize(1..=rest.len()));
        let extension = if rng.u8(..4) == 0 { ";name=\"value of some length\"" } else { "" };
        bytes.extend(format!("{:x}{extension}\r\n", chunk.len()).bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend(b"\r\n");
        rest = more;
    }
    let trailer = if rng.bool() { "X-Trailer: of some length\r\n" } else { "" };
    bytes.extend(format!("0\r\n{trailer}\r\n").bytes());
    bytes
}

/// Makes a message with random header fields around those that give the length.
fn message(rng: &mut Rng, start: &str, body: Option<Vec<u8>>) -> Vec<u8> {
    let mut head = format!("{start}\r\n");
    for number in 0..rng.usize(..6) {
        head += &format!("X-Field-{number}: {}\r\n", "v".repeat(rng.usize(..rng.clone().usize(2..900))));
    }
    let Some(body) = body else { return (head + "\r\n").into_bytes() };
    let name = |rng: &mut Rng, name: &str| if rng.bool() { name.to_owned() } else { name.to_lowercase() };
    let body = if rng.bool() {
        head += &format!("{}: {}\r\n", name(rng, "Content-Length"), body.len());
        body
    } else {
        head += &format!("{}: chunked\r\n", name(rng, "Transfer-Encoding"));
        chunked(rng, &body)
    };
    if rng.bool() {
        head += "X-Last: of all\r\n";
    }
    [(head + "\r\n").into_bytes(), body].concat()
}

fn said(rng: &mut Rng, number: usize) -> Said {
    let method = *rng.choice(&["GET", "GET", "POST", "PUT", "HEAD", "DELETE"]).unwrap();
    let status = *rng.choice(&[200, 201, 204, 304, 404, 503]).unwrap();
    let path = format!("/{number}/{}", "p".repeat(rng.usize(..200)));
    let length = size(rng);
    let upload = matches!(method, "POST" | "PUT").then(|| filler(rng, length));
    let request = message(rng, &format!("{method} {path}?q=1 HTTP/1.1"), upload);
    let mut response = Vec::new();
    if rng.u8(..5) == 0 {
        response.extend(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n");
    }
    let start = format!("HTTP/1.1 {status} Words");
    if method == "HEAD" || status == 304 {
        response.extend(format!("{start}\r\nContent-Length: {}\r\n\r\n", size(rng)).bytes());
    } else if status == 204 {
        response.extend(format!("{start}\r\n\r\n").bytes());
    } else {
        let length = size(rng);
        let body = filler(rng, length);
        response.extend(message(rng, &start, Some(body)));
    }
    Said { method, path, status, request, response }
}

/// Sends bytes in random writes. Meanwhile the other end reads them, and the engine reads the records.
fn say(rng: &mut Rng, engine: &mut Engine, from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    std::thread::scope(|scope| {
        let reads = scope.spawn(|| to.read_exact(&mut vec![0; bytes.len()]).unwrap());
        let writes = scope.spawn(|| {
            let mut rest = bytes;
            let most = *rng.choice(&[3, 40, 2_000, 400_000]).unwrap();
            // Only short messages are sent in pieces of a few bytes.
            let most = if bytes.len() > 5_000 { most.max(2_000) } else { most };
            while !rest.is_empty() {
                let (part, more) = rest.split_at(rng.usize(1..=most.min(rest.len())));
                from.write_all(part).unwrap();
                rest = more;
            }
        });
        while !(reads.is_finished() && writes.is_finished()) {
            engine.tick();
        }
    });
}

#[test]
fn random_conversations_are_told_as_they_were() {
    let Some(mut bench) = bench() else { return };
    let http = Some(HttpSpec { each: true, ..HttpSpec::default() });
    let spec = SessionSpec { http, ..bench.spec(Filter::default()) };
    bench.engine.start(&"a".to_owned(), spec).unwrap();
    let (mut lossy, mut lost) = (0, HttpLost::default());
    for seed in 0..SEEDS {
        let mut rng = Rng::with_seed(seed);
        let (mut client, mut server) = bench.connect("");
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let conversation: Vec<_> = (0..rng.usize(1..30)).map(|number| said(&mut rng, number)).collect();
        let mut rest = &conversation[..];
        while !rest.is_empty() {
            let depth = if rng.u8(..3) == 0 { rng.usize(1..=rest.len().min(12)) } else { 1 };
            let (turn, more) = rest.split_at(depth);
            let requests: Vec<u8> = turn.iter().flat_map(|said| said.request.clone()).collect();
            let responses: Vec<u8> = turn.iter().flat_map(|said| said.response.clone()).collect();
            say(&mut rng, &mut bench.engine, &mut client, &mut server, &requests);
            say(&mut rng, &mut bench.engine, &mut server, &mut client, &responses);
            rest = more;
        }
        drop((client, server));
        let mut told = Vec::new();
        wait_until(|| {
            bench.engine.tick();
            told.extend(bench.engine.take_exchanges(&"a".to_owned()));
            told.len() >= conversation.len()
        });
        let missing = bench.engine.http(&"a".to_owned(), 1).unwrap().missing;
        if std::mem::replace(&mut lost, missing.lost) != missing.lost {
            // This machine was too slow for the unoptimised engine. The losses are counted, and the exchanges cannot be
            // compared.
            lossy += 1;
            continue;
        }
        assert_eq!(told.len(), conversation.len(), "seed {seed}");
        for (told, said) in told.iter().zip(&conversation) {
            let told = &told.exchange;
            let expected = (said.method, said.path.as_str(), Status::Code(said.status));
            assert_eq!((told.method.as_str(), told.path.as_str(), told.status), expected, "seed {seed}");
            let bytes = (said.request.len() as u64, said.response.len() as u64);
            assert_eq!((told.request_bytes, told.response_bytes), bytes, "seed {seed}, {}", said.path);
        }
    }
    assert!(lossy * 4 < SEEDS, "{lossy} of {SEEDS} conversations found the ring buffer full");
}
