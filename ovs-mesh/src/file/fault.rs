//! What is wrong with a file, and where.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// One fault: what is wrong, where, and what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    pub(crate) accepted: String,
    pub(crate) earlier: Option<(Range<usize>, &'static str)>,
}

impl Fault {
    /// A fault at a place, in bytes of the text: what is wrong, as one sentence, and what would be accepted.
    pub fn new(span: Range<usize>, message: impl Into<String>, accepted: impl Into<String>) -> Self {
        Self { span, message: message.into(), accepted: accepted.into(), earlier: None }
    }

    /// The same, that shows another place too, as that of a first use.
    #[must_use]
    pub fn with_earlier(mut self, span: Range<usize>, label: &'static str) -> Self {
        self.earlier = Some((span, label));
        self
    }

    /// What is wrong, as one sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What would be accepted in its place.
    pub fn accepted(&self) -> &str {
        &self.accepted
    }

    /// Where it is, in bytes of the text.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}

/// A text that cannot be used: all of its faults, in the text's order.
///
/// Its `Display` shows each with line, column and the text itself, the value underlined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    path: PathBuf,
    text: String,
    faults: Vec<Fault>,
}

impl FileError {
    /// The faults of a text; `path` only names the file.
    pub fn new(path: &Path, text: &str, mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| (fault.span.start, fault.span.end));
        Self { path: path.to_owned(), text: text.to_owned(), faults }
    }

    /// The faults, in the text's order; at least one.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// A fault's place: line and column, both from 1, the column in characters.
    pub fn place(&self, fault: &Fault) -> (usize, usize) {
        let before = self.text.get(..fault.span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display().to_string();
        for (at, fault) in self.faults.iter().enumerate() {
            let mut snippet = Snippet::source(&*self.text)
                .path(&*path)
                .annotation(AnnotationKind::Primary.span(visible(&self.text, &fault.span)));
            if let Some((span, label)) = &fault.earlier {
                snippet =
                    snippet.annotation(AnnotationKind::Context.span(visible(&self.text, span)).label(*label));
            }
            let report = [Level::ERROR
                .primary_title(&*fault.message)
                .element(snippet)
                .element(Level::HELP.message(&*fault.accepted))];
            if at > 0 {
                f.write_str("\n\n")?;
            }
            f.write_str(&Renderer::plain().render(&report))?;
        }
        Ok(())
    }
}

impl std::error::Error for FileError {}

/// A multi-line value is pointed at by its first line: the place matters, not the extent.
fn visible(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = span.start.min(text.len());
    let end = span.end.clamp(start, text.len());
    let line = text.get(start..end).and_then(|value| value.find('\n')).map_or(end, |at| start + at);
    start..line
}
