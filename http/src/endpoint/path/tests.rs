//! Tests of [`fold`] and [`redact`]: tables of examples, and rules that hold for any text.

use proptest::prelude::*;

use super::*;

/// Examples of paths, each with its folded form.
const FOLDED: &[(&str, &str)] = &[
    // Names stay, with and without digits.
    ("", ""),
    ("*", "*"),
    ("/", "/"),
    ("//a//b/", "//a//b/"),
    ("/api/hello.world", "/api/hello.world"),
    ("/api/v1/users", "/api/v1/users"),
    ("/v1.31/containers/json", "/v1.31/containers/json"),
    ("/v1.2.3-rc.1/x", "/v1.2.3-rc.1/x"),
    ("/oauth2/authorize", "/oauth2/authorize"),
    ("/s3/ec2/k8s/ipv6/x86_64/utf-8/log4j2/h264", "/s3/ec2/k8s/ipv6/x86_64/utf-8/log4j2/h264"),
    ("/a/v1/x-1/-./._", "/a/v1/x-1/-./._"),
    ("/v1beta1/v1alpha2", "/v1beta1/v1alpha2"),
    ("/report-2024.pdf", "/report-2024.pdf"),
    ("/jquery-3.6.0.min.js", "/jquery-3.6.0.min.js"),
    ("/gpt-4/error-404", "/gpt-4/error-404"),
    ("/aes-gcm-avx2-x86_64-nasm.asm", "/aes-gcm-avx2-x86_64-nasm.asm"),
    ("/deadbeef/facade/decade", "/deadbeef/facade/decade"),
    ("/~user/.well-known/acme-challenge", "/~user/.well-known/acme-challenge"),
    (
        "/how-we-reduced-our-build-times-by-50-percent-in-2024",
        "/how-we-reduced-our-build-times-by-50-percent-in-2024",
    ),
    ("/internationalization-of-applications", "/internationalization-of-applications"),
    (
        "/apis/traffictrace.dev/v1alpha1/namespaces/default/traffictraces",
        "/apis/traffictrace.dev/v1alpha1/namespaces/default/traffictraces",
    ),
    ("/AbstractSingletonProxyFactoryBean", "/AbstractSingletonProxyFactoryBean"),
    ("/ListAllOrganizationMembersV2", "/ListAllOrganizationMembersV2"),
    ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Check"),
    ("/google.storage.v2.Storage/BidiWriteObject", "/google.storage.v2.Storage/BidiWriteObject"),
    (
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    ),
    ("/etcdserverpb.KV/Range", "/etcdserverpb.KV/Range"),
    // Numbers.
    ("/users/42", "/users/{id}"),
    ("/users/42/orders/7", "/users/{id}/orders/{id}"),
    ("/users/%34%32", "/users/{id}"),
    ("/users/-1", "/users/{id}"),
    ("/weather/52.5200,13.4050", "/weather/{id}"),
    ("/tiles/12/2200/1343.png", "/tiles/{id}/{id}/{id}.png"),
    ("/tiles/1343@2x.png", "/tiles/{id}@2x.png"),
    ("/order-12345", "/order-{id}"),
    ("/ed25519/curve25519.pub", "/ed25519/curve25519.pub"),
    ("/wiki/Q1234567", "/wiki/Q{id}"),
    ("/build_20240131.log", "/build_{id}.log"),
    // UUIDs.
    ("/o/3fa85f64-5717-4562-b3fc-2c963f66afa6", "/o/{uuid}"),
    ("/o/3FA85F64-5717-4562-B3FC-2C963F66AFA6.json", "/o/{uuid}.json"),
    ("/file-3fa85f64-5717-4562-b3fc-2c963f66afa6-x", "/file-{uuid}-x"),
    // Hashes.
    ("/app.3f9c2b1d.js", "/app.{hash}.js"),
    ("/main-3f9c2b1d0a.css", "/main-{hash}.css"),
    ("/commit/d0c4b2a1f5e6978801234567890abcdef1234567", "/commit/{hash}"),
    ("/0x52908400098527886E0F7030069857D2E4169EE7", "/{hash}"),
    ("/sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "/sha256:{hash}"),
    // Random identifiers.
    ("/watch/dQw4w9WgXcQ", "/watch/{id}"),
    ("/v/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/v/{token}"),
    ("/v/0ujtsYcgvSTl8PAuAdqWYSMnLOv", "/v/{token}"),
    ("/v/V1StGXR8_Z5jdHi6B-myT", "/v/{token}"),
    ("/pods/nginx-7d4b9c6f5d-x2k9p/log", "/pods/nginx-{token}/log"),
    ("/customers/cus_9s6XKzkNRiz8i3", "/customers/cus_{token}"),
    // Dates, addresses.
    ("/log/2024-01-31", "/log/{date}"),
    ("/log/2024-01", "/log/{date}"),
    ("/log/2024-01-31T12:00:00.123Z", "/log/{date}"),
    ("/log/2024-01-31T12%3A00%3A00%2B01%3A00", "/log/{date}"),
    ("/log/20240131T120000Z", "/log/{date}"),
    ("/2024-01-31-a-post.html", "/{date}-a-post.html"),
    ("/hosts/10.0.0.1", "/hosts/{ip}"),
    ("/hosts/fe80::1", "/hosts/{ip}"),
    ("/users/bob@example.com", "/users/{email}"),
    ("/users/bob%40example.com", "/users/{email}"),
    ("/users/b.o+b@mail.example.co.uk/x", "/users/{email}/x"),
    ("/@angular/core@17.0.1/x", "/@angular/core@17.0.1/x"),
    ("/logo@2x.png", "/logo@2x.png"),
    // Parts that are removed, and paths that are not well-formed.
    ("/a?b=c", "/a"),
    ("/a#b", "/a"),
    ("/a;jsessionid=0123/b;x=1", "/a/b"),
    ("http://user:pw@host/", "{invalid}"),
    ("a b", "{invalid}"),
    // Encoding.
    ("/a%2Fb", "/a%2Fb"),
    ("/a%2fb", "/a%2Fb"),
    ("/%7Euser/%61bc", "/~user/abc"),
    ("/caf\u{e9}", "/caf%C3%A9"),
    ("/caf%c3%a9", "/caf%C3%A9"),
    ("/a%00\u{1b}[31m\u{202e}", "/a%00%1B%5B31m%E2%80%AE"),
    ("/100%/%zz", "/100%25/%25zz"),
    ("/%3Fquery%23x%3By", "/%3Fquery%23x%3By"),
    ("/{name}", "/%7Bname%7D"),
];

/// Secrets that must not be in the output, wherever they are in a path.
const SECRETS: &[&str] = &[
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
    "pk_test_TYooMQauvdEDq54NiTphI7jx",
    "whsec_aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "github_pat_11AAAAAAA0abcdefghijkl_mnopqrstuvwxyz",
    "glpat-aaaaaaaaaaaaaaaaaaaa",
    "xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcBrzbqgy",
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI%2FK7MDENG%2FbPxRfiCYEXAMPLEKEY",
    "wJalrXUtnFEMI-K7MDENG_bPxRfiCYEXAMPLEKEY",
    "AIzaSyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe",
    "ya29.a0AfH6SMBx-abcdefg_hijklmnop",
    "sk-proj-abcdefghijklmnopqrstuvwx",
    "hvs.CAESIJlWv2NqFbqR7sTn1ACXPxkWcQ4z",
    "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",
    "npm_4mZ0vFq1sTnKx2bWc9RyLh7UdGe3Jp5oAi8B",
    "d41d8cd98f00b204e9800998ecf8427e",
    "3858f62230ac3c91",
    "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
    "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs",
    "dGhpcyBpcyBhIHNlY3JldCBrZXk",
    "xq7Tz2Vb9Lm4Kp8Rw3Ys6Jd1",
    "gnxzqwvtrkplmbdfhjcs",
    "7K3F9-XQ2WM-8DZTB-V6RHC",
];

#[test]
fn examples_fold_as_documented() {
    for (path, expected) in FOLDED {
        assert_eq!(fold(path), *expected, "{path}");
    }
}

#[test]
fn examples_fold_once() {
    for (path, _) in FOLDED {
        let once = fold(path);
        assert_eq!(fold(&once), once, "{path}");
    }
}

#[test]
fn secrets_never_leave() {
    for secret in SECRETS {
        // Separators may stay, and short parts look like words. The longest part must not be in the output.
        let core = secret.split(['.', '-', '_', '%']).max_by_key(|part| part.len()).expect("a part");
        for path in [
            format!("/{secret}"),
            format!("/reset/{secret}/confirm"),
            format!("/x-{secret}"),
            format!("/file_{secret}.json"),
            format!("/bot123456:{secret}/send"),
            format!("/a;token={secret}/b"),
            format!("/a?token={secret}"),
            format!("/a,{secret},b"),
            format!("/%{:02x}{}", secret.as_bytes()[0], &secret[1..]),
        ] {
            for out in [fold(&path), redact(&path)] {
                assert!(!out.contains(core), "{path} gave {out}");
            }
        }
    }
}

#[test]
fn values_of_secret_names_never_leave() {
    for path in [
        "/login/password=hunter2",
        "/login/user=bob&password=hunter2",
        "/x/api_key=hunter2",
        "/x/my-secret-key=hunter2",
        "/x/PHPSESSID=hunter2",
        "/fetch/bob:hunter2@example.com",
        "/fetch/bob%3Ahunter2%40localhost",
    ] {
        for out in [fold(path), redact(path)] {
            assert!(!out.contains("hunter2") && out.contains("{token}"), "{path} gave {out}");
        }
    }
}

#[test]
fn masked_paths_keep_what_is_no_secret() {
    for kept in [
        "",
        "*",
        "/",
        "/users/42",
        "/users/3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "/app.3f9c2b1d.js",
        "/watch/dQw4w9WgXcQ",
        "/users/bob@example.com",
        "/a%2fb/%41/100%",
        "/2024-01-31/1343.png",
    ] {
        assert_eq!(redact(kept), kept);
    }
    assert_eq!(redact("/a b\u{1b}/\u{e9}?q"), "/a%20b%1B/%C3%A9");
    assert_eq!(redact("/commit/d0c4b2a1f5e6978801234567890abcdef1234567"), "/commit/{hash}");
    assert_eq!(redact("/users/xq7Tz2Vb9Lm4Kp8Rw3Ys6Jd1@example.com"), "/users/{token}@example.com");
    assert_eq!(redact("/r/V1StGXR8_Z5jdHi6B-myT"), "/r/{token}");
}

#[test]
fn long_paths_are_cut() {
    let deep = "/a".repeat(100);
    assert_eq!(fold(&deep), format!("{}/…", "/a".repeat(MAX_SEGMENTS)));
    let exact = "/a".repeat(MAX_SEGMENTS);
    assert_eq!(fold(&exact), exact);
    let wide = "/users-and-orders-of-the-customers".repeat(15);
    let folded = fold(&wide);
    assert!(folded.ends_with("/…") && folded.len() <= MAX_FOLDED + "/…".len(), "{folded}");
    assert_eq!(fold(&format!("/x/{}", "word-".repeat(40))), "/x/{token}");
    assert_eq!(fold("/a/…"), "/a/…");
    assert_eq!(fold("/…/a"), "/%E2%80%A6/a");
    assert!(redact(&"/\u{1}".repeat(10_000)).len() <= MAX_REDACTED + "/…".len());
}

/// Generates paths from the parts that the rules look for, in any order.
fn adversarial() -> impl Strategy<Value = String> {
    let atom = prop_oneof![
        "[a-zA-Z0-9]{1,24}",
        "[a-z]{1,9}",
        "[0-9]{1,12}",
        "[0-9a-f]{1,20}",
        "[bcdfghjklmnpqrstvwxz]{1,8}",
        "[-._~/;:@=,+%{}…]{1,3}",
        "%[0-9a-fA-F]{2}",
        Just("{id}".to_owned()),
        Just("{token}".to_owned()),
        Just("3fa85f64-5717-4562-b3fc-2c963f66afa6".to_owned()),
        Just("2024-01-31".to_owned()),
        Just("token=".to_owned()),
        Just("sk_live_".to_owned()),
        Just("v1.2".to_owned()),
        Just("example.com".to_owned()),
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(atom, 0..24).prop_map(|atoms| format!("/{}", atoms.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn folding_a_folded_path_changes_nothing(path in prop_oneof![adversarial(), ".{0,200}"]) {
        let once = fold(&path);
        prop_assert_eq!(fold(&once), once.as_str(), "of {:?}", path);
    }

    #[test]
    fn output_is_printable_and_bounded(path in prop_oneof![adversarial(), ".{0,200}", "/[\\x00-\\x20]{0,2000}"]) {
        for (out, bound) in [(fold(&path), MAX_FOLDED), (redact(&path), MAX_REDACTED)] {
            let text = out.strip_suffix(CUT).unwrap_or(&out);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{out:?}");
            prop_assert!(!out.contains(['?', '#', ';']), "{out:?}");
            prop_assert!(out.len() <= bound + "/…".len());
        }
    }

    #[test]
    fn long_hexadecimal_numbers_never_leave(hash in "[0-9]{8}[a-f]{1}[0-9a-f]{7,40}", before in "[a-z]{0,5}[-._:]") {
        let path = format!("/{before}{hash}/x");
        prop_assert!(!fold(&path).contains(&hash));
        prop_assert!(!redact(&path).contains(&hash));
    }
}
