//! Tables of text: cells between delimiters, rows between ends of lines.

use std::io::Read as _;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use puna_plugin::{Document, Error, ErrorKind, Source};
use puna_plugin_decoding::Decoded;

use crate::{
    Csv,
    row::{MAX_COLUMNS, MAX_ROW_BYTES, Row, Rows},
};

/// Text that a guess at the dialect is made from.
const SAMPLE_BYTES: usize = 64 << 10;

/// Rows of it that are looked at.
const SAMPLE_ROWS: usize = 200;

/// Bytes of one read.
const PIECE_BYTES: usize = 64 << 10;

/// What stands between cells, likeliest first.
const DELIMITERS: [u8; 4] = *b",;\t|";

/// The rows of a source.
pub struct Records {
    uri: String,
    decoded: Decoded,
    reader: Reader,
    delimiter: u8,
    input: Vec<u8>,
    start: usize,
    ended: bool,
    output: Box<[u8]>,
    ends: Box<[usize]>,
    number: u64,
}

impl Records {
    pub fn new(source: Source, options: &Csv) -> Result<Self, Error> {
        let uri = source.uri.clone();
        let tabs = uri.to_ascii_lowercase().ends_with(".tsv")
            || source.media_type.as_deref() == Some("text/tab-separated-values");
        let mut decoded = Decoded::new(source, options.encoding.as_deref())?;
        let mut input = Vec::new();
        (&mut decoded).take(SAMPLE_BYTES as u64).read_to_end(&mut input)?;
        let mut start = 0;
        let mut told = tabs.then_some(b'\t');
        // Excel's own word on the delimiter.
        if let [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter, rest @ ..] = &input[..]
            && matches!(rest, [b'\n', ..] | [b'\r', ..] | [])
        {
            told = Some(*delimiter);
            start = 5;
        }
        let sample = Sample { text: &input[start..], whole: input.len() < SAMPLE_BYTES };
        let quote = ascii(options.quote, "/quote")?.unwrap_or_else(|| sample.quote());
        let delimiter = ascii(options.delimiter, "/delimiter")?.or(told);
        let delimiter = delimiter.unwrap_or_else(|| sample.delimiter(quote));
        Ok(Self {
            uri,
            decoded,
            reader: ReaderBuilder::new().delimiter(delimiter).quote(quote).build(),
            delimiter,
            input,
            start,
            ended: false,
            output: vec![0; MAX_ROW_BYTES].into(),
            ends: vec![0; MAX_COLUMNS].into(),
            number: 0,
        })
    }

    fn fill(&mut self) -> Result<(), Error> {
        if self.start == self.input.len() && !self.ended {
            self.input.resize(PIECE_BYTES, 0);
            self.start = 0;
            let read = self.decoded.read(&mut self.input)?;
            self.input.truncate(read);
            self.ended = read == 0;
        }
        Ok(())
    }

    fn too_large(&self, what: String) -> Error {
        let row = self.number + 1;
        let message = format!(
            "row {row} of `{}` has more than {what}; is a quote never closed? If `\"` quotes nothing, set `quote`",
            self.uri
        );
        Error::new(ErrorKind::TooLarge, message)
    }
}

impl Rows for Records {
    fn next_row(&mut self) -> Result<Option<Row>, Error> {
        let (mut written, mut cells) = (0, 0);
        loop {
            self.fill()?;
            let input = &self.input[self.start..];
            let (result, read, wrote, ended) =
                self.reader.read_record(input, &mut self.output[written..], &mut self.ends[cells..]);
            self.start += read;
            written += wrote;
            cells += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => {
                    return Err(self.too_large(format!("{MAX_ROW_BYTES} bytes")));
                }
                ReadRecordResult::OutputEndsFull => {
                    return Err(self.too_large(format!("{MAX_COLUMNS} cells")));
                }
                ReadRecordResult::End => return Ok(None),
                ReadRecordResult::Record => {
                    self.number += 1;
                    let mut row = Row::new(self.number);
                    row.reserve(cells, written);
                    let text = std::str::from_utf8(&self.output[..written])
                        .map_err(|error| Error::internal(error.to_string()))?;
                    let mut start = 0;
                    for (column, end) in self.ends[..cells].iter().enumerate() {
                        // The delimiter is ASCII, so each cell is whole characters.
                        row.push(column, &text[start..*end]);
                        start = *end;
                    }
                    if row.count() > 0 {
                        return Ok(Some(row));
                    }
                    (written, cells) = (0, 0);
                }
            }
        }
    }

    fn describe(&self, document: Document) -> Document {
        let document = document
            .with("encoding", self.decoded.encoding())
            .with("delimiter", char::from(self.delimiter).to_string());
        if self.decoded.replaced() { document.with("invalid characters", true) } else { document }
    }

    fn prefix(&self) -> String {
        String::new()
    }
}

