//! Text of any encoding, decoded as it is read: what the loaders of text share.
//!
//! A byte-order mark decides; then the encoding that the user names; then zero bytes, which tell UTF-16; then a guess
//! from the bytes around the first that is not ASCII ([chardetng](https://docs.rs/chardetng), as in Firefox).
//!
//! Invariant: memory does not grow with the source.

use std::io::{self, Read, Seek, SeekFrom};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Decoder, Encoding, ISO_2022_JP, UTF_8, UTF_16BE, UTF_16LE};
use puna_plugin::{Error, ErrorKind, Source, loader::Blob};

/// Bytes of one read.
const PIECE_BYTES: usize = 32 << 10;

/// Bytes that a guess is made from, counted from the first piece that is not ASCII: some pages of text, after which
/// a guess hardly changes.
const SAMPLE_BYTES: usize = 128 << 10;

/// Bytes at the start that tell UTF-16 without a mark, and what is no text at all.
const HEAD_BYTES: usize = 1 << 10;

/// A source as UTF-8, without its byte-order mark.
///
/// ```
/// use puna_plugin::Source;
/// use puna_plugin_decoding::Decoded;
///
/// let source = Source::of_bytes("a.txt", b"\xbe\xc8\xb3\xe7\xc7\xcf\xbc\xbc\xbf\xe4".to_vec());
/// let text = Decoded::new(source, Some("euc-kr")).unwrap().read_to_end(1 << 10).unwrap();
/// assert_eq!(text, "안녕하세요");
/// ```
pub struct Decoded {
    uri: String,
    blob: Blob,
    encoding: &'static Encoding,
    decoder: Decoder,
    input: Box<[u8]>,
    input_start: usize,
    input_end: usize,
    ended: bool,
    output: Box<[u8]>,
    output_start: usize,
    output_end: usize,
    replaced: bool,
}

impl Decoded {
    /// Begins to read, as the encoding `label` or as what the bytes look like.
    ///
    /// # Errors
    /// Invalid-input, at `/encoding`, for a label that the Encoding Standard does not know; invalid-input for a source
    /// that is no text; those of reading.
    pub fn new(source: Source, label: Option<&str>) -> Result<Self, Error> {
        let uri = source.uri.clone();
        let named = label.map(named).transpose()?;
        let mut blob = source.blob()?;
        let encoding = match (marked(&uri, &mut blob)?, named) {
            (Some(marked), _) => marked,
            (None, Some(named)) => named,
            (None, None) => guessed(&uri, &mut blob)?,
        };
        blob.seek(SeekFrom::Start(0))?;
        Ok(Self {
            uri,
            blob,
            encoding,
            decoder: encoding.new_decoder_with_bom_removal(),
            input: vec![0; PIECE_BYTES].into(),
            input_start: 0,
            input_end: 0,
            ended: false,
            // Three bytes of UTF-8 for each that is replaced.
            output: vec![0; 3 * PIECE_BYTES].into(),
            output_start: 0,
            output_end: 0,
            replaced: false,
        })
    }

    /// The name of the encoding, as the Encoding Standard writes it.
    pub fn encoding(&self) -> &'static str {
        self.encoding.name()
    }

    /// Whether anything read so far was not valid and became U+FFFD.
    pub fn replaced(&self) -> bool {
        self.replaced
    }

    /// All that is left, at most `most` bytes of UTF-8: for formats that can only be read whole.
    ///
    /// # Errors
    /// Too-large for more; those of reading.
    pub fn read_to_end(&mut self, most: usize) -> Result<String, Error> {
        let mut text = String::new();
        self.by_ref().take(most as u64 + 1).read_to_string(&mut text).or_else(|error| {
            // Where the limit cuts a character, there is more than the limit.
            if error.kind() == io::ErrorKind::InvalidData { Ok(most + 1) } else { Err(Error::from(error)) }
        })?;
        if text.len() > most || (text.is_empty() && !self.at_end()) {
            let message = format!("`{}` is longer than {most} bytes of text; split it", self.uri);
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        Ok(text)
    }

    fn at_end(&self) -> bool {
        self.ended && self.output_start == self.output_end
    }

    fn fill(&mut self) -> io::Result<()> {
        while self.output_start == self.output_end && !self.ended {
            if self.input_start == self.input_end {
                self.input_start = 0;
                self.input_end = self.blob.read(&mut self.input)?;
            }
            let last = self.input_start == self.input_end;
            let input = &self.input[self.input_start..self.input_end];
            let (result, read, written, replaced) =
                self.decoder.decode_to_utf8(input, &mut self.output, last);
            self.input_start += read;
            self.output_start = 0;
            self.output_end = written;
            self.replaced |= replaced;
            self.ended = last && matches!(result, encoding_rs::CoderResult::InputEmpty);
        }
        Ok(())
    }
}

