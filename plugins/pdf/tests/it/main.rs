//! The loader of PDF files through its public interface, as the host calls it.

use std::fmt::Write as _;

use proptest::prelude::*;
use puna_plugin::{Document, Error, ErrorKind, Source};
use puna_plugin_pdf::open;
use serde_json::{Value, json};

fn file(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/collections/documents");
    std::fs::read(folder.join(name)).expect("a file of the repository")
}

fn load(bytes: &[u8], options: &Value) -> Result<Vec<Document>, Error> {
    open("pdf", Source::of_bytes("herd/book.pdf", bytes), &options.to_string())?.collect()
}

/// A file of one page with a content stream in Helvetica.
fn page(content: &str) -> Vec<u8> {
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
    ];
    let mut file = "%PDF-1.4\n".to_owned();
    let mut places = Vec::new();
    for (number, object) in objects.iter().enumerate() {
        places.push(file.len());
        let _ = write!(file, "{} 0 obj\n{object}\nendobj\n", number + 1);
    }
    let start = file.len();
    let _ = write!(file, "xref\n0 {}\n0000000000 65535 f \n", places.len() + 1);
    for place in &places {
        let _ = writeln!(file, "{place:010} 00000 n ");
    }
    let _ =
        write!(file, "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n", places.len() + 1);
    file.into_bytes()
}

/// Lines of text at places on the page.
fn text(lines: &[(i32, i32, &str)]) -> Vec<u8> {
    let lines = lines.iter().map(|(x, y, line)| format!("1 0 0 1 {x} {y} Tm ({line}) Tj\n"));
    page(&format!("BT /F 12 Tf\n{}ET", lines.collect::<String>()))
}

#[track_caller]
fn check(bytes: &[u8], expect: &str) {
    let documents = load(bytes, &json!({})).expect("documents");
    assert_eq!(documents.iter().map(|document| &*document.text).collect::<Vec<_>>(), [expect]);
}

#[test]
fn lines_and_words() {
    check(&text(&[(50, 700, "Llamas hum."), (50, 686, "They carry wool.")]), "Llamas hum.\nThey carry wool.");
    check(&text(&[(50, 686, "second"), (50, 700, "first")]), "first\nsecond");
    check(
        &text(&[(50, 700, "one"), (50, 686, "two"), (50, 672, "three"), (50, 630, "four")]),
        "one\ntwo\nthree\n\nfour",
    );
    check(&text(&[(50, 700, "llama"), (200, 700, "3 kg")]), "llama 3 kg");
    check(&page("BT /F 12 Tf 50 700 Td [(wo) 20 (ol) -400 (fi) 0 (ne)] TJ ET"), "wool fine");
    check(&page("BT /F 12 Tf 0 1 -1 0 300 300 Tm (turned) Tj ET"), "turned");
}

#[test]
fn columns_are_read_one_after_the_other() {
    let words = "wool is carried over the hills";
    let mut lines = vec![(50, 760, "a title that stands over both of the columns and spans them all")];
    let left: Vec<String> = (0..6).map(|n| format!("left {n} {words}")).collect();
    let right: Vec<String> = (0..6).map(|n| format!("right {n} {words}")).collect();
    for n in 0..6 {
        lines.push((50, 700 - 14 * n, &*left[n as usize]));
        lines.push((320, 700 - 14 * n, &*right[n as usize]));
    }
    let documents = load(&text(&lines), &json!({})).expect("documents");
    let expect = [
        &["a title that stands over both of the columns and spans them all".to_owned()],
        &left[..],
        &right[..],
    ];
    assert_eq!(
        documents[0].text.split('\n').filter(|line| !line.is_empty()).collect::<Vec<_>>(),
        expect.concat()
    );
    // Short cells are a table, which is read by lines.
    let cells: Vec<_> =
        (0..5).flat_map(|n| [(50, 700 - 14 * n, "llama"), (320, 700 - 14 * n, "3 kg")]).collect();
    check(&text(&cells), &["llama 3 kg"; 5].join("\n"));
}

