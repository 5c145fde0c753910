//! Pages of the web as sources of knowledge bases, from a server of this machine.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

use crate::support::{Puna, ran, root};

const PAGE: &str = "<!doctype html><html><head><title>Bread</title><script>var salt = 1;</script></head>\
    <body><nav>Menu</nav><h1>Bread</h1><p>Bread rises faster where the air is <b>thin</b>.</p></body></html>";

/// A document of Word.
const HERD: &str = "tests/collections/documents/herd.docx";

/// A server that keeps what it was asked, line by line.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                answer(stream, &log);
            }
        });
        Self { address, asked }
    }

    fn page(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// What it was asked since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }
}

/// Answers one request, and closes the connection.
fn answer(mut stream: TcpStream, log: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines().map_while(Result::ok);
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    log.lock().expect("no panic").extend(head.iter().map(|line| line.to_lowercase()));
    let known = head.iter().any(|line| line.to_lowercase() == "if-none-match: \"v1\"");
    let (status, headers, body): (_, _, Vec<u8>) = match path.as_str() {
        "/bread" if known => ("304 Not Modified", "ETag: \"v1\"\r\n", Vec::new()),
        "/bread" => ("200 OK", "ETag: \"v1\"\r\nContent-Type: text/html; charset=utf-8\r\n", PAGE.into()),
        "/moved" => ("302 Found", "Location: /notes.md?raw=1\r\n", Vec::new()),
        "/notes.md?raw=1" => {
            ("200 OK", "Content-Type: text/plain\r\n", "# Notes\n\nSalt is cut in blocks.\n".into())
        }
        "/herd" => ("200 OK", "", fs::read(root().join(HERD)).expect("a file")),
        "/circle" => ("301 Moved Permanently", "Location: /circle\r\n", Vec::new()),
        "/picture" => ("200 OK", "Content-Type: image/png\r\n", "\u{0}\u{1}".into()),
        "/large" => ("200 OK", "Content-Type: text/plain\r\n", "llama ".repeat(6_000_000).into()),
        _ => ("404 Not Found", "", "nothing".into()),
    };
    let length = body.len();
    // Whoever asked may hang up on what is too large.
    let _ =
        write!(stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n")
            .and_then(|()| stream.write_all(&body));
}

fn add(puna: &Puna, code: i32, sources: &[&str]) -> Vec<Value> {
    let arguments =
        [&["knowledge", "add", "pages", "--private-addresses", "--prune", "--json"], sources].concat();
    let ran = puna.run(&arguments);
    assert_eq!(ran.code, code, "{ran:?}");
    crate::support::json_lines(&ran.stdout)
}

#[test]
fn pages_are_read_and_not_sent_again_while_they_stay_as_they_are() {
    let (puna, server) = (Puna::new(), Server::start());
    let (bread, moved) = (server.page("/bread"), server.page("/moved"));
    let first = add(&puna, 0, &[&bread, &moved]);
    assert!(first.iter().all(|report| report["added"] == 1), "{first:?}");
    let found = puna.lines(&["knowledge", "search", "pages", "thin", "--mode", "keyword", "--json"]);
    assert_eq!(found[0]["document"], bread.as_str(), "{found:?}");
    assert_eq!(
        (&found[0]["metadata"]["title"], &found[0]["metadata"]["etag"]),
        (&"Bread".into(), &"\"v1\"".into())
    );
    let text = found[0]["text"].as_str().expect("a text");
    assert!(
        text.contains("Bread rises faster where the air is thin.") && !text.contains("var salt"),
        "{text}"
    );
    let found = puna.lines(&["knowledge", "search", "pages", "blocks", "--mode", "keyword", "--json"]);
    assert_eq!(found[0]["document"], moved.as_str(), "{found:?}");

    server.asked();
    let second = add(&puna, 0, &[&bread, &moved]);
    assert!(second.iter().all(|report| report["unchanged"] == 1 && report["removed"] == 0), "{second:?}");
    let asked = server.asked();
    assert!(asked.iter().any(|line| line == "if-none-match: \"v1\""), "{asked:?}");
    assert_eq!(puna.lines(&["knowledge", "search", "pages", "thin", "--mode", "keyword", "--json"]).len(), 1);
}

#[test]
fn loaders_read_what_the_network_and_standard_input_give() {
    let (puna, server) = (Puna::new(), Server::start());
    let herd = server.page("/herd");
    let refused = add(&puna, 2, &[&herd]);
    assert!(refused[0]["failed"][0]["message"].as_str().is_some_and(|told| told.contains("a loader plugin")));
    let loader = ["--loader", "plugins/docx/docx.wasm"];
    let added = add(&puna, 0, &[&loader[..], &[&herd]].concat());
    assert_eq!(added[0]["added"], 1, "{added:?}");
    let pipe = |file: &str, arguments: &[&str]| {
        let mut command = puna.command(&[&["knowledge", "add", "pages", "-"], arguments].concat());
        command.stdin(fs::File::open(root().join(file)).expect("a file"));
        let ran = ran(command.output().expect("the binary runs"));
        assert_eq!(ran.code, 0, "{ran:?}");
    };
    pipe(HERD, &loader);
    let found = puna.lines(&["knowledge", "search", "pages", "wool", "--mode", "keyword", "--json"]);
    let mut documents: Vec<&str> = found.iter().filter_map(|hit| hit["document"].as_str()).collect();
    documents.sort_unstable();
    documents.dedup();
    assert_eq!(documents.len(), 2, "{found:?}");
    assert!(documents.iter().any(|id| id.starts_with(&herd)), "{documents:?}");
    // A title that a loader takes from a name is of the name that was given.
    let loader = ["--loader", "plugins/tables/tables.wasm", "--id", "llamas.csv"];
    pipe("tests/collections/documents/herd.csv", &loader);
    let found = puna.lines(&["knowledge", "search", "pages", "무게", "--mode", "keyword", "--json"]);
    let document = found[0]["document"].as_str().unwrap_or_default();
    assert!(document.starts_with("llamas.csv#rows "), "{found:?}");
    assert_eq!(found[0]["metadata"]["title"], "llamas", "{found:?}");
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_read() {
    let (puna, server) = (Puna::new(), Server::start());
    let note = puna.path("note.txt");
    fs::write(&note, "A plain note.\n").expect("written");
    let note = note.to_str().expect("a path in UTF-8");
    let cases = [
        ("/nowhere", "not_found", "status 404"),
        ("/circle", "unavailable", "moves on more than 10 times"),
        ("/picture", "invalid_input", "no text"),
        ("/large", "resource_exhausted", "more than 33554432 bytes"),
    ];
    for (path, kind, message) in cases {
        let page = server.page(path);
        let ran = puna.run(&["knowledge", "add", "pages", "--private-addresses", "--json", &page, note]);
        let reports = crate::support::json_lines(&ran.stdout);
        let failed = &reports[0]["failed"][0];
        assert_eq!((&failed["id"], &failed["kind"]), (&page.as_str().into(), &kind.into()), "{ran:?}");
        assert!(failed["message"].as_str().is_some_and(|told| told.contains(message)), "{failed}");
        assert_eq!(reports[1]["failed"], serde_json::json!([]), "{ran:?}");
    }
    // Nobody but the user opens their network to a knowledge base.
    let ran = puna.run(&["knowledge", "add", "pages", "--json", &server.page("/bread")]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stdout.contains("\"denied\"") && ran.stdout.contains("private_addresses"), "{ran:?}");
    assert!(server.asked().iter().all(|line| !line.contains("/bread")), "it was not asked");
    // A server that is not there.
    let ran =
        puna.run(&["knowledge", "add", "pages", "--private-addresses", "--json", "http://127.0.0.1:1/"]);
    assert!(ran.stdout.contains("\"unavailable\""), "{ran:?}");
}

#[test]
fn an_agent_has_pages_as_sources() {
    let (puna, server) = (Puna::new(), Server::start());
    let bread = server.page("/bread");
    let lines =
        format!("knowledge:\n  - {{ name: pages, sources: [\"{bread}\"], private_addresses: true }}\n");
    let agent = puna.agent(|text| format!("{text}\n{lines}"));
    let events =
        puna.lines(&["run", &agent, "--tool-choice", "search_pages", "--json", "Why does bread rise?"]);
    let finished = events.iter().find(|event| event["event"] == "tool_finished").expect("a search");
    let source = &finished["result"]["outcome"]["value"]["sources"][0];
    assert_eq!(
        (&source["document"], &source["title"]),
        (&bread.as_str().into(), &"Bread".into()),
        "{finished}"
    );
    assert_eq!(crate::support::of_kind(&events, "citations_checked").len(), 1, "{events:?}");
}
