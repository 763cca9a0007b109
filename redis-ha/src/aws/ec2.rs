//! EC2's actions that move an address.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use super::http::Http;
use super::request::Query;
use super::{
    AnswerError, CredentialChain, CredentialsError, Endpoint, HttpError, Imds, InterfaceId, NetworkInterface,
    Region, RouteTable, RouteTableId, SubnetId, answer,
};

/// The longest that one call may take; what is retried is retried by who decides whether it still should be.
const TIMEOUT: Duration = Duration::from_secs(5);

/// An action was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Ec2Error {
    /// Nobody to sign as.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The request could not be signed.
    #[error("{action} cannot be signed")]
    Sign {
        /// The action.
        action: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer.
    #[error("{action} got no answer")]
    Unreachable {
        /// The action.
        action: &'static str,
        /// Why.
        source: HttpError,
    },
    /// EC2 answered with an error.
    #[error("{action} was refused: {code}: {message}")]
    Refused {
        /// The action.
        action: &'static str,
        /// HTTP's status.
        status: u16,
        /// EC2's code.
        code: String,
        /// EC2's words.
        message: String,
    },
    /// Something between here and EC2 answered with an error.
    #[error("{action} was answered with HTTP {status}, and not by EC2")]
    Status {
        /// The action.
        action: &'static str,
        /// HTTP's status.
        status: u16,
    },
    /// The answer cannot be read.
    #[error("the answer to {action} cannot be understood")]
    Answer {
        /// The action.
        action: &'static str,
        /// Why.
        source: AnswerError,
    },
    /// It was not sent.
    #[error("{action} was not sent: this machine is no longer master")]
    Void {
        /// The action.
        action: &'static str,
    },
    /// The interface or route table that was asked for is not in the answer.
    #[error("EC2 knows no {object}")]
    Unknown {
        /// Which.
        object: String,
    },
}

/// Whether it is of use to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Soon, and less often: too many requests.
    Throttled,
    /// Soon: it may have been chance.
    Transient,
    /// Not before somebody has mended something.
    Permanent,
}

impl Ec2Error {
    /// Whether it is of use to try again.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Refused { status, code, .. } => of_code(*status, code),
            Self::Status { status: 429 | 503, .. } => Severity::Throttled,
            Self::Status { status, .. } if *status >= 500 => Severity::Transient,
            // A page in place of an answer comes from a captive or broken way there.
            Self::Answer { .. }
            | Self::Unreachable { .. }
            | Self::Void { .. }
            | Self::Credentials(CredentialsError::Metadata(_)) => Severity::Transient,
            Self::Credentials(_) | Self::Sign { .. } | Self::Status { .. } | Self::Unknown { .. } => {
                Severity::Permanent
            }
        }
    }

    /// EC2's code, where it refused.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}

fn of_code(status: u16, code: &str) -> Severity {
    match code {
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "RequestThrottled"
        | "SlowDown"
        | "EC2ThrottledException"
        | "BandwidthLimitExceeded"
        | "TooManyRequestsException" => Severity::Throttled,
        "InternalError"
        | "InternalFailure"
        | "Unavailable"
        | "ServiceUnavailable"
        | "RequestTimeout"
        | "PriorRequestNotComplete" => Severity::Transient,
        // New credentials are fetched, the clock may have been set.
        _ if is_stale(code) => Severity::Transient,
        _ if status >= 500 => Severity::Transient,
        _ => Severity::Permanent,
    }
}

/// Whether a code says that the credentials are no longer good.
fn is_stale(code: &str) -> bool {
    matches!(code, "ExpiredToken" | "ExpiredTokenException" | "RequestExpired")
}

/// A client of EC2 in one region.
pub struct Ec2 {
    http: Http,
    endpoint: Endpoint,
    region: Region,
    chain: CredentialChain,
}

impl Ec2 {
    /// A client of the service there, or else where the region's own is.
    pub fn new(region: Region, endpoint: Option<Endpoint>, chain: CredentialChain) -> Self {
        let endpoint = endpoint.unwrap_or_else(|| Endpoint::ec2(&region));
        Self { http: Http::new(TIMEOUT), endpoint, region, chain }
    }

    /// One interface of this machine's, which must be there, and those of some others that are.
    pub fn interfaces(
        &mut self,
        imds: &mut Imds,
        own: &InterfaceId,
        others: &[InterfaceId],
    ) -> Result<(NetworkInterface, Vec<NetworkInterface>), Ec2Error> {
        // By a filter: asked for by its name, an interface that is gone (a peer's that has failed, say) is an error.
        let interfaces = std::iter::once(own).chain(others.iter().filter(|other| *other != own));
        let query =
            Query::new("DescribeNetworkInterfaces").with_filter(1, "network-interface-id", interfaces);
        let mut found = self.ask(imds, &query, answer::network_interfaces)?;
        let at = found.iter().position(|interface| interface.id == *own);
        let at = at.ok_or_else(|| Ec2Error::Unknown { object: own.to_string() })?;
        Ok((found.swap_remove(at), found))
    }

