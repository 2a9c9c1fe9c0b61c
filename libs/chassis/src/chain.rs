//! Prints an error with all its causes on one line. Errors of this workspace never repeat their
//! source in their own text, so nothing is said twice.

use std::error::Error;
use std::fmt;

/// Displays `error: cause: cause of the cause`.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
