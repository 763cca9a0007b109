//! Errors on one line.

use std::error::Error;
use std::fmt;

/// An error and all of its causes, as `a: b: c`.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{what}")]
    struct Link {
        what: &'static str,
        source: Option<Box<Link>>,
    }

    #[test]
    fn every_cause_is_told_once_and_in_order() {
        let link = |what, source: Option<Link>| Link { what, source: source.map(Box::new) };
        let error = link("a", Some(link("b", Some(link("c", None)))));
        assert_eq!(Chain(&error).to_string(), "a: b: c");
        assert_eq!(Chain(&link("alone", None)).to_string(), "alone");
    }
}
