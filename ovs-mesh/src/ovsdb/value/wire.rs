//! Values as JSON (RFC 7047 section 5.1), read and written without a tree of JSON values in between.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, IgnoredAny, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::{Atom, Value};

/// A uuid as `["uuid", "…"]`.
#[derive(Debug, Clone, Copy)]
pub(in crate::ovsdb) struct WireUuid(pub(in crate::ovsdb) Uuid);

impl Serialize for WireUuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ("uuid", self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for WireUuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Atom::deserialize(deserializer)? {
            Atom::Uuid(uuid) => Ok(Self(uuid)),
            other => Err(D::Error::invalid_value(Unexpected::Other(other.kind()), &"[\"uuid\", \"…\"]")),
        }
    }
}

impl Serialize for Atom {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Real(number) => serializer.serialize_f64(*number),
            Self::Boolean(flag) => serializer.serialize_bool(*flag),
            Self::String(text) => serializer.serialize_str(text),
            Self::Uuid(uuid) => WireUuid(*uuid).serialize(serializer),
            Self::NamedUuid(name) => ("named-uuid", name).serialize(serializer),
        }
    }
}

struct Pairs<'a>(&'a BTreeMap<Atom, Atom>);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Atom(atom) => atom.serialize(serializer),
            Self::Set(atoms) => match atoms.as_slice() {
                [atom] => atom.serialize(serializer),
                _ => ("set", atoms).serialize(serializer),
            },
            Self::Map(pairs) => ("map", Pairs(pairs)).serialize(serializer),
        }
    }
}

/// What the first element of an array says about the second (RFC 7047 section 5.1).
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Tag {
    Uuid,
    NamedUuid,
    Set,
    Map,
}

/// An atom, or a value, which is an atom or more: they differ in which tags they have.
///
/// An atom nests nothing, so neither is read by recursion.
trait Tagged<'de>: From<Atom> {
    const EXPECTED: &'static str;

    fn second<A: SeqAccess<'de>>(tag: Tag, array: &mut A) -> Result<Self, A::Error>;
}

impl<'de> Tagged<'de> for Atom {
    const EXPECTED: &'static str =
        "a number, a boolean, a string, or an array that begins with uuid or named-uuid";

    fn second<A: SeqAccess<'de>>(tag: Tag, array: &mut A) -> Result<Self, A::Error> {
        match tag {
            Tag::Uuid => element(array, 1).map(Self::Uuid),
            Tag::NamedUuid => element(array, 1).map(Self::NamedUuid),
            Tag::Set | Tag::Map => {
                Err(A::Error::invalid_type(Unexpected::Other("a set or a map"), &Self::EXPECTED))
            }
        }
    }
}

impl<'de> Tagged<'de> for Value {
    const EXPECTED: &'static str =
        "a number, a boolean, a string, or an array that begins with uuid, named-uuid, set or map";

    fn second<A: SeqAccess<'de>>(tag: Tag, array: &mut A) -> Result<Self, A::Error> {
        match tag {
            Tag::Uuid | Tag::NamedUuid => Atom::second(tag, array).map(Self::Atom),
            Tag::Set => element(array, 1).map(Self::Set),
            Tag::Map => element::<UniquePairs, _>(array, 1).map(|pairs| Self::Map(pairs.0)),
        }
    }
}

struct TaggedVisitor<T>(PhantomData<T>);

