//! One request and its answers over generic netlink (genetlink, netlink(7)).

use std::time::Duration;
use std::{fmt, io};

use neli::consts::nl::{GenlId, NlmF};
use neli::consts::socket::NlFamily;
use neli::genl::{AttrTypeBuilder, Genlmsghdr, GenlmsghdrBuilder, Nlattr, NlattrBuilder, NoUserHeader};
use neli::nl::{NlPayload, Nlmsghdr, NlmsghdrBuilder};
use neli::socket::synchronous::NlSocketHandle;
use neli::types::{Buffer, GenlBuffer};
use neli::utils::Groups;
use neli::{FromBytes, Size, ToBytes, TypeSize};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Netns, NetnsError};

/// How long the kernel may take to answer; it does so within the system call unless its locks are held.
const DEADLINE: Duration = Duration::from_secs(5);

// linux/genetlink.h
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

pub(super) type Attributes = GenlBuffer<u16, Buffer>;
pub(super) type Attribute = Nlattr<u16, Buffer>;

/// Why an exchange over generic netlink failed.
#[derive(Debug, thiserror::Error)]
pub enum GenlError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// No thread could be had for the exchange.
    #[error("cannot start a thread for generic netlink")]
    Thread(#[source] io::Error),
    /// The socket failed.
    #[error("the generic netlink socket failed")]
    Socket(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The kernel has no such family: its module is not loaded.
    #[error("the kernel has no generic netlink family `{family}`")]
    NoFamily {
        /// The family's name.
        family: &'static str,
    },
    /// The kernel refused the request.
    #[error("the kernel refused the request")]
    Refused(#[source] io::Error),
    /// A message cannot be put together or taken apart.
    #[error("a generic netlink message is malformed: {detail}")]
    Malformed {
        /// Which part.
        detail: String,
    },
    /// No answer came in time.
    #[error("generic netlink did not answer in {} s", DEADLINE.as_secs())]
    Timeout,
}

pub(super) fn malformed(detail: impl fmt::Display) -> GenlError {
    GenlError::Malformed { detail: format!("{detail}") }
}

/// A header between the generic one and the attributes, as some families have it.
pub(super) trait UserHeader: Size + ToBytes + FromBytes + TypeSize + Clone {}
impl<H: Size + ToBytes + FromBytes + TypeSize + Clone> UserHeader for H {}

/// An attribute with that payload; a text's must end with its NUL.
pub(super) fn attribute(kind: u16, payload: &[u8]) -> Result<Attribute, GenlError> {
    NlattrBuilder::default()
        .nla_type(AttrTypeBuilder::default().nla_type(kind).build().map_err(malformed)?)
        .nla_payload(payload)
        .build()
        .map_err(malformed)
}

pub(super) fn text_attribute(kind: u16, text: &str) -> Result<Attribute, GenlError> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    attribute(kind, &bytes)
}

pub(super) fn nested(kind: u16, inner: &[Attribute]) -> Result<Attribute, GenlError> {
    inner.iter().try_fold(attribute(kind, &[])?, Nlattr::nest).map_err(malformed)
}

pub(super) fn kind_of(attribute: &Attribute) -> u16 {
    *attribute.nla_type().nla_type()
}

pub(super) fn text_of(attribute: &Attribute) -> Result<String, GenlError> {
    let bytes = attribute.nla_payload().as_ref();
    let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    std::str::from_utf8(text).map(str::to_owned).map_err(malformed)
}

pub(super) fn u32_of(attribute: &Attribute) -> Result<u32, GenlError> {
    let bytes = attribute.nla_payload().as_ref();
    bytes.try_into().map(u32::from_ne_bytes).map_err(|_| malformed("a number of another size than 4 bytes"))
}

/// One open socket, on the thread that made it.
pub(super) struct Genl {
    socket: NlSocketHandle,
    sequence: u32,
}

impl Genl {
    /// Runs the work with a socket of that namespace (none: the caller's), on a thread of its own since neli's
    /// blocking socket has no deadline and a socket belongs to the namespace of the thread that made it.
    pub(super) async fn with<T: Send + 'static>(
        netns: Option<Netns>,
        work: impl FnOnce(&mut Self) -> Result<T, GenlError> + Send + 'static,
    ) -> Result<T, GenlError> {
        let (done, answer) = oneshot::channel();
        let exchange = move || {
            let socket = NlSocketHandle::connect(NlFamily::Generic, None, Groups::empty());
            work(&mut Self { socket: socket.map_err(|why| GenlError::Socket(why.into()))?, sequence: 0 })
        };
        std::thread::Builder::new()
            .name("genl".to_owned())
            .spawn(move || {
                let result = match netns {
                    Some(netns) => netns.run(exchange).map_err(GenlError::from).and_then(|done| done),
                    None => exchange(),
                };
                // The receiver has gone when its deadline has passed.
                let _ = done.send(result);
            })
            .map_err(GenlError::Thread)?;
        match timeout(DEADLINE, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(malformed("its thread ended without an answer")),
            Err(_) => Err(GenlError::Timeout),
        }
    }

    /// The number that the kernel gave to a family when it was registered.
    pub(super) fn family(&mut self, family: &'static str) -> Result<u16, GenlError> {
        let request = [text_attribute(CTRL_ATTR_FAMILY_NAME, family)?].into_iter().collect();
        let answers = self.exchange(
            u16::from(GenlId::Ctrl),
            false,
            message(CTRL_CMD_GETFAMILY, 2, NoUserHeader, request)?,
        );
        let answers: Vec<Genlmsghdr<u8, u16, NoUserHeader>> = match answers {
            Err(GenlError::Refused(why)) if why.kind() == io::ErrorKind::NotFound => {
                return Err(GenlError::NoFamily { family });
            }
            answers => answers?,
        };
        answers
            .iter()
            .flat_map(|answer| answer.attrs().iter())
            .find(|attribute| kind_of(attribute) == CTRL_ATTR_FAMILY_ID)
            .and_then(|attribute| attribute.nla_payload().as_ref().try_into().ok())
            .map(u16::from_ne_bytes)
            .ok_or_else(|| malformed("a family without a number"))
    }

    /// Sends one request and collects its answers, up to the acknowledgement or the end of the dump.
    pub(super) fn exchange<H: UserHeader>(
        &mut self,
        family: u16,
        dump: bool,
        request: Genlmsghdr<u8, u16, H>,
    ) -> Result<Vec<Genlmsghdr<u8, u16, H>>, GenlError> {
        self.sequence += 1;
        let request: Nlmsghdr<u16, _> = NlmsghdrBuilder::default()
            .nl_type(family)
            .nl_flags(NlmF::REQUEST | if dump { NlmF::DUMP } else { NlmF::ACK })
            .nl_seq(self.sequence)
            .nl_payload(NlPayload::Payload(request))
            .build()
            .map_err(malformed)?;
        let failed = |why: neli::err::SocketError| GenlError::Socket(why.into());
        self.socket.send(&request).map_err(failed)?;
        let mut answers = Vec::new();
        loop {
            let (batch, _) = self.socket.recv::<u16, Genlmsghdr<u8, u16, H>>().map_err(failed)?;
            for answer in batch {
                let answer = answer.map_err(failed)?;
                if *answer.nl_seq() != self.sequence {
                    continue;
                }
                let refused =
                    |error: i32| GenlError::Refused(io::Error::from_raw_os_error(error.saturating_neg()));
                match answer.nl_payload() {
                    NlPayload::Payload(message) => answers.push(message.clone()),
                    NlPayload::Ack(_) | NlPayload::Empty => return Ok(answers),
                    NlPayload::DumpExtAck(end) if *end.error() == 0 => return Ok(answers),
                    NlPayload::DumpExtAck(end) => return Err(refused(*end.error())),
                    NlPayload::Err(end) => return Err(refused(*end.error())),
                }
            }
        }
    }
}

/// A request of a family, with the header that the family has between the generic one and its attributes.
pub(super) fn message<H: UserHeader>(
    command: u8,
    version: u8,
    header: H,
    attributes: Attributes,
) -> Result<Genlmsghdr<u8, u16, H>, GenlError> {
    GenlmsghdrBuilder::default()
        .cmd(command)
        .version(version)
        .header(header)
        .attrs(attributes)
        .build_with_header()
        .map_err(malformed)
}
