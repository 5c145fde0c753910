use std::{collections::HashSet, fmt, num::NonZeroU32, path::PathBuf, str::FromStr};

use crate::{
    Diagnostic,
    environment::expand,
    node::{Kind, MAX_TEXT_BYTES, Node, Place, quote, truth_value},
};

/// How like a known word a misspelt one must be to be suggested (Jaro-Winkler similarity, 0 to 1).
const SUGGEST_FROM: f64 = 0.75;

/// Longest word a suggestion is looked for, in bytes: what is longer is no slip of the fingers.
const SUGGEST_BYTES: usize = 64;

/// Reads values from nodes, and remembers everything that is wrong with them.
pub(crate) struct Decoder<'a> {
    pub diagnostics: Vec<Diagnostic>,
    environment: &'a dyn Fn(&str) -> Option<String>,
    lines: &'a [&'a str],
    /// How many more bytes of text the file may hold, with the environment's values in it.
    room: usize,
}

/// A mapping whose keys are taken one by one; what is left is unknown.
pub(crate) struct Fields<'n> {
    place: Place,
    what: &'static str,
    pairs: Vec<(&'n Node, &'n str, &'n Node)>,
    known: Vec<&'static str>,
    missing: Vec<(&'static str, Option<&'static str>)>,
}

impl<'n> Fields<'n> {
    /// A key's value. A key without a value is a key that is not given.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<&'n Node> {
        self.remove(key).map(|(_, value)| value).filter(|node| !node.is_null())
    }

    fn remove(&mut self, key: &'static str) -> Option<(&'n Node, &'n Node)> {
        self.known.push(key);
        let at = self.pairs.iter().position(|(_, name, _)| *name == key)?;
        let (key, _, value) = self.pairs.remove(at);
        Some((key, value))
    }
}

