//! Files that people write: TOML read with places, and what is wrong shown as compilers show it.
//!
//! A file is read to its end, and all of its faults are told together. [`Reader`] turns values into types; what only shows
//! when values are seen together is for the caller, who has each with its place ([`At`]).
//!
//! ```
//! use std::path::Path;
//! use ovs_mesh::file::{FileError, Reader};
//!
//! let text = "name = 7";
//! let (name, faults) = Reader::document(text, "the file", |reader, top| {
//!     reader.known(top, &["name"]);
//!     reader.required(top, "name").and_then(|value| reader.string(value, "name").map(|at| at.value.to_owned()))
//! });
//! assert_eq!(name, Some(None));
//! let error = FileError::new(Path::new("a.toml"), text, faults);
//! assert_eq!(error.place(&error.faults()[0]), (1, 8));
//! ```

mod fault;
mod reader;

pub use fault::{Fault, FileError};
pub use reader::{At, Explain, Fields, Reader};
