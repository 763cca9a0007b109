//! The few calls of AWS that a moving address needs: EC2's Query API, signed, and the instance's metadata.
//!
//! An SDK would do it too, at six times the build and the binary (and a tenth more time); nothing here is general. What
//! is pure: [`names`](self), requests, answers, credentials' texts. What talks: [`Ec2`], [`Imds`].

pub(crate) mod answer;
mod credentials;
mod ec2;
mod environment;
mod http;
mod imds;
mod names;
mod request;

pub use answer::{AnswerError, NetworkInterface, PrivateAddress, Route, RouteTable};
pub use credentials::{CredentialChain, Credentials, CredentialsError};
pub use ec2::{Ec2, Ec2Error, Severity};
pub use environment::AwsEnvironment;
pub use http::HttpError;
pub use imds::{Imds, ImdsError, MetadataInterface};
pub use names::{AwsNameError, Endpoint, InterfaceId, Region, RouteTableId, SubnetId};
pub(crate) use request::Query;
