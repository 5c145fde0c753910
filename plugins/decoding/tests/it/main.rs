//! Texts in many encodings, read in pieces of any length.

use std::io::Read as _;

use encoding_rs::Encoding;
use proptest::prelude::*;
use puna_plugin::{Error, ErrorKind, Source};
use puna_plugin_decoding::Decoded;

const KOREAN: &str = "한국어 문장은 띄어쓰기로 단어를 나눈다. 이 글은 사람이 쓴 보통 글이다.";
const JAPANESE: &str = "これは日本語の文章です。カタカナとひらがなと漢字が混ざっています。";
const CHINESE: &str = "这是一个用中文写的句子。我们用它来测试编码的识别。";
const RUSSIAN: &str = "Это обычный русский текст, по которому можно узнать кодировку.";
const FRENCH: &str = "Les élèves français étaient déjà là où le bâtiment s'élève.";

fn decode(bytes: &[u8], label: Option<&str>) -> Result<(String, &'static str, bool), Error> {
    let mut decoded = Decoded::new(Source::of_bytes("a.txt", bytes), label)?;
    let text = decoded.read_to_end(64 << 20)?;
    Ok((text, decoded.encoding(), decoded.replaced()))
}

fn encode(text: &str, label: &str) -> Vec<u8> {
    match label {
        "UTF-16LE" => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        "UTF-16BE" => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        _ => Encoding::for_label(label.as_bytes()).expect("a label").encode(text).0.into_owned(),
    }
}

#[test]
fn encodings_are_guessed_and_can_be_named() {
    for (label, text) in [
        ("UTF-8", KOREAN),
        ("UTF-8", "plain ASCII"),
        ("EUC-KR", KOREAN),
        ("Shift_JIS", JAPANESE),
        ("EUC-JP", JAPANESE),
        ("ISO-2022-JP", JAPANESE),
        ("GBK", CHINESE),
        ("Big5", "這是一個用中文寫的句子。我們用它來測試編碼的識別。"),
        ("windows-1251", RUSSIAN),
        ("KOI8-U", RUSSIAN),
        ("windows-1252", FRENCH),
        ("UTF-16LE", FRENCH),
        ("UTF-16BE", FRENCH),
        ("UTF-16LE", KOREAN),
        ("UTF-16BE", "日本語 と\n空白"),
    ] {
        let bytes = encode(text, label);
        let guessed = decode(&bytes, None).expect("a text");
        assert_eq!((guessed.0.as_str(), guessed.2), (text, false), "{label} guessed as {}", guessed.1);
        assert_eq!(decode(&bytes, Some(label)).expect("a text").0, text, "{label} named");
    }
    let gb18030 = encode("𠀀一㐀", "gb18030");
    assert_eq!(decode(&gb18030, Some("GB18030")).expect("a text").0, "𠀀一㐀");
    assert_eq!(decode(&encode(KOREAN, "EUC-KR"), Some("cp949")).expect("a text").0, KOREAN);
}

#[test]
fn marks_decide() {
    for (mark, label) in
        [(&b"\xef\xbb\xbf"[..], "UTF-8"), (b"\xff\xfe", "UTF-16LE"), (b"\xfe\xff", "UTF-16BE")]
    {
        let bytes = [mark, &encode(KOREAN, label)].concat();
        for named in [None, Some("windows-1252")] {
            assert_eq!(decode(&bytes, named).expect("a text"), (KOREAN.to_owned(), label, false));
        }
    }
}

#[test]
fn what_is_no_text_is_refused() {
    let check = |bytes: &[u8], label: Option<&str>, words: &str| {
        let error = decode(bytes, label).expect_err("a refusal");
        assert_eq!(error.kind, ErrorKind::InvalidInput);
        assert!(error.message.contains(words), "{error}");
    };
    check(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", None, "zero bytes");
    check(b"\xff\xfe\0\0a\0\0\0", None, "UTF-32");
    check(b"a", Some("klingon"), "`klingon`");
    let nothing = Source { uri: "a".to_owned(), media_type: None, content: None };
    assert_eq!(Decoded::new(nothing, None).err().expect("a refusal").kind, ErrorKind::InvalidInput);
}

#[test]
fn what_is_not_valid_is_replaced_and_told() {
    let (text, _, replaced) = decode(b"a\xffb", Some("utf-8")).expect("a text");
    assert_eq!((text.as_str(), replaced), ("a\u{fffd}b", true));
    assert_eq!(decode(b"", None).expect("a text"), (String::new(), "UTF-8", false));
}

#[test]
fn a_far_character_is_still_found() {
    let text = format!("{}{KOREAN}", "x".repeat(1 << 20));
    assert_eq!(decode(&encode(&text, "EUC-KR"), None).expect("a text").0, text);
}

#[test]
fn the_most_is_kept() {
    for text in ["가".repeat(40), "a".repeat(101)] {
        let read = |most| Decoded::new(Source::of_bytes("a", text.clone()), None)?.read_to_end(most);
        assert_eq!(read(text.len()).expect("a text"), text);
        for most in [text.len() - 1, 1, 0] {
            assert_eq!(read(most).expect_err("too large").kind, ErrorKind::TooLarge, "{most}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_read_as_text(bytes: Vec<u8>, label in prop::sample::select(vec!["utf-8", "euc-kr", "shift_jis", "gb18030", "utf-16le", "iso-2022-jp"])) {
        let _ = decode(&bytes, None);
        decode(&bytes, Some(label)).map(drop).or_else(|error| {
            if error.message.contains("UTF-32") { Ok(()) } else { Err(error) }
        }).unwrap();
    }

    #[test]
    fn pieces_make_the_whole(text: String, length in 1_usize..50) {
        let mut decoded = Decoded::new(Source::of_bytes("a", text.clone()), Some("utf-8")).unwrap();
        let (mut all, mut piece) = (Vec::new(), vec![0; length]);
        while let read @ 1.. = decoded.read(&mut piece).unwrap() {
            all.extend_from_slice(&piece[..read]);
        }
        prop_assert_eq!(String::from_utf8(all).unwrap(), text.strip_prefix('\u{feff}').unwrap_or(&text));
    }
}
