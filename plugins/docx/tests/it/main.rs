//! The loader of documents of Word through its public interface, as the host calls it.

use std::io::{Cursor, Write as _};

use proptest::prelude::*;
use puna_plugin::{Document, Error, ErrorKind, Source};
use puna_plugin_docx::open;
use serde_json::json;
use zip::{ZipWriter, write::SimpleFileOptions};

const RELATIONS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";

const STYLES: &str = r#"<w:style w:type="paragraph" w:styleId="a1"><w:name w:val="heading 1"/></w:style>
    <w:style w:type="paragraph" w:styleId="a2"><w:name w:val="Own"/><w:basedOn w:val="a1"/></w:style>
    <w:style w:type="paragraph" w:styleId="a3"><w:name w:val="Sub"/><w:pPr><w:outlineLvl w:val="1"/></w:pPr></w:style>
    <w:style w:type="paragraph" w:styleId="point"><w:name w:val="List Bullet"/><w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr></w:style>
    <w:style w:type="paragraph" w:styleId="loop"><w:name w:val="Loop"/><w:basedOn w:val="loop"/></w:style>"#;

const NUMBERING: &str = r#"<w:abstractNum w:abstractNumId="7"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/></w:lvl></w:abstractNum>
    <w:abstractNum w:abstractNumId="8"><w:lvl w:ilvl="0"><w:start w:val="3"/><w:numFmt w:val="decimal"/></w:lvl><w:lvl w:ilvl="1"><w:numFmt w:val="bullet"/></w:lvl></w:abstractNum>
    <w:num w:numId="1"><w:abstractNumId w:val="7"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="8"/></w:num>"#;

fn package(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in parts {
        zip.start_file(*name, SimpleFileOptions::default()).expect("a part");
        zip.write_all(text.as_bytes()).expect("a part");
    }
    zip.finish().expect("a package").into_inner()
}

fn docx(body: &str) -> Vec<u8> {
    let related = |parts: &[(&str, &str, &str)]| {
        let parts = parts.iter().map(|(id, kind, target)| {
            let mode = if target.contains(':') { "External" } else { "Internal" };
            format!("<Relationship Id=\"{id}\" Type=\"{RELATIONS}/{kind}\" Target=\"{target}\" TargetMode=\"{mode}\"/>")
        });
        format!("<Relationships>{}</Relationships>", parts.collect::<String>())
    };
    package(&[
        (
            "_rels/.rels",
            &related(&[("a", "officeDocument", "word/document.xml"), ("b", "core-properties", "docProps/core.xml")]),
        ),
        (
            "word/_rels/document.xml.rels",
            &related(&[
                ("s", "styles", "styles.xml"),
                ("n", "numbering", "numbering.xml"),
                ("f", "footnotes", "footnotes.xml"),
                ("l", "hyperlink", "https://example.com/wool"),
            ]),
        ),
        ("docProps/core.xml", "<cp:coreProperties><dc:creator>Ana</dc:creator><dc:title></dc:title></cp:coreProperties>"),
        ("word/styles.xml", &format!("<w:styles>{STYLES}</w:styles>")),
        ("word/numbering.xml", &format!("<w:numbering>{NUMBERING}</w:numbering>")),
        (
            "word/footnotes.xml",
            "<w:footnotes><w:footnote w:type=\"separator\" w:id=\"-1\"><w:p><w:r><w:t>no</w:t></w:r></w:p></w:footnote>
            <w:footnote w:id=\"4\"><w:p><w:r><w:footnoteRef/></w:r><w:r><w:t xml:space=\"preserve\"> A note.</w:t></w:r></w:p></w:footnote></w:footnotes>",
        ),
        ("word/document.xml", &format!("<w:document><w:body>{body}</w:body></w:document>")),
    ])
}

fn load(bytes: &[u8]) -> Result<Document, Error> {
    open("docx", Source::of_bytes("letters/wool.docx", bytes), "{}")?.next().expect("a document")
}

fn paragraph(properties: &str, text: &str) -> String {
    format!("<w:p><w:pPr>{properties}</w:pPr><w:r><w:t xml:space=\"preserve\">{text}</w:t></w:r></w:p>")
}

