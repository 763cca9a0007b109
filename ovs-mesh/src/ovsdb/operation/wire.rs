//! Operations as JSON (RFC 7047 sections 5.1 and 5.2), written straight from the types: a transaction of thousands of
//! inserts is not built a second time as a tree of JSON values.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Condition, Function, Mutation, Mutator, Operation, Until};

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("op", self.name())?;
        match self {
            Self::Insert { table, row, uuid_name } => {
                map.serialize_entry("table", table)?;
                map.serialize_entry("row", row)?;
                if let Some(name) = uuid_name {
                    map.serialize_entry("uuid-name", name)?;
                }
            }
            Self::Select { table, r#where, columns } => {
                map.serialize_entry("table", table)?;
                map.serialize_entry("where", r#where)?;
                if let Some(columns) = columns {
                    map.serialize_entry("columns", &WithUuid(columns))?;
                }
            }
            Self::Update { table, r#where, row } => {
                map.serialize_entry("table", table)?;
                map.serialize_entry("where", r#where)?;
                map.serialize_entry("row", row)?;
            }
            Self::Mutate { table, r#where, mutations } => {
                map.serialize_entry("table", table)?;
                map.serialize_entry("where", r#where)?;
                map.serialize_entry("mutations", mutations)?;
            }
            Self::Delete { table, r#where } => {
                map.serialize_entry("table", table)?;
                map.serialize_entry("where", r#where)?;
            }
            Self::Wait { table, r#where, columns, until, rows, timeout_ms } => {
                map.serialize_entry("table", table)?;
                map.serialize_entry("where", r#where)?;
                map.serialize_entry("columns", columns)?;
                map.serialize_entry("until", until.as_str())?;
                map.serialize_entry("rows", rows)?;
                if let Some(timeout) = timeout_ms {
                    map.serialize_entry("timeout", timeout)?;
                }
            }
            Self::Commit { durable } => map.serialize_entry("durable", durable)?,
            Self::Abort => {}
            Self::Comment { comment } => map.serialize_entry("comment", comment)?,
            Self::Assert { lock } => map.serialize_entry("lock", lock)?,
        }
        map.end()
    }
}

/// Columns, with `_uuid` if it is not among them.
struct WithUuid<'a>(&'a [String]);

impl Serialize for WithUuid<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let missing = (!self.0.iter().any(|column| column == "_uuid")).then_some("_uuid");
        serializer.collect_seq(self.0.iter().map(String::as_str).chain(missing))
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { column, function, value } = self;
        (column, function.as_str(), value).serialize(serializer)
    }
}

impl Serialize for Mutation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { column, mutator, value } = self;
        (column, mutator.as_str(), value).serialize(serializer)
    }
}

impl Until {
    fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
        }
    }
}

impl Function {
    /// The function on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::GreaterOrEqual => ">=",
            Self::Greater => ">",
            Self::Includes => "includes",
            Self::Excludes => "excludes",
        }
    }
}

impl Mutator {
    /// The mutator on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+=",
            Self::Subtract => "-=",
            Self::Multiply => "*=",
            Self::Divide => "/=",
            Self::Remainder => "%=",
            Self::Insert => "insert",
            Self::Delete => "delete",
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ovsdb::{Row, Value};

    #[test]
    fn the_wire_form_is_that_of_the_rfc() {
        let id = Uuid::nil();
        let row = || Row::from([("name".to_owned(), Value::from("br0"))]);
        let uuid = r#"["_uuid","==",["uuid","00000000-0000-0000-0000-000000000000"]]"#;
        for (operation, text) in [
            (
                Operation::insert_named("Bridge", "b1", row()),
                r#"{"op":"insert","table":"Bridge","row":{"name":"br0"},"uuid-name":"b1"}"#.to_owned(),
            ),
            (
                Operation::insert("Bridge", row()),
                r#"{"op":"insert","table":"Bridge","row":{"name":"br0"}}"#.to_owned(),
            ),
            (
                Operation::Select { table: "Port".into(), r#where: vec![], columns: None },
                r#"{"op":"select","table":"Port","where":[]}"#.to_owned(),
            ),
            (
                Operation::select_all("Port", ["name"]),
                r#"{"op":"select","table":"Port","where":[],"columns":["name","_uuid"]}"#.to_owned(),
            ),
            (
                Operation::select_all("Port", ["_uuid", "name"]),
                r#"{"op":"select","table":"Port","where":[],"columns":["_uuid","name"]}"#.to_owned(),
            ),
            (
                Operation::update_row("Bridge", id, row()),
                format!(r#"{{"op":"update","table":"Bridge","where":[{uuid}],"row":{{"name":"br0"}}}}"#),
            ),
            (
                Operation::mutate_row(
                    "Bridge",
                    id,
                    vec![
                        Mutation::new("ports", Mutator::Insert, Value::named_uuid("p")),
                        Mutation::new("flood_vlans", Mutator::Delete, vec![1, 2]),
                    ],
                ),
                format!(
                    r#"{{"op":"mutate","table":"Bridge","where":[{uuid}],"mutations":[["ports","insert",["named-uuid","p"]],["flood_vlans","delete",["set",[1,2]]]]}}"#
                ),
            ),
            (
                Operation::Delete {
                    table: "Bridge".into(),
                    r#where: vec![Condition::new("external_ids", Function::Includes, Value::string_map([("a", "b")]))],
                },
                r#"{"op":"delete","table":"Bridge","where":[["external_ids","includes",["map",[["a","b"]]]]]}"#
                    .to_owned(),
            ),
            (
                Operation::guard_row("Bridge", id, row()),
                format!(
                    r#"{{"op":"wait","table":"Bridge","where":[{uuid}],"columns":["name"],"until":"==","rows":[{{"name":"br0"}}],"timeout":0}}"#
                ),
            ),
            (
                Operation::Wait {
                    table: "Bridge".into(),
                    r#where: vec![],
                    columns: vec!["name".into()],
                    until: Until::NotEqual,
                    rows: vec![],
                    timeout_ms: None,
                },
                r#"{"op":"wait","table":"Bridge","where":[],"columns":["name"],"until":"!=","rows":[]}"#.to_owned(),
            ),
            (Operation::Commit { durable: true }, r#"{"op":"commit","durable":true}"#.to_owned()),
            (Operation::Abort, r#"{"op":"abort"}"#.to_owned()),
            (Operation::Comment { comment: "x".into() }, r#"{"op":"comment","comment":"x"}"#.to_owned()),
            (Operation::Assert { lock: "l".into() }, r#"{"op":"assert","lock":"l"}"#.to_owned()),
        ] {
            assert_eq!(serde_json::to_string(&operation).unwrap(), text);
        }
    }
}
