//! Identifiers, parsed once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is no identifier of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}; accepted is {accepted}")]
pub struct AwsNameError {
    what: &'static str,
    text: String,
    accepted: &'static str,
}

/// A prefix, then 8 or 17 hexadecimal digits: EC2's short and long identifiers.
fn is_resource(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|digits| {
        matches!(digits.len(), 8 | 17) && digits.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn is_region(text: &str) -> bool {
    let is_part =
        |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= 32 && text.contains('-') && text.split('-').all(is_part)
}

/// An origin alone: a path would have to be signed as the service sees it.
fn is_endpoint(text: &str) -> bool {
    let authority = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    authority.is_some_and(|authority| {
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b':' | b'[' | b']');
        !authority.is_empty() && authority.bytes().all(is_plain)
    })
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $accepted:literal, $is_valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = AwsNameError;

            fn from_str(text: &str) -> Result<Self, AwsNameError> {
                let is_valid: fn(&str) -> bool = $is_valid;
                if is_valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(AwsNameError { what: $what, text: text.to_owned(), accepted: $accepted })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = AwsNameError;

            fn try_from(text: String) -> Result<Self, AwsNameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A network interface of a VPC.
    InterfaceId,
    "network interface",
    "`eni-` and 8 or 17 hexadecimal digits",
    |text| is_resource(text, "eni-")
);
name!(
    /// A route table of a VPC.
    RouteTableId,
    "route table",
    "`rtb-` and 8 or 17 hexadecimal digits",
    |text| is_resource(text, "rtb-")
);
name!(
    /// A subnet of a VPC, which is in one availability zone.
    SubnetId,
    "subnet",
    "`subnet-` and 8 or 17 hexadecimal digits",
    |text| is_resource(text, "subnet-")
);
name!(
    /// A region, as `eu-central-1`.
    Region,
    "region",
    "a name as `eu-central-1`",
    is_region
);
name!(
    /// Where a service answers: scheme, host and port, without a path.
    Endpoint,
    "endpoint",
    "a URL as `https://HOST[:PORT]` without a path",
    |text| is_endpoint(text.strip_suffix('/').unwrap_or(text))
);

impl Endpoint {
    /// Where instance metadata answers on every instance (link-local, no name lookup).
    pub fn imds() -> Self {
        Self("http://169.254.169.254".to_owned())
    }

    /// EC2's endpoint of a region; China's regions are a partition with a domain of its own.
    pub fn ec2(region: &Region) -> Self {
        let suffix = if region.as_str().starts_with("cn-") { ".cn" } else { "" };
        Self(format!("https://ec2.{region}.amazonaws.com{suffix}"))
    }

    /// The URL of a path of it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.0.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_what_ec2_makes() {
        for good in ["eni-0123abcd", "eni-0123456789abcdef0"] {
            assert_eq!(good.parse::<InterfaceId>().unwrap().as_str(), good);
        }
        for bad in
            ["", "eni-", "eni-0123abc", "eni-0123ABCD", "rtb-0123abcd", "eni-0123abcd ", "eni-0123abcg"]
        {
            assert!(bad.parse::<InterfaceId>().is_err(), "{bad}");
        }
        let error = "nic0".parse::<InterfaceId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`nic0` is no network interface; accepted is `eni-` and 8 or 17 hexadecimal digits"
        );
    }

    #[test]
    fn a_region_names_its_endpoint() {
        let endpoint = |region: &str| Endpoint::ec2(&region.parse().unwrap()).to_string();
        assert_eq!(endpoint("eu-central-1"), "https://ec2.eu-central-1.amazonaws.com");
        assert_eq!(endpoint("us-gov-west-1"), "https://ec2.us-gov-west-1.amazonaws.com");
        assert_eq!(endpoint("cn-north-1"), "https://ec2.cn-north-1.amazonaws.com.cn");
        for bad in ["", "here", "eu-", "eu_central", "eu-central-1.evil.example/"] {
            assert!(bad.parse::<Region>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_endpoint_has_no_path() {
        for good in ["http://127.0.0.1:5000", "https://ec2.example", "http://[::1]:80/"] {
            assert!(good.parse::<Endpoint>().is_ok(), "{good}");
        }
        for bad in ["", "127.0.0.1:5000", "http://", "http://a/b", "http://a b", "ftp://a", "http://u@a"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
        assert_eq!("http://a/".parse::<Endpoint>().unwrap().url("latest/x"), "http://a/latest/x");
    }
}