fn item(list: usize, level: usize, text: &str) -> String {
    paragraph(&format!("<w:numPr><w:ilvl w:val=\"{level}\"/><w:numId w:val=\"{list}\"/></w:numPr>"), text)
}

fn cells(cells: &[&str]) -> String {
    let cells = cells.iter().map(|cell| format!("<w:tc>{}</w:tc>", paragraph("", cell)));
    format!("<w:tr>{}</w:tr>", cells.collect::<String>())
}

#[track_caller]
fn check(body: &str, expect: &str) {
    let document = load(&docx(body)).expect("a document");
    assert_eq!(document.text, expect, "{body}");
}

#[test]
fn paragraphs_and_headings() {
    let style = |name: &str| format!("<w:pStyle w:val=\"{name}\"/>");
    check(&(paragraph("", "one ") + &paragraph("", "큰 &amp; 라마") + "<w:p/>"), "one\n\n큰 & 라마");
    check(
        &(paragraph(&style("a1"), "First")
            + &paragraph(&style("a2"), "Own")
            + &paragraph(&style("a3"), "Sub")
            + &paragraph(&style("loop"), "text")),
        "# First\n\n# Own\n\n## Sub\n\ntext",
    );
    check(&paragraph("<w:outlineLvl w:val=\"2\"/>", "Third"), "### Third");
    check(&(paragraph(&style("a1"), "") + &paragraph("", "text")), "text");
    check(
        "<w:p><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:br w:type=\"page\"/><w:noBreakHyphen/><w:sym w:char=\"2713\"/></w:r></w:p>",
        "a b\nc-✓",
    );
}

#[test]
fn what_is_not_seen_is_not_given() {
    check(
        "<w:p><w:r><w:t>a</w:t></w:r><w:del><w:r><w:delText>b</w:delText><w:t>c</w:t></w:r></w:del><w:ins><w:r><w:t>d</w:t></w:r></w:ins></w:p>",
        "ad",
    );
    check(
        "<w:p><w:r><w:rPr><w:vanish/></w:rPr><w:t>a</w:t></w:r><w:r><w:rPr><w:vanish w:val=\"0\"/></w:rPr><w:t>b</w:t></w:r></w:p>",
        "b",
    );
    check(
        "<w:p><mc:AlternateContent><mc:Choice><w:r><w:t>a</w:t></w:r></mc:Choice><mc:Fallback><w:r><w:t>b</w:t></w:r></mc:Fallback></mc:AlternateContent></w:p>",
        "a",
    );
}

#[test]
fn lists() {
    check(
        &[paragraph("", "before"), item(1, 0, "a"), item(1, 1, "b"), item(1, 0, "c"), paragraph("", "after")]
            .concat(),
        "before\n\n- a\n  - b\n- c\n\nafter",
    );
    check(
        &[item(2, 0, "a"), item(2, 1, "b"), item(2, 0, "c"), paragraph("", "between"), item(2, 0, "d")]
            .concat(),
        "3. a\n  - b\n4. c\n\nbetween\n\n5. d",
    );
    check(&paragraph("<w:pStyle w:val=\"point\"/>", "a"), "- a");
    check(&item(0, 0, "a"), "a");
}

#[test]
fn tables() {
    let grid = |columns: usize| format!("<w:tblGrid>{}</w:tblGrid>", "<w:gridCol/>".repeat(columns));
    let table = |columns: usize, rows: &str| format!("<w:tbl>{}{rows}</w:tbl>", grid(columns));
    check(
        &(paragraph("", "before")
            + &table(2, &(cells(&["a", "b|c"]) + &cells(&["", "d"])))
            + &paragraph("", "after")),
        "before\n\n| a | b\\|c |\n| --- | --- |\n| | d |\n\nafter",
    );
    let wide = format!(
        "<w:tr><w:tc><w:tcPr><w:gridSpan w:val=\"2\"/></w:tcPr>{0}{0}</w:tc></w:tr>",
        paragraph("", "x")
    );
    check(&table(2, &(wide + &cells(&["a", "b"]))), "| x x | |\n| --- | --- |\n| a | b |");
    check(&table(1, &(cells(&["a"]) + &cells(&["b"]))), "a\n\nb");
    let inner = table(2, &cells(&["b", "c"]));
    check(
        &table(2, &format!("<w:tr><w:tc>{inner}</w:tc><w:tc>{}</w:tc></w:tr>", paragraph("", "d"))),
        "| b c | d |\n| --- | --- |",
    );
}