impl<'a> Decoder<'a> {
    /// `lines` are the file's.
    pub(crate) fn new(environment: &'a dyn Fn(&str) -> Option<String>, lines: &'a [&'a str]) -> Self {
        Self { diagnostics: Vec::new(), environment, lines, room: MAX_TEXT_BYTES }
    }

    pub(crate) fn report(&mut self, place: Place, message: impl Into<String>) {
        self.diagnostics.push(place.says(message));
    }

    pub(crate) fn report_help(&mut self, place: Place, message: impl Into<String>, help: Option<String>) {
        self.diagnostics.push(Diagnostic { help, ..place.says(message) });
    }

    /// Reports that the value is not `what`. The message has the value as it stands in the file: what a variable
    /// holds may be a secret.
    pub(crate) fn expected<T>(&mut self, node: &Node, what: impl fmt::Display) -> Option<T> {
        self.report(node.place, format!("expected {what}, got {}", node.describe()));
        None
    }

    pub(crate) fn fields<'n>(&mut self, node: &'n Node, what: &'static str) -> Option<Fields<'n>> {
        let Kind::Mapping(pairs) = &node.kind else {
            return self.expected(node, format_args!("a mapping for {what}"));
        };
        let (place, known, missing) = (node.place, Vec::new(), Vec::new());
        let mut fields = Fields { place, what, pairs: Vec::new(), known, missing };
        let mut seen = HashSet::new();
        for (key, value) in pairs.iter() {
            let Kind::Scalar { text, .. } = &key.kind else {
                self.report(key.place, "a key must be a word");
                continue;
            };
            if !seen.insert(&**text) {
                self.report(key.place, format!("{} stands here a second time", quote(text)));
                continue;
            }
            fields.pairs.push((key, text, value));
        }
        Some(fields)
    }

    /// The value of a key that must be there. `example` is a line that would mend its absence.
    pub(crate) fn required<'n>(
        &mut self,
        fields: &mut Fields<'n>,
        key: &'static str,
        example: Option<&'static str>,
    ) -> Option<&'n Node> {
        match fields.remove(key) {
            Some((name, value)) if value.is_null() => {
                self.report_help(name.place, format!("`{key}` has no value"), example.map(write_line));
                None
            }
            Some((_, value)) => Some(value),
            None => {
                fields.missing.push((key, example));
                None
            }
        }
    }

    /// Reports the keys that are not known, and those that are missing and not just misspelt.
    pub(crate) fn finish(&mut self, fields: Fields<'_>) {
        let mut missing = fields.missing;
        for (key, name, _) in fields.pairs {
            let meant = closest(name, &fields.known);
            missing.retain(|(key, _)| Some(*key) != meant);
            let help = match meant {
                Some(meant) => did_you_mean(meant),
                None if name == "<<" => "merge keys are not read; repeat the keys".to_owned(),
                None => format!("known here: {}", fields.known.join(", ")),
            };
            let message = format!("unknown key {} in {}", quote(name), fields.what);
            self.report_help(key.place, message, Some(help));
        }
        for (key, example) in missing {
            let message = format!("`{key}` is missing in {}", fields.what);
            self.report_help(fields.place, message, example.map(write_line));
        }
    }

    /// A text, with the environment's values in it.
    pub(crate) fn text(&mut self, node: &Node) -> Option<String> {
        if !node.is_text() {
            let quotable = matches!(node.kind, Kind::Scalar { .. }) && !node.is_null();
            let help = quotable.then(|| "quotes make it text".to_owned());
            self.report_help(node.place, format!("expected text, got {}", node.describe()), help);
            return None;
        }
        self.expanded(node)
    }

    /// A scalar of any kind as text, with the environment's values in it.
    fn expanded(&mut self, node: &Node) -> Option<String> {
        let Kind::Scalar { text, .. } = &node.kind else { return None };
        match expand(text, self.environment, self.room) {
            Ok(text) => {
                self.room = self.room.saturating_sub(text.len());
                Some(text)
            }
            Err(problems) => {
                for problem in problems {
                    let place = self.locate(node.place, &problem.piece).unwrap_or(node.place);
                    self.report(place, problem.message);
                }
                None
            }
        }
    }

    /// Where a piece of a text first stands in the lines of the text; none where the file writes it otherwise.
    fn locate(&self, place: Place, piece: &str) -> Option<Place> {
        let piece = piece.lines().next()?;
        (place.line..=place.last_line).find_map(|line| {
            let source = self.lines.get(line - 1)?;
            let first = if line == place.line { place.column - 1 } else { 0 };
            let from = source.char_indices().nth(first).map_or(source.len(), |(at, _)| at);
            let mut matches = source[from..].match_indices(piece).map(|(at, _)| from + at);
            let at = matches.find(|at| !source[..*at].ends_with('$'))?;
            let column = source[..at].chars().count() + 1;
            Some(Place { length: piece.chars().count(), ..Place::at(line, column) })
        })
    }

    /// A value that a plain scalar spells.
    pub(crate) fn parsed<T: FromStr>(&mut self, node: &Node, what: &str) -> Option<T> {
        match &node.kind {
            Kind::Scalar { text, plain: true } => match text.parse() {
                Ok(value) => Some(value),
                Err(_) => self.expected(node, what),
            },
            _ => self.expected(node, what),
        }
    }

    pub(crate) fn boolean(&mut self, node: &Node) -> Option<bool> {
        match &node.kind {
            Kind::Scalar { text, plain: true } => {
                truth_value(text).or_else(|| self.expected(node, "true or false"))
            }
            _ => self.expected(node, "true or false"),
        }
    }

    pub(crate) fn float(&mut self, node: &Node, what: &str, allowed: impl Fn(f32) -> bool) -> Option<f32> {
        let value: f32 = self.parsed(node, what)?;
        if value.is_finite() && allowed(value) { Some(value) } else { self.expected(node, what) }
    }

    /// A size or a time.
    pub(crate) fn unit<T: FromStr<Err = String>>(&mut self, node: &Node) -> Option<T> {
        let text = match &node.kind {
            Kind::Scalar { .. } => self.expanded(node)?,
            _ => String::new(),
        };
        match text.parse() {
            Ok(value) => Some(value),
            Err(message) => {
                self.report(node.place, format!("{message}, got {}", node.describe()));
                None
            }
        }
    }

    pub(crate) fn count(&mut self, node: &Node) -> Option<NonZeroU32> {
        self.parsed(node, "a whole number from 1 to 4294967295")
    }

    /// One of a closed list of words. Nothing of the environment: it is not for it to grant anything.
    pub(crate) fn word<T: Copy>(&mut self, node: &Node, words: &[(&'static str, T)]) -> Option<T> {
        let text = match &node.kind {
            Kind::Scalar { text, .. } => text,
            _ => return self.expected(node, "a word"),
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| **word == **text) {
            return Some(*value);
        }
        let known: Vec<&'static str> = words.iter().map(|(word, _)| *word).collect();
        let help = closest(text, &known).map_or_else(|| format!("known: {}", known.join(", ")), did_you_mean);
        self.report_help(node.place, format!("{} is not known here", node.describe()), Some(help));
        None
    }

    pub(crate) fn list<T>(
        &mut self,
        node: &Node,
        mut item: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Kind::Sequence(items) = &node.kind else { return self.expected(node, "a list") };
        let decoded: Vec<Option<T>> = items.iter().map(|node| item(self, node)).collect();
        decoded.into_iter().collect()
    }

    pub(crate) fn path(&mut self, node: &Node) -> Option<PathBuf> {
        let text = self.text(node)?;
        if text.is_empty() || text.contains('\0') { self.expected(node, "a path") } else { Some(text.into()) }
    }

    /// An optional value: none where it is absent, and where it is wrong, which was reported.
    pub(crate) fn optional<T>(
        &mut self,
        node: Option<&Node>,
        decode: impl FnOnce(&mut Self, &Node) -> Option<T>,
    ) -> Option<T> {
        decode(self, node?)
    }
}

fn closest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    if word.len() > SUGGEST_BYTES {
        return None;
    }
    let likeness = |candidate: &str| strsim::jaro_winkler(word, candidate);
    let best = *known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= SUGGEST_FROM).then_some(best)
}

fn did_you_mean(word: &str) -> String {
    format!("did you mean `{word}`?")
}

fn write_line(example: &str) -> String {
    format!("write `{example}`")
}
