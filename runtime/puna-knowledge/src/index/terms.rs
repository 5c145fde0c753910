//! Texts to the terms that the keyword index knows.

use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

/// Longest term, in characters: what is longer is no word, and is cut.
const MAX_TERM_CHARS: usize = 64;

/// The terms of a text: words in lower case and compatibility form (NFKC) without an English plural's ending; of Chinese,
/// Japanese and Korean, which are not or not everywhere written in words, every two neighbouring characters.
pub(crate) fn terms(text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    let normal: String = text.nfkc().flat_map(char::to_lowercase).collect();
    let mut run: Vec<char> = Vec::new();
    for word in normal.split_word_bounds() {
        if word.chars().all(is_cjk) {
            run.extend(word.chars());
            continue;
        }
        pairs(&mut run, &mut terms);
        if !word.chars().any(char::is_alphanumeric) {
            continue;
        }
        // A word can hold both kinds where no border is between them, as in `Llama는`.
        let mut plain = String::new();
        for c in word.chars() {
            if is_cjk(c) {
                push(&mut plain, &mut terms);
                run.push(c);
            } else {
                pairs(&mut run, &mut terms);
                plain.push(c);
            }
        }
        push(&mut plain, &mut terms);
    }
    pairs(&mut run, &mut terms);
    terms
}

fn push(word: &mut String, terms: &mut Vec<String>) {
    if word.chars().any(char::is_alphanumeric) {
        let cut = word.char_indices().nth(MAX_TERM_CHARS).map_or(word.len(), |(at, _)| at);
        terms.push(singular(&word[..cut]).into_owned());
    }
    word.clear();
}

/// Every two neighbours of a run; the character of a run of one.
fn pairs(run: &mut Vec<char>, terms: &mut Vec<String>) {
    match run.as_slice() {
        [] => {}
        [one] => terms.push(one.to_string()),
        many => terms.extend(many.windows(2).map(|pair| pair.iter().collect::<String>())),
    }
    run.clear();
}

/// The S-stemmer of Harman, How effective is suffixing? (1991), which unites an English noun's numbers and hardly
/// anything else; words of other languages lose the same in texts and questions.
fn singular(word: &str) -> std::borrow::Cow<'_, str> {
    let is = |ending: &str, but: &[&str]| {
        word.len() > ending.len() + 1 && word.ends_with(ending) && !but.iter().any(|but| word.ends_with(but))
    };
    if is("ies", &["eies", "aies"]) {
        format!("{}y", &word[..word.len() - 3]).into()
    } else if is("es", &["aes", "ees", "oes"]) {
        word[..word.len() - 1].into()
    } else if is("s", &["us", "ss"]) {
        let word = &word[..word.len() - 1];
        word.strip_suffix(['\'', '’']).unwrap_or(word).into()
    } else {
        word.into()
    }
}

/// Whether a character is of a script that is searched by pairs.
fn is_cjk(c: char) -> bool {
    matches!(u32::from(c),
        0x1100..=0x11ff        // Hangul Jamo
        | 0x3005..=0x3007      // iteration mark, closing mark, zero
        | 0x3041..=0x30ff      // Hiragana, Katakana
        | 0x3100..=0x312f      // Bopomofo
        | 0x3131..=0x318e      // Hangul compatibility Jamo
        | 0x31f0..=0x31ff      // Katakana extensions
        | 0x3400..=0x4dbf      // Han, extension A
        | 0x4e00..=0x9fff      // Han
        | 0xac00..=0xd7af      // Hangul
        | 0xf900..=0xfaff      // Han, compatibility
        | 0x20000..=0x323af    // Han, extensions B to H
    )
}

#[cfg(test)]
mod tests {
    use super::terms;

    #[test]
    fn words_and_pairs() {
        for (text, wanted) in [
            ("The LLAMAS' wool, ladies!", "the llama wool lady"),
            ("ﬁne café CAFÉ", "fine café café"),
            ("3.14 e-mail a_b", "3.14 e mail a_b"),
            ("高原很冷", "高原 原很 很冷"),
            ("라마는 노래한다", "라마 마는 노래 래한 한다"),
            ("ラマは鳴く。山", "ラマ マは は鳴 鳴く 山"),
            ("Llama는 좋다 GPT-4", "llama 는 좋다 gpt 4"),
            ("glasses buses class", "glasse buse class"),
            ("👩‍👩‍👧 … --", ""),
        ] {
            assert_eq!(terms(text).join(" "), wanted, "{text}");
        }
    }
}
