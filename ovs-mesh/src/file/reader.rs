//! Reads a TOML document value by value: what is right, and a fault with its place for all that is not.

use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Fault;
use crate::names::NameError;

/// A value and where it stood.
#[derive(Debug, Clone)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its place, in bytes of the text.
    pub span: Range<usize>,
}

/// A table with its place and what it is, as its faults call it.
#[derive(Debug)]
pub struct Fields<'a> {
    table: &'a DeTable<'a>,
    span: Range<usize>,
    what: &'static str,
}

impl<'a> Fields<'a> {
    /// A key's value, if the table has it.
    pub fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }

    /// Where the table is.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}

/// Collects the faults of a document while its values are read.
#[derive(Debug, Default)]
pub struct Reader {
    /// Those so far.
    pub faults: Vec<Fault>,
}

impl Reader {
    /// Reads a whole document by `read`, which gets its top table; none where it is not TOML.
    pub fn document<T>(
        text: &str,
        what: &'static str,
        read: impl FnOnce(&mut Self, &Fields<'_>) -> T,
    ) -> (Option<T>, Vec<Fault>) {
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut reader = Self::default();
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            reader.faults.push(Fault::new(
                span,
                format!("not TOML: {}", error.message()),
                "see https://toml.io/en/v1.0.0",
            ));
        }
        // What a recovering parser makes of broken text is a guess: faults found in it would mislead.
        let top = Fields { table: document.get_ref(), span: 0..0, what };
        let found = errors.is_empty().then(|| read(&mut reader, &top));
        (found, reader.faults)
    }

    /// The tables of an array of tables; a fault where there is anything else.
    pub fn tables<T>(
        &mut self,
        fields: &Fields<'_>,
        key: &'static str,
        what: &'static str,
        read: fn(&mut Self, &Fields<'_>) -> T,
    ) -> Vec<T> {
        let Some(value) = fields.get(key) else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            self.mistyped(
                value,
                key,
                "an array of tables, each opened by its [[…]] line or written as { … }",
            );
            return Vec::new();
        };
        let mut read_all = Vec::with_capacity(array.len());
        for entry in array {
            if let Some(fields) = self.table(entry, what) {
                read_all.push(read(self, &fields));
            }
        }
        read_all
    }

    /// The table that a value is; a fault, which calls it `what`, where it is none.
    pub fn table<'a>(&mut self, value: &'a Spanned<DeValue<'a>>, what: &'static str) -> Option<Fields<'a>> {
        if let DeValue::Table(table) = value.get_ref() {
            return Some(Fields { table, span: value.span(), what });
        }
        self.mistyped(value, what, "a table");
        None
    }

    /// A fault for every key of the table that is not among these.
    pub fn known(&mut self, fields: &Fields<'_>, known: &[&str]) {
        for (key, _) in fields.table {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let quoted: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
                self.faults.push(Fault::new(
                    key.span(),
                    format!("{} has no key `{name}`", fields.what),
                    format!("accepted are {}", quoted.join(", ")),
                ));
            }
        }
    }

    /// A key's value; a fault where the table lacks it.
    pub fn required<'a>(
        &mut self,
        fields: &Fields<'a>,
        key: &'static str,
    ) -> Option<&'a Spanned<DeValue<'a>>> {
        let found = fields.get(key);
        if found.is_none() {
            self.faults.push(Fault::new(
                fields.span.clone(),
                format!("{} has no `{key}`", fields.what),
                format!("add `{key} = …`"),
            ));
        }
        found
    }

    /// The string that a value is.
    pub fn string<'a>(&mut self, value: &'a Spanned<DeValue<'_>>, key: &str) -> Option<At<&'a str>> {
        if let DeValue::String(text) = value.get_ref() {
            return Some(At { value: text, span: value.span() });
        }
        self.mistyped(value, key, "a string in quotes");
        None
    }

    /// The whole number that a value is; `example` is one that would be accepted.
    pub fn integer(&mut self, value: &Spanned<DeValue<'_>>, key: &str, example: &str) -> Option<At<i64>> {
        let DeValue::Integer(number) = value.get_ref() else {
            self.mistyped(value, key, &format!("a whole number without quotes, as {example}"));
            return None;
        };
        let parsed = i64::from_str_radix(number.as_str(), number.radix());
        if parsed.is_err() {
            self.faults.push(Fault::new(
                value.span(),
                format!("{key} is too large a number"),
                format!("a number as {example}"),
            ));
        }
        parsed.ok().map(|number| At { value: number, span: value.span() })
    }

    /// The truth value that a value is.
    pub fn boolean(&mut self, value: &Spanned<DeValue<'_>>, key: &str) -> Option<At<bool>> {
        if let DeValue::Boolean(truth) = value.get_ref() {
            return Some(At { value: *truth, span: value.span() });
        }
        self.mistyped(value, key, "true or false, without quotes");
        None
    }

    /// What a string says, of a type that is read from text.
    pub fn parsed<T: FromStr>(&mut self, value: &Spanned<DeValue<'_>>, key: &str) -> Option<At<T>>
    where
        T::Err: Explain,
    {
        let text = self.string(value, key)?;
        match text.value.parse() {
            Ok(parsed) => Some(At { value: parsed, span: text.span }),
            Err(error) => {
                self.faults.push(error.fault(text.value, text.span));
                None
            }
        }
    }

    /// The fault of a value of another type than the key wants.
    pub fn mistyped(&mut self, value: &Spanned<DeValue<'_>>, key: &str, accepted: &str) {
        let found = value.get_ref().type_str();
        self.faults.push(Fault::new(value.span(), format!("{key} cannot be of type {found}"), accepted));
    }
}

/// A parse error that can say what would have been accepted.
pub trait Explain {
    /// The fault of this text, which stands there.
    fn fault(&self, text: &str, span: Range<usize>) -> Fault;
}

impl Explain for NameError {
    fn fault(&self, _text: &str, span: Range<usize>) -> Fault {
        Fault::new(span, self.problem(), self.accepted())
    }
}

impl Explain for std::net::AddrParseError {
    fn fault(&self, text: &str, span: Range<usize>) -> Fault {
        Fault::new(
            span,
            format!("`{}` is not an IP address", text.escape_debug()),
            "an IPv4 or IPv6 address without a prefix length, as \"10.0.1.11\" or \"fd00::11\"",
        )
    }
}

impl Explain for ipnetwork::IpNetworkError {
    fn fault(&self, text: &str, span: Range<usize>) -> Fault {
        Fault::new(
            span,
            format!("`{}` is not a subnet", text.escape_debug()),
            "a network address with its prefix length, as \"192.168.10.0/24\" or \"fd00:10::/64\"",
        )
    }
}
