//! Goes and finds out. Every look is bounded in time and changes nothing.

pub(crate) mod cluster;
pub(crate) mod enrolment;
pub(crate) mod network;
pub(crate) mod storage;
pub(crate) mod tls;
