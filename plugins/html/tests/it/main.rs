//! The loader of HTML through its public interface, as the host calls it.

use encoding_rs::{BIG5, EUC_KR, SHIFT_JIS};
use proptest::prelude::*;
use puna_plugin::{Document, Error, ErrorKind, Source};
use puna_plugin_html::open;
use serde_json::{Value, json};

fn load(bytes: &[u8], options: &Value) -> Result<Document, Error> {
    let mut documents = open("html", Source::of_bytes("saved/page.html", bytes), &options.to_string())?;
    let document = documents.next().expect("a document");
    assert!(documents.next().is_none());
    document
}

#[track_caller]
fn text(html: &str) -> String {
    load(html.as_bytes(), &json!({})).expect("a document").text
}

#[test]
fn pages_tell_what_they_are() {
    let page = "<!doctype html><html lang=ko><head><title> 라마 &amp; 알파카 </title><meta charset=utf-8>
        <meta name=Description content='털에 관한  글'><base href='https://example.com/docs/'></head>
        <body><nav><a href=/>처음</a></nav><main><h1>털</h1><p>See <a href=wool.html>wool</a>,
        <a href='https://example.org/'>more</a> and <a href=wool.html>wool</a>.</p></main>
        <footer><a href=/imprint>Imprint</a></footer></body>";
    let document = load(page.as_bytes(), &json!({})).expect("a document");
    assert_eq!(
        document.text,
        "# 털\n\nSee [wool](https://example.com/docs/wool.html), [more](https://example.org/) and \
         [wool](https://example.com/docs/wool.html)."
    );
    let links = ["https://example.com/docs/wool.html", "https://example.org/"];
    assert_eq!(
        json!(document.metadata),
        json!({"title": "라마 & 알파카", "description": "털에 관한 글", "language": "ko", "links": links, "encoding": "UTF-8"})
    );
    let bare = load(b"<p>text <a href=other.html>other</a>", &json!({})).expect("a document");
    assert_eq!(bare.text, "text other");
    assert_eq!(json!(bare.metadata), json!({"title": "page", "encoding": "UTF-8"}));
    let based = load(b"<p><a href=other.html>other</a>", &json!({"base": "https://a.org/x/"}));
    assert_eq!(based.expect("a document").text, "[other](https://a.org/x/other.html)");
}

#[test]
fn encodings() {
    let korean = "한국어 문장은 띄어쓰기로 단어를 나눈다.";
    let declared = |label: &str| format!("<meta charset='{label}'><p>{korean}");
    let older = format!("<meta http-equiv=Content-Type content='text/html; charset=EUC-KR'><p>{korean}");
    for (bytes, expect, encoding) in [
        (EUC_KR.encode(&declared("euc-kr")).0.to_vec(), korean, "EUC-KR"),
        (EUC_KR.encode(&older).0.to_vec(), korean, "EUC-KR"),
        (EUC_KR.encode(korean).0.to_vec(), korean, "EUC-KR"),
        (EUC_KR.encode(&declared("no-such")).0.to_vec(), korean, "EUC-KR"),
        ([b"\xef\xbb\xbf", declared("euc-kr").as_bytes()].concat(), korean, "UTF-8"),
        (declared("utf-16").into_bytes(), korean, "UTF-8"),
        (
            SHIFT_JIS.encode("<?xml version='1.0' encoding='Shift_JIS'?><html>日本").0.to_vec(),
            "日本",
            "Shift_JIS",
        ),
        (BIG5.encode("<meta charset=big5>這是一個句子").0.to_vec(), "這是一個句子", "Big5"),
        (korean.encode_utf16().flat_map(u16::to_le_bytes).collect(), korean, "UTF-16LE"),
    ] {
        let document = load(&bytes, &json!({})).expect("a document");
        assert_eq!((&*document.text, &document.metadata["encoding"]), (expect, &json!(encoding)));
    }
    let named = load(&EUC_KR.encode(&declared("latin1")).0, &json!({"encoding": "cp949"}));
    assert_eq!(named.expect("a document").text, korean);
    let broken = load(b"<meta charset=utf-8>a\xff", &json!({})).expect("a document");
    assert_eq!((&*broken.text, &broken.metadata["invalid characters"]), ("a\u{fffd}", &json!(true)));
}