    /// The interfaces of a subnet that hold any of some addresses.
    pub fn holders(
        &mut self,
        imds: &mut Imds,
        subnet: &SubnetId,
        addresses: &[Ipv4Addr],
    ) -> Result<Vec<NetworkInterface>, Ec2Error> {
        let query = Query::new("DescribeNetworkInterfaces")
            .with_filter(1, "subnet-id", [subnet])
            .with_filter(2, "addresses.private-ip-address", addresses);
        self.ask(imds, &query, answer::network_interfaces)
    }

    /// Moves addresses to an interface, from whichever interface of its subnet has them, unless `may_move` says no.
    pub fn assign(
        &mut self,
        imds: &mut Imds,
        interface: &InterfaceId,
        addresses: &[Ipv4Addr],
        may_move: &dyn Fn() -> bool,
    ) -> Result<(), Ec2Error> {
        let query = Query::new("AssignPrivateIpAddresses")
            .with("NetworkInterfaceId", interface)
            .with_list("PrivateIpAddress", addresses)
            .with("AllowReassignment", true);
        self.ask_if(imds, &query, may_move, answer::done)
    }

    /// Route tables.
    pub fn route_tables(
        &mut self,
        imds: &mut Imds,
        tables: &[RouteTableId],
    ) -> Result<Vec<RouteTable>, Ec2Error> {
        let query = Query::new("DescribeRouteTables").with_list("RouteTableId", tables);
        let found = self.ask(imds, &query, answer::route_tables)?;
        match tables.iter().find(|id| !found.iter().any(|table| table.id == **id)) {
            Some(missing) => Err(Ec2Error::Unknown { object: missing.to_string() }),
            None => Ok(found),
        }
    }

    /// Leads an address to an interface, in a table that has a route to it, unless `may_move` says no.
    pub fn replace_route(
        &mut self,
        imds: &mut Imds,
        table: &RouteTableId,
        destination: &str,
        interface: &InterfaceId,
        may_move: &dyn Fn() -> bool,
    ) -> Result<(), Ec2Error> {
        let query = Query::new("ReplaceRoute")
            .with("RouteTableId", table)
            .with("DestinationCidrBlock", destination)
            .with("NetworkInterfaceId", interface);
        self.ask_if(imds, &query, may_move, answer::done)
    }

    /// Fetches the credentials, so that the first call need not.
    pub fn warm_up(&mut self, imds: &mut Imds) -> Result<(), Ec2Error> {
        self.chain.get(imds, SystemTime::now())?;
        Ok(())
    }

    /// Any action.
    pub(crate) fn ask<T>(
        &mut self,
        imds: &mut Imds,
        query: &Query,
        read: impl FnOnce(&str) -> Result<T, AnswerError>,
    ) -> Result<T, Ec2Error> {
        self.ask_if(imds, query, &|| true, read)
    }

    fn ask_if<T>(
        &mut self,
        imds: &mut Imds,
        query: &Query,
        may_send: &dyn Fn() -> bool,
        read: impl FnOnce(&str) -> Result<T, AnswerError>,
    ) -> Result<T, Ec2Error> {
        let action = query.action();
        let now = SystemTime::now();
        let credentials = self.chain.get(imds, now)?;
        let request = query.signed(&self.endpoint, &self.region, &credentials, now)?;
        // Credentials may have taken their time.
        if !may_send() {
            return Err(Ec2Error::Void { action });
        }
        let answer = self.http.send(request).map_err(|source| Ec2Error::Unreachable { action, source })?;
        if answer.status == 200 {
            return read(&answer.body).map_err(|source| Ec2Error::Answer { action, source });
        }
        let status = answer.status;
        let Some(answer::Refusal { code, message }) = answer::refusal(&answer.body) else {
            return Err(Ec2Error::Status { action, status });
        };
        if is_stale(&code) {
            self.chain.forget();
        }
        Err(Ec2Error::Refused { action, status, code, message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        let refused = |status, code: &str| {
            let (code, message) = (code.to_owned(), String::new());
            Ec2Error::Refused { action: "X", status, code, message }.severity()
        };
        assert_eq!(refused(503, "RequestLimitExceeded"), Severity::Throttled);
        assert_eq!(refused(500, "InternalError"), Severity::Transient);
        assert_eq!(refused(502, "SomethingNew"), Severity::Transient);
        assert_eq!(refused(400, "RequestExpired"), Severity::Transient);
        assert_eq!(refused(403, "UnauthorizedOperation"), Severity::Permanent);
        assert_eq!(refused(400, "InvalidParameterValue"), Severity::Permanent);
        assert_eq!(Ec2Error::Status { action: "X", status: 503 }.severity(), Severity::Throttled);
        assert_eq!(Ec2Error::Status { action: "X", status: 407 }.severity(), Severity::Permanent);
    }
}
