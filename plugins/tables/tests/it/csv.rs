use encoding_rs::EUC_KR;
use proptest::prelude::*;
use puna_plugin::ErrorKind;
use serde_json::{Value, json};

use crate::{lines, load};

#[track_caller]
fn check(text: &str, options: Value, expect: &[&str]) {
    let documents = load("csv", "a.csv", text.as_bytes(), &options).expect("documents");
    let [document] = &documents[..] else { panic!("{documents:?}") };
    assert_eq!(lines(&document.text), expect, "{text}");
}

#[test]
fn dialects_are_told() {
    let table = ["| name | kg |", "| Ana | 4.5 |", "| 라마, 큰 | 120 |"];
    for text in [
        "name,kg\nAna,4.5\n\"라마, 큰\",120\n",
        "name;kg\r\nAna;4.5\r\n라마, 큰;120\r\n",
        "name\tkg\nAna\t4.5\n라마, 큰\t120",
        "name|kg\nAna|4.5\n라마, 큰|120",
        "name,kg\nAna,4.5\n'라마, 큰',120\n'',\n",
        "sep=;\nname;kg\nAna;4.5\n라마, 큰;120",
        "\u{feff}name,kg\n\n Ana , 4.5\n\n\"라마, 큰\",120",
    ] {
        check(text, json!({}), &table);
    }
    let quoted = "\"가가\";\"가,가\"\n\"가가\";\"0,a\"\n\"0가\";\"a,가\"\n";
    check(
        quoted,
        json!({"header": false}),
        &["| A | B |", "| 가가 | 가,가 |", "| 가가 | 0,a |", "| 0가 | a,가 |"],
    );
    check("a,b\n1,2", json!({"delimiter": ";"}), &["| a,b |", "| 1,2 |"]);
}

#[test]
fn headers_are_told() {
    check("1,2\n3,4\n", json!({}), &["| A | B |", "| 1 | 2 |", "| 3 | 4 |"]);
    check("a,a\n3,4\n", json!({}), &["| A | B |", "| a | a |", "| 3 | 4 |"]);
    check("a,\n3,4\n", json!({}), &["| A | B |", "| a | |", "| 3 | 4 |"]);
    check("a,b", json!({}), &["| A | B |", "| a | b |"]);
    check("2024-01-02T10,b\nc,d", json!({}), &["| A | B |", "| 2024-01-02T10 | b |", "| c | d |"]);
    check("1,2\n3,4\n", json!({"header": true}), &["| 1 | 2 |", "| 3 | 4 |"]);
    check("a,b\n3,4\n", json!({"header": false}), &["| A | B |", "| a | b |", "| 3 | 4 |"]);
    check("a,b\n1\n2,3,4\n", json!({"header": true}), &["| a | b | |", "| 1 | | |", "| 2 | 3 | 4 |"]);
    check("a,b\n\"x|y\r\nz\",2\n", json!({}), &["| a | b |", "| x\\|y z | 2 |"]);
}

#[test]
fn rows_come_in_documents_that_say_which() {
    let text: String =
        "name,n\n".to_owned() + &(0..250).map(|n| format!("llama {n},{n}\n")).collect::<String>();
    let documents = load("csv", "herd/llamas.csv", text.as_bytes(), &json!({})).expect("documents");
    let ids: Vec<&str> = documents.iter().map(|document| &*document.id).collect();
    assert_eq!(ids, ["rows 2-101", "rows 102-201", "rows 202-251"]);
    assert_eq!(
        json!(documents[1].metadata),
        json!({"title": "llamas", "first row": 102, "last row": 201, "columns": ["name", "n"], "encoding": "UTF-8", "delimiter": ","})
    );
    assert_eq!(lines(&documents[2].text)[..2], ["| name | n |", "| llama 200 | 200 |"]);
    let few = load("csv", "a.csv", text.as_bytes(), &json!({"rows": 7})).expect("documents");
    assert_eq!((few.len(), &*few[35].id), (36, "rows 247-251"));
    let long = format!("a,b\n{}", format!("{},1\n", "가".repeat(4_000)).repeat(10));
    assert_eq!(load("csv", "a.csv", long.as_bytes(), &json!({})).expect("documents").len(), 5);
    for text in ["", "\n\n", ",,\n,,\n"] {
        assert_eq!(load("csv", "a.csv", text.as_bytes(), &json!({})).expect("none"), []);
    }
}

#[test]
fn encodings() {
    let text = "이름,무게\n라마라고 하는 짐승,120\n";
    let documents = load("csv", "a.csv", &EUC_KR.encode(text).0, &json!({})).expect("documents");
    assert_eq!(lines(&documents[0].text), ["| 이름 | 무게 |", "| 라마라고 하는 짐승 | 120 |"]);
    assert_eq!(documents[0].metadata["encoding"], "EUC-KR");
    let wide: Vec<u8> = "a\tb\n1\t2\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let documents = load("csv", "a.tsv", &wide, &json!({})).expect("documents");
    assert_eq!(lines(&documents[0].text), ["| a | b |", "| 1 | 2 |"]);
}

#[test]
fn wrong_options_and_files_are_told() {
    for (bytes, options, kind, words) in [
        (&b"PK\x03\x04\0\0\0\0"[..], json!({}), ErrorKind::InvalidInput, "zero bytes"),
        (b"a,b", json!({"delimiter": "가"}), ErrorKind::InvalidInput, "/delimiter"),
        (b"a,b", json!({"quote": "\n"}), ErrorKind::InvalidInput, "/quote"),
        (b"a,b", json!({"encoding": "klingon"}), ErrorKind::InvalidInput, "klingon"),
    ] {
        let error = load("csv", "a.csv", bytes, &options).expect_err("a refusal");
        let told = format!("{} {}", error.message, error.path.unwrap_or_default());
        assert!(error.kind == kind && told.contains(words), "{told}");
    }
    for text in [format!("a,b\n\"{}", "x,\n".repeat(500_000)), "a,".repeat(20_000), "x".repeat((1 << 20) + 1)]
    {
        let error = load("csv", "a.csv", text.as_bytes(), &json!({})).expect_err("too large");
        assert!(error.kind == ErrorKind::TooLarge && error.message.contains("row "), "{error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_end_in_documents_or_an_error(bytes: Vec<u8>) {
        let _ = load("csv", "a.csv", &bytes, &json!({}));
    }

    /// What is written comes back, whatever stands between the cells.
    #[test]
    fn cells_come_back(
        rows in (2_usize..6).prop_flat_map(|width| prop::collection::vec(prop::collection::vec("[a-z0-9가-하][a-z,; '가-하]{0,6}[a-z가-하]", width), 3..30)),
        delimiter in prop::sample::select(vec![',', ';', '\t', '|']),
    ) {
        let line = |row: &Vec<String>| {
            let cells: Vec<String> = row.iter().map(|cell| format!("\"{cell}\"")).collect();
            cells.join(&delimiter.to_string()) + "\n"
        };
        let text: String = rows.iter().map(line).collect();
        let documents = load("csv", "a.csv", text.as_bytes(), &json!({"encoding": "utf-8", "header": false})).unwrap();
        let expect: Vec<String> = rows.iter().map(|row| format!("| {} |", row.join(" | "))).collect();
        prop_assert_eq!(&lines(&documents[0].text)[1..], &expect);
    }
}
