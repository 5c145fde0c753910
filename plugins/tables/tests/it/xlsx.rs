use std::io::{Cursor, Write as _};

use proptest::prelude::*;
use puna_plugin::ErrorKind;
use serde_json::{Value, json};
use zip::{ZipWriter, write::SimpleFileOptions};

use crate::{lines, load};

const RELATIONS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";

fn package(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in parts {
        zip.start_file(*name, SimpleFileOptions::default()).expect("a part");
        zip.write_all(text.as_bytes()).expect("a part");
    }
    zip.finish().expect("a package").into_inner()
}

/// A workbook of one sheet.
fn workbook(sheet: &str, shared: &str, styles: &str, properties: &str) -> Vec<u8> {
    let related = |parts: &[(&str, &str)]| {
        let parts = parts.iter().map(|(kind, target)| {
            format!("<Relationship Id=\"{kind}\" Type=\"{RELATIONS}/{kind}\" Target=\"{target}\"/>")
        });
        format!("<Relationships>{}</Relationships>", parts.collect::<String>())
    };
    package(&[
        ("_rels/.rels", &related(&[("officeDocument", "xl/workbook.xml")])),
        (
            "xl/_rels/workbook.xml.rels",
            &related(&[
                ("worksheet", "worksheets/sheet1.xml"),
                ("sharedStrings", "/xl/sharedStrings.xml"),
                ("styles", "./styles.xml"),
            ]),
        ),
        (
            "xl/workbook.xml",
            &format!(
                "<workbook xmlns:r=\"{RELATIONS}\"><workbookPr {properties}/><sheets><sheet name=\"Herd\" sheetId=\"1\" r:id=\"worksheet\"/></sheets></workbook>"
            ),
        ),
        ("xl/worksheets/sheet1.xml", &format!("<worksheet>{sheet}</worksheet>")),
        ("xl/sharedStrings.xml", &format!("<sst>{shared}</sst>")),
        ("xl/styles.xml", &format!("<styleSheet>{styles}</styleSheet>")),
    ])
}

#[track_caller]
fn check(sheet: &str, options: &Value, expect: &[&str]) {
    let shared = "<si><t>name</t></si><si><r><t xml:space=\"preserve\">큰 </t></r><r><t>라마</t></r><rPh sb=\"0\" eb=\"1\"><t>no</t></rPh></si><si><t>a_x000D_b_x0_&#x41;&amp;</t></si>";
    let documents = load("xlsx", "a.xlsx", &workbook(sheet, shared, "", ""), options).expect("documents");
    let [document] = &documents[..] else { panic!("{documents:?}") };
    assert_eq!(lines(&document.text), expect, "{sheet}");
}

#[test]
fn cells_of_every_kind() {
    check(
        "<sheetData><row r=\"1\"><c r=\"A1\" t=\"s\"><v>0</v></c><c r=\"B1\" t=\"inlineStr\"><is><t>what</t></is></c></row>
        <row><c t=\"s\"><v>1</v></c><c><f>1+1</f><v>2</v></c></row>
        <row r=\"5\"><c r=\"B5\" t=\"b\"><v>1</v></c></row>
        <row r=\"6\"><c r=\"A6\" t=\"e\"><v>#DIV/0!</v></c><c r=\"B6\" t=\"str\"><v>text</v></c></row>
        <row r=\"7\"><c r=\"A7\" t=\"s\"><v>2</v></c><c r=\"B7\"><v>0.30000000000000004</v></c></row></sheetData>",
        &json!({}),
        &["| name | what |", "| 큰 라마 | 2 |", "| | TRUE |", "| #DIV/0! | text |", "| a b_x0_A& | 0.3 |"],
    );
}

#[test]
fn merged_and_far_cells() {
    check(
        "<sheetData><row r=\"2\"><c r=\"A2\"><v>1</v></c><c r=\"XFD2\"><v>2</v></c></row><row r=\"3\"><c r=\"A3\"/><c r=\"XFD3\"><v>3</v></c></row>
        <row r=\"4\"><c r=\"XFD4\"><v>4</v></c></row></sheetData><mergeCells><mergeCell ref=\"A2:A3\"/></mergeCells>",
        &json!({}),
        &["| A | XFD |", "| 1 | 2 |", "| 1 | 3 |", "| | 4 |"],
    );
}

