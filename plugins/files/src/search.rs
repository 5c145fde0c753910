use puna_plugin::{
    Error, ErrorKind,
    files::{self, Kind},
    progress,
};
use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    pattern::matches,
    text::{Lines, start_of},
    walk::{Walk, tidy},
};

/// Longest text or expression looked for.
const MAX_QUERY_BYTES: usize = 1_000;

/// Largest compiled expression: `(a{1000}){1000}` is a few bytes that mean a million states.
const MAX_EXPRESSION_BYTES: usize = 1 << 20;

/// Hits given where the caller does not say, and the most.
const DEFAULT_HITS: usize = 50;
const MAX_HITS: usize = 200;

/// Most bytes of files looked through in one call: half of what the host lends a call by default.
const MAX_SEARCHED_BYTES: u64 = 32 << 20;

/// Largest file that is looked through.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// Longest line that is looked through, and most bytes of it that are shown.
const MAX_LINE_BYTES: usize = 64 << 10;
const MAX_SHOWN_BYTES: usize = 300;

/// Bytes shown before a match that lies deep in a line.
const BEFORE_MATCH_BYTES: usize = 100;

/// Files between two reports.
const REPORT_FILES: u64 = 100;

#[derive(Deserialize, JsonSchema)]
pub struct SearchFiles {
    /// What to find.
    query: String,
    /// The folder or file to look in.
    path: Option<String>,
    /// Only files of such names, for example `*.md`.
    name: Option<String>,
    /// Whether `query` is a regular expression.
    regex: Option<bool>,
    /// Whether capitals matter.
    case_sensitive: Option<bool>,
    #[schemars(range(min = 1, max = 200))]
    max_hits: Option<usize>,
}

#[derive(Serialize, JsonSchema)]
pub struct Found {
    hits: Vec<Hit>,
    /// Whether there may be more: narrow the search.
    more: bool,
    files_searched: u64,
    /// Files that are no text or too large.
    files_skipped: u64,
}

#[derive(Serialize, JsonSchema)]
struct Hit {
    path: String,
    /// From 1.
    line: u64,
    text: String,
}

/// The lines that match.
///
/// # Errors
/// Invalid-input for an expression that cannot be read or is too large, and those of the host.
pub fn search_files(arguments: SearchFiles) -> Result<Found, Error> {
    let expression = compiled(&arguments)?;
    let path = tidy(arguments.path.as_deref().unwrap_or_default());
    let mut search = Search {
        expression,
        max_hits: arguments.max_hits.unwrap_or(DEFAULT_HITS).clamp(1, MAX_HITS),
        bytes: 0,
        found: Found { hits: Vec::new(), more: false, files_searched: 0, files_skipped: 0 },
    };
    let at_path = |error: Error| error.at("/path");
    if !path.is_empty() {
        let entry = files::stat(&path).map_err(at_path)?;
        if entry.kind == Kind::File {
            search.look(&path, entry.size)?;
            return Ok(search.found);
        }
    }
    let name = arguments.name.filter(|name| !name.trim().is_empty());
    let mut walk = Walk::new(&path, true).map_err(at_path)?;
    for found in &mut walk {
        let (path, entry) = found?;
        let wanted = name.as_ref().is_none_or(|name| matches(name.trim(), &entry.name));
        if entry.kind == Kind::File && wanted && !search.look(&path, entry.size)? {
            break;
        }
    }
    search.found.more |= walk.cut;
    Ok(search.found)
}

fn compiled(arguments: &SearchFiles) -> Result<Regex, Error> {
    let invalid = |message: String| Error::invalid_input(message).at("/query");
    let query = &arguments.query;
    if query.is_empty() || query.len() > MAX_QUERY_BYTES {
        return Err(invalid(format!("`query` takes 1 to {MAX_QUERY_BYTES} bytes; got {}", query.len())));
    }
    let pattern = if arguments.regex.unwrap_or(false) { query.clone() } else { regex::escape(query) };
    let built = RegexBuilder::new(&pattern)
        .case_insensitive(!arguments.case_sensitive.unwrap_or(false))
        .size_limit(MAX_EXPRESSION_BYTES)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            invalid(format!("the expression `{query}` is too large; repeat fewer times"))
        }
        // The last line says what; those before it draw where.
        error => {
            let told = error.to_string();
            let why = told.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            invalid(format!("`{query}` is no regular expression: {why}"))
        }
    })
}

struct Search {
    expression: Regex,
    max_hits: usize,
    bytes: u64,
    found: Found,
}

impl Search {
    /// Looks through a file; whether to go on.
    fn look(&mut self, path: &str, size: u64) -> Result<bool, Error> {
        if size > MAX_FILE_BYTES {
            self.found.files_skipped += 1;
            return Ok(true);
        }
        if self.bytes + size > MAX_SEARCHED_BYTES {
            self.found.more = true;
            return Ok(false);
        }
        self.bytes += size;
        let before = self.found.hits.len();
        match self.look_through(path) {
            Ok(()) => self.found.files_searched += 1,
            // One file that cannot be read does not hide the others.
            Err(error)
                if error.code.as_deref() == Some("no_text")
                    || matches!(error.kind, ErrorKind::NotFound | ErrorKind::InvalidInput) =>
            {
                self.found.hits.truncate(before);
                self.found.files_skipped += 1;
            }
            Err(error) => return Err(error),
        }
        if self.found.files_searched.is_multiple_of(REPORT_FILES) {
            progress::report(None, format!("{} files searched", self.found.files_searched));
        }
        Ok(!self.found.more)
    }

    fn look_through(&mut self, path: &str) -> Result<(), Error> {
        let mut lines = Lines::open(path, MAX_LINE_BYTES)?;
        let (mut number, mut bytes) = (0, 0);
        while let Some(line) = lines.next()? {
            number += 1;
            bytes += line.text.len() as u64 + line.left_out;
            // It may grow while it is read.
            if bytes > MAX_FILE_BYTES {
                self.found.more = true;
                return Ok(());
            }
            let Some(matched) = self.expression.find(&line.text) else { continue };
            if self.found.hits.len() == self.max_hits {
                self.found.more = true;
                return Ok(());
            }
            let text = shown(&line.text, matched.start());
            self.found.hits.push(Hit { path: path.to_owned(), line: number, text });
        }
        Ok(())
    }
}

/// The line around a match.
fn shown(line: &str, at: usize) -> String {
    let indent = line.len() - line.trim_start().len();
    let start = if at - indent.min(at) > MAX_SHOWN_BYTES - BEFORE_MATCH_BYTES {
        line.floor_char_boundary(at - BEFORE_MATCH_BYTES)
    } else {
        indent.min(at)
    };
    let rest = line[start..].trim_end();
    let text = start_of(rest, MAX_SHOWN_BYTES);
    let (before, after) =
        (if start > indent { "…" } else { "" }, if text.len() < rest.len() { "…" } else { "" });
    format!("{before}{text}{after}")
}
