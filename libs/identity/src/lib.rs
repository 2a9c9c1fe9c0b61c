//! SPIFFE ids, the certificate authority, the one verification rule, live-rotating TLS.
//!
//! Who issues: [`RootCa`] and [`PlaneCa`]. Who judges: [`verify()`], and nobody else. Who speaks:
//! [`LiveIdentity`] makes the TLS configurations, [`accept()`] and [`channel`] use them.

mod accept;
mod authority;
mod certificate;
mod csr;
mod dial;
mod key;
mod live;
mod pem;
mod spiffe;
#[cfg(test)]
mod testing;
mod trust;
mod verify;

pub use accept::{AcceptOptions, Peer, RefusedHook, TlsConnection, accept};
pub use authority::{CLOCK_SLACK, IssueError, PlaneCa, RootCa};
pub use certificate::{issuer, not_after, public_key_sha256, spki};
pub use csr::{CsrError, csr_public_key_sha256, csr_spki};
pub use dial::{
    ConnectError, DialError, DialFailure, DialOptions, Proxy, ProxyError, channel, dial_failure,
};
pub use key::{KeyError, PrivateKey, verify_signature};
pub use live::{ClientAuth, Leaf, LeafError, LiveIdentity, server_auth_only_client_config};
pub use pem::{PemError, chain_from_pem, chain_to_pem};
pub use spiffe::{SpiffeError, SpiffeId, TrustDomain};
pub use trust::{Expect, Trust, TrustError};
pub use verify::{Usage, VerifyError, claimed_id, verify};

#[cfg(test)]
mod tests {
    use super::*;

    /// Does not compile for a type that has both of the implementations below.
    trait Unshown<A> {
        const HOLDS: bool = true;
    }
    impl<T> Unshown<()> for T {}
    impl<T: std::fmt::Debug> Unshown<u8> for T {}

    #[test]
    fn secrets_cannot_be_printed() {
        let all = [
            PrivateKey::HOLDS,
            RootCa::HOLDS,
            PlaneCa::HOLDS,
            Leaf::HOLDS,
        ];
        assert_eq!(all, [true; 4]);
    }
}
