use std::io::{self, BufReader, Read};

use puna_plugin::{Error, ErrorKind};
use quick_xml::{
    Reader, XmlVersion,
    escape::resolve_predefined_entity,
    events::{BytesStart, Event},
};

use crate::Part;

/// Deepest nesting; what Office writes is a tenth as deep.
const MAX_DEPTH: usize = 256;

/// Longest element's start or piece of text: four times what a cell may hold.
const MAX_NODE_BYTES: u64 = 4 << 20;

/// Bytes of one read.
const BUFFER_BYTES: usize = 32 << 10;

/// XML as it comes: no tree.
pub struct Xml {
    reader: Reader<BufReader<Metered>>,
    name: String,
    buffer: Vec<u8>,
    depth: usize,
}

/// What comes next in XML.
#[derive(Debug)]
pub enum Node {
    /// An element begins.
    Start(Element),
    /// An element of this name, without its prefix, ends.
    End(String),
    /// Text between elements.
    Text(String),
    /// There is no more.
    Done,
}

/// The start of an element.
#[derive(Debug)]
pub struct Element(BytesStart<'static>);

impl Element {
    /// Its name without a prefix.
    pub fn name(&self) -> &str {
        self.0.local_name().into_inner()
    }

    /// The value of an attribute, by its name without a prefix.
    pub fn attribute(&self, name: &str) -> Option<String> {
        let mut attributes = self.0.attributes();
        let mut attributes = attributes.with_checks(false).flatten();
        let found = attributes.find(|attribute| attribute.key.local_name().into_inner() == name)?;
        let value = found.normalized_value(XmlVersion::Implicit1_0).ok()?;
        Some(value.into_owned())
    }
}

impl Xml {
    /// The XML of a part.
    pub fn new(part: Part) -> Self {
        let name = part.name.clone();
        let metered = Metered { inner: part, left: MAX_NODE_BYTES };
        let mut reader = Reader::from_reader(BufReader::with_capacity(BUFFER_BYTES, metered));
        reader.config_mut().expand_empty_elements = true;
        Self { reader, name, buffer: Vec::new(), depth: 0 }
    }

    /// What comes next.
    ///
    /// # Errors
    /// Invalid-input for what is no well-formed XML; too-large for what is too deep or too long; those of reading.
    pub fn node(&mut self) -> Result<Node, Error> {
        let Self { reader, name, buffer, depth } = self;
        loop {
            // A loop and not a match of one event: comments and declarations are passed over.
            buffer.clear();
            reader.get_mut().get_mut().left = MAX_NODE_BYTES;
            let event = reader.read_event_into(buffer).map_err(|error| failed(name, error))?;
            let node = match event {
                Event::Start(start) => {
                    *depth += 1;
                    if *depth > MAX_DEPTH {
                        let message = format!("`{name}` is nested deeper than {MAX_DEPTH}");
                        return Err(Error::new(ErrorKind::TooLarge, message));
                    }
                    Node::Start(Element(start.into_owned()))
                }
                Event::End(end) => {
                    *depth = depth.saturating_sub(1);
                    Node::End(end.local_name().into_inner().to_owned())
                }
                Event::Text(text) => Node::Text(text.xml_content(XmlVersion::Implicit1_0).into_owned()),
                Event::CData(text) => Node::Text(text.xml_content(XmlVersion::Implicit1_0).into_owned()),
                Event::GeneralRef(reference) => {
                    let character = reference.resolve_char_ref().map_err(|error| failed(name, error))?;
                    match (character, resolve_predefined_entity(&reference)) {
                        (Some(character), _) => Node::Text(character.to_string()),
                        (None, Some(text)) => Node::Text(text.to_owned()),
                        (None, None) => {
                            let message = format!("`{name}` uses the entity `{}`", &*reference);
                            return Err(Error::invalid_input(message));
                        }
                    }
                }
                Event::Eof if *depth > 0 => {
                    return Err(Error::invalid_input(format!("`{name}` ends before its XML does")));
                }
                Event::Eof => Node::Done,
                _ => continue,
            };
            return Ok(node);
        }
    }

    /// Passes over the element that began last.
    ///
    /// # Errors
    /// Those of [`node`](Self::node).
    pub fn skip(&mut self) -> Result<(), Error> {
        let outside = self.depth.saturating_sub(1);
        while self.depth > outside {
            self.node()?;
        }
        Ok(())
    }

    /// The text within the element that began last, its elements' as well.
    ///
    /// # Errors
    /// Those of [`node`](Self::node).
    pub fn text(&mut self) -> Result<String, Error> {
        let outside = self.depth.saturating_sub(1);
        let mut text = String::new();
        while self.depth > outside {
            if let Node::Text(piece) = self.node()? {
                text.push_str(&piece);
            }
            if text.len() as u64 > MAX_NODE_BYTES {
                let message = format!("an element of `{}` takes more than {MAX_NODE_BYTES} bytes", self.name);
                return Err(Error::new(ErrorKind::TooLarge, message));
            }
        }
        Ok(text)
    }
}

fn failed(name: &str, error: quick_xml::Error) -> Error {
    if let quick_xml::Error::Io(error) = &error
        && let Some(own) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>())
    {
        return own.clone();
    }
    Error::invalid_input(format!("`{name}` is not well-formed XML: {error}"))
}

/// Reads until a node has taken too much.
struct Metered {
    inner: Part,
    left: u64,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let message = format!(
                "`{}` holds an element or a text of more than {MAX_NODE_BYTES} bytes",
                self.inner.name
            );
            return Err(io::Error::other(Error::new(ErrorKind::TooLarge, message)));
        }
        let read = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}
