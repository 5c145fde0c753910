//! Requests on behalf of guests, over real sockets on this machine.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use puna_core::ToolErrorKind;
use puna_plugins::{Grants, HttpClient, HttpGrant, Limits, Origin, Resolver, SecretGrant, Services, Setup};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};

use crate::probe::{ask, kind, ready};

/// A server that answers every request by its path, and the heads of the requests it saw.
struct Server {
    port: u16,
    seen: mpsc::UnboundedReceiver<String>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (sender, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    let mut buffer = [0; 4096];
                    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                        match stream.read(&mut buffer).await {
                            Ok(0) | Err(_) => return,
                            Ok(length) => request.extend_from_slice(&buffer[..length]),
                        }
                    }
                    let request = String::from_utf8_lossy(&request).into_owned();
                    let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
                    let _ = sender.send(request);
                    let answer = answer(&path);
                    let _ = stream.write_all(&answer).await;
                });
            }
        });
        Self { port, seen }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The heads of the requests so far.
    fn requests(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }
}

fn answer(path: &str) -> Vec<u8> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let whole = |status: &str, headers: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    match path {
        "/hello" => whole("200 OK", "x-test: yes\r\n", "hello"),
        "/to" => whole("302 Found", &format!("location: {query}\r\n"), ""),
        "/loop" => whole("302 Found", "location: /loop\r\n", ""),
        "/large" => whole("200 OK", "", &"x".repeat(3 << 20)),
        "/headers" => whole("200 OK", &"x-many: a\r\n".repeat(90), "many"),
        "/endless" => {
            // Says a length that never comes; the body goes on beyond any bound.
            let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
            for _ in 0..64 {
                answer.extend_from_slice(b"100000\r\n");
                answer.extend(std::iter::repeat_n(b'y', 0x10_0000));
                answer.extend_from_slice(b"\r\n");
            }
            answer
        }
        "/nonsense" => b"this is no http\r\n\r\n".to_vec(),
        _ => whole("404 Not Found", "", "no such page"),
    }
}

fn grant(origin: &str, methods: &[&str]) -> HttpGrant {
    HttpGrant {
        origin: origin.parse().expect("an origin"),
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        private_addresses: true,
    }
}

fn granted(server: &Server) -> Grants {
    Grants { http: vec![grant(&server.url(""), &["GET"])], ..Grants::default() }
}

async fn send(grants: Grants, limits: Limits, arguments: Value) -> Result<Value, puna_core::ToolError> {
    ask(&ready(Setup { grants, limits, ..Setup::default() }).await, "send", arguments).await
}

#[tokio::test]
async fn requests_go_where_they_were_granted() {
    let mut server = Server::start().await;
    let answer = send(granted(&server), Limits::default(), json!({"url": server.url("/hello")})).await;
    let answer = answer.expect("an answer");
    assert_eq!((&answer["status"], &answer["body"]), (&json!(200), &json!("hello")));
    let headers = answer["headers"].as_array().expect("headers");
    assert!(headers.contains(&json!(["x-test", "yes"])), "{answer}");
    let missing = send(granted(&server), Limits::default(), json!({"url": server.url("/nothing")})).await;
    assert_eq!(missing.expect("an answer")["status"], 404);
    assert_eq!(server.requests().len(), 2);

    let port = server.port;
    for (arguments, expect) in [
        (json!({"url": format!("http://127.0.0.1:{}/hello", port ^ 1)}), ToolErrorKind::Denied),
        (json!({"url": format!("http://localhost:{port}/hello")}), ToolErrorKind::Denied),
        (json!({"url": format!("https://127.0.0.1:{port}/hello")}), ToolErrorKind::Denied),
        (json!({"url": server.url("/hello"), "method": "POST"}), ToolErrorKind::Denied),
        (json!({"url": server.url("/hello"), "method": "delete"}), ToolErrorKind::Denied),
        (json!({"url": format!("http://user:word@127.0.0.1:{port}/")}), ToolErrorKind::InvalidInput),
        (json!({"url": "file:///etc/passwd"}), ToolErrorKind::InvalidInput),
        (json!({"url": "no address"}), ToolErrorKind::InvalidInput),
        (
            json!({"url": server.url("/hello"), "headers": [["host", "example.com"]]}),
            ToolErrorKind::InvalidInput,
        ),
        (json!({"url": server.url("/hello"), "headers": [["a", "b\r\nc: d"]]}), ToolErrorKind::InvalidInput),
        (
            json!({"url": server.url("/hello"), "headers": [["transfer-encoding", "x"]]}),
            ToolErrorKind::InvalidInput,
        ),
        (json!({"url": server.url("/nonsense")}), ToolErrorKind::Unavailable),
    ] {
        let error =
            send(granted(&server), Limits::default(), arguments.clone()).await.expect_err("a failure");
        assert_eq!(error.kind, expect, "{arguments}: {error}");
    }
    assert_eq!(server.requests().len(), 1, "only the one that was granted");
}

