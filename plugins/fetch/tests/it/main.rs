//! Pages through the public interface, as the host calls it.

use proptest::prelude::*;
use puna_plugin::{
    ErrorKind,
    http::{self, Response},
};
use puna_plugin_fetch::call;
use serde_json::{Value, json};

const URL: &str = "https://example.com/docs/page.html";

/// The answer of a server.
fn answer(status: u16, media_type: &str, body: impl Into<Vec<u8>>) -> Response {
    let mut response = Response::new(status, body);
    response.headers.push(("content-type".to_owned(), media_type.to_owned()));
    response
}

/// What the tool gives where a server answers so.
fn fetch(response: Response, mut arguments: Value) -> Result<Value, puna_plugin::Error> {
    let fields = arguments.as_object_mut().unwrap();
    fields.entry("url").or_insert(URL.into());
    http::answered_by(move |_| Ok(response.clone()), || call("fetch_page", &arguments.to_string()))
        .map(|text| serde_json::from_str(&text).unwrap())
}

/// The Markdown of some HTML.
fn markdown(html: &str) -> String {
    let page = fetch(answer(200, "text/html; charset=utf-8", html), json!({})).unwrap();
    page["text"].as_str().unwrap().to_owned()
}

#[test]
fn html_becomes_markdown() {
    for (html, expect) in [
        ("", ""),
        ("plain", "plain"),
        ("<p>one\n  two</p><p>three", "one two\n\nthree"),
        ("<h1>Title</h1>text<h3>Third</h3>", "# Title\n\ntext\n\n### Third"),
        ("<h2></h2><p>after", "after"),
        ("a<br>b<hr>c", "a\nb\n\n---\n\nc"),
        ("<b>bold</b> and <i>italic</i>, <u>x</u>.", "bold and italic, x."),
        ("x &amp; y &lt;z&gt; &eacute;&nbsp;!", "x & y <z> é\u{a0}!"),
        ("<ul><li>a<li>b<ul><li>c</ul></ul>d", "- a\n- b\n  - c\n\nd"),
        ("<ol start=9><li><p>a</p></li><li>b</li></ol>", "9. a\n10. b"),
        ("<ul><li></li></ul><p>x", "x"),
        ("<blockquote><p>a</p><p>b</p></blockquote>c", "> a\n\n> b\n\nc"),
        ("<pre>  a\n    <b>b</b>\n</pre>c", "```\n  a\n    b\n```\n\nc"),
        ("run <code>a  b</code> now", "run `a b` now"),
        ("<a href='/x?y=1'>there</a>", "[there](https://example.com/x?y=1)"),
        ("see <a href='other.html'>a <b>b</b></a>.", "see [a b](https://example.com/docs/other.html)."),
        ("<a href='//b.org'>b</a> <a href='#top'>top</a>", "[b](https://b.org) top"),
        ("<a href='javascript:alert(1)'>x</a><a href='mailto:a@b.c'>y</a>", "xy"),
        (
            "<a href='/x'><img src=a.png alt='A llama'></a><img src=b>",
            "[[image: A llama]](https://example.com/x)",
        ),
        ("<a href='/x'></a>y", "y"),
        ("<a href='/open'>never closed", "[never closed](https://example.com/open)"),
        (
            "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2 3</td></tr></table>",
            "| a | b |\n| --- | --- |\n| 1 | 2 3 |",
        ),
        ("a<script>if (1 < 2) { x('</p>') }</script><style>p{}</style>b", "ab"),
        ("a<!-- no <b>comment</b> -->b", "ab"),
        ("<nav><a href=/>home</a></nav>text", "text"),
        ("<nav>never ends <p>text", "never ends\n\ntext"),
        ("<div hidden>x</div><p style='Display: none'>y</p><span aria-hidden=true>z</span>seen", "seen"),
        ("<input hidden>seen", "seen"),
        ("<p>around<main><p>the point</p></main><footer>around", "the point"),
        ("<main></main>outside", "outside"),
        ("<svg><title>no</title><text>no</text></svg>yes", "yes"),
        ("日本<b>語</b>", "日本語"),
    ] {
        assert_eq!(markdown(html), expect, "{html}");
    }
}

#[test]
fn titles() {
    let titled = |html: &str| fetch(answer(200, "text/html", html), json!({})).unwrap()["title"].clone();
    assert_eq!(titled("<title> A &amp;\n B </title><title>second</title>text"), "A & B");
    assert_eq!(titled("<title></title>"), Value::Null);
    assert_eq!(titled(&format!("<title>{}", "x".repeat(9_999))).as_str().unwrap().len(), 300);
}

#[test]
fn other_kinds() {
    let text = |media_type: &str, body: &[u8]| {
        fetch(answer(200, media_type, body), json!({})).map(|page| page["text"].as_str().unwrap().to_owned())
    };
    for (media_type, body, expect) in [
        ("application/json", &b"{\"b\":1,\"a\":[true]}"[..], "{\n  \"b\": 1,\n  \"a\": [\n    true\n  ]\n}"),
        ("application/problem+json; charset=utf-8", b"[]", "[]"),
        ("application/json", b"{broken", "{broken"),
        ("text/plain", b"<p>as it is", "<p>as it is"),
        ("text/markdown", b"# Title", "# Title"),
        ("application/atom+xml", b"<feed/>", "<feed/>"),
        ("", b"words", "words"),
        ("", b" <!DOCTYPE html><p>page", "page"),
        ("text/plain; charset=iso-8859-1", b"caf\xe9", "café"),
        ("text/html", b"<meta charset=\"Shift_JIS\"><p>\x93\xfa\x96\x7b", "日本"),
        ("text/html; charset=utf-8", b"<meta charset=latin1>\xc3\xa9", "é"),
        ("text/plain", b"\xef\xbb\xbfmarked", "marked"),
        ("text/plain", b"bad \xff", "bad \u{fffd}"),
    ] {
        assert_eq!(text(media_type, body).unwrap(), expect, "{media_type}");
    }
    for (media_type, body) in
        [("image/png", &b"\x89PNG"[..]), ("", b"\x00\x01"), ("", b""), ("application/pdf", b"%PDF")]
    {
        let error = text(media_type, body).unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_deref()),
            (ErrorKind::InvalidInput, Some("no_text")),
            "{media_type}"
        );
        assert!(error.message.contains(URL), "{}", error.message);
    }
}

