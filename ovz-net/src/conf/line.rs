//! One line of a configuration, as either program reads it: C's `isspace`, `fgets` and `strchr` included.

use super::Generation;

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Nothing: it is empty or a comment.
    Blank,
    /// `name=value`, the value without its quotes.
    Assignment { name: &'a [u8], value: &'a [u8] },
    /// It has no `=`.
    Unassigned(&'a [u8]),
    /// Its value opens with `"` and no other `"` follows; vzctl skips such a line.
    Unterminated { name: &'a [u8] },
}

/// The pieces in which the program gets the text, each with the number of its line, from 1.
///
/// Both read into a buffer of fixed size, so that a longer line comes as several, and both see a piece only up to its
/// first zero byte.
pub(super) fn pieces(text: &[u8], generation: Generation) -> impl Iterator<Item = (usize, &[u8])> {
    let limit = match generation {
        Generation::Vzctl => text.len().max(4096) - 1,
        Generation::Libvzctl => 4096 * 10 - 1,
    };
    let lines = text.split_inclusive(|byte| *byte == b'\n').zip(1..);
    lines.flat_map(move |(line, number)| {
        line.chunks(limit).map(move |piece| {
            let end = piece.iter().position(|byte| *byte == 0).unwrap_or(piece.len());
            (number, &piece[..end])
        })
    })
}

/// Reads a piece; `buffer` is only there to be used again.
pub(super) fn read<'a>(piece: &[u8], generation: Generation, buffer: &'a mut Vec<u8>) -> Line<'a> {
    unescape(piece, buffer);
    let text = match generation {
        Generation::Vzctl => buffer.as_slice(),
        Generation::Libvzctl => uncommented(buffer),
    };
    let start = text.iter().position(|byte| !is_space(*byte)).unwrap_or(text.len());
    let text = &text[start..];
    let text = &text[..text.iter().rposition(|byte| !is_space(*byte)).map_or(0, |at| at + 1)];
    if matches!(text.first(), None | Some(b'#')) {
        return Line::Blank;
    }
    match generation {
        Generation::Vzctl => vzctl(text),
        Generation::Libvzctl => libvzctl(text),
    }
}

/// A value opens with `"` or not at all, and ends at the last `"`, whatever stands behind it.
fn vzctl(text: &[u8]) -> Line<'_> {
    let Some((name, value)) = split_once(text, b'=') else { return Line::Unassigned(text) };
    let Some(quoted) = value.strip_prefix(b"\"") else {
        return Line::Assignment { name, value };
    };
    match quoted.iter().rposition(|byte| *byte == b'"') {
        Some(end) => Line::Assignment { name, value: &quoted[..end] },
        None => Line::Unterminated { name },
    }
}

/// A quote of either kind goes from each end, whether or not the two belong together.
fn libvzctl(text: &[u8]) -> Line<'_> {
    let text = match text {
        [rest @ .., b'"' | b'\''] => rest,
        all => all,
    };
    let Some((name, value)) = split_once(text, b'=') else { return Line::Unassigned(text) };
    let value = match value {
        [b'"' | b'\'', rest @ ..] => rest,
        all => all,
    };
    Line::Assignment { name, value }
}

/// A backslash stands for the byte behind it; both programs do this before anything else.
fn unescape(piece: &[u8], buffer: &mut Vec<u8>) {
    buffer.clear();
    let mut escaped = false;
    for byte in piece {
        escaped = *byte == b'\\' && !escaped;
        if !escaped {
            buffer.push(*byte);
        }
    }
}

/// The text up to a `#` that opens a word outside of quotes.
fn uncommented(text: &[u8]) -> &[u8] {
    let mut quote = None;
    let mut word_opens = true;
    for (at, byte) in text.iter().enumerate() {
        match (quote, byte) {
            (Some(open), byte) => {
                if open == *byte {
                    quote = None;
                }
            }
            (None, b'"' | b'\'') => {
                quote = Some(*byte);
                word_opens = false;
            }
            (None, b'#') if word_opens => return &text[..at],
            // A `#` inside a word leaves it as it is, as libvzctl does.
            (None, b'#') => {}
            (None, byte) => word_opens = is_space(*byte),
        }
    }
    text
}

pub(super) fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == separator)?;
    Some((&text[..at], &text[at + 1..]))
}

/// C's `isspace` in the C locale.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}
