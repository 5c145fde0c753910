//! A loader of PDF files: the text of each page, in the order in which it is read.
//!
//! The file is held in memory; a page is interpreted as for a screen ([hayro](https://github.com/LaurenzV/hayro)), and what
//! its characters are and where they stand is taken from there. Pictures are not looked into.

mod collect;
mod layout;

use std::collections::VecDeque;

use hayro_interpret::{
    Context, InterpreterCache, InterpreterSettings,
    hayro_syntax::{DecryptionError, LoadPdfError, Pdf},
    interpret_page,
    kurbo::{Affine, Rect},
};
use puna_plugin::{Document, Documents, Error, ErrorKind, Source};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::collect::Collector;

/// Longest file: a quarter of the memory that a loader has, for what is unpacked beside it.
const MAX_BYTES: u64 = 64 << 20;

/// Most pages: more are no document.
const MAX_PAGES: usize = 100_000;

/// Pages that are read at a time, so that a font of several is read once.
const BATCH: usize = 8;

/// Where the mark of a file stands at the latest.
const MARK_BYTES: usize = 1 << 10;

/// Longest title or name of an author.
const MAX_NAME_CHARS: usize = 300;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The password of an encrypted file
    password: Option<String>,
}

fn pdf(source: Source, options: Options) -> Result<Documents, Error> {
    let (uri, stem) = (source.uri.clone(), source.stem().to_owned());
    let bytes = source.read_all(MAX_BYTES)?;
    let head = &bytes[..bytes.len().min(MARK_BYTES)];
    if !head.windows(5).any(|window| window == b"%PDF-") {
        return Err(Error::invalid_input(format!("`{uri}` is no PDF: it does not begin as one")));
    }
    let password = options.password.as_deref().unwrap_or_default();
    let pdf = Pdf::new_with_password(bytes, password).map_err(|error| match error {
        LoadPdfError::Decryption(DecryptionError::PasswordProtected) => {
            let message = format!("`{uri}` is encrypted; give its password as `password`");
            Error::new(ErrorKind::AuthRequired, message).at("/password")
        }
        LoadPdfError::Decryption(error) => {
            Error::invalid_input(format!("`{uri}` is encrypted in a way that is not read: {error:?}"))
        }
        LoadPdfError::Invalid => {
            Error::invalid_input(format!("`{uri}` is no sound PDF: its pages are not found"))
        }
    })?;
    if pdf.pages().len() > MAX_PAGES {
        let message = format!("`{uri}` has more than {MAX_PAGES} pages");
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    let told = |bytes: &Option<Box<[u8]>>| bytes.as_deref().map(text_string).filter(|text| !text.is_empty());
    let metadata = pdf.metadata();
    let title = told(&metadata.title).unwrap_or(stem);
    let author = told(&metadata.author);
    Ok(Box::new(Pages {
        pdf,
        uri,
        title,
        author,
        next: 0,
        ready: VecDeque::new(),
        given: false,
        failed: false,
    }))
}

/// The documents of a file: its pages that have text.
struct Pages {
    pdf: Pdf,
    uri: String,
    title: String,
    author: Option<String>,
    next: usize,
    ready: VecDeque<Result<Document, Error>>,
    given: bool,
    failed: bool,
}

impl Pages {
    /// Reads the next pages.
    fn fill(&mut self) {
        let pages = self.pdf.pages();
        let cache = InterpreterCache::new();
        let settings = InterpreterSettings::default();
        for _ in 0..BATCH {
            let Some(page) = pages.get(self.next) else { return };
            self.next += 1;
            let place = Affine::new(page.initial_transform(true).as_coeffs());
            let (width, height) = page.render_dimensions();
            let bounds = Rect::new(0.0, 0.0, f64::from(width), f64::from(height));
            let mut context = Context::new(place, bounds, &cache, self.pdf.xref(), settings.clone());
            let mut collector = Collector::default();
            interpret_page(page, &mut context, &mut collector);
            if collector.is_full() {
                let message =
                    format!("page {} of `{}` has too many characters to be one", self.next, self.uri);
                self.ready.push_back(Err(Error::new(ErrorKind::TooLarge, message)));
                return;
            }
            let unknown = collector.unknown;
            let text = layout::text(collector.groups);
            if text.is_empty() {
                continue;
            }
            let mut document = Document::new(format!("page {}", self.next), text)
                .with("title", &*self.title)
                .with("page", self.next)
                .with("pages", pages.len());
            if let Some(author) = &self.author {
                document = document.with("author", &**author);
            }
            if unknown > 0 {
                document = document.with("unknown characters", unknown);
            }
            self.ready.push_back(Ok(document));
        }
    }
}

impl Iterator for Pages {
    type Item = Result<Document, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        while self.ready.is_empty() && self.next < self.pdf.pages().len() {
            self.fill();
        }
        let document = self.ready.pop_front();
        if document.is_none() && !self.given {
            self.failed = true;
            let message = format!(
                "`{}` has no text in its {} pages; where they are pictures, recognise their text first",
                self.uri,
                self.pdf.pages().len()
            );
            return Some(Err(Error::invalid_input(message).with_code("no_text")));
        }
        self.given = true;
        self.failed = matches!(document, Some(Err(_)));
        document
    }
}

/// A string of a file: UTF-16 or UTF-8 with a mark, else close to Latin 1.
fn text_string(bytes: &[u8]) -> String {
    let text: String = match bytes {
        [0xfe, 0xff, rest @ ..] => {
            let units = rest.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).map(|it| it.unwrap_or('\u{fffd}')).collect()
        }
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        bytes => bytes.iter().map(|byte| char::from(*byte)).collect(),
    };
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect();
    text.trim().to_owned()
}

puna_plugin::loaders! {
    "pdf": pdf => {
        description: "The text of PDF files, a document a page.",
        media_types: ["application/pdf"],
        extensions: ["pdf"],
    },
}