#[test]
fn long_pages_are_cut_and_go_on() {
    let page = |arguments: Value| fetch(answer(200, "text/plain", "é".repeat(25_000)), arguments);
    let first = page(json!({})).unwrap();
    assert_eq!(first["text"].as_str().unwrap().chars().count(), 20_000);
    assert_eq!((&first["truncated"], &first["next_char"]), (&json!(true), &json!(20_000)));
    let second = page(json!({"from_char": 20_000})).unwrap();
    assert_eq!(second["text"].as_str().unwrap().chars().count(), 5_000);
    assert_eq!((&second["truncated"], second.get("next_char")), (&json!(false), None));
    assert_eq!(page(json!({"max_chars": 10})).unwrap()["text"], "é".repeat(10));
    let error = page(json!({"from_char": 25_000})).unwrap_err();
    assert_eq!((error.kind, error.path.as_deref()), (ErrorKind::InvalidInput, Some("/from_char")));

    // Beyond the most that is read, the page says so to the end.
    let huge =
        fetch(answer(200, "text/plain", "x".repeat(5 << 20)), json!({"from_char": (4 << 20) - 1})).unwrap();
    assert_eq!((&huge["text"], &huge["truncated"]), (&json!("x"), &json!(true)));
}

#[test]
fn statuses_and_addresses() {
    for (status, kind) in [
        (404, ErrorKind::NotFound),
        (401, ErrorKind::AuthRequired),
        (403, ErrorKind::AuthRequired),
        (429, ErrorKind::RateLimited),
        (500, ErrorKind::Unavailable),
        (400, ErrorKind::InvalidInput),
    ] {
        let error = fetch(answer(status, "text/html", "<p>words"), json!({})).unwrap_err();
        assert_eq!(error.kind, kind, "{status}");
        assert!(error.message.contains(&status.to_string()), "{}", error.message);
    }
    for url in ["", "ftp://example.com", "file:///etc/passwd", "https://a b", "https://a\nb"] {
        let error = fetch(answer(200, "text/plain", "x"), json!({ "url": url })).unwrap_err();
        assert_eq!((error.kind, error.path.as_deref()), (ErrorKind::InvalidInput, Some("/url")), "{url}");
    }
    // A redirect shows in the address, and a link is relative to where the page is from.
    let mut moved = answer(200, "text/html", "<a href=b>b</a>");
    moved.url = "https://example.org/new/".to_owned();
    let page = fetch(moved, json!({"url": " example.com "})).unwrap();
    assert_eq!(
        (&page["url"], &page["text"]),
        (&json!("https://example.org/new/"), &json!("[b](https://example.org/new/b)"))
    );
    let error = call("fetch_page", &json!({ "url": URL }).to_string()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
}

#[test]
fn deep_and_wide_pages_take_no_more_than_their_length() {
    for html in [
        "<div>".repeat(200_000),
        "<ul><li>".repeat(100_000) + "x",
        "<blockquote>".repeat(100_000) + "x",
        "<table><tr><td>".repeat(50_000) + "x",
        "</p>".repeat(200_000),
        "<a href=/x>".repeat(100_000),
        format!("<p {}>x", (0..50_000).map(|number| format!("a{number}=1 ")).collect::<String>()),
        "&".repeat(500_000),
        "<code>".repeat(100_000),
    ] {
        let page = fetch(answer(200, "text/html", html), json!({})).unwrap();
        assert!(page["text"].as_str().unwrap().chars().count() <= 20_000);
    }
}

proptest! {
    /// Any page gives text or a typed error.
    #[test]
    fn any_page(body in prop::collection::vec(any::<u8>(), 0..3_000), media_type in r"text/(html|json|plain|xml)|application/(json|xml|xhtml\+xml)") {
        let page = fetch(answer(200, &media_type, body), json!({}));
        prop_assert!(page.is_ok(), "{page:?}");
    }

    /// Any tags, well nested or not.
    #[test]
    fn any_tags(parts in prop::collection::vec("</?(a href=/x|p|ul|li|ol|table|tr|td|th|pre|code|main|nav|h1|blockquote|title|svg|b)>| |x|y", 0..200)) {
        let text = markdown(&parts.concat());
        prop_assert!(!text.contains("<p>"));
    }

    /// The words of paragraphs come out whole and in order.
    #[test]
    fn words_are_kept(paragraphs in prop::collection::vec(prop::collection::vec("[a-zé]{1,8}", 1..6), 1..8)) {
        let html: String = paragraphs.iter().map(|words| format!("<p> {}\n</p>", words.join(" \n"))).collect();
        let expect: Vec<String> = paragraphs.iter().map(|words| words.join(" ")).collect();
        prop_assert_eq!(markdown(&html), expect.join("\n\n"));
    }
}
