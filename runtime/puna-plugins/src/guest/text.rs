/// A text from a guest for people's eyes: at most `max` bytes, control characters but line ends and
/// tabs replaced, so that it cannot steer a terminal.
pub fn scrub(text: &str, max: usize) -> String {
    let cut = &text[..text.floor_char_boundary(max)];
    let mut clean: String = cut
        .chars()
        .map(|character| match character {
            '\n' | '\t' => character,
            // Beside control characters, what turns the direction of text around.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            _ if character.is_control() => '\u{fffd}',
            _ => character,
        })
        .collect();
    if cut.len() < text.len() {
        clean.push('…');
    }
    clean
}
