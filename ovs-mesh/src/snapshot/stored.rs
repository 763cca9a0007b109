//! Rows in a file: a list in the order of their ids, so that one switch gives one file.

/// A table, whose rows carry their ids themselves.
pub(super) mod by_id {
    use std::collections::HashMap;

    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use uuid::Uuid;

    use crate::snapshot::{BridgeRow, InterfaceRow, PortRow};

    /// A row that knows its id.
    pub(in crate::snapshot) trait Identified {
        fn id(&self) -> Uuid;
    }

    impl Identified for BridgeRow {
        fn id(&self) -> Uuid {
            self.uuid
        }
    }

    impl Identified for PortRow {
        fn id(&self) -> Uuid {
            self.uuid
        }
    }

    impl Identified for InterfaceRow {
        fn id(&self) -> Uuid {
            self.uuid
        }
    }

    pub(in crate::snapshot) fn serialize<T: Serialize + Identified, S: Serializer>(
        rows: &HashMap<Uuid, T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut sorted: Vec<&T> = rows.values().collect();
        sorted.sort_by_key(|row| row.id());
        serializer.collect_seq(sorted)
    }

    pub(in crate::snapshot) fn deserialize<'de, T: DeserializeOwned + Identified, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<HashMap<Uuid, T>, D::Error> {
        let rows = Vec::<T>::deserialize(deserializer)?;
        Ok(rows.into_iter().map(|row| (row.id(), row)).collect())
    }
}
