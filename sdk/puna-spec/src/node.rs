use std::{collections::HashMap, rc::Rc};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use crate::{Diagnostic, MAX_FILE_BYTES, diagnostic::lines};

/// Deepest nesting, that of aliased values included: the form has five levels; bounds recursion.
const MAX_DEPTH: usize = 32;

/// Most values in a file, those of repeated aliases counted each time: stops files that explode.
const MAX_NODES: usize = 20_000;

/// Most bytes of text in a file, that of repeated aliases counted each time: a few thousand aliases of one
/// long text would else fill the memory.
pub(crate) const MAX_TEXT_BYTES: usize = 4 * MAX_FILE_BYTES;

/// Longest piece of the file that a message quotes, in characters.
const QUOTED_CHARS: usize = 40;

/// A place in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub line: usize,
    pub column: usize,
    pub length: usize,
    /// The line of its last character.
    pub last_line: usize,
}

impl Place {
    /// A place of one character.
    pub(crate) fn at(line: usize, column: usize) -> Self {
        Self { line, column, length: 1, last_line: line }
    }

    fn of(span: Span, lines: &[&str]) -> Self {
        let line = span.start.line().max(1);
        if line > lines.len() {
            // The parser counts one line more at the end of a text that stops inside a line.
            return Self::end(lines);
        }
        // A block's span ends before the first character of the line after it.
        let last_line = if span.end.col() == 0 { span.end.line().saturating_sub(1) } else { span.end.line() };
        let length = if span.start.line() == span.end.line() {
            span.end.col().saturating_sub(span.start.col())
        } else {
            1
        };
        Self { line, column: span.start.col() + 1, length: length.max(1), last_line: last_line.max(line) }
    }

    /// The place after the last thing there is in these lines.
    fn end(lines: &[&str]) -> Self {
        let line = lines.iter().rposition(|line| !line.trim_end().is_empty()).unwrap_or_default();
        Self::at(line + 1, lines[line].trim_end().chars().count() + 1)
    }

    pub(crate) fn says(self, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            line: self.line,
            column: self.column,
            length: self.length,
            message: message.into(),
            help: None,
        }
    }
}

/// A YAML value with its place. Cheap to clone: aliases share what they stand for.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub place: Place,
    pub kind: Kind,
    weight: Weight,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// `plain` where it stands without quotes and so may be a number or a truth value.
    Scalar {
        text: Rc<str>,
        plain: bool,
    },
    Sequence(Rc<[Node]>),
    Mapping(Rc<[(Node, Node)]>),
}

/// What a value takes with everything in it.
#[derive(Clone, Copy, Debug)]
struct Weight {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

impl Node {
    fn scalar(place: Place, text: &str, plain: bool) -> Self {
        let weight = Weight { nodes: 1, bytes: text.len(), depth: 0 };
        Self { place, kind: Kind::Scalar { text: text.into(), plain }, weight }
    }

    fn collection(place: Place, items: Vec<Node>, mapping: bool) -> Self {
        let weight = items.iter().fold(Weight { nodes: 1, bytes: 0, depth: 1 }, |sum, item| Weight {
            nodes: sum.nodes + item.weight.nodes,
            bytes: sum.bytes + item.weight.bytes,
            depth: sum.depth.max(item.weight.depth + 1),
        });
        let kind = if mapping {
            let mut items = items.into_iter();
            let mut pairs = Vec::new();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                pairs.push((key, value));
            }
            Kind::Mapping(pairs.into())
        } else {
            Kind::Sequence(items.into())
        };
        Self { place, kind, weight }
    }

    /// What the value is, for messages.
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            Kind::Scalar { .. } if self.is_null() => "nothing".to_owned(),
            // What looks like a number or a truth value, and would not be told from one.
            Kind::Scalar { text, plain: false } if !is_plain_text(text) => {
                format!("the text {}", quote(text))
            }
            Kind::Scalar { text, .. } => quote(text),
            Kind::Sequence(_) => "a list".to_owned(),
            Kind::Mapping(_) => "a mapping".to_owned(),
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if is_null(text))
    }

    /// Whether the value is a scalar that YAML reads as text, and not as a number, a truth value or nothing.
    pub(crate) fn is_text(&self) -> bool {
        match &self.kind {
            Kind::Scalar { text, plain } => !plain || is_plain_text(text),
            _ => false,
        }
    }
}

/// A piece of the file as messages show it: in backticks, cut when it is long, without characters that steer
/// a terminal.
pub(crate) fn quote(text: &str) -> String {
    let start: String = text.chars().take(QUOTED_CHARS).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("`{}{more}`", start.escape_debug())
}

