//! What a transaction is made of (RFC 7047 section 5.2), and what comes back for each part.

mod reply;
mod wire;

use uuid::Uuid;

use super::value::{Row, Value};

pub(super) use reply::results;

/// One operation of a transaction (RFC 7047 section 5.2).
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Adds a row. It is collected at once, without an error, unless it or what refers to it belongs to a root table.
    Insert {
        /// The table.
        table: String,
        /// The columns that differ from their defaults.
        row: Row,
        /// The name by which the rest of the transaction can refer to the row, see
        /// [`Atom::NamedUuid`](super::Atom::NamedUuid).
        uuid_name: Option<String>,
    },
    /// Reads rows.
    Select {
        /// The table.
        table: String,
        /// What a row must meet; all of it.
        r#where: Vec<Condition>,
        /// The columns to read, `_uuid` being always one of them; `None` is every column.
        ///
        /// ovsdb-server folds rows that are equal in the columns asked for into one, so that 5,000 interfaces read for
        /// their type would come back as a handful: `_uuid` keeps every row.
        columns: Option<Vec<String>>,
    },
    /// Replaces columns.
    Update {
        /// The table.
        table: String,
        /// What a row must meet; all of it.
        r#where: Vec<Condition>,
        /// The columns to replace.
        row: Row,
    },
    /// Changes columns in place. That no row is met is no error: look at the [count](OperationResult::Count).
    Mutate {
        /// The table.
        table: String,
        /// What a row must meet; all of it.
        r#where: Vec<Condition>,
        /// The changes, made in this order.
        mutations: Vec<Mutation>,
    },
    /// Removes rows.
    Delete {
        /// The table.
        table: String,
        /// What a row must meet; all of it.
        r#where: Vec<Condition>,
    },
    /// Holds the transaction until a query yields what is given, or fails it as
    /// [`OperationError::WaitTimedOut`](super::OperationError::WaitTimedOut).
    Wait {
        /// The table.
        table: String,
        /// What a row must meet; all of it.
        r#where: Vec<Condition>,
        /// The columns to compare. Equal rows are folded here too: name `_uuid` where that matters.
        columns: Vec<String>,
        /// Whether the rows have to be the same or to differ.
        until: Until,
        /// The rows to compare with.
        rows: Vec<Row>,
        /// How long to wait, in milliseconds; 0 makes it a guard (optimistic concurrency), `None` waits for ever.
        timeout_ms: Option<u64>,
    },
    /// Commits; `durable` also waits until the transaction is on disk.
    Commit {
        /// Whether to reply only after it is on disk.
        durable: bool,
    },
    /// Fails the transaction as [`OperationError::Aborted`](super::OperationError::Aborted).
    Abort,
    /// A note for the database's log, see `ovsdb-tool show-log`.
    Comment {
        /// The note.
        comment: String,
    },
    /// Fails the transaction unless this connection holds the lock.
    Assert {
        /// The lock's name.
        lock: String,
    },
}

/// Whether a [`Operation::Wait`] waits for the same rows or for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

/// What a row must meet (RFC 7047 section 5.1, `<condition>`).
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The column.
    pub column: String,
    /// How it compares.
    pub function: Function,
    /// With what.
    pub value: Value,
}

/// How a condition compares (RFC 7047 section 5.1, `<function>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>=`
    GreaterOrEqual,
    /// `>`
    Greater,
    /// `includes`: the column has all that the value has.
    Includes,
    /// `excludes`: the column has nothing that the value has.
    Excludes,
}

/// A change in place (RFC 7047 section 5.1, `<mutation>`).
#[derive(Debug, Clone, PartialEq)]
pub struct Mutation {
    /// The column.
    pub column: String,
    /// What to do.
    pub mutator: Mutator,
    /// With what.
    pub value: Value,
}

/// What a mutation does (RFC 7047 section 5.1, `<mutator>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutator {
    /// `+=`
    Add,
    /// `-=`
    Subtract,
    /// `*=`
    Multiply,
    /// `/=`
    Divide,
    /// `%=`
    Remainder,
    /// `insert`: adds elements to a set, or pairs to a map where the key is not there yet.
    Insert,
    /// `delete`: takes elements out of a set, or pairs out of a map, given as pairs or as a set of keys.
    Delete,
}

