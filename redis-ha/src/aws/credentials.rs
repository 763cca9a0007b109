//! Who signs: from the environment, a file or the instance's role, in this order, as AWS's own tools look.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials as SdkCredentials;
use serde::Deserialize;

use super::{AwsEnvironment, Imds, ImdsError};

/// How long before they expire credentials are renewed; a role's new ones are there at least five minutes before.
const MARGIN: Duration = Duration::from_secs(4 * 60);

/// An access key.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    id: String,
    secret: String,
    token: Option<String>,
    expiry: Option<SystemTime>,
}

impl Credentials {
    /// An access key, with the session's token and the time of its end where it is temporary.
    pub fn new(id: String, secret: String, token: Option<String>, expiry: Option<SystemTime>) -> Self {
        Self { id, secret, token, expiry }
    }

    pub(crate) fn for_signing(&self) -> SdkCredentials {
        let Self { id, secret, token, expiry } = self.clone();
        SdkCredentials::new(id, secret, token, expiry, "redis-ha")
    }

    fn is_fresh(&self, now: SystemTime) -> bool {
        self.expiry.is_none_or(|expiry| now + MARGIN < expiry)
    }

    fn is_valid(&self, now: SystemTime) -> bool {
        self.expiry.is_none_or(|expiry| now < expiry)
    }
}

/// Names the key, never the secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("id", &self.id).finish_non_exhaustive()
    }
}

/// There is nobody to sign as.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// One of the two variables without the other.
    #[error("of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set")]
    HalfSet,
    /// The file is there but cannot be read.
    #[error("cannot read the credentials file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file has the profile, but not a whole key in it.
    #[error("profile `{profile}` in {} has no whole access key", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// The profile.
        profile: String,
    },
    /// No variable, no file, and the instance metadata could not be asked.
    #[error("no credentials in the environment or a file, and none from the instance's role")]
    Metadata(#[source] ImdsError),
    /// The instance has no role.
    #[error("no credentials: not in the environment, not in a file, and this instance has no role")]
    NoRole,
    /// The role's credentials are not of their form.
    #[error("the credentials of the instance's role `{role}` are not of their form")]
    Role {
        /// The role.
        role: String,
        /// Why, where it is no JSON.
        source: Option<serde_json::Error>,
    },
}

/// Where credentials come from, and those that were found last.
pub struct CredentialChain {
    environment: AwsEnvironment,
    found: Option<Credentials>,
}

impl CredentialChain {
    /// A chain that starts with these variables.
    pub fn new(environment: AwsEnvironment) -> Self {
        Self { environment, found: None }
    }

    /// Credentials that are valid now, from memory while they are not about to expire. Where new ones cannot be had, old
    /// ones serve as long as they are valid.
    pub fn get(&mut self, imds: &mut Imds, now: SystemTime) -> Result<Credentials, CredentialsError> {
        if let Some(found) = self.found.as_ref().filter(|found| found.is_fresh(now)) {
            return Ok(found.clone());
        }
        match self.find(imds) {
            Ok(found) => Ok(self.found.insert(found).clone()),
            Err(error) => self.found.clone().filter(|found| found.is_valid(now)).ok_or(error),
        }
    }

    /// What was found last was refused.
    pub fn forget(&mut self) {
        self.found = None;
    }

    fn find(&self, imds: &mut Imds) -> Result<Credentials, CredentialsError> {
        let AwsEnvironment { access_key, secret_key, session_token, credentials_file, profile } =
            &self.environment;
        match (access_key, secret_key) {
            (Some(id), Some(secret)) => {
                return Ok(Credentials::new(id.clone(), secret.clone(), session_token.clone(), None));
            }
            (None, None) => {}
            _ => return Err(CredentialsError::HalfSet),
        }
        if let Some(path) = credentials_file {
            let found = match std::fs::read_to_string(path) {
                Ok(text) => in_file(&text, profile),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => InFile::Absent,
                Err(source) => return Err(CredentialsError::File { path: path.clone(), source }),
            };
            match found {
                InFile::Whole(credentials) => return Ok(credentials),
                InFile::Partial => {
                    let (path, profile) = (path.clone(), profile.clone());
                    return Err(CredentialsError::Profile { path, profile });
                }
                InFile::Absent => {}
            }
        }
        let role = imds.role().map_err(CredentialsError::Metadata)?.ok_or(CredentialsError::NoRole)?;
        let text = imds.role_credentials(&role).map_err(CredentialsError::Metadata)?;
        of_role(&text).map_err(|source| CredentialsError::Role { role, source })
    }
}

