//! The words of the mesh as types: each is parsed once, at the edge, and valid ever after.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// Why a text is not one of the names of a mesh; its `Display` also says what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}; {}", self.problem(), self.accepted())]
pub enum NameError {
    /// The text is empty.
    Empty {
        /// The kind of name, in the field's words.
        what: &'static str,
    },
    /// The text is longer than its user (the kernel, OVS, the file system) can hold.
    TooLong {
        /// The kind of name.
        what: &'static str,
        /// The text as given.
        text: String,
        /// The longest length accepted, in bytes.
        max: usize,
    },
    /// The text has a character that its user refuses or reads as something else.
    Character {
        /// The kind of name.
        what: &'static str,
        /// The text as given.
        text: String,
        /// The first character that is not accepted.
        character: char,
    },
    /// The text is a name that Open vSwitch or the kernel keeps for itself.
    Reserved {
        /// The kind of name.
        what: &'static str,
        /// The text as given.
        text: String,
    },
    /// The number is not a GRE key that works.
    Key {
        /// The text as given.
        text: String,
    },
    /// The text is neither of the two forms of a container id.
    Ctid {
        /// The text as given.
        text: String,
    },
}

impl NameError {
    /// What is wrong with the text.
    pub fn problem(&self) -> String {
        match self {
            Self::Empty { what } => format!("a {what} cannot be empty"),
            Self::TooLong { what, text, .. } => format!("{what} `{text}` has {} bytes", text.len()),
            Self::Character { what, text, character } => {
                format!("{what} `{}` has the character {character:?}", text.escape_debug())
            }
            Self::Reserved { what, text } => format!("{what} `{text}` is reserved for the system"),
            Self::Key { text } => format!("`{}` is not a GRE key", text.escape_debug()),
            Self::Ctid { text } => format!("`{}` is not a container id", text.escape_debug()),
        }
    }

    /// What would be accepted in its place.
    pub fn accepted(&self) -> String {
        match self {
            Self::TooLong { max, .. } => format!("at most {max} bytes are accepted"),
            Self::Reserved { .. } => "choose another name".to_owned(),
            Self::Key { .. } => "accepted are whole numbers from 1 to 4294967295, in decimal".to_owned(),
            Self::Ctid { .. } => {
                "accepted are a whole number from 1 to 2147483647 in quotes (\"101\") or a UUID \
                                  (\"3fa85f64-5717-4562-b3fc-2c963f66afa6\")"
                    .to_owned()
            }
            Self::Empty { .. } | Self::Character { .. } => {
                "accepted are letters, digits, `.`, `_` and `-`, and the first is a letter or a digit"
                    .to_owned()
            }
        }
    }
}

fn word(what: &'static str, text: &str, max: usize) -> Result<Arc<str>, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if text.len() > max {
        return Err(NameError::TooLong { what, text: text.to_owned(), max });
    }
    let bad = text
        .char_indices()
        .find(|&(at, c)| !(c.is_ascii_alphanumeric() || (at > 0 && matches!(c, '.' | '_' | '-'))));
    match bad {
        Some((_, character)) => Err(NameError::Character { what, text: text.to_owned(), character }),
        None => Ok(Arc::from(text)),
    }
}

fn device(what: &'static str, text: &str) -> Result<Arc<str>, NameError> {
    // linux/if.h IFNAMSIZ is 16 with the NUL; ovs-vswitchd keeps ovs-system, ovs-netdev and ovs-gretap0-like
    // names for its datapaths.
    let name = word(what, text, 15)?;
    if text.starts_with("ovs-") || matches!(text, "lo" | "all" | "default" | "gre0" | "gretap0" | "erspan0") {
        return Err(NameError::Reserved { what, text: text.to_owned() });
    }
    Ok(name)
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let parse: fn(&str) -> Result<Arc<str>, NameError> = $parse;
                parse(text).map(Self)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// A mesh's name: the owner that every row of ours carries (`external_ids:ovsmesh-mesh`). At most 32 bytes.
    MeshName, |text| word("mesh name", text, 32)
}
name! {
    /// A host's name in the topology (`--host`). At most 64 bytes, Linux's `HOST_NAME_MAX`.
    HostName, |text| word("host name", text, 64)
}
name! {
    /// A tenant's name. At most 64 bytes; without an explicit `bridge`, at most 12, for `br-<tenant>` to be a device name.
    TenantName, |text| word("tenant name", text, 64)
}
name! {
    /// An OVS bridge's name, also that of its local device: at most 15 bytes (`IFNAMSIZ` − 1, netdevice(7)).
    BridgeName, |text| device("bridge name", text)
}
name! {
    /// A port's and its interface's name: at most 15 bytes (`IFNAMSIZ` − 1, netdevice(7)).
    PortName, |text| device("port name", text)
}
name! {
    /// A named network namespace (`ip-netns(8)`): a file name in `/run/netns`.
    NetnsName, |text| word("network namespace name", text, 255)
}

impl BridgeName {
    /// The bridge a tenant has when the topology names none: `br-<tenant>`.
    pub fn default_for(tenant: &TenantName) -> Result<Self, NameError> {
        format!("br-{tenant}").parse()
    }
}

impl PortName {
    /// A name of 15 bytes: the prefix, filled up with base 32 (RFC 4648, lower case) from the digest's top bits.
    pub(crate) fn derived(prefix: &'static str, digest: u64) -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let digits = (0..15 - prefix.len()).scan(digest, |rest, _| {
            let digit = ALPHABET[(*rest >> 59) as usize];
            *rest <<= 5;
            Some(char::from(digit))
        });
        Self(prefix.chars().chain(digits).collect::<String>().into())
    }
}

