//! Changes as they happen (RFC 7047 sections 4.1.5 to 4.1.7).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::Error;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, WeakUnboundedSender};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::connection::{Command, Fate};
use super::error::{ConnectionLost, ReplyError};
use super::value::Row;

/// The tables and columns to watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MonitorRequest {
    /// The columns to watch, by table.
    pub tables: BTreeMap<String, Vec<String>>,
    /// Leave out the rows that are there at the beginning.
    pub changes_only: bool,
}

impl MonitorRequest {
    /// Watches nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches these columns of a table as well.
    #[must_use]
    pub fn table<C: Into<String>>(
        mut self,
        table: impl Into<String>,
        columns: impl IntoIterator<Item = C>,
    ) -> Self {
        self.tables.entry(table.into()).or_default().extend(columns.into_iter().map(Into::into));
        self
    }

    /// Leaves out the rows that are there at the beginning.
    #[must_use]
    pub fn changes_only(mut self) -> Self {
        self.changes_only = true;
        self
    }
}

/// `<monitor-requests>` (RFC 7047 section 4.1.5).
impl Serialize for MonitorRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Table<'a> {
            columns: &'a [String],
            #[serde(skip_serializing_if = "Option::is_none")]
            select: Option<Select>,
        }
        #[derive(Serialize)]
        struct Select {
            initial: bool,
        }
        let Self { tables, changes_only } = self;
        let mut map = serializer.serialize_map(Some(tables.len()))?;
        for (table, columns) in tables {
            let select = changes_only.then_some(Select { initial: false });
            map.serialize_entry(table, &Table { columns, select })?;
        }
        map.end()
    }
}

/// What happened to one row (RFC 7047 section 4.1.6, `<row-update>`).
#[derive(Debug, Clone, PartialEq)]
pub enum RowUpdate {
    /// It was there at the beginning, or it was added.
    Inserted(Row),
    /// It was changed.
    Modified {
        /// The columns that changed, as they were.
        old: Row,
        /// Every column watched, as it is now.
        new: Row,
    },
    /// It was removed; the columns watched, as they were.
    Deleted(Row),
}

impl RowUpdate {
    /// The columns watched as they are now; `None` if the row is gone.
    pub fn current(&self) -> Option<&Row> {
        match self {
            Self::Inserted(new) | Self::Modified { new, .. } => Some(new),
            Self::Deleted(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for RowUpdate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            old: Option<Row>,
            new: Option<Row>,
        }
        match Wire::deserialize(deserializer)? {
            Wire { old: None, new: Some(new) } => Ok(Self::Inserted(new)),
            Wire { old: Some(old), new: Some(new) } => Ok(Self::Modified { old, new }),
            Wire { old: Some(old), new: None } => Ok(Self::Deleted(old)),
            Wire { old: None, new: None } => {
                Err(D::Error::custom("a row update has neither `old` nor `new`"))
            }
        }
    }
}

/// What one transaction did to what is watched (RFC 7047 section 4.1.6, `<table-updates>`), or what was there at the
/// beginning.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Updates {
    /// Rows by uuid, by table. A table of which no row changed is left out.
    pub tables: BTreeMap<String, BTreeMap<Uuid, RowUpdate>>,
}

impl Updates {
    /// The rows of one table, none if none changed.
    pub fn table(&self, table: &str) -> impl Iterator<Item = (Uuid, &RowUpdate)> {
        self.tables.get(table).into_iter().flatten().map(|(uuid, update)| (*uuid, update))
    }
}

/// Why a monitor did not yield an update.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MonitorError {
    /// The connection is gone, and with it every change that the server would have reported: read all again.
    #[error("the monitor has ended")]
    Connection {
        /// How it went.
        #[source]
        source: ConnectionLost,
    },
    /// Nothing that is watched changed in time. The monitor goes on.
    #[error("nothing changed within {waited:?}")]
    Deadline {
        /// The time given.
        waited: Duration,
    },
    /// An update has the wrong shape. What it changed is unknown: read all again.
    #[error("an update has the wrong shape")]
    Protocol {
        /// What is wrong with it.
        #[source]
        source: ReplyError,
    },
}

/// The changes to what is watched, in the order of the transactions. Dropping it ends the monitor on the server.
///
/// Updates queue up in memory until they are read. It does not keep the connection: with the last
/// [`Client`](super::Client) gone it ends.
#[derive(Debug)]
pub struct Monitor {
    pub(super) id: u64,
    pub(super) updates: UnboundedReceiver<Box<RawValue>>,
    pub(super) commands: WeakUnboundedSender<Command>,
    /// The id of the request that ends it; none if the server does not have it.
    pub(super) cancel_id: Option<u64>,
    pub(super) fate: Fate,
}

impl Monitor {
    /// The next update; waits for it until `deadline`. What was received before a lost connection is yielded first.
    pub async fn next(&mut self, deadline: Instant) -> Result<Updates, MonitorError> {
        let started = Instant::now();
        match timeout_at(deadline, self.updates.recv()).await {
            Ok(Some(updates)) => parse(&updates),
            Ok(None) => Err(MonitorError::Connection { source: self.fate.lost() }),
            Err(_) => Err(MonitorError::Deadline { waited: deadline.saturating_duration_since(started) }),
        }
    }

    /// The next update, if it is here already. What a transaction changed is, once `transact` returned.
    pub fn try_next(&mut self) -> Result<Option<Updates>, MonitorError> {
        match self.updates.try_recv() {
            Ok(updates) => parse(&updates).map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(MonitorError::Connection { source: self.fate.lost() }),
        }
    }
}

fn parse(updates: &RawValue) -> Result<Updates, MonitorError> {
    serde_json::from_str(updates.get())
        .map_err(|source| MonitorError::Protocol { source: ReplyError::Json { source: source.into() } })
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if let Some(commands) = self.commands.upgrade() {
            let _ = commands.send(Command::Unwatch { id: self.id, request: self.cancel_id });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_form_of_the_rfc() {
        let request = MonitorRequest::new().table("Port", ["name"]).table("Bridge", ["name", "ports"]);
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"Bridge":{"columns":["name","ports"]},"Port":{"columns":["name"]}}"#
        );
        let request = MonitorRequest::new().table("Port", ["name"]).changes_only();
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"Port":{"columns":["name"],"select":{"initial":false}}}"#
        );
    }

    #[test]
    fn updates_say_what_happened_to_a_row() {
        let uuid = Uuid::nil();
        let read = |update: &str| {
            serde_json::from_str::<Updates>(&format!(r#"{{"Port":{{"{uuid}":{update}}}}}"#))
                .map(|updates| updates.tables["Port"][&uuid].clone())
        };
        let row = |name: &str| Row::from([("name".to_owned(), name.into())]);
        assert_eq!(read(r#"{"new":{"name":"a"}}"#).unwrap(), RowUpdate::Inserted(row("a")));
        assert_eq!(read(r#"{"old":{"name":"a"}}"#).unwrap(), RowUpdate::Deleted(row("a")));
        let modified = read(r#"{"old":{"name":"a"},"new":{"name":"b"}}"#).unwrap();
        assert_eq!(modified, RowUpdate::Modified { old: row("a"), new: row("b") });
        assert_eq!(modified.current(), Some(&row("b")));
        assert!(read("{}").is_err());
    }
}
