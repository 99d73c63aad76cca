//! HTTP/2 with prior knowledge, frame by frame.

use super::script;
use crate::exactness::http::{
    dialogue::{
        Dialogue,
        End::{Client, Server},
    },
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY,
        RST_STREAM, SETTINGS, WINDOW_UPDATE, asks, begin, exchange, fields, frame, kept_fields, known,
    },
};

pub(super) fn all() -> Vec<Dialogue> {
    vec![
        script("h2-one-after-the-other", |d| {
            begin(d);
            for number in 0..10 {
                exchange(
                    d,
                    1 + 2 * number,
                    "GET",
                    &format!("/{number}"),
                    200,
                    &vec![b'x'; number as usize * 1_000],
                );
            }
        }),
        script("h2-byte-by-byte", |d| {
            d.say(Client, [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).in_pieces(1);
            d.say(Server, frame(SETTINGS, 0, 0, b"")).in_pieces(1);
            exchange(d, 1, "GET", "/slow", 200, b"GET / HTTP/1.1\r\n\r\n");
            d.in_pieces(1);
            exchange(d, 3, "GET", "/next", 404, b"");
        }),
        script("h2-interleaved-streams", interleaved),
        script("h2-continuation", |d| {
            begin(d);
            let large = "l".repeat(20_000);
            let block = fields(&[&asks("GET", "/large")[..], &[("x-large", &large)]].concat());
            let (first, rest) = block.split_at(5);
            let (second, third) = rest.split_at(16_000);
            let request = [
                frame(HEADERS, END_STREAM, 1, first),
                frame(CONTINUATION, 0, 1, second),
                frame(CONTINUATION, END_HEADERS, 1, third),
            ]
            .concat();
            let response = [
                frame(HEADERS, END_STREAM, 1, b""),
                frame(CONTINUATION, END_HEADERS, 1, &fields(&[(":status", "204")])),
            ]
            .concat();
            d.know(known("GET", "/large", Some(204), request.len(), response.len()));
            d.say(Client, request).in_pieces(1_000).say(Server, response);
            exchange(d, 3, "GET", "/next", 200, b"abc");
        }),
        script("h2-padding-and-priority", |d| {
            begin(d);
            let block = fields(&asks("POST", "/padded"));
            let padded = [&[7, 0, 0, 0, 0, 16][..], &block, &[0; 7]].concat();
            let request = [
                frame(HEADERS, END_HEADERS | PADDED | PRIORITY, 1, &padded),
                frame(DATA, PADDED, 1, &[&[200][..], b"body", &[0; 200]].concat()),
                frame(DATA, END_STREAM, 1, b""),
            ]
            .concat();
            let response = [
                frame(
                    HEADERS,
                    END_HEADERS | PADDED,
                    1,
                    &[&[1][..], &fields(&[(":status", "200")]), &[0]].concat(),
                ),
                frame(DATA, END_STREAM | PADDED, 1, &[&[255][..], &[1; 3_000], &[0; 255]].concat()),
            ]
            .concat();
            d.know(known("POST", "/padded", Some(200), request.len(), response.len()));
            d.say(Client, request).say(Server, response);
            exchange(d, 3, "GET", "/next", 200, b"abc");
        }),
        script("h2-interim-responses-and-trailers", |d| {
            begin(d);
            let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&asks("GET", "/hints")));
            let response = [
                frame(HEADERS, END_HEADERS, 1, &fields(&[(":status", "103"), ("link", "</a.css>")])),
                frame(HEADERS, END_HEADERS, 1, &fields(&[(":status", "200")])),
                frame(DATA, 0, 1, &[b'x'; 9_000]),
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&[("x-trailer", "500")])),
            ]
            .concat();
            d.know(known("GET", "/hints", Some(200), request.len(), response.len()));
            d.say(Client, request).say(Server, response);
        }),
        script("h2-reset-streams", |d| {
            begin(d);
            for (stream, path) in [(1, "/refused"), (3, "/cancelled")] {
                let request = frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields(&asks("GET", path)));
                d.say(Client, &request).know(known("GET", path, None, request.len(), 0));
                d.but(|known| (known.request_bytes, known.response_bytes) = (None, None));
                let by = if stream == 1 { Server } else { Client };
                d.say(by, frame(RST_STREAM, 0, stream, &[0, 0, 0, 7]));
            }
            let request = frame(HEADERS, END_HEADERS | END_STREAM, 5, &fields(&asks("GET", "/cut")));
            let response = frame(HEADERS, END_HEADERS, 5, &fields(&[(":status", "200")]));
            d.say(Client, &request)
                .say(Server, &response)
                .say(Server, frame(RST_STREAM, 0, 5, &[0, 0, 0, 2]));
            d.know(known("GET", "/cut", Some(200), request.len(), response.len()));
            d.but(|known| known.response_bytes = None);
            exchange(d, 7, "GET", "/next", 200, b"abc");
        }),
        script("h2-going-away", |d| {
            begin(d);
            for (stream, path) in [(1, "/served"), (3, "/too-late"), (5, "/later")] {
                let request = frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields(&asks("GET", path)));
                d.say(Client, &request);
                d.know(known("GET", path, None, request.len(), 0));
            }
            let away = frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
            let response = frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&[(":status", "200")]));
            d.exchanges[0].status = Some(200);
            d.exchanges[0].response_bytes = Some(response.len() as u64);
            d.say(Server, away).say(Server, response).shut(Server);
        }),
        script("h2-frames-between", |d| {
            begin(d);
            d.say(Client, frame(PING, 0, 0, &[1; 8])).say(Server, frame(PING, 1, 0, &[1; 8]));
            d.say(Client, frame(WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]))
                .say(Server, frame(0xbe, 0xff, 0, &[9; 70]));
            exchange(d, 1, "GET", "/between", 200, b"abc");
        }),
        script("h2-header-table", |d| {
            begin(d);
            let first = frame(HEADERS, END_HEADERS | END_STREAM, 1, &kept_fields(&asks("GET", "/table")));
            let response = frame(HEADERS, END_HEADERS | END_STREAM, 1, &kept_fields(&[(":status", "201")]));
            d.know(known("GET", "/table", Some(201), first.len(), response.len()));
            d.say(Client, first).say(Server, response);
            // The newest entry of the table has index 62: the path. Older entries have higher indexes.
            let indexed =
                [&[0x80 | 65, 0x80 | 64, 0x80 | 63][..], &fields(&[(":path", "/indexed")])].concat();
            let second = frame(HEADERS, END_HEADERS | END_STREAM, 3, &indexed);
            let response = frame(HEADERS, END_HEADERS | END_STREAM, 3, &[0x80 | 62]);
            d.know(known("GET", "/indexed", Some(201), second.len(), response.len()));
            d.say(Client, second).say(Server, response);
        }),
        script("h2-closed-without-an-answer", |d| {
            begin(d);
            exchange(d, 1, "GET", "/fine", 200, b"abc");
            let request = frame(HEADERS, END_HEADERS | END_STREAM, 3, &fields(&asks("GET", "/silence")));
            d.say(Client, &request).know(known("GET", "/silence", None, request.len(), 0)).shut(Server);
        }),
        script("grpc-statuses", grpc),
    ]
}

