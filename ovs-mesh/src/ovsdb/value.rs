//! What a column holds (RFC 7047 section 5.1): atoms, sets of atoms and maps of atoms to atoms.

mod wire;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use uuid::Uuid;

pub(super) use wire::WireUuid;

/// The columns of one row, by name (RFC 7047 section 5.1, `<row>`).
pub type Row = BTreeMap<String, Value>;

/// One scalar (RFC 7047 section 5.1, `<atom>`).
///
/// Integers and reals are different atoms even if they are the same number. Reals are ordered by [`f64::total_cmp`].
#[derive(Debug, Clone)]
pub enum Atom {
    /// A signed 64-bit integer.
    Integer(i64),
    /// A double. ovsdb-server writes one without a fraction as an integer: read reals with [`Value::real`].
    Real(f64),
    /// A boolean.
    Boolean(bool),
    /// A string; any Unicode text but NUL.
    String(String),
    /// The identity of a row that is in the database.
    Uuid(Uuid),
    /// The name that an insert of the same transaction gives to its row (`uuid-name`): `[A-Za-z_][A-Za-z0-9_]*`.
    NamedUuid(String),
}

impl Atom {
    fn rank(&self) -> u8 {
        match self {
            Self::Integer(_) => 0,
            Self::Real(_) => 1,
            Self::Boolean(_) => 2,
            Self::String(_) => 3,
            Self::Uuid(_) => 4,
            Self::NamedUuid(_) => 5,
        }
    }

    /// The atom's type in the words of RFC 7047.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Integer(_) => "an integer",
            Self::Real(_) => "a real",
            Self::Boolean(_) => "a boolean",
            Self::String(_) => "a string",
            Self::Uuid(_) => "a uuid",
            Self::NamedUuid(_) => "a named-uuid",
        }
    }
}

