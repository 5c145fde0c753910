use std::io;

use serde_json::Value;

/// Most bytes of paths and values that are shown: some ten thousand tokens.
pub const MAX_RESULT_BYTES: usize = 48 << 10;

/// Most names of members in a summary.
const MAX_NAMES: usize = 20;

/// Longest name in a summary, in characters.
const MAX_NAME_CHARS: usize = 40;

/// The length of a value's JSON, if it is at most so much; takes no longer than to write that much.
pub fn length_of(value: &Value, most: usize) -> Option<usize> {
    let mut counter = Counter { length: 0, most };
    serde_json::to_writer(&mut counter, value).ok().map(|()| counter.length)
}

struct Counter {
    length: usize,
    most: usize,
}

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.length += bytes.len();
        if self.length > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a value is, in a few words.
pub fn summary(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(members) => {
            let name = |name: &String| format!("`{}`", name.chars().take(MAX_NAME_CHARS).collect::<String>());
            let names: Vec<String> = members.keys().take(MAX_NAMES).map(name).collect();
            let more = if members.len() > MAX_NAMES { ", …" } else { "" };
            format!("an object of {}: {}{more}", members.len(), names.join(", "))
        }
        Value::String(text) => format!("a string of {} bytes", text.len()),
        Value::Number(_) => "a number".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Null => "null".to_owned(),
    }
}
