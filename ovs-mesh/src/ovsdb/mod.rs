//! A client of the Open vSwitch database management protocol (RFC 7047 and ovsdb-server(7)).
//!
//! The layers, each usable and tested without the one above it: [`frame`] cuts a byte stream into messages, [`value`]
//! is the data of a column, [`operation`] what a transaction is made of, [`endpoint`] where a server listens, [`client`]
//! the connection, [`monitor`] the stream of changes.
//!
//! No call is without a deadline, and a [`Client`] never reconnects by itself: what was read over a lost connection may
//! be out of date, so only its owner can decide what to read again.

pub mod client;
mod connection;
pub mod endpoint;
pub mod error;
pub mod frame;
pub(crate) mod message;
pub mod monitor;
pub mod operation;
mod tls;
pub mod value;

pub use client::{Client, ConnectOptions};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{CallError, ConnectError, ConnectionLost, LostReason, OperationError, TransactError};
pub use monitor::{Monitor, MonitorError, MonitorRequest, RowUpdate, Updates};
pub use operation::{Condition, Function, Mutation, Mutator, Operation, OperationResult, Until};
pub use tls::{TlsConfig, TlsError};
pub use value::{Atom, Row, Value, ValueError};