impl Operation {
    /// Adds a row that nothing else in the transaction refers to.
    pub fn insert(table: impl Into<String>, row: Row) -> Self {
        Self::Insert { table: table.into(), row, uuid_name: None }
    }

    /// Adds a row that the transaction calls `uuid_name`.
    pub fn insert_named(table: impl Into<String>, uuid_name: impl Into<String>, row: Row) -> Self {
        Self::Insert { table: table.into(), row, uuid_name: Some(uuid_name.into()) }
    }

    /// Reads columns of every row.
    pub fn select_all<C: Into<String>>(
        table: impl Into<String>,
        columns: impl IntoIterator<Item = C>,
    ) -> Self {
        Self::Select {
            table: table.into(),
            r#where: Vec::new(),
            columns: Some(columns.into_iter().map(Into::into).collect()),
        }
    }

    /// Replaces columns of one row.
    pub fn update_row(table: impl Into<String>, uuid: Uuid, row: Row) -> Self {
        Self::Update { table: table.into(), r#where: vec![Condition::uuid_is(uuid)], row }
    }

    /// Changes one row in place.
    pub fn mutate_row(table: impl Into<String>, uuid: Uuid, mutations: Vec<Mutation>) -> Self {
        Self::Mutate { table: table.into(), r#where: vec![Condition::uuid_is(uuid)], mutations }
    }

    /// A guard: fails the transaction unless the row `uuid` still has these columns.
    pub fn guard_row(table: impl Into<String>, uuid: Uuid, row: Row) -> Self {
        Self::Wait {
            table: table.into(),
            r#where: vec![Condition::uuid_is(uuid)],
            columns: row.keys().cloned().collect(),
            until: Until::Equal,
            rows: vec![row],
            timeout_ms: Some(0),
        }
    }

    /// The operation's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Insert { .. } => "insert",
            Self::Select { .. } => "select",
            Self::Update { .. } => "update",
            Self::Mutate { .. } => "mutate",
            Self::Delete { .. } => "delete",
            Self::Wait { .. } => "wait",
            Self::Commit { .. } => "commit",
            Self::Abort => "abort",
            Self::Comment { .. } => "comment",
            Self::Assert { .. } => "assert",
        }
    }
}

impl Condition {
    /// Compares a column with a value.
    pub fn new(column: impl Into<String>, function: Function, value: impl Into<Value>) -> Self {
        Self { column: column.into(), function, value: value.into() }
    }

    /// Met by the one row with this uuid. ovsdb-server finds it by its index, not by looking at every row.
    pub fn uuid_is(uuid: Uuid) -> Self {
        Self::new("_uuid", Function::Equal, uuid)
    }

    /// Met where the column is equal to the value.
    pub fn equal(column: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(column, Function::Equal, value)
    }
}

impl Mutation {
    /// A change of a column.
    pub fn new(column: impl Into<String>, mutator: Mutator, value: impl Into<Value>) -> Self {
        Self { column: column.into(), mutator, value: value.into() }
    }
}

/// What an operation that did not fail yields.
#[derive(Debug, Clone, PartialEq)]
pub enum OperationResult {
    /// The uuid of the row that an insert added.
    Inserted(Uuid),
    /// The rows that a select found.
    Rows(Vec<Row>),
    /// How many rows an update, a mutate or a delete met, which can be none.
    Count(u64),
    /// Of the others: nothing.
    Done,
}

impl OperationResult {
    /// The uuid, if this is an insert's result.
    pub fn inserted(&self) -> Option<Uuid> {
        match self {
            Self::Inserted(uuid) => Some(*uuid),
            _ => None,
        }
    }

    /// The rows, if this is a select's result.
    pub fn into_rows(self) -> Option<Vec<Row>> {
        match self {
            Self::Rows(rows) => Some(rows),
            _ => None,
        }
    }

    /// The count, if this is the result of an update, a mutate or a delete.
    pub fn count(&self) -> Option<u64> {
        match self {
            Self::Count(count) => Some(*count),
            _ => None,
        }
    }
}
