//! Files of Office Open XML, as Word and Excel write them: the parts of their package, and XML read as it comes.
//!
//! Invariant: memory is bounded by the constants here, whatever a file says of itself; nothing is unpacked whole.

mod package;
mod xml;

pub use package::{Package, Part, Relationship};
pub use xml::{Element, Node, Xml};