enum InFile {
    Whole(Credentials),
    Partial,
    Absent,
}

/// A profile's key in the text of a credentials file.
fn in_file(text: &str, profile: &str) -> InFile {
    let (mut is_ours, mut is_there) = (false, false);
    let (mut id, mut secret, mut token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            is_ours = section.trim() == profile;
            is_there |= is_ours;
        } else if let Some((key, value)) =
            line.split_once('=').filter(|_| is_ours && !line.starts_with(['#', ';']))
        {
            let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            match key.trim() {
                "aws_access_key_id" => id = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
    }
    match id.zip(secret) {
        Some((id, secret)) => InFile::Whole(Credentials::new(id, secret, token, None)),
        None if is_there => InFile::Partial,
        None => InFile::Absent,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleCredentials {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: String,
}

/// The JSON of a role's credentials in the instance metadata.
fn of_role(text: &str) -> Result<Credentials, Option<serde_json::Error>> {
    let RoleCredentials { access_key_id, secret_access_key, token, expiration } =
        serde_json::from_str(text).map_err(Some)?;
    let expiry = humantime::parse_rfc3339(&expiration).map_err(|_| None)?;
    Ok(Credentials::new(access_key_id, secret_access_key, Some(token), Some(expiry)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str, profile: &str) -> Option<(String, String, Option<String>)> {
        match in_file(text, profile) {
            InFile::Whole(Credentials { id, secret, token, expiry: _ }) => Some((id, secret, token)),
            InFile::Partial | InFile::Absent => None,
        }
    }

    #[test]
    fn a_profile_is_read_from_a_file() {
        let text = "# a comment\n[default]\naws_access_key_id = A\naws_secret_access_key=B=/+\n\
                    [ other ]\n;aws_access_key_id = no\naws_access_key_id=C\nregion = x\n\
                    aws_secret_access_key = D\naws_session_token = E\n[half]\naws_access_key_id = F\n";
        assert_eq!(whole(text, "default"), Some(("A".into(), "B=/+".into(), None)));
        assert_eq!(whole(text, "other"), Some(("C".into(), "D".into(), Some("E".into()))));
        assert!(matches!(in_file(text, "half"), InFile::Partial));
        assert!(matches!(in_file(text, "none"), InFile::Absent));
    }

    #[test]
    fn a_roles_credentials_have_an_end() {
        let text = r#"{"Code": "Success", "LastUpdated": "2026-01-01T00:00:00Z", "Type": "AWS-HMAC",
            "AccessKeyId": "A", "SecretAccessKey": "B", "Token": "C", "Expiration": "2026-01-01T06:00:00Z"}"#;
        let credentials = of_role(text).unwrap();
        let expiry = humantime::parse_rfc3339("2026-01-01T06:00:00Z").unwrap();
        assert_eq!(credentials.expiry, Some(expiry));
        let before = |seconds| expiry - Duration::from_secs(seconds);
        assert!(credentials.is_fresh(before(241)) && !credentials.is_fresh(before(240)));
        assert!(credentials.is_valid(before(1)) && !credentials.is_valid(expiry));
        assert!(matches!(of_role("{}"), Err(Some(_))));
        assert!(matches!(of_role(&text.replace("06:00", "nine")), Err(None)));
    }

    #[test]
    fn the_environment_comes_first_and_empty_is_not_set() {
        let environment = |variables: &[(&str, &str)]| {
            AwsEnvironment::from_variables(|name| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        let mut nowhere = Imds::new("http://127.0.0.1:1".parse().unwrap());
        let now = SystemTime::UNIX_EPOCH;
        let keys = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "B"), ("AWS_SESSION_TOKEN", "")];
        let found = CredentialChain::new(environment(&keys)).get(&mut nowhere, now).unwrap();
        assert_eq!(found, Credentials::new("A".into(), "B".into(), None, None));
        let half = CredentialChain::new(environment(&keys[..1])).get(&mut nowhere, now);
        assert!(matches!(half, Err(CredentialsError::HalfSet)));
        let none = CredentialChain::new(environment(&[])).get(&mut nowhere, now);
        assert!(matches!(none, Err(CredentialsError::Metadata(_))), "{none:?}");
    }
}
