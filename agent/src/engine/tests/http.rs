//! HTTP on real sockets: the engine's exchanges are compared with what was really sent.

use traffictrace_http::{Exchange, Protocol as HttpProtocol, Side, Status};

use super::*;

impl Bench {
    /// Begins a session that keeps each exchange.
    fn start_http(&mut self, id: &str, filter: Filter) {
        let http = Some(HttpSpec { each: true, ..HttpSpec::default() });
        let spec = SessionSpec { http, ..self.spec(filter) };
        self.engine.start(&id.to_owned(), spec).unwrap();
    }

    /// Returns the exchanges so far, once there are `count` or some seconds have passed.
    fn exchanges(&mut self, id: &str, count: usize) -> Vec<HttpExchange> {
        let mut all = Vec::new();
        wait_until(|| {
            self.engine.tick();
            all.extend(self.engine.take_exchanges(&id.to_owned()));
            all.len() >= count
        });
        all
    }

    /// Returns request and status of each exchange, once there are `count` or some seconds have passed.
    fn told(&mut self, id: &str, count: usize) -> Vec<(String, Status)> {
        let told = |exchange: &Exchange| {
            (format!("{} {}{}", exchange.method, exchange.host, exchange.path), exchange.status)
        };
        self.exchanges(id, count).iter().map(|exchange| told(&exchange.exchange)).collect()
    }
}

/// Sends bytes and waits until they have arrived.
fn say(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    to.read_exact(&mut vec![0; bytes.len()]).unwrap();
}

fn request(head: &str) -> Vec<u8> {
    format!("{head} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test\r\n\r\n").into_bytes()
}

fn response(status: &str, body: usize) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 {status}\r\nServer: test\r\nContent-Length: {body}\r\n\r\n").into_bytes();
    bytes.extend(std::iter::repeat_n(b'x', body));
    bytes
}

fn code(told: &str, status: u16) -> (String, Status) {
    (told.to_owned(), Status::Code(status))
}

