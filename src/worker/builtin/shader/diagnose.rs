//! What is wrong with a shader, in words with a line and a column.

use std::error::Error;
use std::fmt::Write as _;

use naga::back::pipeline_constants::PipelineConstantError;
use naga::front::wgsl::ParseError;
use naga::{Span, WithSpan};

/// Why there is no shader: one text, perhaps of several lines, for an error message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem(pub(super) String);

impl Problem {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The source is not WGSL.
    pub(super) fn syntax(error: &ParseError, source: &str) -> Self {
        let mut labels = error.labels();
        let first = labels.next();
        let mut text = place(first.map(|(span, _)| span), source);
        text.push_str(error.message());
        if let Some((_, label)) = first.filter(|(_, label)| !label.is_empty()) {
            let _ = write!(text, " ({label})");
        }
        for (span, label) in labels {
            let _ = write!(text, "\n{}{label}", place(Some(span), source));
        }
        for note in error.notes() {
            let _ = write!(text, "\nnote: {note}");
        }
        Self(text)
    }

    /// The source is WGSL that breaks its rules, or asks for more than the target has.
    pub(super) fn invalid<E: Error>(error: &WithSpan<E>, source: &str) -> Self {
        let mut spans = error.spans();
        let first = spans.next();
        let mut text = place(first.map(|(span, _)| *span), source);
        text.push_str(&chain(error.as_inner()));
        if let Some((_, label)) = first.filter(|(_, label)| !label.is_empty()) {
            let _ = write!(text, " ({label})");
        }
        for (span, label) in spans {
            let _ = write!(text, "\n{}{label}", place(Some(*span), source));
        }
        Self(text)
    }

    /// A value given for an `override` doesn't fit, or one is missing.
    pub(super) fn overrides(error: PipelineConstantError, source: &str) -> Self {
        match error {
            PipelineConstantError::ValidationError(error) => Self::invalid(&error, source),
            other => Self(chain(&other)),
        }
    }

    /// The target's language has no way to say it.
    pub(super) fn backend(error: &dyn Error) -> Self {
        Self(chain(error))
    }
}

/// An error and everything below it, outermost first.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        let cause_text = cause.to_string();
        // Transparent wrappers say what they wrap.
        if !text.ends_with(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        below = cause.source();
    }
    text
}

/// `Source:LINE:COLUMN: `, both counted from 1 and the column in bytes; line 1, column 1 where the
/// compiler has no position.
fn place(span: Option<Span>, source: &str) -> String {
    let range = span.and_then(Span::to_range).unwrap_or(0..0);
    // Spans at the end of a file may point past its last character.
    let mut at = range.start.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    let before = source.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, str::len) + 1;
    format!("Source:{line}:{column}: ")
}