#[test]
fn tables_are_those_of_markdown() {
    for (html, expect) in [
        (
            "<table><caption>Wool</caption><tr><th>a<th>b<tr><td>1 <br> 2<td><p>x|y</p><p>z</table>after",
            "Wool\n\n| a | b |\n| --- | --- |\n| 1 2 | x\\|y z |\n\nafter",
        ),
        ("<table><td>1<td><td>3</table>", "| 1 | | 3 |\n| --- | --- | --- |"),
        (
            "<table><tr><td rowspan=2>a<td>b<td>c<tr><td>d<td>e<tr><td>f<td>g<td>h</table>",
            "| a | b | c |\n| --- | --- | --- |\n| | d | e |\n| f | g | h |",
        ),
        (
            "<table><tr><th colspan=2>a<th>b<tr><td>c<td>d<td>e</table>",
            "| a | | b |\n| --- | --- | --- |\n| c | d | e |",
        ),
        (
            "<table><tr><td>a<td><ul><li>b<li><a href='http://x.org/y'>c</a></ul></table>",
            "| a | b [c](http://x.org/y) |\n| --- | --- |",
        ),
        ("<table><tr><td><p>one</p><p>two</p></td></tr><tr><td>three</table>", "one\n\ntwo\n\nthree"),
        (
            "<table><tr><td>menu<td><h1>Title</h1><table><tr><td>a<td>b</table></table>",
            "menu\n\n# Title\n\n| a | b |\n| --- | --- |",
        ),
        ("<table role=presentation><tr><td>a<td>b</table>", "a\n\nb"),
        ("<table><tr><td>a<td>b", "| a | b |\n| --- | --- |"),
    ] {
        assert_eq!(text(html), expect, "{html}");
    }
}

#[test]
fn the_main_part_is_told() {
    for (html, expect) in [
        ("<header>top</header><article><h2>A</h2>b</article><aside>more</aside>", "## A\n\nb"),
        ("<article>one</article><article>two</article>", "one\n\ntwo"),
        ("<article>one</article><main>two</main>", "two"),
        ("<article></article>outside", "outside"),
        ("<div role=navigation>menu</div>text", "text"),
        ("<main><pre>a      </main>", "```\na\n```"),
    ] {
        assert_eq!(text(html), expect, "{html}");
    }
}

#[test]
fn what_is_no_page_is_told() {
    for (bytes, options, kind, words) in [
        (&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], json!({}), ErrorKind::InvalidInput, "zero bytes"),
        (b"a", json!({"encoding": "klingon"}), ErrorKind::InvalidInput, "klingon"),
        (b"a", json!({"bas": "x"}), ErrorKind::InvalidInput, "bas"),
        (&[b'a'; (8 << 20) + 1], json!({}), ErrorKind::TooLarge, "split it"),
    ] {
        let error = load(bytes, &options).expect_err("a refusal");
        assert!(error.kind == kind && error.message.contains(words), "{error}");
    }
    let page = format!("<base href='http://{}.org'>{}", "a".repeat(200), "<a href=b>b</a>".repeat(500_000));
    let error = load(page.as_bytes(), &json!({})).expect_err("a refusal");
    assert_eq!(error.kind, ErrorKind::TooLarge);
}

#[test]
fn hostile_pages_end() {
    for html in [
        "<div>".repeat(200_000),
        "<table><tr><td>".repeat(50_000),
        "<table><tr><td>a<td>b</table>".repeat(30_000),
        format!("<table>{}", "<tr><td colspan=100 rowspan=100>".repeat(4_000)),
        "<a href=/x>".repeat(50_000),
        format!("<p {}>x", (0..50_000).map(|number| format!("a{number}=1 ")).collect::<String>()),
        "<!--".repeat(200_000),
        "<article>".repeat(50_000),
        "<ul><li>".repeat(50_000),
    ] {
        if let Err(error) = load(html.as_bytes(), &json!({})) {
            assert_eq!(error.kind, ErrorKind::TooLarge);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_document_or_an_error(bytes: Vec<u8>) {
        let _ = load(&bytes, &json!({}));
    }

    #[test]
    fn any_tags(parts in prop::collection::vec("</?(a href=http://x.y/z|p|ul|li|ol|table|tr|td( colspan=[1-9])?( rowspan=[1-9])?|th|pre|code|main|article|nav|h1|blockquote|title|svg|br|hr)>| |x|가|\\|", 0..60)) {
        let text = text(&parts.concat());
        prop_assert!(!text.contains("<p>"));
    }

    /// A table of words comes out with its cells where they were.
    #[test]
    fn tables_are_kept(rows in (2_usize..6).prop_flat_map(|columns| prop::collection::vec(prop::collection::vec("[a-z가-하|]{1,6}", columns), 1..6))) {
        let cells = |row: &Vec<String>| row.iter().map(|cell| format!("<td>{cell}")).collect::<String>();
        let html: String = rows.iter().map(|row| format!("<tr>{}", cells(row))).collect();
        let mut expect: Vec<String> =
            rows.iter().map(|row| format!("| {} |", row.join("\0").replace('|', "\\|").replace('\0', " | "))).collect();
        expect.insert(1, format!("|{}", " --- |".repeat(rows[0].len())));
        prop_assert_eq!(text(&format!("<meta charset=utf-8><table>{html}</table>")), expect.join("\n"));
    }
}
