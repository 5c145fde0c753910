use super::border::{BLOCK, Border, HEADING, LINE, WITHIN_BLOCK, with_sentences};

/// Headings by their depth, blocks, lines; what stands between fences is cut only where it must be.
pub(super) fn borders(text: &str) -> Vec<Border> {
    let mut borders = Vec::new();
    let mut fence: Option<(char, usize)> = None;
    let mut blank = true;
    let mut at = 0;
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start_matches(' ').len();
        let content = line.trim();
        let next = lines.peek().map_or("", |next| next.trim());
        let rank = match fence {
            Some(_) if blank => WITHIN_BLOCK,
            Some(_) => LINE,
            None => match heading(content, next).filter(|_| indent < 4) {
                Some(depth) => HEADING + depth - 1,
                None if blank || fence_of(content).is_some() => BLOCK,
                None if item(content) => WITHIN_BLOCK,
                None => LINE,
            },
        };
        if at > 0 {
            borders.push(Border { at, rank });
        }
        blank = content.is_empty();
        at += line.len();
        if indent < 4
            && let Some((mark, count)) = fence_of(content)
        {
            match fence {
                None => fence = Some((mark, count)),
                Some((open, least)) if open == mark && count >= least && content.len() == count => {
                    fence = None;
                    blank = true;
                }
                Some(_) => {}
            }
        }
    }
    with_sentences(text, borders)
}

/// A heading's depth, 1 to 6: `#` in front, or a line of `=` or `-` below.
fn heading(line: &str, next: &str) -> Option<u8> {
    let marks = line.bytes().take_while(|byte| *byte == b'#').count();
    if (1..=6).contains(&marks) && line[marks..].chars().next().is_none_or(char::is_whitespace) {
        return u8::try_from(marks).ok();
    }
    let underlined = |mark: u8| next.len() >= 3 && next.bytes().all(|byte| byte == mark);
    match line.is_empty() || item(line) {
        false if underlined(b'=') => Some(1),
        false if underlined(b'-') => Some(2),
        _ => None,
    }
}

/// The mark of a line that opens or closes code, and how often it stands there.
fn fence_of(line: &str) -> Option<(char, usize)> {
    let mark = line.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
    let count = line.chars().take_while(|c| *c == mark).count();
    (count >= 3).then_some((mark, count))
}

/// Whether a line begins a list's item or a table's row.
fn item(line: &str) -> bool {
    let numbered = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = numbered.len() < line.len() && (numbered.starts_with(". ") || numbered.starts_with(") "));
    numbered || line.starts_with('|') || ["- ", "* ", "+ "].iter().any(|mark| line.starts_with(mark))
}