#[test]
fn an_exchange_is_told_as_it_was() {
    let Some(mut bench) = bench() else { return };
    bench.start_http("a", Filter::default());
    let (mut client, mut server) = bench.connect("");
    let (asked, answered) = (request("GET /cart?user=7"), response("200 OK", 5));
    say(&mut client, &mut server, &asked);
    say(&mut server, &mut client, &answered);
    let told = bench.exchanges("a", 1);
    let [HttpExchange { owner, pid, local, remote, exchange, .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(*pid, std::process::id());
    assert_eq!(owner.cgroup, bench.root.id_of(bench.cgroup.path()).unwrap());
    let port = |address: SocketAddr| address.port();
    assert_eq!(local.1, port(client.local_addr().unwrap()));
    assert_eq!(remote.1, port(server.local_addr().unwrap()));
    assert_eq!((exchange.side, exchange.protocol), (Side::Client, HttpProtocol::Http11));
    assert_eq!((exchange.method.as_str(), exchange.host.as_str()), ("GET", "shop.example"));
    assert_eq!((exchange.path.as_str(), exchange.status), ("/cart", Status::Code(200)));
    assert_eq!(exchange.request_bytes, asked.len() as u64);
    assert_eq!(exchange.response_bytes, answered.len() as u64);
    let first = exchange.first_byte.unwrap();
    assert!(exchange.began < first && first <= exchange.ended, "{exchange:?}");
}

#[test]
fn both_sides_see_the_same() {
    let Some(mut bench) = bench() else { return };
    bench.start_http("a", Filter::default());
    let listener = bench.inside("", || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let address = listener.local_addr().unwrap();
    let mut client = bench.inside("", || TcpStream::connect(address).unwrap());
    let mut server = listener.accept().unwrap().0;
    say(&mut client, &mut server, &request("DELETE /item/3"));
    say(&mut server, &mut client, b"HTTP/1.1 204 No Content\r\n\r\n");
    let mut told = bench.exchanges("a", 2);
    told.sort_by_key(|told| told.exchange.side);
    let [at_server, at_client] = &told[..] else { panic!("{told:?}") };
    assert_eq!((at_server.exchange.side, at_client.exchange.side), (Side::Server, Side::Client));
    for told in [at_server, at_client] {
        assert_eq!((told.exchange.method.as_str(), told.exchange.status), ("DELETE", Status::Code(204)));
    }
    assert_eq!((at_server.local, at_server.remote), (at_client.remote, at_client.local));
}

#[test]
fn messages_follow_each_other_whatever_their_form() {
    let Some(mut bench) = bench() else { return };
    bench.start_http("a", Filter::default());
    let (mut client, mut server) = bench.connect("");
    let talk = |client: &mut TcpStream, server: &mut TcpStream, asked: &[&[u8]], answered: &[&[u8]]| {
        asked.iter().for_each(|bytes| say(client, server, bytes));
        answered.iter().for_each(|bytes| say(server, client, bytes));
    };
    // A body in many packets.
    talk(&mut client, &mut server, &[&request("GET /large")], &[&response("200 OK", 3 << 20)]);
    let upload =
        [b"PUT /up HTTP/1.1\r\nContent-Length: 300000\r\n\r\n".as_slice(), &[b'G'; 300_000]].concat();
    talk(
        &mut client,
        &mut server,
        &[&upload],
        &[b"HTTP/1.1 100 Continue\r\n\r\n", &response("201 Created", 0)],
    );
    // These responses have no body, whatever their heads say.
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n";
    talk(&mut client, &mut server, &[&request("HEAD /head")], &[head]);
    let not_modified = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\n\r\n";
    talk(&mut client, &mut server, &[&request("GET /304")], &[not_modified]);
    // Chunks: in one packet, cut within the line of a size, large ones, and trailers.
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let small = format!("{chunked}5\r\nhello\r\n0\r\n\r\n");
    talk(&mut client, &mut server, &[&request("GET /small")], &[small.as_bytes()]);
    let large = format!("{:x};a=b\r\n{}\r\n", 100_000, "y".repeat(100_000));
    talk(
        &mut client,
        &mut server,
        &[&request("GET /chunks")],
        &[chunked.as_bytes(), large.as_bytes(), b"1", b"0\r\n0123456789abcdef\r\n", b"0\r\nX: y\r\n\r\n"],
    );
    // A head byte by byte, and one in large pieces.
    let slow = request("GET /slow");
    let bytes: Vec<_> = slow.chunks(1).collect();
    talk(&mut client, &mut server, &bytes, &[&response("200 OK", 1)]);
    let cookies =
        format!("GET /cookies HTTP/1.1\r\nCookie: {}\r\nHost: shop.example\r\n\r\n", "c".repeat(6000));
    talk(&mut client, &mut server, &[cookies.as_bytes()], &[&response("200 OK", 1)]);
    // Several requests before the first response.
    let both = [request("GET /one"), request("HEAD /two"), request("GET /three")].concat();
    let answers = [response("200 OK", 9), head.to_vec(), response("404 Not Found", 9)].concat();
    talk(&mut client, &mut server, &[&both], &[&answers]);
    talk(&mut client, &mut server, &[&request("GET /last")], &[b"HTTP/1.0 200 OK\r\n\r\nuntil the end"]);
    drop((client, server));
    let host = "shop.example";
    let expected = [
        code("GET shop.example/large", 200),
        code("PUT /up", 201),
        code(&format!("HEAD {host}/head"), 200),
        code(&format!("GET {host}/304"), 304),
        code(&format!("GET {host}/small"), 200),
        code(&format!("GET {host}/chunks"), 200),
        code(&format!("GET {host}/slow"), 200),
        code(&format!("GET {host}/cookies"), 200),
        code(&format!("GET {host}/one"), 200),
        code(&format!("HEAD {host}/two"), 200),
        code(&format!("GET {host}/three"), 404),
        code(&format!("GET {host}/last"), 200),
    ];
    assert_eq!(bench.told("a", expected.len()), expected);
    let snapshot = bench.engine.http(&"a".to_owned(), 100).unwrap();
    assert_eq!(snapshot.totals.sums.requests(), expected.len() as u64);
    assert_eq!(snapshot.totals.unobserved.exchanges(), 0);
    assert_eq!(snapshot.missing, HttpMissing::default());
}

#[test]
fn a_connection_older_than_the_session_is_counted_from_its_next_message_on() {
    let Some(mut bench) = bench() else { return };
    let (mut client, mut server) = bench.connect("");
    say(&mut client, &mut server, &request("GET /before"));
    bench.start_http("a", Filter::default());
    say(&mut server, &mut client, &response("200 OK", 10));
    say(&mut client, &mut server, &request("GET /after"));
    say(&mut server, &mut client, &response("503 Busy", 10));
    assert_eq!(bench.told("a", 1), [code("GET shop.example/after", 503)]);
}

#[test]
fn no_status_is_invented() {
    let Some(mut bench) = bench() else { return };
    bench.start_http("a", Filter::default());
    let (mut client, mut server) = bench.connect("");
    say(&mut client, &mut server, &request("GET /lost"));
    drop((server, client));
    assert_eq!(bench.told("a", 1), [("GET shop.example/lost".to_owned(), Status::NoResponse)]);
}

#[test]
fn what_is_not_http_is_nothing() {
    let Some(mut bench) = bench() else { return };
    bench.start_http("a", Filter::default());
    for bytes in [b"\x16\x03\x01\x02\x00".as_slice(), b"SSH-2.0-test\r\n", b"EHLO x\r\n", &[0; 5000], b"G"] {
        let (mut client, mut server) = bench.connect("");
        say(&mut client, &mut server, bytes);
        say(&mut server, &mut client, b"220 hello\r\n");
    }
    let (mut client, mut server) = bench.connect("");
    say(&mut client, &mut server, &request("GET /real"));
    say(&mut server, &mut client, &response("200 OK", 0));
    assert_eq!(bench.told("a", 1), [code("GET shop.example/real", 200)]);
}

#[test]
fn the_programs_are_there_while_a_session_wants_them() {
    let Some(mut bench) = bench() else { return };
    bench.start("flows", Filter::default());
    assert!(bench.engine.http.is_none());
    bench.start_http("requests", Filter::default());
    assert!(bench.engine.records_readable().is_some());
    bench.update("requests", Filter::default());
    assert!(bench.engine.http.is_none(), "the session wants requests no more");
    bench.start_http("again", ports(1));
    let (mut client, mut server) = bench.connect("");
    say(&mut client, &mut server, &request("GET /"));
    say(&mut server, &mut client, &response("200 OK", 0));
    assert_eq!(bench.told("again", 1), [], "the port is another one");
    bench.engine.stop(&"again".to_owned());
    assert!(bench.engine.http.is_none());
}
