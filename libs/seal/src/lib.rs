//! age: closing and opening, the format of the enrolment bundle, and scope-bound
//! secrets.
//!
//! [`close`] and [`open`] are the only two ways through; what they carry beyond plain bytes is the
//! [`Bundle`] and the [`ScopedSecret`]. Secrets are types without `Debug` or `Display`, wiped when dropped.

mod bundle;
mod envelope;
mod key;
mod secret;
mod token;

pub use bundle::{BUNDLE_VERSION, Bundle, BundleError, PlaneKind};
pub use envelope::{CloseError, OpenError, close, open};
pub use key::{Identity, KeyError, Recipient};
pub use secret::{
    Realm, ResealError, SECRET_VERSION, Scope, ScopeError, ScopedSecret, Seal, SealError,
    SecretValue, UnsealError, Unsealed, Values, Writer, WriterError, WriterKey, reseal, unseal,
};
pub use token::{Token, token_matches};

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
            Identity::HOLDS,
            Token::HOLDS,
            Bundle::HOLDS,
            ScopedSecret::HOLDS,
            Unsealed::HOLDS,
            WriterKey::HOLDS,
        ];
        assert_eq!(all, [true; 6]);
    }
}
