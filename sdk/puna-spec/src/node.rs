use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::Diagnostic;

/// Deepest nesting: the form has four levels; bounds recursion.
const MAX_DEPTH: usize = 32;

/// Most values in a file, those of repeated aliases counted each time: stops files that explode.
const MAX_NODES: usize = 20_000;

/// A place in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub line: usize,
    pub column: usize,
    pub length: usize,
}

impl Place {
    fn of(span: Span) -> Self {
        let length = if span.start.line() == span.end.line() {
            span.end.col().saturating_sub(span.start.col())
        } else {
            1
        };
        Self { line: span.start.line().max(1), column: span.start.col() + 1, length: length.max(1) }
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

/// A YAML value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub place: Place,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// `plain` where it stands without quotes and so may be a number or a truth value.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// What the value is, for messages.
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            Kind::Scalar { text, plain: true } if is_null(text) => "nothing".to_owned(),
            Kind::Scalar { text, .. } if text.chars().count() > 40 => {
                format!("`{}…`", text.chars().take(40).collect::<String>().escape_debug())
            }
            Kind::Scalar { text, .. } => format!("`{}`", text.escape_debug()),
            Kind::Sequence(_) => "a list".to_owned(),
            Kind::Mapping(_) => "a mapping".to_owned(),
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if is_null(text))
    }

    fn count(&self) -> usize {
        1 + match &self.kind {
            Kind::Scalar { .. } => 0,
            Kind::Sequence(items) => items.iter().map(Node::count).sum(),
            Kind::Mapping(items) => items.iter().map(|(key, value)| key.count() + value.count()).sum(),
        }
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// The one document of a file as a tree; none for an empty file.
pub(crate) fn parse(text: &str) -> Result<Option<Node>, Box<Diagnostic>> {
    let mut builder = Builder::default();
    for item in Parser::new_from_str(text) {
        let (event, span) = item.map_err(|error| {
            let place =
                Place { line: error.marker().line().max(1), column: error.marker().col() + 1, length: 1 };
            place.says(format!("this is not YAML: {}", error.info()))
        })?;
        builder.take(event, Place::of(span))?;
    }
    Ok(builder.root)
}

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    /// The collections that are open, each with its anchor.
    open: Vec<(usize, Open)>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

struct Open {
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
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                self.add(anchor, Node { place, kind: Kind::Scalar { text: text.into_owned(), plain } })
            }
            Event::SequenceStart(anchor, _) => self.begin(anchor, place, false),
            Event::MappingStart(anchor, _) => self.begin(anchor, place, true),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(place.says("this alias has no anchor that is complete before it").into());
                };
                let mut node = node.clone();
                self.nodes += node.count();
                node.place = place;
                self.add(0, node)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, anchor: usize, place: Place, mapping: bool) -> Result<(), Box<Diagnostic>> {
        if self.open.len() >= MAX_DEPTH {
            return Err(place.says(format!("nested more than {MAX_DEPTH} levels deep")).into());
        }
        self.open.push((anchor, Open { place, items: Vec::new(), mapping }));
        Ok(())
    }

    fn end(&mut self) -> Result<(), Box<Diagnostic>> {
        // The parser balances its events.
        let Some((anchor, open)) = self.open.pop() else { return Ok(()) };
        let kind = if open.mapping {
            let mut items = open.items.into_iter();
            let mut pairs = Vec::new();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                pairs.push((key, value));
            }
            Kind::Mapping(pairs)
        } else {
            Kind::Sequence(open.items)
        };
        self.add(anchor, Node { place: open.place, kind })
    }

    fn add(&mut self, anchor: usize, node: Node) -> Result<(), Box<Diagnostic>> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(node
                .place
                .says(format!("more than {MAX_NODES} values; aliases count as often as they are used"))
                .into());
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            Some((_, open)) => open.items.push(node),
            None => self.root = Some(node),
        }
        Ok(())
    }
}
