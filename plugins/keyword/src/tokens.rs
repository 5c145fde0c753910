use unicode_segmentation::UnicodeSegmentation as _;

/// Longest token: what is longer is no word, and a key has a limit.
const MAX_TOKEN_BYTES: usize = 64;

/// The tokens of a text, in order: words (Unicode's UAX 29) in lower case, and of Chinese, Japanese and Korean, where
/// nothing marks a word, each two letters that stand together.
pub fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut run = Run::default();
    for (at, word) in text.unicode_word_indices() {
        if word.chars().all(is_cjk) {
            if at != run.end {
                run.flush(&mut tokens);
            }
            run.letters.extend(word.chars());
            run.end = at + word.len();
        } else {
            run.flush(&mut tokens);
            let mut token = word.to_lowercase();
            token.truncate(token.floor_char_boundary(MAX_TOKEN_BYTES));
            tokens.push(token);
        }
    }
    run.flush(&mut tokens);
    tokens
}

/// Letters without words that stand together.
#[derive(Default)]
struct Run {
    letters: Vec<char>,
    end: usize,
}

impl Run {
    fn flush(&mut self, tokens: &mut Vec<String>) {
        match &self.letters[..] {
            [] => {}
            [letter] => tokens.push(letter.to_string()),
            letters => tokens.extend(letters.windows(2).map(|pair| pair.iter().collect::<String>())),
        }
        self.letters.clear();
    }
}

fn is_cjk(c: char) -> bool {
    // In turn: Hangul Jamo, marks, Hiragana and Katakana, Han with its extensions, Hangul.
    matches!(
        u32::from(c),
        0x1100..=0x11ff
            | 0x3005..=0x3007
            | 0x3040..=0x30ff
            | 0x3400..=0x4dbf
            | 0x4e00..=0x9fff
            | 0xac00..=0xd7a3
            | 0xf900..=0xfaff
            | 0x20000..=0x3ffff
    )
}