impl<'de, T: Tagged<'de>> Visitor<'de> for TaggedVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<T, E> {
        Ok(Atom::from(flag).into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        Ok(Atom::from(number).into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        let refused = |_| E::invalid_value(Unexpected::Unsigned(number), &"a signed 64-bit integer");
        i64::try_from(number).map(|number| Atom::from(number).into()).map_err(refused)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        Ok(Atom::from(number).into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(Atom::from(text).into())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<T, E> {
        Ok(Atom::from(text).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<T, A::Error> {
        let tag = element(&mut array, 0)?;
        let value = T::second(tag, &mut array)?;
        match array.next_element::<IgnoredAny>()? {
            None => Ok(value),
            Some(_) => Err(A::Error::invalid_length(3, &"an array of 2")),
        }
    }
}

fn element<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(array: &mut A, index: usize) -> Result<T, A::Error> {
    array.next_element()?.ok_or_else(|| A::Error::invalid_length(index, &"an array of 2"))
}

impl<'de> Deserialize<'de> for Atom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TaggedVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TaggedVisitor(PhantomData))
    }
}

struct UniquePairs(BTreeMap<Atom, Atom>);

impl<'de> Deserialize<'de> for UniquePairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let listed = Vec::<(Atom, Atom)>::deserialize(deserializer)?;
        let length = listed.len();
        let pairs: BTreeMap<Atom, Atom> = listed.into_iter().collect();
        if pairs.len() == length {
            Ok(Self(pairs))
        } else {
            Err(D::Error::custom("a map has the same key twice"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::DefaultHasher;
    use std::hash::{Hash, Hasher};

    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Value, serde_json::Error> {
        serde_json::from_str(text)
    }

    fn any_atom() -> impl Strategy<Value = Atom> {
        prop_oneof![
            any::<i64>().prop_map(Atom::from),
            any::<f64>().prop_filter("JSON has no others", |f| f.is_finite()).prop_map(Atom::from),
            any::<bool>().prop_map(Atom::from),
            any::<String>().prop_map(Atom::from),
            any::<u128>().prop_map(|bits| Atom::from(Uuid::from_u128(bits))),
            "[a-z_][a-z0-9_]{0,8}".prop_map(Atom::NamedUuid),
        ]
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any_atom().prop_map(Value::Atom),
            prop::collection::vec(any_atom(), 0..5).prop_map(Value::Set),
            prop::collection::btree_map(any_atom(), any_atom(), 0..5).prop_map(Value::Map),
        ]
    }

    fn hash(value: &Value) -> u64 {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        hasher.finish()
    }

    proptest! {
        #[test]
        fn a_value_survives_the_wire(value in any_value()) {
            let text = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(parse(&text).unwrap(), value);
        }

        #[test]
        fn a_set_has_no_order(mut atoms in prop::collection::vec(any_atom(), 0..5)) {
            let forward = Value::Set(atoms.clone());
            atoms.extend(atoms.first().cloned());
            atoms.reverse();
            let backward = Value::Set(atoms);
            prop_assert_eq!(hash(&forward), hash(&backward));
            prop_assert_eq!(forward, backward);
        }
    }

    #[test]
    fn the_wire_form_is_that_of_the_rfc() {
        let uuid = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
        for (value, text) in [
            (Value::from(5), "5"),
            (Value::from(5.5), "5.5"),
            (Value::from(true), "true"),
            (Value::from("a\"b"), r#""a\"b""#),
            (Value::from(uuid), r#"["uuid","01020304-0506-0708-090a-0b0c0d0e0f10"]"#),
            (Value::named_uuid("row1"), r#"["named-uuid","row1"]"#),
            (Value::empty_set(), r#"["set",[]]"#),
            (Value::from(None::<i64>), r#"["set",[]]"#),
            (Value::from(vec![5]), "5"),
            (Value::from(vec![5, 6]), r#"["set",[5,6]]"#),
            (Value::string_map([("b", "1"), ("a", "2")]), r#"["map",[["a","2"],["b","1"]]]"#),
            (Value::Map(BTreeMap::new()), r#"["map",[]]"#),
        ] {
            assert_eq!(serde_json::to_string(&value).unwrap(), text);
            assert_eq!(parse(text).unwrap(), value);
        }
        assert_eq!(parse(r#"["set",["a"]]"#).unwrap(), Value::from("a"));
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for text in [
            "null",
            "{}",
            "[]",
            r#"["set"]"#,
            r#"["set",5]"#,
            r#"["set",[],5]"#,
            r#"["set",[["set",[]]]]"#,
            r#"["map",[["a"]]]"#,
            r#"["map",[["a","b","c"]]]"#,
            r#"["map",[["a","b"],["a","c"]]]"#,
            r#"["uuid","5"]"#,
            r#"["uuid",5]"#,
            r#"["list",[]]"#,
            "[5,[]]",
            "9223372036854775808",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn accessors_say_what_they_found() {
        let uuid = Uuid::from_u128(1);
        assert_eq!(Value::from(uuid).uuids().unwrap(), [uuid]);
        assert!(Value::empty_set().uuids().unwrap().is_empty());
        assert_eq!(Value::uuid_set([uuid]), Value::from(uuid));
        assert_eq!(Value::empty_set().optional_integer().unwrap(), None);
        assert_eq!(Value::from(vec![-1]).optional_integer().unwrap(), Some(-1));
        assert_eq!(Value::from(5).real().map(f64::to_bits), Ok(5.0_f64.to_bits()));
        assert_eq!(Value::from("x").as_str().unwrap(), "x");
        assert_eq!(Value::string_map([("a", "b")]).string_at("a").unwrap(), Some("b"));
        assert_eq!(Value::string_map([("a", "b")]).to_string_map().unwrap()["a"], "b");
        let error = Value::empty_set().as_str().unwrap_err();
        assert_eq!(error.to_string(), "expected a string, found an empty set");
        let error = Value::from(vec!["a", "b"]).optional_string().unwrap_err();
        assert_eq!(error.to_string(), "expected a string, found a set of several");
        let error = Value::from(5).to_string_map().unwrap_err();
        assert_eq!(error.to_string(), "expected a map of strings to strings, found an integer");
    }
}
