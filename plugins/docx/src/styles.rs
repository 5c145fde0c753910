//! What the styles and lists of a document mean: which paragraphs are headings and which are items.

use std::collections::HashMap;

use puna_plugin::Error;
use puna_plugin_office::{Element, Node, Xml};

/// How many styles are gone through from one to that which it is based on.
const MAX_BASES: usize = 20;

/// Most styles, and most lists: those beyond mean nothing.
const MAX_STYLES: usize = 100_000;

/// What a paragraph is, as far as its own properties or its style say.
#[derive(Clone, Debug, Default)]
pub struct Properties {
    pub style: Option<String>,
    /// From 1.
    pub heading: Option<usize>,
    pub list: Option<String>,
    /// How deep an item is, from 0.
    pub level: Option<usize>,
}

impl Properties {
    /// Takes what an element within `pPr` says.
    pub fn take(&mut self, element: &Element) {
        let value = element.attribute("val");
        let number = value.as_deref().and_then(|value| value.parse::<usize>().ok());
        match element.name() {
            "pStyle" => self.style = value,
            "outlineLvl" => self.heading = number.filter(|level| *level < 9).map(|level| level + 1),
            "numId" => self.list = value,
            "ilvl" => self.level = number.map(|level| level.min(8)),
            _ => {}
        }
    }

    fn or(self, base: &Self) -> Self {
        Self {
            style: self.style,
            heading: self.heading.or(base.heading),
            list: self.list.or_else(|| base.list.clone()),
            level: self.level.or(base.level),
        }
    }
}

/// The styles of paragraphs.
#[derive(Default)]
pub struct Styles(HashMap<String, (Properties, Option<String>)>);

impl Styles {
    pub fn read(mut xml: Xml) -> Result<Self, Error> {
        let mut styles = Self::default();
        let mut open: Option<(String, Properties, Option<String>)> = None;
        loop {
            match (xml.node()?, &mut open) {
                (Node::Done, _) => return Ok(styles),
                (Node::Start(element), _) if element.name() == "style" => {
                    let id = element.attribute("styleId").unwrap_or_default();
                    open = Some((id, Properties::default(), None));
                }
                (Node::Start(element), Some((_, properties, base))) => match element.name() {
                    "name" => {
                        let name = element.attribute("val").unwrap_or_default().to_lowercase();
                        let level = match name.as_str() {
                            "title" => Some(1),
                            name => name.strip_prefix("heading ").and_then(|level| level.parse().ok()),
                        };
                        properties.heading = properties.heading.or(level);
                    }
                    "basedOn" => *base = element.attribute("val"),
                    _ => properties.take(&element),
                },
                (Node::End(name), _) if name == "style" => {
                    if let Some((id, properties, base)) = open.take()
                        && styles.0.len() < MAX_STYLES
                    {
                        styles.0.insert(id, (properties, base));
                    }
                }
                _ => {}
            }
        }
    }

    /// What a paragraph is by its properties, its style and those which that is based on.
    pub fn resolve(&self, properties: Properties) -> Properties {
        let mut next = properties.style.clone();
        let mut resolved = properties;
        for _ in 0..MAX_BASES {
            let Some((properties, base)) = next.and_then(|style| self.0.get(&style)) else { break };
            resolved = resolved.or(properties);
            next = base.clone();
        }
        resolved
    }
}

/// The lists of a document.
#[derive(Default)]
pub struct Lists {
    /// Of each kind of list, by level: where its numbers begin; none has points.
    kinds: HashMap<String, HashMap<usize, Option<u64>>>,
    of_kind: HashMap<String, String>,
}

impl Lists {
    pub fn read(mut xml: Xml) -> Result<Self, Error> {
        let mut lists = Self::default();
        let (mut kind, mut level, mut list) = (String::new(), 0, String::new());
        loop {
            let Node::Start(element) = (match xml.node()? {
                Node::Done => return Ok(lists),
                node => node,
            }) else {
                continue;
            };
            let value = element.attribute("val");
            let number = || value.as_deref().and_then(|value| value.parse().ok());
            if lists.kinds.len() + lists.of_kind.len() > MAX_STYLES {
                return Ok(lists);
            }
            match element.name() {
                "abstractNum" => kind = element.attribute("abstractNumId").unwrap_or_default(),
                "lvl" => {
                    let told = element.attribute("ilvl").and_then(|level| level.parse::<usize>().ok());
                    level = told.unwrap_or(0).min(8);
                    lists.kinds.entry(kind.clone()).or_default().insert(level, Some(1));
                }
                "start" => {
                    let levels = lists.kinds.entry(kind.clone()).or_default();
                    levels.insert(level, Some(number().unwrap_or(1)));
                }
                "numFmt" if matches!(value.as_deref(), Some("bullet" | "none")) => {
                    lists.kinds.entry(kind.clone()).or_default().insert(level, None);
                }
                "num" => list = element.attribute("numId").unwrap_or_default(),
                "abstractNumId" => drop(lists.of_kind.insert(list.clone(), value.unwrap_or_default())),
                // A list may set levels of its kind anew; which is not followed.
                "lvlOverride" => xml.skip()?,
                _ => {}
            }
        }
    }

    /// Where the numbers of a list begin at a level; none where it has points, or is none.
    pub fn first(&self, list: &str, level: usize) -> Option<u64> {
        *self.kinds.get(self.of_kind.get(list)?)?.get(&level)?
    }
}