fn interleaved(d: &mut Dialogue) {
    const STREAMS: [u32; 4] = [1, 3, 5, 7];
    begin(d);
    let mut sizes = [[0; 2]; STREAMS.len()];
    let mut say = |d: &mut Dialogue, at: usize, by, bytes: Vec<u8>| {
        sizes[at][usize::from(by == Server)] += bytes.len();
        d.say(by, bytes);
    };
    for (at, stream) in STREAMS.into_iter().enumerate() {
        let path = format!("/stream/{stream}");
        say(d, at, Client, frame(HEADERS, END_HEADERS, stream, &fields(&asks("POST", &path))));
    }
    for round in 0..20 {
        for (at, stream) in STREAMS.into_iter().enumerate() {
            let flags = if round == 19 { END_STREAM } else { 0 };
            say(d, at, Client, frame(DATA, flags, stream, &vec![b'u'; 100 * at + round]));
        }
    }
    // The last stream is answered first.
    for (at, stream) in STREAMS.into_iter().enumerate().rev() {
        say(d, at, Server, frame(HEADERS, END_HEADERS, stream, &fields(&[(":status", "200")])));
    }
    for round in 0..20 {
        for (at, stream) in STREAMS.into_iter().enumerate() {
            let flags = if round == 19 { END_STREAM } else { 0 };
            say(d, at, Server, frame(DATA, flags, stream, &vec![b'd'; 3_000 * at + round]));
        }
    }
    for (stream, [request, response]) in STREAMS.into_iter().zip(sizes) {
        d.know(known("POST", &format!("/stream/{stream}"), Some(200), request, response));
    }
}

/// gRPC statuses: in trailers, in a head without a body, and a missing one.
fn grpc(d: &mut Dialogue) {
    const TYPE: (&str, &str) = ("content-type", "application/grpc+proto");
    begin(d);
    for (stream, path, status) in [
        (1, "/svc/Ok", Some(0)),
        (3, "/svc/Denied", Some(7)),
        (5, "/svc/Only", Some(12)),
        (7, "/svc/None", None),
    ] {
        let mut request = frame(
            HEADERS,
            END_HEADERS,
            stream,
            &fields(&[&asks("POST", path)[..], &[TYPE, ("te", "trailers")]].concat()),
        );
        request.extend(frame(DATA, END_STREAM, stream, &[0, 0, 0, 0, 2, 8, 1]));
        let code = status.map(|status: u32| status.to_string()).unwrap_or_default();
        let response = if stream == 5 {
            frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                stream,
                &fields(&[(":status", "200"), TYPE, ("grpc-status", &code)]),
            )
        } else {
            let trailers =
                if status.is_some() { vec![("grpc-status", code.as_str())] } else { vec![("x", "y")] };
            [
                frame(HEADERS, END_HEADERS, stream, &fields(&[(":status", "200"), TYPE])),
                frame(DATA, 0, stream, &[0, 0, 0, 0, 2, 8, 1]),
                frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields(&trailers)),
            ]
            .concat()
        };
        d.know(known("POST", path, Some(200), request.len(), response.len())).but(|known| {
            known.protocol = "gRPC".to_owned();
            known.grpc_status = status;
        });
        d.say(Client, request).say(Server, response);
    }
}