#[test]
fn numbers_as_they_are_shown() {
    for (code, number, expect) in [
        ("General", "1234.5", "1234.5"),
        ("General", "1e300", "1E300"),
        ("0", "2.5", "3"),
        ("0.00", "1.005", "1.01"),
        ("#,##0.00", "-1234567.891", "-1,234,567.89"),
        ("#,##0", "999", "999"),
        ("#.##", "0", "0"),
        ("0.0#", "1.5", "1.5"),
        ("00000", "42", "00042"),
        ("0%", "0.125", "13%"),
        ("0.00E+00", "12345", "1.23E+04"),
        ("0,", "12345", "12"),
        ("#,##0 \"kg\"", "1234", "1,234 kg"),
        ("[$€-407] #,##0.00", "5", "€ 5.00"),
        ("[$₩-412]#,##0", "1234", "₩1,234"),
        ("#,##0;[Red](#,##0)", "-5", "(5)"),
        ("0;-0;\"none\"", "0", "none"),
        ("0;;", "-1", ""),
        ("# ?/?", "0.5", "0.5"),
        ("[>100]0;0.0", "5", "5"),
        ("@", "5", "5"),
        ("yyyy-mm-dd", "45351", "2024-02-29"),
        ("yyyy\"년\" m\"월\" d\"일\"", "45351", "2024년 2월 29일"),
        ("dddd, d mmmm yy", "45000", "Wednesday, 15 March 23"),
        ("d/m/yyyy h:mm", "45351.75", "29/2/2024 18:00"),
        ("h:mm AM/PM", "0.5", "12:00 PM"),
        ("hh:mm:ss.000", "0.000011574", "00:00:01.000"),
        ("[h]:mm:ss", "1.5", "36:00:00"),
        ("mm:ss", "0.0423611", "01:00"),
        ("yyyy-mm-dd", "60", "1900-02-29"),
        ("yyyy-mm-dd", "59", "1900-02-28"),
        ("yyyy-mm-dd", "-1", "-1"),
        ("yyyy-mm-dd", "1e9", "1000000000"),
    ] {
        let code =
            code.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;");
        let styles = format!(
            "<numFmts><numFmt numFmtId=\"200\" formatCode=\"{code}\"/></numFmts><cellXfs><xf numFmtId=\"0\"/><xf numFmtId=\"200\"/></cellXfs>"
        );
        let sheet = format!(
            "<sheetData><row><c t=\"str\"><v>x</v></c><c s=\"1\"><v>{number}</v></c></row></sheetData>"
        );
        let documents =
            load("xlsx", "a.xlsx", &workbook(&sheet, "", &styles, ""), &json!({})).expect("documents");
        let expect = if expect.is_empty() { "| x |".to_owned() } else { format!("| x | {expect} |") };
        assert_eq!(lines(&documents[0].text)[1], expect, "{code} of {number}");
    }
    let styles = "<cellXfs><xf numFmtId=\"14\"/></cellXfs>";
    let sheet = "<sheetData><row><c><v>0</v></c></row></sheetData>";
    let bytes = workbook(sheet, "", styles, "date1904=\"1\"");
    let documents = load("xlsx", "a.xlsx", &bytes, &json!({})).expect("documents");
    assert_eq!(lines(&documents[0].text)[1], "| 1904-01-01 |");
}

#[test]
fn documents_say_where_they_are_from() {
    let rows: String =
        (1..=150).map(|n| format!("<row r=\"{n}\"><c r=\"A{n}\"><v>{n}</v></c></row>")).collect();
    let bytes = workbook(&format!("<sheetData>{rows}</sheetData>"), "", "", "");
    let documents = load("xlsx", "books/herd.xlsx", &bytes, &json!({"sheets": ["Herd"]})).expect("documents");
    assert_eq!(&*documents[1].id, "Herd rows 101-150");
    assert_eq!(
        json!(documents[1].metadata),
        json!({"title": "herd", "first row": 101, "last row": 150, "sheet": "Herd"})
    );
    let error = load("xlsx", "a.xlsx", &bytes, &json!({"sheets": ["Flock"]})).expect_err("a refusal");
    assert_eq!((error.kind, error.path.as_deref()), (ErrorKind::InvalidInput, Some("/sheets/0")));
}

