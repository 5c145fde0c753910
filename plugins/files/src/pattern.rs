/// Whether a name is like a pattern: `*` stands for any characters, `?` for one, everything else for itself whatever its
/// case. Takes time in proportion to the product of the lengths at most.
pub fn matches(pattern: &str, name: &str) -> bool {
    let fold = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<Vec<char>>();
    let (pattern, name) = (fold(pattern), fold(name));
    let (mut at, mut position) = (0, 0);
    // Where to go on when the last star takes one character more.
    let mut retry: Option<(usize, usize)> = None;
    while position < name.len() {
        match pattern.get(at) {
            Some('*') => {
                retry = Some((at + 1, position));
                at += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == name[position] => {
                at += 1;
                position += 1;
            }
            _ => match retry {
                Some((after_star, taken)) => {
                    retry = Some((after_star, taken + 1));
                    (at, position) = (after_star, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}
