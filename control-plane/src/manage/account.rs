//! What is written and shown about one's own account; what is done with it lies in `people`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::people::OwnSessionView;

/// A new password, and the present one as proof.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordChangeBody {
    /// The present password; empty for who has none.
    #[schema(max_length = 256)]
    pub(crate) present: String,
    /// At least 12 characters.
    #[schema(min_length = 12, max_length = 256)]
    pub(crate) new: String,
}

/// The present password as proof.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordProofBody {
    #[schema(max_length = 256)]
    pub(crate) password: String,
}

/// A code of the authenticator app.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CodeBody {
    /// Six digits.
    #[schema(max_length = 32)]
    pub(crate) code: String,
}

/// A secret for an authenticator app.
#[derive(Serialize, ToSchema)]
pub(crate) struct TotpBegunView {
    /// Base32, in groups of four.
    pub(crate) secret: String,
    /// The same as a QR code for the app's camera.
    pub(crate) qr_svg: String,
}

/// Codes for who loses the app.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecoveryCodesView {
    /// Each is good once. Shown this once: keep them.
    pub(crate) recovery_codes: Vec<String>,
}

/// One's own sessions.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnSessionsView {
    pub(crate) items: Vec<OwnSessionView>,
}
