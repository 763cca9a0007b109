//! The VIP on AWS: where keepalived says that this machine is master, the VIP's address or route is made to lead here.
//!
//! keepalived's notify FIFO tells each change of state. [`Notice`] reads a line; [`Coordinator`] decides, without a clock
//! or a socket of its own, what is done next: it looks before it takes, confirms what it took, and asks before every step
//! whether this machine is still master. [`Vpc`] carries out one step, and asks that once more before each call that moves
//! something. [`serve`] and [`once`] are the shells around them.

mod coordinator;
mod fifo;
mod identity;
mod log;
mod machine_addresses;
mod notice;
mod once;
mod options;
mod serve;
mod vpc;
mod word;

pub use coordinator::{Coordinator, Order, Outcome, Pace, Reason, Sight, Step, Verdict};
pub use fifo::{Fifo, FifoError};
pub use identity::{Identity, NoInterface, select};
pub use log::{Level, Log, SystemLog};
pub use notice::{Change, Lines, Notice, NoticeError, Subject, SubjectKind, VrrpState};
pub use once::{OnceError, OnceReport, once};
pub use options::{InterfaceChoice, NotifyOptions, Vip, VipMode};
pub use serve::{ServeError, serve};
pub use vpc::{Taking, Vpc, VpcError};
pub use word::Word;