#[test]
fn files_of_the_repository() {
    let documents = load(&file("columns.pdf"), &json!({})).expect("documents");
    let first = &documents[0];
    assert!(
        first
            .text
            .starts_with("On the herds of the high plains, and what they carry\n\n1. Llamas carry wool")
    );
    let places: Vec<usize> = (1..8)
        .map(|n| first.text.find(&format!("\n{n}. ")).unwrap_or_else(|| panic!("{n}: {}", first.text)))
        .collect();
    assert!(places.is_sorted());
    let metadata = json!({"title": "On herds", "author": "Ana", "page": 1, "pages": documents.len()});
    assert_eq!(json!(first.metadata), metadata);
    let documents = load(&file("plain.pdf"), &json!({})).expect("documents");
    assert!(documents[0].text.starts_with("Wool of the year\n"), "{}", documents[0].text);
    assert!(documents[0].text.contains("llama 3.5 kg 12\nalpaca 2.2 kg 48"), "{}", documents[0].text);
    assert_eq!((&*documents[1].id, &*documents[1].text), ("page 2", "This page is turned by a quarter."));
}

#[test]
fn encrypted_files_ask_for_their_password() {
    for (options, kind) in
        [(json!({}), ErrorKind::AuthRequired), (json!({"password": "x"}), ErrorKind::AuthRequired)]
    {
        let error = load(&file("encrypted.pdf"), &options).expect_err("a refusal");
        assert_eq!((error.kind, error.path.as_deref()), (kind, Some("/password")));
    }
    let documents = load(&file("encrypted.pdf"), &json!({"password": "hush"})).expect("documents");
    assert!(documents[0].text.contains("Llamas carry wool"));
}

#[test]
fn what_has_no_text_is_told() {
    for (bytes, words) in [
        (b"PK\x03\x04".to_vec(), "does not begin as one"),
        (b"%PDF-1.7\n".to_vec(), "no sound PDF"),
        (page("0 0 100 100 re f"), "has no text"),
        (page("q q q q BT /F 12 Tf (never ends"), "has no text"),
    ] {
        let error = load(&bytes, &json!({})).expect_err(words);
        assert!(error.kind == ErrorKind::InvalidInput && error.message.contains(words), "{error}");
    }
    let many = "(xxxxxxxxxx) Tj\n".repeat(60_000);
    let error = load(&page(&format!("BT /F 12 Tf 50 700 Td {many} ET")), &json!({})).expect_err("a refusal");
    assert_eq!(error.kind, ErrorKind::TooLarge);
}

#[test]
fn hostile_files_end() {
    for content in [
        "q ".repeat(100_000),
        "[".repeat(100_000),
        "<<".repeat(100_000),
        "BT ".repeat(50_000),
        "1e308 0 0 1e308 0 0 cm BT /F 1e308 Tf (x) Tj ET".to_owned(),
        "BT /F 12 Tf 1e300 1e300 Td (far) Tj -1e300 0 Td (away) Tj ET".to_owned(),
    ] {
        let _ = load(&page(&content), &json!({}));
    }
    let good = file("plain.pdf");
    for cut in (0..good.len()).step_by(37) {
        let _ = load(&good[..cut], &json!({}));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Damage anywhere gives documents or a typed error.
    #[test]
    fn damaged_files(name in prop::sample::select(vec!["plain.pdf", "asian.pdf", "columns.pdf"]), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut bytes = file(name);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = load(&bytes, &json!({}));
    }

    /// Wherever pieces stand, none is lost.
    #[test]
    fn no_piece_is_lost(places in prop::collection::vec((10_i32..500, 10_i32..780), 1..40)) {
        let names: Vec<String> = (0..places.len()).map(|n| format!("w{n}x")).collect();
        let lines: Vec<(i32, i32, &str)> = places.iter().zip(&names).map(|((x, y), name)| (*x, *y, &**name)).collect();
        let documents = load(&text(&lines), &json!({})).unwrap();
        for name in &names {
            prop_assert!(documents[0].text.contains(name), "{name}: {}", documents[0].text);
        }
    }
}
