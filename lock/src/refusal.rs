//! How a refusal goes over the wire: a code, its remedy, and nothing else about why.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use zen_proto::codes::SecretCode;

/// Metadata that carries the code.
const CODE: &str = "zen-code";

/// The answer that says this code.
pub(crate) fn status(code: SecretCode) -> Status {
    let mut status = Status::new(grpc(code), code.remedy());
    let text = MetadataValue::from_static(code.code());
    status.metadata_mut().insert(CODE, text);
    status
}

const fn grpc(code: SecretCode) -> Code {
    match code {
        SecretCode::Unknown | SecretCode::KeyUnknown => Code::NotFound,
        SecretCode::NotAllowed => Code::PermissionDenied,
        SecretCode::CallerUnknown => Code::Unauthenticated,
        SecretCode::NoIdentity | SecretCode::LockUnreachable => Code::Unavailable,
        SecretCode::WrongRecipient
        | SecretCode::ScopeMismatch
        | SecretCode::NotAge
        | SecretCode::Truncated
        | SecretCode::Damaged
        | SecretCode::Malformed
        | SecretCode::Version
        | SecretCode::TooLarge
        | SecretCode::WriterUntrusted => Code::FailedPrecondition,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_its_code_and_its_remedy_and_nothing_else() {
        for code in SecretCode::ALL {
            let status = status(*code);
            assert_eq!(status.message(), code.remedy());
            assert_eq!(status.metadata().get(CODE).unwrap(), code.code());
            assert_eq!(status.metadata().len(), 1);
            assert!(status.details().is_empty());
        }
    }
}