/// Whether a scalar without quotes is text.
fn is_plain_text(text: &str) -> bool {
    !(is_null(text) || truth_value(text).is_some() || is_number(text))
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// The truth value that a plain scalar is in YAML 1.2's core schema.
pub(crate) fn truth_value(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Whether a plain scalar is a number in YAML 1.2's core schema.
fn is_number(text: &str) -> bool {
    let radix = |prefix: &str, radix| {
        text.strip_prefix(prefix)
            .is_some_and(|digits| !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix)))
    };
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let finite =
        unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') && text.parse::<f64>().is_ok();
    finite
        || radix("0o", 8)
        || radix("0x", 16)
        || matches!(unsigned, ".inf" | ".Inf" | ".INF")
        || matches!(text, ".nan" | ".NaN" | ".NAN")
}

/// The one document of a file as a tree; none for an empty file.
pub(crate) fn parse(text: &str) -> Result<Option<Node>, Box<Diagnostic>> {
    let lines = lines(text);
    let mut builder = Builder::default();
    for item in Parser::new_from_str(text) {
        let (event, span) = item.map_err(|error| not_yaml(&error, &lines))?;
        builder.take(event, Place::of(span, &lines))?;
    }
    Ok(builder.root)
}

fn not_yaml(error: &ScanError, lines: &[&str]) -> Diagnostic {
    let (line, column) = (error.marker().line().max(1), error.marker().col() + 1);
    let place = match lines.get(line - 1) {
        Some(source) if !source.is_empty() => Place::at(line, column),
        // What is missing at the end is shown after the last thing there is.
        _ => Place::end(&lines[..line.min(lines.len())]),
    };
    let mut diagnostic = place.says(format!("this is not YAML: {}", error.info()));
    if error.info().starts_with("tabs disallowed") {
        diagnostic.help = Some("indent with spaces".to_owned());
    }
    diagnostic
}

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    /// The collections that are open, from the outermost in.
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    bytes: usize,
}

struct Open {
    anchor: usize,
    place: Place,
    items: Vec<Node>,
    mapping: bool,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, place: Place) -> Result<(), Box<Diagnostic>> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(place.says("a second document; an agent's file holds one").into())
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse(tag.as_deref(), place)?;
                let node = Node::scalar(place, &text, style == ScalarStyle::Plain);
                self.spend(place, node.weight)?;
                self.add(anchor, node);
                Ok(())
            }
            Event::SequenceStart(anchor, tag) => self.begin(anchor, tag.as_deref(), place, false),
            Event::MappingStart(anchor, tag) => self.begin(anchor, tag.as_deref(), place, true),
            Event::SequenceEnd | Event::MappingEnd => {
                self.end();
                Ok(())
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(place.says("this alias has no anchor that is complete before it").into());
                };
                let node = Node { place, ..node.clone() };
                self.spend(place, node.weight)?;
                self.add(0, node);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn begin(
        &mut self,
        anchor: usize,
        tag: Option<&Tag>,
        place: Place,
        mapping: bool,
    ) -> Result<(), Box<Diagnostic>> {
        refuse(tag, place)?;
        self.spend(place, Weight { nodes: 1, bytes: 0, depth: 1 })?;
        self.open.push(Open { anchor, place, items: Vec::new(), mapping });
        Ok(())
    }

    fn end(&mut self) {
        // The parser balances its events: there is one to close.
        if let Some(Open { anchor, place, items, mapping }) = self.open.pop() {
            self.add(anchor, Node::collection(place, items, mapping));
        }
    }

    /// Counts a value about to be added at the present depth.
    fn spend(&mut self, place: Place, weight: Weight) -> Result<(), Box<Diagnostic>> {
        self.nodes += weight.nodes;
        self.bytes += weight.bytes;
        let limit = if self.open.len() + weight.depth > MAX_DEPTH {
            format!("nested more than {MAX_DEPTH} levels deep")
        } else if self.nodes > MAX_NODES {
            format!("more than {MAX_NODES} values; aliases count as often as they are used")
        } else if self.bytes > MAX_TEXT_BYTES {
            format!("more than {MAX_TEXT_BYTES} bytes of text; aliases count as often as they are used")
        } else {
            return Ok(());
        };
        Err(place.says(limit).into())
    }

    fn add(&mut self, anchor: usize, node: Node) {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            Some(open) => open.items.push(node),
            None => self.root = Some(node),
        }
    }
}

/// A tag would change what a value is, or name a type of some program: nothing here reads one.
fn refuse(tag: Option<&Tag>, place: Place) -> Result<(), Box<Diagnostic>> {
    let Some(tag) = tag else { return Ok(()) };
    let shown = match tag.handle.as_str() {
        "tag:yaml.org,2002:" => format!("!!{}", tag.suffix),
        handle => format!("{handle}{}", tag.suffix),
    };
    let mut diagnostic = place.says(format!("tag {} is not read here", quote(&shown)));
    diagnostic.help = Some("leave the tag out; quotes make a value text".to_owned());
    Err(diagnostic.into())
}