fn ascii(option: Option<char>, path: &str) -> Result<Option<u8>, Error> {
    let Some(character) = option else { return Ok(None) };
    let byte = u8::try_from(character).ok().filter(|byte| byte.is_ascii() && !matches!(byte, b'\r' | b'\n'));
    byte.map(Some).ok_or_else(|| {
        let message =
            format!("`{}` cannot separate cells; give a character of ASCII", character.escape_debug());
        Error::invalid_input(message).at(path)
    })
}

/// The beginning of a source.
struct Sample<'a> {
    text: &'a [u8],
    /// Whether it is all there is.
    whole: bool,
}

impl Sample<'_> {
    /// `'` where cells begin and end with it, and more than with `"`.
    fn quote(&self) -> u8 {
        let around = |quote: u8| {
            let pairs = self.text.windows(2);
            let beside = |other: u8| DELIMITERS.contains(&other) || matches!(other, b'\n' | b'\r');
            let begins = pairs.clone().filter(|pair| beside(pair[0]) && pair[1] == quote).count();
            let ends = pairs.filter(|pair| pair[0] == quote && beside(pair[1])).count();
            begins.min(ends)
        };
        let single = around(b'\'');
        if single > 1 && single > around(b'"') { b'\'' } else { b'"' }
    }

    /// The delimiter that gives most rows the same number of cells, and of two that do so the one that gives more.
    fn delimiter(&self, quote: u8) -> u8 {
        let score = |delimiter: &u8| {
            let widths = self.widths(*delimiter, quote);
            let usual = widths
                .iter()
                .copied()
                .max_by_key(|width| (widths.iter().filter(|other| *other == width).count(), *width));
            let usual = usual.filter(|usual| *usual > 1).unwrap_or(0);
            let alike = widths.iter().filter(|width| **width == usual && usual > 0).count();
            // In hundredths, coarse enough that a stray cell does not decide.
            (alike * 10 / widths.len().max(1), usual)
        };
        // Of equal ones the last is taken, so the likeliest comes last.
        DELIMITERS.iter().rev().copied().max_by_key(score).unwrap_or(b',')
    }

    /// The cells of each row; none in a row where text follows the quote that closes a cell, since what follows it
    /// is the delimiter or the end of the row.
    fn widths(&self, delimiter: u8, quote: u8) -> Vec<usize> {
        let (mut widths, mut cells, mut begins, mut torn) = (Vec::new(), 1, true, false);
        let mut bytes = self.text.iter().copied().peekable();
        while widths.len() < SAMPLE_ROWS
            && let Some(byte) = bytes.next()
        {
            let empty = cells == 1 && begins;
            if byte == quote && begins {
                // Two quotes are one of the cell's own characters.
                while bytes.by_ref().any(|inner| inner == quote) && bytes.next_if_eq(&quote).is_some() {}
                torn |= bytes.peek().is_some_and(|next| *next != delimiter && !matches!(next, b'\r' | b'\n'));
                begins = false;
            } else if byte == delimiter {
                cells += 1;
                begins = true;
            } else if matches!(byte, b'\r' | b'\n') {
                if !empty {
                    widths.push(if torn { 0 } else { cells });
                }
                (cells, begins, torn) = (1, true, false);
            } else {
                begins = false;
            }
        }
        // What was read of more may end within a row.
        if self.whole && !(cells == 1 && begins) && widths.len() < SAMPLE_ROWS {
            widths.push(if torn { 0 } else { cells });
        }
        widths
    }
}
