//! A plugin for files: lists, reads, searches and writes those in the folders that were granted to it.
//!
//! A path is `FOLDER/path/within`, where `FOLDER` is the name of a grant. Everything a tool gives is bounded, and says
//! where it was cut.

mod list;
mod pattern;
mod read;
mod search;
mod text;
mod walk;
mod write;

puna_plugin::tools! {
    "list_files": list::list_files => "List files and folders; without a path the folders there are.",
    "read_file": read::read_file => "Read a text file, whole or some of its lines.",
    "search_files": search::search_files => "Find the lines of text files that contain a text or match a regular expression.",
    "write_file": write::write_file => "Write a text file.",
}
