//! The variables that AWS's own tools read.

use std::path::PathBuf;

/// What of AWS's variables concerns us; read once, by [`AwsEnvironment::read`].
///
/// It can hold a secret, so it is not to be printed: there is no `Debug`.
#[derive(Clone, Default)]
pub struct AwsEnvironment {
    pub(crate) access_key: Option<String>,
    pub(crate) secret_key: Option<String>,
    pub(crate) session_token: Option<String>,
    pub(crate) credentials_file: Option<PathBuf>,
    pub(crate) profile: String,
}

impl AwsEnvironment {
    /// From this process's environment.
    pub fn read() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// From any variables; one that is empty counts as not set, as in AWS's tools.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let named = variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
        let home = || variable("HOME").map(|home| PathBuf::from(home).join(".aws/credentials"));
        Self {
            access_key: variable("AWS_ACCESS_KEY_ID"),
            secret_key: variable("AWS_SECRET_ACCESS_KEY"),
            session_token: variable("AWS_SESSION_TOKEN"),
            credentials_file: named.or_else(home),
            profile: variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned()),
        }
    }
}
