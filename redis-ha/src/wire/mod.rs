//! What Redis and Sentinel are asked, over which connections, and what their answers mean.

pub(crate) mod dial;
pub(crate) mod report;
pub(crate) mod resp;