#[tokio::test]
async fn addresses_that_are_not_public_need_their_own_grant() {
    let server = Server::start().await;
    let port = server.port;
    for host in [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[fe80::1]",
        "[fd00::1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "224.0.0.1",
        "255.255.255.255",
        "localhost",
    ] {
        let origin = format!("http://{host}:{port}");
        let grants =
            Grants { http: vec![HttpGrant::reading(&origin).expect("an origin")], ..Grants::default() };
        let error = send(grants, Limits::default(), json!({"url": format!("{origin}/hello")})).await;
        let error = error.expect_err(host);
        assert_eq!(error.kind, ToolErrorKind::Denied, "{host}: {error}");
        assert!(error.message.contains("not public"), "{host}: {error}");
    }
}

/// Says a public address first and this machine ever after, as a name that rebinds does.
struct Rebinding(AtomicUsize);

#[async_trait]
impl Resolver for Rebinding {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let public = self.0.fetch_add(1, Ordering::Relaxed) == 0;
        // A documentation address of no one would be dialled in vain; this one answers nothing here.
        Ok(vec![if public { [93, 184, 215, 14].into() } else { [127, 0, 0, 1].into() }])
    }
}

/// Says both at once.
struct Mixed;

#[async_trait]
impl Resolver for Mixed {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec![[93, 184, 215, 14].into(), [127, 0, 0, 1].into()])
    }
}

