//! The second step of a sign-in: six digits of an authenticator app (RFC 6238), or a recovery code.
//! Pure: secrets and times come in, a verdict goes out.

use qrcode::QrCode;
use qrcode::render::svg;
use totp_rs::{Algorithm, Builder, Secret, Totp, TotpError};
use zen_chassis::Random;
use zeroize::Zeroizing;

use crate::digest::sha256;

/// Bytes of a secret.
const SECRET: usize = 20;
/// Digits of a code.
const DIGITS: u8 = 6;
/// Seconds for which a code stands.
const STEP: u64 = 30;
/// Steps before and after the present one that are taken as well: clocks differ.
const SKEW: u16 = 1;
/// Recovery codes made at once.
pub(crate) const RECOVERY_CODES: usize = 10;
/// Smallest side of the QR code, pixels.
const SIDE: u32 = 200;
/// How apps name the account's realm.
const ISSUER: &str = "Zen Mesh";

/// Why the second step cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TotpFailure {
    /// The secret is damaged.
    #[error("the secret of the authenticator app is damaged")]
    Secret(#[from] TotpError),
    /// The address for the app does not fit into a QR code.
    #[error("the QR code cannot be drawn")]
    Code(#[from] qrcode::types::QrError),
}

/// The secret shared with an authenticator app; wiped when dropped, never shown but once.
pub(crate) struct TotpSecret(Zeroizing<Vec<u8>>);

impl From<Zeroizing<Vec<u8>>> for TotpSecret {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

impl TotpSecret {
    /// A new one.
    pub(crate) fn generate(random: &Random) -> Self {
        Self(Zeroizing::new(random.bytes::<SECRET>().to_vec()))
    }

    /// Its bytes, to be sealed.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }

    /// As a person types it into an app: base32 in groups of four.
    pub(crate) fn text(&self) -> Zeroizing<String> {
        let plain = Zeroizing::new(Secret::from(self.0.to_vec()).to_base32());
        Zeroizing::new(grouped(&plain, ' '))
    }

    /// A QR code for an app's camera, as inline SVG.
    ///
    /// # Errors
    /// See [`TotpFailure`].
    pub(crate) fn qr_svg(&self, account: &str) -> Result<String, TotpFailure> {
        let url = Zeroizing::new(self.totp(account)?.to_url()?);
        let drawn = QrCode::new(url.as_bytes())?
            .render::<svg::Color<'_>>()
            .min_dimensions(SIDE, SIDE)
            .build();
        let svg = drawn.find("<svg").map_or("", |at| &drawn[at..]);
        let labelled = "<svg role=\"img\" aria-label=\"QR code for the authenticator app\"";
        Ok(svg.replacen("<svg", labelled, 1))
    }

    /// The step that the code stands for, if it is one of those about now and later than the
    /// `last` one taken: a code that somebody saw being typed is worth nothing.
    ///
    /// # Errors
    /// See [`TotpFailure`].
    pub(crate) fn check(
        &self,
        code: &str,
        unix_ms: u64,
        last: Option<u64>,
    ) -> Result<Option<u64>, TotpFailure> {
        let digits: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        let step = self.totp("")?.check(&digits, unix_ms / 1000);
        Ok(step.filter(|step| last.is_none_or(|last| *step > last)))
    }

    fn totp(&self, account: &str) -> Result<Totp, TotpError> {
        Builder::new()
            .with_algorithm(Algorithm::SHA1)
            .with_digits(DIGITS)
            .with_skew(SKEW)
            .with_step_duration(STEP)
            .with_secret(self.0.to_vec())
            .with_issuer(Some(ISSUER))
            .with_account_name(account.replace(':', " "))
            .build()
    }
}

/// Codes for who lost the app: 80 random bits each, shown once, good once.
pub(crate) fn recovery_codes(random: &Random) -> Vec<String> {
    let code = || {
        let text = Secret::from(random.bytes::<10>().to_vec()).to_base32();
        grouped(&text.to_ascii_lowercase(), '-')
    };
    std::iter::repeat_with(code).take(RECOVERY_CODES).collect()
}

/// What is kept of a recovery code; case, spaces and hyphens do not count.
pub(crate) fn recovery_sha256(code: &str) -> [u8; 32] {
    let bare: String = code
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .map(|c| c.to_ascii_lowercase())
        .collect();
    sha256(bare.as_bytes())
}

fn grouped(text: &str, between: char) -> String {
    let mut grouped = String::with_capacity(text.len() + text.len() / 4);
    for (place, c) in text.chars().enumerate() {
        if place > 0 && place % 4 == 0 {
            grouped.push(between);
        }
        grouped.push(c);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> TotpSecret {
        TotpSecret::from(Zeroizing::new(b"12345678901234567890".to_vec()))
    }

    #[test]
    fn the_codes_are_those_of_rfc_6238() {
        // Appendix B, cut to six digits.
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804")] {
            let step = secret().check(code, seconds * 1000, None).unwrap();
            assert_eq!(step, Some(seconds / STEP));
        }
        assert_eq!(secret().check("287083", 59_000, None).unwrap(), None);
        assert_eq!(secret().check("28708２", 59_000, None).unwrap(), None);
    }

    #[test]
    fn a_code_is_taken_once_and_only_about_its_time() {
        let step = secret().check("287 082", 59_000, None).unwrap();
        assert_eq!(step, Some(1));
        assert_eq!(secret().check("287082", 60_000, step).unwrap(), None);
        assert_eq!(secret().check("287082", 89_999, None).unwrap(), Some(1));
        assert_eq!(secret().check("287082", 90_000, None).unwrap(), None);
    }

    #[test]
    fn the_secret_is_shown_as_text_and_as_a_picture() {
        assert_eq!(
            secret().text().as_str(),
            "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ"
        );
        let svg = secret().qr_svg("a:da@example.org").unwrap();
        assert!(svg.starts_with("<svg role=\"img\"") && svg.ends_with("</svg>"));
        assert!(!svg.contains("style=") && !svg.contains("<script"));
    }

    #[test]
    fn recovery_codes_differ_and_are_read_as_people_type_them() {
        let codes = recovery_codes(&Random::seeded(7));
        assert_eq!(codes.len(), RECOVERY_CODES);
        let all: std::collections::BTreeSet<_> = codes.iter().collect();
        assert_eq!(all.len(), RECOVERY_CODES);
        let typed = codes[0].to_uppercase().replace('-', " ");
        assert_eq!(recovery_sha256(&typed), recovery_sha256(&codes[0]));
        assert_eq!(codes[0].len(), 19);
    }
}