#[test]
fn hostile_workbooks_end_in_typed_errors() {
    let invalid = ErrorKind::InvalidInput;
    let sheet =
        |cells: &str| workbook(&format!("<sheetData>{cells}</sheetData>"), "<si><t>a</t></si>", "", "");
    let deep = format!("{}{}", "<a>".repeat(500), "</a>".repeat(500));
    let long = format!("<row><c t=\"str\"><v>{}</v></c></row>", "a".repeat(5 << 20));
    let wide: String = format!("<row>{}</row>", "<c><v>1</v></c>".repeat(20_000));
    let laugh = "<!DOCTYPE a [<!ENTITY b \"&c;&c;\"><!ENTITY c \"ha\">]><sheetData><row><c t=\"str\"><v>&b;</v></c></row></sheetData>";
    for (bytes, kind, words) in [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest".to_vec(), invalid, "encrypted"),
        (b"a,b".to_vec(), invalid, "does not begin as one"),
        (b"PK\x03\x04".to_vec(), invalid, "sound"),
        (package(&[("a", "b")]), invalid, "without a document"),
        (sheet("<row><c t=\"s\"><v>7</v></c></row>"), invalid, "not there"),
        (sheet("<row><c>"), invalid, "not well-formed"),
        (sheet("<row><c r=\"XFE1\"><v>1</v></c></row>"), ErrorKind::TooLarge, "16384 cells"),
        (sheet("<row><c r=\"ZZZZZZZZZZZZZZZZZZZZ1\"><v>1</v></c></row>"), ErrorKind::TooLarge, "16384 cells"),
        (sheet(&deep), ErrorKind::TooLarge, "nested deeper"),
        (sheet(&long), ErrorKind::TooLarge, "4194304 bytes"),
        (sheet(&wide), ErrorKind::TooLarge, "16384 cells"),
        (workbook(laugh, "", "", ""), invalid, "entity"),
        (
            workbook("", &format!("<si><t>{}</t></si>", "a".repeat(3 << 20)).repeat(30), "", ""),
            ErrorKind::TooLarge,
            "share more",
        ),
    ] {
        let error = load("xlsx", "a.xlsx", &bytes, &json!({})).expect_err(words);
        assert!(error.kind == kind && error.message.contains(words), "{words}: {error}");
    }
    let good = sheet("<row><c t=\"s\"><v>0</v></c></row>");
    for cut in 0..good.len() {
        let error = load("xlsx", "a.xlsx", &good[..cut], &json!({})).expect_err("a cut file");
        assert_eq!(error.kind, invalid, "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Damage anywhere gives documents or a typed error.
    #[test]
    fn damaged_workbooks(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = workbook("<sheetData><row><c t=\"s\"><v>0</v></c><c s=\"1\"><v>2</v></c></row></sheetData>", "<si><t>a</t></si>", "", "");
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = load("xlsx", "a.xlsx", &bytes, &json!({}));
    }

    /// Any code shows any number.
    #[test]
    fn any_format(code in "[0#?.,%E+yYmMdhs:AP/@a-c;\"\\[\\]$ -]{0,24}", number: f64) {
        let code = code.replace('"', "&quot;");
        let styles = format!("<numFmts><numFmt numFmtId=\"200\" formatCode=\"{code}\"/></numFmts><cellXfs><xf numFmtId=\"200\"/></cellXfs>");
        let sheet = format!("<sheetData><row><c><v>{number}</v></c></row></sheetData>");
        load("xlsx", "a.xlsx", &workbook(&sheet, "", &styles, ""), &json!({})).unwrap();
    }
}