impl Ord for Atom {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Real(a), Self::Real(b)) => a.total_cmp(b),
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::String(a), Self::String(b)) | (Self::NamedUuid(a), Self::NamedUuid(b)) => a.cmp(b),
            (Self::Uuid(a), Self::Uuid(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Atom {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Atom {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Atom {}

impl Hash for Atom {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Self::Integer(number) => number.hash(state),
            Self::Real(number) => number.to_bits().hash(state),
            Self::Boolean(flag) => flag.hash(state),
            Self::String(text) | Self::NamedUuid(text) => text.hash(state),
            Self::Uuid(uuid) => uuid.hash(state),
        }
    }
}

/// What a column holds (RFC 7047 section 5.1, `<value>`).
///
/// A set of one and its bare element are the same value, as they are on the wire; the order of a set's elements and
/// repeated ones make no difference.
#[derive(Debug, Clone)]
pub enum Value {
    /// Exactly one scalar.
    Atom(Atom),
    /// Any number of scalars; none is also how an optional column says that it is not set.
    Set(Vec<Atom>),
    /// Scalars by scalar.
    Map(BTreeMap<Atom, Atom>),
}

impl Value {
    /// A string.
    pub fn string(text: impl Into<String>) -> Self {
        Self::Atom(Atom::String(text.into()))
    }

    /// A reference to the row that an insert of the same transaction calls `name`.
    pub fn named_uuid(name: impl Into<String>) -> Self {
        Self::Atom(Atom::NamedUuid(name.into()))
    }

    /// The empty set: an optional column that is not set.
    pub fn empty_set() -> Self {
        Self::Set(Vec::new())
    }

    /// A map of strings to strings, as `external_ids` and `options` are.
    pub fn string_map<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::Map(
            pairs
                .into_iter()
                .map(|(key, value)| (Atom::String(key.into()), Atom::String(value.into())))
                .collect(),
        )
    }

    /// A set of strings, as the keys that [`Mutator::Delete`](super::Mutator::Delete) takes out of a map.
    pub fn string_set<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::Set(texts.into_iter().map(|text| Atom::String(text.into())).collect())
    }

    /// A set of references to rows.
    pub fn uuid_set(uuids: impl IntoIterator<Item = Uuid>) -> Self {
        Self::Set(uuids.into_iter().map(Atom::Uuid).collect())
    }

    /// Whether this is a set or a map with nothing in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Atom(_) => false,
            Self::Set(atoms) => atoms.is_empty(),
            Self::Map(pairs) => pairs.is_empty(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Atom(atom) => atom.kind(),
            Self::Set(atoms) => match atoms.as_slice() {
                [] => "an empty set",
                [atom] => atom.kind(),
                _ => "a set of several",
            },
            Self::Map(_) => "a map",
        }
    }

    fn mismatch(&self, expected: &'static str) -> ValueError {
        ValueError { expected, found: self.kind() }
    }

    /// The elements, if this is no map; a bare atom is a set of one.
    fn atoms(&self) -> Option<&[Atom]> {
        match self {
            Self::Atom(atom) => Some(std::slice::from_ref(atom)),
            Self::Set(atoms) => Some(atoms),
            Self::Map(_) => None,
        }
    }

    /// At most one element.
    fn optional(&self, expected: &'static str) -> Result<Option<&Atom>, ValueError> {
        match self.atoms() {
            Some([]) => Ok(None),
            Some([atom]) => Ok(Some(atom)),
            _ => Err(self.mismatch(expected)),
        }
    }

    /// The string that this is.
    pub fn as_str(&self) -> Result<&str, ValueError> {
        self.optional_string()?.ok_or_else(|| self.mismatch("a string"))
    }

    /// The string that this is, or none.
    pub fn optional_string(&self) -> Result<Option<&str>, ValueError> {
        match self.optional("a string")? {
            None => Ok(None),
            Some(Atom::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.mismatch("a string")),
        }
    }

    /// The integer that this is.
    pub fn integer(&self) -> Result<i64, ValueError> {
        self.optional_integer()?.ok_or_else(|| self.mismatch("an integer"))
    }

    /// The integer that this is, or none.
    pub fn optional_integer(&self) -> Result<Option<i64>, ValueError> {
        match self.optional("an integer")? {
            None => Ok(None),
            Some(Atom::Integer(number)) => Ok(Some(*number)),
            Some(_) => Err(self.mismatch("an integer")),
        }
    }

    /// The real that this is; an integer is one, since ovsdb-server writes 5.0 as `5`.
    pub fn real(&self) -> Result<f64, ValueError> {
        match self.optional("a real")? {
            Some(Atom::Real(number)) => Ok(*number),
            #[expect(clippy::cast_precision_loss, reason = "ovsdb-server wrote it from a double")]
            Some(Atom::Integer(number)) => Ok(*number as f64),
            _ => Err(self.mismatch("a real")),
        }
    }

    /// The boolean that this is.
    pub fn boolean(&self) -> Result<bool, ValueError> {
        self.optional_boolean()?.ok_or_else(|| self.mismatch("a boolean"))
    }

    /// The boolean that this is, or none.
    pub fn optional_boolean(&self) -> Result<Option<bool>, ValueError> {
        match self.optional("a boolean")? {
            None => Ok(None),
            Some(Atom::Boolean(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.mismatch("a boolean")),
        }
    }

    /// The one row that this refers to.
    pub fn uuid(&self) -> Result<Uuid, ValueError> {
        match self.optional("a uuid")? {
            Some(Atom::Uuid(uuid)) => Ok(*uuid),
            _ => Err(self.mismatch("a uuid")),
        }
    }

    /// The rows that this refers to, in the order of the wire: none, one or many.
    pub fn uuids(&self) -> Result<Vec<Uuid>, ValueError> {
        let expected = "a set of uuids";
        self.atoms()
            .ok_or_else(|| self.mismatch(expected))?
            .iter()
            .map(|atom| match atom {
                Atom::Uuid(uuid) => Ok(*uuid),
                other => Err(ValueError { expected, found: other.kind() }),
            })
            .collect()
    }

    /// The strings that this is a set of: none, one or many.
    pub fn strings(&self) -> Result<Vec<&str>, ValueError> {
        let expected = "a set of strings";
        self.atoms().ok_or_else(|| self.mismatch(expected))?.iter().map(|atom| text(atom, expected)).collect()
    }

    /// The map of strings to strings that this is.
    pub fn to_string_map(&self) -> Result<BTreeMap<String, String>, ValueError> {
        let expected = "a map of strings to strings";
        let Self::Map(pairs) = self else {
            return Err(self.mismatch(expected));
        };
        pairs
            .iter()
            .map(|(key, value)| Ok((text(key, expected)?.to_owned(), text(value, expected)?.to_owned())))
            .collect()
    }

    /// The string that a map of strings has under `key`, if any.
    pub fn string_at(&self, key: &str) -> Result<Option<&str>, ValueError> {
        let expected = "a map of strings to strings";
        let Self::Map(pairs) = self else {
            return Err(self.mismatch(expected));
        };
        pairs.get(&Atom::String(key.to_owned())).map(|value| text(value, expected)).transpose()
    }

    /// A set's elements in order and once each, or a map's pairs: what makes two values equal.
    fn canonical(&self) -> Result<Vec<&Atom>, &BTreeMap<Atom, Atom>> {
        match self {
            Self::Map(pairs) => Err(pairs),
            Self::Atom(atom) => Ok(vec![atom]),
            Self::Set(atoms) => {
                let mut sorted: Vec<&Atom> = atoms.iter().collect();
                sorted.sort_unstable();
                sorted.dedup();
                Ok(sorted)
            }
        }
    }
}

fn text<'a>(atom: &'a Atom, expected: &'static str) -> Result<&'a str, ValueError> {
    match atom {
        Atom::String(text) => Ok(text),
        other => Err(ValueError { expected, found: other.kind() }),
    }
}

/// A column holds something else than its reader expects, so its schema is not the one this was written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct ValueError {
    /// What the reader asked for.
    pub expected: &'static str,
    /// What the column holds.
    pub found: &'static str,
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Atom(a), Self::Atom(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            _ => self.canonical() == other.canonical(),
        }
    }
}

impl Eq for Value {}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.canonical().cmp(&other.canonical())
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical().hash(state);
    }
}

macro_rules! from {
    ($($type:ty => $variant:ident),*) => {$(
        impl From<$type> for Atom {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        }

        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::Atom(value.into())
            }
        }
    )*};
}

from!(i64 => Integer, f64 => Real, bool => Boolean, &str => String, String => String, Uuid => Uuid);

impl From<Atom> for Value {
    fn from(atom: Atom) -> Self {
        Self::Atom(atom)
    }
}

/// None is the empty set, as optional columns have it.
impl<T: Into<Atom>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(Self::empty_set, |value| Self::Atom(value.into()))
    }
}

impl<T: Into<Atom>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        Self::Set(values.into_iter().map(Into::into).collect())
    }
}

impl From<BTreeMap<String, String>> for Value {
    fn from(pairs: BTreeMap<String, String>) -> Self {
        Self::string_map(pairs)
    }
}