impl NetnsName {
    /// `<mesh>-<host>-<tenant>`: always valid, for the three are words and have at most 162 bytes together.
    pub(crate) fn joined(mesh: &MeshName, host: &HostName, tenant: &TenantName) -> Self {
        Self(format!("{mesh}-{host}-{tenant}").into())
    }
}

/// A GRE key (RFC 2890 section 2): what separates two tenants' tunnels between the same two hosts.
///
/// From 1 to 4294967295. Zero is left out because ovs-vswitchd treats it as no key at all, and its text is always
/// canonical decimal because ovs-vswitchd reads `010` as 8 and silently cuts what does not fit in 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TunnelKey(std::num::NonZeroU32);

impl TunnelKey {
    /// The key as a number, never 0.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl TryFrom<i64> for TunnelKey {
    type Error = NameError;

    fn try_from(number: i64) -> Result<Self, NameError> {
        u32::try_from(number)
            .ok()
            .and_then(std::num::NonZeroU32::new)
            .map(Self)
            .ok_or_else(|| NameError::Key { text: number.to_string() })
    }
}

impl FromStr for TunnelKey {
    type Err = NameError;

    /// Reads canonical decimal alone: no sign, no leading zero, no other base.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let canonical = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|_| canonical)
            .map(Self)
            .ok_or_else(|| NameError::Key { text: text.to_owned() })
    }
}

impl fmt::Display for TunnelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for TunnelKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i64::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

/// A container's id as OpenVZ has it: a number (OpenVZ 6, vzctl(8)) or a UUID (OpenVZ 7, prlctl(8)).
///
/// Its text is canonical: no leading zeros, lower-case hexadecimal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Ctid(Arc<str>);

impl Ctid {
    /// The id in canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Ctid {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refused = || NameError::Ctid { text: text.to_owned() };
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            // vzctl's own bound on a VEID is that of a positive int.
            let number = text.parse::<i32>().ok().filter(|n| *n > 0).ok_or_else(refused)?;
            return Ok(Self(number.to_string().into()));
        }
        let plain = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        if plain.len() != 36 {
            return Err(refused());
        }
        let id = uuid::Uuid::try_parse(plain).map_err(|_| refused())?;
        Ok(Self(id.hyphenated().to_string().into()))
    }
}

impl fmt::Display for Ctid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Ctid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for Ctid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An address of this host's end of a tunnel; never mixed up with a [`Remote`] one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Local<T>(pub T);

/// An address of a tunnel's far end; never mixed up with a [`Local`] one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Remote<T>(pub T);

impl<T: fmt::Display> fmt::Display for Local<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: fmt::Display> fmt::Display for Remote<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Local<IpAddr> {
    /// This end as the far end sees it.
    pub fn seen_from_peer(self) -> Remote<IpAddr> {
        Remote(self.0)
    }
}

/// A mesh's tunnels run over one underlay family; the two differ in tunnel type and in overhead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelKind {
    /// `type=gre`, over IPv4.
    Gre,
    /// `type=ip6gre`, over IPv6; `type=gre` would silently take an IPv6 remote (OVS 2.12 and later know `ip6gre`).
    Ip6Gre,
}

impl TunnelKind {
    /// The kind that an underlay of this address's family needs.
    pub fn for_underlay(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Gre,
            IpAddr::V6(_) => Self::Ip6Gre,
        }
    }

    /// The Interface row's `type` (ovs-vswitchd.conf.db(5)).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gre => "gre",
            Self::Ip6Gre => "ip6gre",
        }
    }

    /// Bytes that a tenant's frame grows by: outer IP header, GRE header with a key (RFC 2890) and the inner
    /// Ethernet header: 20 + 8 + 14 on IPv4, 40 + 8 + 14 on IPv6.
    pub fn overhead(self) -> u16 {
        match self {
            Self::Gre => 20 + 8 + 14,
            Self::Ip6Gre => 40 + 8 + 14,
        }
    }
}

impl fmt::Display for TunnelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_canonical_decimal_only() {
        for good in ["1", "101", "4294967295"] {
            assert_eq!(good.parse::<TunnelKey>().unwrap().to_string(), good);
        }
        for bad in ["", "0", "010", "0x65", "+5", "-1", "abc", "4294967296", "4294967301", " 5"] {
            assert!(bad.parse::<TunnelKey>().is_err(), "{bad} must be refused");
        }
    }

    #[test]
    fn container_ids_have_one_text() {
        assert_eq!("0101".parse::<Ctid>().unwrap().as_str(), "101");
        assert_eq!(
            "{3FA85F64-5717-4562-B3FC-2C963F66AFA6}".parse::<Ctid>().unwrap().as_str(),
            "3fa85f64-5717-4562-b3fc-2c963f66afa6"
        );
        for bad in ["", "0", "-1", "2147483648", "x", "3fa85f6457174562b3fc2c963f66afa6"] {
            assert!(bad.parse::<Ctid>().is_err(), "{bad} must be refused");
        }
    }

    #[test]
    fn device_names_fit_the_kernel() {
        assert!("br-acme".parse::<BridgeName>().is_ok());
        assert!("abcdefghijklmno".parse::<BridgeName>().is_ok());
        for bad in ["", "abcdefghijklmnop", "a/b", "a b", ".", "..", "-x", "ovs-system", "é"] {
            assert!(bad.parse::<BridgeName>().is_err(), "{bad} must be refused");
        }
    }
}