#[tokio::test]
async fn names_that_rebind_reach_nothing() {
    let mut server = Server::start().await;
    let origin = format!("http://rebind.example:{}", server.port);
    let grants = Grants { http: vec![HttpGrant::reading(&origin).expect("an origin")], ..Grants::default() };
    let limits = Limits { time_ms: 1_000, ..Limits::default() };
    let setup = |resolver: Arc<dyn Resolver>| Setup {
        grants: grants.clone(),
        limits: limits.clone(),
        services: Services { http: Arc::new(HttpClient::with_resolver(resolver)), ..Services::default() },
        ..Setup::default()
    };
    let rebinding = ready(setup(Arc::new(Rebinding(AtomicUsize::new(0))))).await;
    let url = json!({"url": format!("{origin}/hello")});
    // The first address is dialled as it was checked, whoever answers there; never the second one's.
    let first = kind(ask(&rebinding, "send", url.clone()).await);
    assert!(matches!(first, ToolErrorKind::Unavailable | ToolErrorKind::Timeout), "{first:?}");
    assert_eq!(kind(ask(&rebinding, "send", url.clone()).await), ToolErrorKind::Denied);
    let mixed = ready(setup(Arc::new(Mixed))).await;
    assert_eq!(kind(ask(&mixed, "send", url).await), ToolErrorKind::Denied);
    assert_eq!(server.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn redirects_are_held_against_the_grant_at_every_hop() {
    let mut server = Server::start().await;
    let mut other = Server::start().await;
    let to = |target: &str| json!({"url": server.url(&format!("/to?{target}"))});
    let (hello, elsewhere) = (server.url("/hello"), other.url("/hello"));
    let followed = send(granted(&server), Limits::default(), to(&hello)).await.expect("an answer");
    assert_eq!((&followed["url"], &followed["body"]), (&json!(hello), &json!("hello")));
    for target in
        [&*elsewhere, "http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "gopher://x/"]
    {
        let error = send(granted(&server), Limits::default(), to(target)).await.expect_err(target);
        assert!(
            matches!(error.kind, ToolErrorKind::Denied | ToolErrorKind::InvalidInput),
            "{target}: {error}"
        );
    }
    assert_eq!(other.requests(), Vec::<String>::new(), "no hop went where none was granted");
    let looping = send(granted(&server), Limits::default(), json!({"url": server.url("/loop")})).await;
    assert_eq!(kind(looping), ToolErrorKind::TooLarge);
    server.requests();

    // Credentials stay with the origin they were for.
    let mut grants = granted(&server);
    grants.http.push(grant(&other.url(""), &["GET"]));
    let secret = SecretGrant {
        value: Some("hunter2".to_owned()),
        origins: vec![server.url("").parse().expect("an origin")],
    };
    grants.secrets = BTreeMap::from([("token".to_owned(), secret)]);
    let headers = json!([
        ["authorization", "Bearer {{secret:token}}"],
        ["x-key", "{{secret:token}}"],
        ["x-plain", "a"]
    ]);
    let arguments = json!({"url": server.url(&format!("/to?{elsewhere}")), "headers": headers});
    assert_eq!(send(grants.clone(), Limits::default(), arguments).await.expect("an answer")["body"], "hello");
    let (sent, then) = (server.requests().remove(0), other.requests().remove(0));
    assert!(
        sent.contains("authorization: Bearer hunter2\r\n") && sent.contains("x-key: hunter2\r\n"),
        "{sent}"
    );
    assert!(!then.contains("hunter2") && !then.contains("authorization"), "{then}");
    assert!(then.contains("x-plain: a\r\n"), "{then}");

    // A secret goes only where it is for, and its value is in no error.
    let direct = json!({"url": elsewhere, "headers": [["x-key", "{{secret:token}}"]]});
    let error = send(grants.clone(), Limits::default(), direct).await.expect_err("a refusal");
    assert_eq!(error.kind, ToolErrorKind::AuthRequired);
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let unknown = json!({"url": server.url("/hello"), "headers": [["x-key", "{{secret:other}}"]]});
    assert_eq!(kind(send(grants, Limits::default(), unknown).await), ToolErrorKind::AuthRequired);
    assert_eq!((server.requests().len(), other.requests().len()), (0, 0));
}

#[tokio::test]
async fn answers_are_bounded() {
    let server = Server::start().await;
    let limits = Limits { http_bytes: 1 << 20, http_requests: 3, ..Limits::default() };
    for path in ["/large", "/endless"] {
        let outcome = send(granted(&server), limits.clone(), json!({"url": server.url(path)})).await;
        assert_eq!(kind(outcome), ToolErrorKind::TooLarge, "{path}");
    }
    let many = json!({"url": server.url("/hello"), "times": 4});
    assert_eq!(kind(send(granted(&server), limits.clone(), many).await), ToolErrorKind::TooLarge);
    let body = json!({"url": server.url("/hello"), "body": "x".repeat(200_000)});
    let tight = Limits { http_bytes: 100_000, ..limits };
    assert_eq!(kind(send(granted(&server), tight, body).await), ToolErrorKind::TooLarge);
    let headers = send(granted(&server), Limits::default(), json!({"url": server.url("/headers")})).await;
    assert!(headers.expect("an answer")["headers"].as_array().expect("headers").len() <= 100);
}

#[test]
fn origins_cover_what_they_say() {
    let covers = |origin: &str, url: &str| origin.parse::<Origin>().expect(origin).covers(url);
    for (origin, url, expect) in [
        ("https://example.com", "https://example.com/a?b#c", true),
        ("https://example.com", "https://EXAMPLE.com:443/", true),
        ("https://example.com", "https://example.com:444/", false),
        ("https://example.com", "http://example.com/", false),
        ("https://example.com", "https://sub.example.com/", false),
        ("https://example.com", "https://example.com.evil.org/", false),
        ("https://example.com", "https://example.com@evil.org/", false),
        ("https://*.example.com", "https://a.b.example.com/", true),
        ("https://*.example.com", "https://notexample.com/", false),
        ("https://*.example.com", "https://.example.com/", false),
        ("https://bücher.example", "https://xn--bcher-kva.example/", true),
        ("http://127.0.0.1:80", "http://2130706433/", true),
        ("http://[::1]", "http://[0:0:0:0:0:0:0:1]/", true),
    ] {
        assert_eq!(covers(origin, url), expect, "{origin} {url}");
    }
    for origin in [
        "example.com",
        "ftp://example.com",
        "https://",
        "https://*",
        "https://a.*.com",
        "https://e.com/a",
        "",
    ] {
        assert!(origin.parse::<Origin>().is_err(), "{origin}");
    }
}
