use crate::node::{MAX_TEXT_BYTES, quote};

/// The process's environment; a variable that is not Unicode counts as not set.
pub(crate) fn of_process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Something wrong with a `${NAME}`.
#[derive(Debug)]
pub(crate) struct Problem {
    /// The piece of text that is wrong.
    pub piece: String,
    /// What is wrong with it.
    pub message: String,
}

/// Puts the values of `${NAME}` into a text; `$${` is a plain `${`. What a variable holds is not looked at
/// again. The result is at most `room` bytes long.
///
/// The errors tell every variable that is wrong, and never what a variable holds.
pub(crate) fn expand(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
    room: usize,
) -> Result<String, Vec<Problem>> {
    let mut out = String::new();
    let mut problems = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let inner = &rest[at + 2..];
        let Some(end) = inner.find('}') else {
            let message = "`${` without its `}`; write `$${` for a plain `${`".to_owned();
            problems.push(Problem { piece: rest[at..].to_owned(), message });
            return Err(problems);
        };
        let (name, piece) = (&inner[..end], &rest[at..at + end + 3]);
        let value = if is_name(name) {
            environment(name).ok_or_else(|| format!("the environment variable {} is not set", quote(name)))
        } else {
            Err(format!("{} is not an environment variable's name; only `${{NAME}}` is read", quote(piece)))
        };
        match value {
            Ok(value) if out.len() + value.len() <= room => out.push_str(&value),
            Ok(_) => {
                let message = format!(
                    "with the environment's values the file holds more than {MAX_TEXT_BYTES} bytes of text"
                );
                problems.push(Problem { piece: piece.to_owned(), message });
                return Err(problems);
            }
            Err(message) => problems.push(Problem { piece: piece.to_owned(), message }),
        }
        rest = &inner[end + 1..];
    }
    out.push_str(rest);
    if problems.is_empty() { Ok(out) } else { Err(problems) }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
