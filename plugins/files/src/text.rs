//! Text files as lines, read in pieces.

use puna_plugin::{
    Error,
    files::{self, Kind},
};

/// Bytes asked of the host at a time.
const PIECE_BYTES: u32 = 256 << 10;

/// The mark that some programs put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Lines of a file, of which no more than a piece and a line is held at a time.
pub struct Lines<'a> {
    path: &'a str,
    offset: u64,
    buffer: Vec<u8>,
    /// Where the next line begins in the buffer.
    start: usize,
    ended: bool,
    /// Longest line that is held; the rest of a longer one is passed over.
    max_line: usize,
}

/// A line without its end.
pub struct Line {
    /// As much of it as may be held.
    pub text: String,
    /// Bytes that were left out.
    pub left_out: u64,
}

impl<'a> Lines<'a> {
    /// Opens a file.
    ///
    /// # Errors
    /// Invalid-input for a folder, and those of the host.
    pub fn open(path: &'a str, max_line: usize) -> Result<Self, Error> {
        if files::stat(path)?.kind == Kind::Folder {
            return Err(Error::invalid_input(format!("`{path}` is a folder; list it with `list_files`")));
        }
        let mut lines = Self { path, offset: 0, buffer: Vec::new(), start: 0, ended: false, max_line };
        lines.fill()?;
        if lines.buffer.starts_with(BYTE_ORDER_MARK) {
            lines.start = BYTE_ORDER_MARK.len();
        }
        Ok(lines)
    }

    /// Reads one piece more.
    fn fill(&mut self) -> Result<(), Error> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let piece = files::read_at(self.path, self.offset, PIECE_BYTES)?;
        self.ended = piece.is_empty();
        self.offset += piece.len() as u64;
        self.buffer.extend(piece);
        Ok(())
    }

    /// The next line.
    ///
    /// # Errors
    /// Invalid-input, with the code `no_text`, for a file that is not UTF-8 or holds a NUL; those of the host.
    pub fn next(&mut self) -> Result<Option<Line>, Error> {
        let mut left_out = 0;
        let mut scanned = self.start;
        let (end, next) = loop {
            if let Some(at) = self.buffer[scanned..].iter().position(|byte| *byte == b'\n') {
                break (scanned + at, scanned + at + 1);
            }
            if self.ended {
                if self.start == self.buffer.len() && left_out == 0 {
                    return Ok(None);
                }
                break (self.buffer.len(), self.buffer.len());
            }
            left_out += self.shorten(self.buffer.len());
            scanned = self.buffer.len() - self.start;
            self.fill()?;
        };
        let cut = self.shorten(end);
        left_out += cut;
        let (end, next) = (end - cut as usize, next - cut as usize);
        let line = &self.buffer[self.start..end];
        let line = if left_out == 0 { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        let text = self.decoded(line, left_out > 0)?;
        self.start = next;
        Ok(Some(Line { text, left_out }))
    }

    /// Drops what a line has beyond its limit, up to `end`.
    fn shorten(&mut self, end: usize) -> u64 {
        let most = self.start + self.max_line;
        if end <= most {
            return 0;
        }
        self.buffer.drain(most..end);
        (end - most) as u64
    }

    fn decoded(&self, line: &[u8], cut: bool) -> Result<String, Error> {
        let wrong = |why: &str| {
            Error::invalid_input(format!("`{}` is no text file: {why}", self.path)).with_code("no_text")
        };
        if line.contains(&0) {
            return Err(wrong("it holds NUL bytes"));
        }
        match std::str::from_utf8(line) {
            Ok(text) => Ok(text.to_owned()),
            // The cut may have gone through a character.
            Err(error) if cut && error.error_len().is_none() => {
                Ok(String::from_utf8_lossy(&line[..error.valid_up_to()]).into_owned())
            }
            Err(_) => Err(wrong("it is not UTF-8")),
        }
    }
}

/// The longest start of a text that takes at most so many bytes.
pub fn start_of(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