impl Read for Decoded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fill()?;
        let rest = &self.output[self.output_start..self.output_end];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.output_start += length;
        Ok(length)
    }
}

/// The encoding of a label such as `euc-kr`, `cp949` or `latin1`.
///
/// # Errors
/// Invalid-input, at `/encoding`, for a label that the Encoding Standard does not know.
pub fn named(label: &str) -> Result<&'static Encoding, Error> {
    // Code pages by Microsoft's names for them, which the standard spells otherwise.
    let label = match label.trim().to_ascii_lowercase().as_str() {
        "cp949" | "uhc" => "euc-kr".to_owned(),
        "cp932" => "shift_jis".to_owned(),
        "cp936" => "gbk".to_owned(),
        "cp950" => "big5".to_owned(),
        other => other.to_owned(),
    };
    Encoding::for_label_no_replacement(label.as_bytes()).ok_or_else(|| {
        let message =
            format!("no encoding `{label}`; leave it out to have it guessed, or name one, as `euc-kr`");
        Error::invalid_input(message).at("/encoding")
    })
}

/// The encoding that a byte-order mark tells.
fn marked(uri: &str, blob: &mut Blob) -> Result<Option<&'static Encoding>, Error> {
    let mut head = Vec::new();
    blob.seek(SeekFrom::Start(0))?;
    blob.by_ref().take(4).read_to_end(&mut head)?;
    if matches!(head[..], [0, 0, 0xfe, 0xff] | [0xff, 0xfe, 0, 0]) {
        return Err(Error::invalid_input(format!("`{uri}` is UTF-32; convert it to UTF-8")));
    }
    Ok(Encoding::for_bom(&head).map(|(encoding, _)| encoding))
}

fn guessed(uri: &str, blob: &mut Blob) -> Result<&'static Encoding, Error> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    let (mut sampled, mut first, mut whole) = (0_usize, true, false);
    blob.seek(SeekFrom::Start(0))?;
    while sampled < SAMPLE_BYTES {
        let length = blob.read(&mut piece)?;
        whole = length == 0;
        if whole {
            break;
        }
        if first && let Some(encoding) = by_zeros(uri, &piece[..length.min(HEAD_BYTES)])? {
            return Ok(encoding);
        }
        first = false;
        if detector.feed(&piece[..length], false) {
            sampled += length;
        }
    }
    // Only at the end of the source is half a character an error.
    if whole {
        detector.feed(&[], true);
    }
    let guess = detector.guess(None, Utf8Detection::Allow);
    // What is ASCII alone is UTF-8 too; its Japanese escapes are not.
    Ok(if sampled == 0 && guess != ISO_2022_JP { UTF_8 } else { guess })
}

/// UTF-16 without a mark: one byte of two is zero in Latin letters, and in every script's spaces and line ends. The order
/// of bytes is that which makes text, and of two that do the one with more of these.
fn by_zeros(uri: &str, head: &[u8]) -> Result<Option<&'static Encoding>, Error> {
    if !head.contains(&0) {
        return Ok(None);
    }
    let units = |order: fn([u8; 2]) -> u16| head.chunks_exact(2).map(move |pair| order([pair[0], pair[1]]));
    let latin = |order| units(order).filter(|unit| *unit < 0x100).count();
    let candidates = [(UTF_16LE, u16::from_le_bytes as fn([u8; 2]) -> u16), (UTF_16BE, u16::from_be_bytes)];
    let texts = candidates.into_iter().filter(|(_, order)| is_text(units(*order)));
    let likeliest = texts.max_by_key(|(_, order)| latin(*order)).map(|(encoding, _)| encoding);
    let message = || format!("`{uri}` is no text: there are zero bytes in it");
    likeliest.map(Some).ok_or_else(|| Error::invalid_input(message()))
}

fn is_text(units: impl ExactSizeIterator<Item = u16>) -> bool {
    let whole = units.len().saturating_sub(1);
    let mut position = 0_usize;
    char::decode_utf16(units).all(|unit| {
        position += 1;
        match unit {
            Ok(character) => !character.is_control() || character.is_whitespace(),
            // The head may end within a pair.
            Err(_) => position > whole,
        }
    })
}
