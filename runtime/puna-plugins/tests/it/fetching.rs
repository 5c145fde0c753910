//! The committed plugins that speak http, against servers on this machine.

use puna_core::{ErrorKind, Retriever as _, ToolErrorKind};
use puna_plugins::{Grants, HttpGrant, Limits, ReadyPlugin, SecretGrant, Setup};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};

use crate::{guests::HOST, probe::ask};

/// `한국어 문서` in EUC-KR.
const KOREAN: &[u8] = b"\xc7\xd1\xb1\xb9\xbe\xee \xb9\xae\xbc\xad";

/// A server that answers every request by its path, and the heads of the requests that it saw.
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
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => request.push(byte),
                        Err(_) => break,
                    }
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                let answer = answer(request.split(' ').nth(1).unwrap_or_default());
                let _ = sender.send(request);
                let _ = stream.write_all(&answer).await;
            }
        });
        Self { port, seen }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

fn answer(path: &str) -> Vec<u8> {
    let whole = |status: &str, media_type: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\ncontent-type: {media_type}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let ok = |media_type: &str, body: &[u8]| whole("200 OK", media_type, body);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    match path {
        "/plain" => ok("text/plain", b"Llamas hum."),
        "/korean" => ok("text/html; charset=euc-kr", &[b"<title>", KOREAN, b"</title><p>", KOREAN].concat()),
        "/said" => ok("text/html", &[b"<meta charset=euc-kr><p>", KOREAN].concat()),
        "/table" => ok(
            "text/html",
            b"<nav>menu</nav><main><h1>Wool</h1><table><tr><th>animal<th>kg<tr><td>llama<td>3</table>\
              <a href=/plain>more</a></main>",
        ),
        "/large" => ok("text/html", "<p>wool and more".repeat(200_000).as_bytes()),
        "/moved" => b"HTTP/1.1 302 Found\r\nlocation: /plain\r\ncontent-length: 0\r\n\r\n".to_vec(),
        "/picture" => ok("image/png", b"\x89PNG\r\n\x1a\n"),
        "/search" => {
            let next = if query.ends_with("page=1") { "2" } else { "" };
            let hits = [
                json!({"source": {"id": query, "body": "Llamas hum."}, "score": 0.25, "about": {"lang": "en"}}),
                json!({"source": {"id": "b", "body": "라마"}, "score": 0.5}),
            ];
            ok("application/json", json!({"result": {"hits": hits, "next": next}}).to_string().as_bytes())
        }
        _ => whole("404 Not Found", "text/html", b"<p>no such page"),
    }
}

async fn ready(plugin: &str, server: &Server, config: Value) -> ReadyPlugin {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../plugins")
        .join(plugin)
        .join(format!("{plugin}.wasm"));
    let origin = server.url("");
    let mut grant = HttpGrant::reading(&origin).expect("an origin");
    grant.private_addresses = true;
    let token = SecretGrant { value: Some("hush".into()), origins: vec![origin.parse().expect("an origin")] };
    let grants =
        Grants { http: vec![grant], secrets: [("token".to_owned(), token)].into(), ..Grants::default() };
    let plugin = HOST.load(file).await.expect("a plugin");
    plugin.ready(Setup { grants, config, limits: Limits::default(), ..Setup::default() }).expect("ready")
}

#[tokio::test]
async fn fetch_reads_pages_of_a_server() {
    let server = Server::start().await;
    let plugin = ready("fetch", &server, Value::Null).await;
    let fetch = async |path: &str| ask(&plugin, "fetch_page", json!({"url": server.url(path)})).await;
    for (path, text) in [
        ("/plain", "Llamas hum."),
        ("/korean", "한국어 문서"),
        ("/said", "한국어 문서"),
        ("/moved", "Llamas hum."),
    ] {
        assert_eq!(fetch(path).await.expect(path)["text"], text, "{path}");
    }
    assert_eq!(fetch("/korean").await.expect("a page")["title"], "한국어 문서");
    let table = "# Wool\n\n| animal | kg |\n| --- | --- |\n| llama | 3 |\n\n[more]";
    let text = fetch("/table").await.expect("a page")["text"].clone();
    assert_eq!(text, format!("{table}({})", server.url("/plain")));

    let large = fetch("/large").await.expect("a page");
    assert_eq!((&large["truncated"], &large["next_char"]), (&json!(true), &json!(20_000)));
    let more = json!({"url": server.url("/large"), "from_char": 20_000});
    let more = ask(&plugin, "fetch_page", more).await.expect("more");
    assert!(more["text"].as_str().is_some_and(|text| text.contains("wool and more")));

    let missing = fetch("/missing").await.expect_err("no page");
    assert_eq!(missing.kind, ToolErrorKind::NotFound);
    let picture = fetch("/picture").await.expect_err("no text");
    assert_eq!(picture.kind, ToolErrorKind::InvalidInput);
    let elsewhere = ask(&plugin, "fetch_page", json!({"url": "https://example.com"})).await;
    assert_eq!(elsewhere.expect_err("not granted").kind, ToolErrorKind::Denied);
}

#[tokio::test]
async fn search_asks_a_service() {
    let mut server = Server::start().await;
    let config = json!({
        "url": server.url("/search?q={query}&n={k}&page={page}"),
        "secret": {"name": "token", "header": "authorization", "prefix": "Bearer "},
        "hits": "/result/hits", "text": "/source/body", "id": "/source/id", "score": "/score",
        "metadata": "/about", "next": "/result/next", "first_page": "1",
    });
    let retriever = ready("search", &server, config).await.retriever("search").expect("a retriever");
    let first = retriever.retrieve("라마 & wool", 5, &Value::Null, None).await.expect("hits");
    let found: Vec<_> = first.hits.iter().map(|hit| (&*hit.document, &*hit.text, hit.score)).collect();
    let asked = "q=%EB%9D%BC%EB%A7%88%20%26%20wool&n=5&page=1";
    assert_eq!(found, [("b", "라마", 0.5), (asked, "Llamas hum.", 0.25)]);
    assert_eq!((json!(first.hits[1].metadata), first.next.as_deref()), (json!({"lang": "en"}), Some("2")));
    let second = retriever.retrieve("라마", 1, &Value::Null, first.next.as_deref()).await.expect("hits");
    assert_eq!((second.hits.len(), second.next), (1, None));
    let requests: Vec<String> = std::iter::from_fn(|| server.seen.try_recv().ok()).collect();
    assert!(
        requests.iter().all(|request| request.contains("authorization: Bearer hush\r\n")),
        "{requests:?}"
    );

    for (path, pointer, kind) in [
        ("/missing", "/result/hits", ErrorKind::NotFound),
        ("/plain", "/result/hits", ErrorKind::Unavailable),
        ("/search?page=1", "/nothing", ErrorKind::Unavailable),
    ] {
        let config = json!({"url": server.url(path), "hits": pointer});
        let retriever = ready("search", &server, config).await.retriever("search").expect("a retriever");
        let error = retriever.retrieve("wool", 1, &Value::Null, None).await.expect_err(path);
        assert_eq!(error.kind(), kind, "{path}: {error}");
    }
}
