//! The characters of a page and where they stand.

use hayro_interpret::{
    BlendMode, ClipPath, Device, DrawMode, DrawProps, Image, ImageDrawProps, SoftMask,
    font::{Glyph, GlyphRun},
    hayro_cmap::{BfString, WritingMode},
    kurbo::{Affine, BezPath, Point},
};

/// Units of a glyph's own space in an em.
const UNITS_PER_EM: f64 = 1_000.0;

/// Most characters of a page: a poster of fine print has a tenth.
const MAX_GLYPHS: usize = 500_000;

/// Ways in which text runs: to the right, down, to the left, up, and in columns from right to left.
pub const WAYS: usize = 5;

/// In parts of an em: what parts words, and what parts pieces of a line; and how far from its line a piece may stand.
const WORD_GAP: f64 = 0.17;
pub const PIECE_GAP: f64 = 1.0;
pub const LINE_DRIFT: f64 = 0.35;

/// Characters that stand together in a line. Along the line is to the right, across it is down.
#[derive(Clone, Debug)]
pub struct Piece {
    pub text: String,
    /// Where it begins and ends along its line.
    pub start: f64,
    pub end: f64,
    /// Its line.
    pub line: f64,
    /// The size of its characters.
    pub size: f64,
}

/// Collects the text of a page.
#[derive(Default)]
pub struct Collector {
    /// The pieces by the way in which they run, in the order of the file.
    pub groups: [Vec<Piece>; WAYS],
    /// Characters whose meaning the file does not tell.
    pub unknown: usize,
    glyphs: usize,
}

impl Collector {
    /// Whether the page has more characters than are taken.
    pub fn is_full(&self) -> bool {
        self.glyphs > MAX_GLYPHS
    }

    fn take(&mut self, glyph: &Glyph<'_>, place: Affine, mode: WritingMode) {
        self.glyphs += 1;
        if self.is_full() {
            return;
        }
        let origin = place * Point::ZERO;
        let along = place * Point::new(UNITS_PER_EM, 0.0) - origin;
        let across = place * Point::new(0.0, UNITS_PER_EM) - origin;
        let (size, em) = (across.hypot(), along.hypot());
        if !(size.is_finite() && em.is_finite() && origin.is_finite()) || size < 1e-3 || em < 1e-3 {
            return;
        }
        let text = match glyph.as_unicode() {
            Some(BfString::Char(character)) => character.to_string(),
            Some(BfString::String(text)) => text,
            None => {
                self.unknown += 1;
                return;
            }
        };
        let advance = match glyph {
            Glyph::Outline(outline) => outline.advance_width(),
            Glyph::Type3(glyph) => glyph.advance_width(),
        };
        let advance = f64::from(advance.unwrap_or(500.0)).clamp(0.0, 10_000.0) / UNITS_PER_EM * em;
        // Turned so that text runs to the right and lines follow each other downwards.
        let (way, start, line) = if matches!(mode, WritingMode::Vertical) {
            (4, origin.y, -origin.x)
        } else if along.x.abs() >= along.y.abs() {
            if along.x >= 0.0 { (0, origin.x, origin.y) } else { (2, -origin.x, -origin.y) }
        } else if along.y >= 0.0 {
            (1, origin.y, -origin.x)
        } else {
            (3, -origin.y, origin.x)
        };
        let length = if way == 4 { size } else { advance };
        add(&mut self.groups[way], &text, start, length, line, size);
    }
}

fn add(pieces: &mut Vec<Piece>, text: &str, start: f64, length: f64, line: f64, size: f64) {
    let blank = text.chars().all(|c| c.is_whitespace() || c == '\u{ad}');
    if let Some(last) = pieces.last_mut()
        && (last.line - line).abs() < LINE_DRIFT * size.max(last.size)
    {
        let gap = (start - last.end) / size.max(last.size);
        // Drawn twice, to look bold.
        if !blank && gap < -0.1 && last.text.ends_with(text) && (start + length - last.end).abs() < 0.1 * size
        {
            return;
        }
        if (-0.5..PIECE_GAP).contains(&gap) {
            if (blank || gap > WORD_GAP) && !last.text.ends_with(' ') {
                last.text.push(' ');
            }
            if !blank {
                last.text.push_str(text);
            }
            last.end = last.end.max(start + length);
            last.size = last.size.max(size);
            return;
        }
    }
    if !blank {
        pieces.push(Piece { text: text.to_owned(), start, end: start + length, line, size });
    }
}

impl Device<'_> for Collector {
    fn draw_glyph_run(&mut self, run: &GlyphRun<'_, '_>, props: DrawProps<'_>, _: &DrawMode) {
        for glyph in run.glyphs() {
            self.take(glyph, props.transform * glyph.transform(), run.writing_mode());
        }
    }

    fn draw_path(&mut self, _: &BezPath, _: DrawProps<'_>, _: &DrawMode) {}
    fn push_clip_path(&mut self, _: &ClipPath) {}
    fn push_transparency_group(&mut self, _: f32, _: Option<SoftMask<'_>>, _: BlendMode) {}
    fn draw_image(&mut self, _: Image<'_, '_>, _: ImageDrawProps<'_>) {}
    fn pop_clip(&mut self) {}
    fn pop_transparency_group(&mut self) {}
}
