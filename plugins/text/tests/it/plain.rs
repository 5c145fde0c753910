use encoding_rs::EUC_KR;
use proptest::prelude::*;
use serde_json::json;

use crate::load;

const KOREAN: &str = "한국어 문장은 띄어쓰기로 단어를 나눈다. 이 글은 사람이 쓴 보통 글이다.";

#[test]
fn a_text_is_one_document() {
    for (bytes, text, encoding) in [
        (&b"one\r\ntwo"[..], "one\r\ntwo", "UTF-8"),
        (b"", "", "UTF-8"),
        (&EUC_KR.encode(KOREAN).0, KOREAN, "EUC-KR"),
        (b"\xff\xfea\0b\0", "ab", "UTF-16LE"),
    ] {
        let documents = load("text", "folder/notes.txt", bytes, &json!({})).expect("documents");
        let [document] = &documents[..] else { panic!("{documents:?}") };
        assert_eq!((document.id.as_str(), document.text.as_str()), ("part 1", text));
        assert_eq!(json!(document.metadata), json!({"title": "notes", "encoding": encoding}));
    }
    let named = load("text", "a.txt", &EUC_KR.encode("가").0, &json!({"encoding": "cp949"}));
    assert_eq!(named.expect("a document")[0].text, "가");
    let broken = load("text", "a.txt", b"a\xff", &json!({"encoding": "utf-8"})).expect("a document");
    assert_eq!(broken[0].metadata["invalid characters"], true);
}

#[test]
fn wrong_options_and_files_are_told() {
    for (bytes, options, path, words) in [
        (&b"a"[..], json!({"encoding": "klingon"}), Some("/encoding"), "klingon"),
        (b"a", json!({"encodng": "utf-8"}), Some(""), "encodng"),
        (b"\x7fELF\x02\x01\x01\0\0\0\0\0\0", json!({}), None, "zero bytes"),
    ] {
        let error = load("text", "a.txt", bytes, &options).expect_err("a refusal");
        assert!(error.message.contains(words), "{error}");
        if let Some(path) = path.filter(|path| !path.is_empty()) {
            assert_eq!(error.path.as_deref(), Some(path));
        }
    }
}

/// Cut into parts, nothing is lost and offsets are those of the text.
#[test]
fn long_texts_come_in_parts() {
    for text in
        ["라마 llama\n".repeat(300_000), "가".repeat(1 << 20), "a".repeat(1 << 20), "a".repeat((1 << 20) + 1)]
    {
        let documents = load("text", "a.log", text.as_bytes(), &json!({})).expect("documents");
        assert_eq!(documents.len() > 1, text.len() > 1 << 20);
        let mut offset = 0;
        for (number, document) in documents.iter().enumerate() {
            assert_eq!(document.id, format!("part {}", number + 1));
            assert!(document.text.len() <= 1 << 20);
            if documents.len() > 1 {
                assert_eq!(document.metadata["offset"], offset);
            }
            if text.contains('\n') {
                assert!(document.text.ends_with('\n'));
            }
            offset += document.text.len();
        }
        assert_eq!(documents.iter().map(|document| document.text.as_str()).collect::<String>(), text);
    }
}

proptest! {
    #[test]
    fn any_bytes_end_in_documents_or_an_error(bytes: Vec<u8>) {
        for loader in ["text", "markdown", "json"] {
            let _ = load(loader, "a", &bytes, &json!({}));
        }
    }
}