#[test]
fn links_and_notes() {
    check(
        "<w:p><w:r><w:t xml:space=\"preserve\">see </w:t></w:r><w:hyperlink r:id=\"l\"><w:r><w:t>wool</w:t></w:r></w:hyperlink><w:r><w:t>.</w:t></w:r><w:r><w:footnoteReference w:id=\"4\"/></w:r></w:p>",
        "see [wool](https://example.com/wool).[^1]\n\n[^1]: A note.",
    );
    check(
        "<w:p><w:r><w:fldChar w:fldCharType=\"begin\"/></w:r><w:r><w:instrText> HYPERLINK \"https://a.org/\" </w:instrText></w:r><w:r><w:fldChar w:fldCharType=\"separate\"/></w:r><w:r><w:t>a</w:t></w:r><w:r><w:fldChar w:fldCharType=\"end\"/></w:r><w:r><w:t>b</w:t></w:r></w:p>",
        "[a](https://a.org/)b",
    );
    check("<w:p><w:hyperlink w:anchor=\"x\"><w:r><w:t>here</w:t></w:r></w:hyperlink></w:p>", "here");
    check(
        "<w:p><w:r><w:drawing><wp:docPr id=\"1\" descr=\"A llama\"/></w:drawing></w:r></w:p>",
        "[image: A llama]",
    );
}

#[test]
fn metadata() {
    let document = load(&docx(&paragraph("<w:pStyle w:val=\"a1\"/>", "Wool"))).expect("a document");
    assert_eq!(json!(document.metadata), json!({"author": "Ana", "title": "Wool"}));
    let document = load(&docx("")).expect("a document");
    assert_eq!((&*document.text, json!(document.metadata)), ("", json!({"author": "Ana", "title": "wool"})));
}

#[test]
fn hostile_documents_end_in_typed_errors() {
    let deep = format!("{}{}", "<w:tbl>".repeat(300), "</w:tbl>".repeat(300));
    for (bytes, kind, words) in [
        (b"{\\rtf1}".to_vec(), ErrorKind::InvalidInput, "does not begin as one"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest".to_vec(), ErrorKind::InvalidInput, "encrypted"),
        (package(&[]), ErrorKind::InvalidInput, "without a document"),
        (docx("<w:p>"), ErrorKind::InvalidInput, "not well-formed"),
        (docx(&deep), ErrorKind::TooLarge, "nested deeper"),
        (docx(&paragraph("", &"a".repeat(5 << 20))), ErrorKind::TooLarge, "4194304 bytes"),
        (docx(&paragraph("", &"a".repeat(3 << 20)).repeat(6)), ErrorKind::TooLarge, "split it"),
    ] {
        let error = load(&bytes).expect_err(words);
        assert!(error.kind == kind && error.message.contains(words), "{words}: {error}");
    }
    let good = docx(&paragraph("", "text"));
    for cut in 0..good.len() {
        let error = load(&good[..cut]).expect_err("a cut file");
        assert_eq!(error.kind, ErrorKind::InvalidInput, "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Damage anywhere gives a document or a typed error.
    #[test]
    fn damaged_documents(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = docx(&[item(1, 0, "a"), paragraph("", "b")].concat());
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = load(&bytes);
    }

    /// Any elements, in any order, as long as they are XML.
    #[test]
    fn any_elements(names in prop::collection::vec(prop::sample::select(vec!["p", "tbl", "tblGrid", "tr", "tc", "r", "hyperlink", "fldSimple", "footnoteReference", "gridCol", "br"]), 0..12), text: String) {
        let text: String = text.chars().filter(|c| c.is_alphanumeric()).collect();
        let open: String = names.iter().map(|name| format!("<w:{name}>")).collect();
        let close: String = names.iter().rev().map(|name| format!("</w:{name}>")).collect();
        let document = load(&docx(&format!("{open}<w:t>{text}</w:t>{close}"))).unwrap();
        prop_assert!(document.text.contains(&text));
    }
}
