//! Passwords: what a new one must be, and argon2id over it. Hashing costs 19 MiB of memory, so few
//! run at once, away from the threads that serve requests, and a flood of sign-ins is turned away.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Fewest characters of a new password.
pub(crate) const SHORTEST: usize = 12;
/// Most bytes of a password.
pub(crate) const LONGEST: usize = 256;
/// Memory of one hash, KiB.
const MEMORY: u32 = 19 * 1024;
/// Passes over the memory.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;
/// Hashes at the same time.
const AT_ONCE: usize = 2;
/// Hashes at work or waiting; beyond them sign-ins are turned away.
const WAITING: usize = 64;

/// A password as somebody typed it; wiped when dropped, never shown.
#[derive(Clone)]
pub(crate) struct Password(Zeroizing<String>);

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

/// Why a new password is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// Too few characters.
    #[error("a password has at least {SHORTEST} characters")]
    Short,
    /// Too many bytes.
    #[error("a password has at most {LONGEST} bytes")]
    Long,
    /// It is the e-mail address.
    #[error("the password is the e-mail address; choose another one")]
    Email,
}

impl Password {
    /// Whether it may become the password of who has this e-mail address. Length is all that is
    /// asked: rules about kinds of characters make passwords worse.
    ///
    /// # Errors
    /// See [`Unfit`].
    pub(crate) fn fit_for(&self, email: &str) -> Result<(), Unfit> {
        if self.0.chars().count() < SHORTEST {
            return Err(Unfit::Short);
        }
        if self.0.len() > LONGEST {
            return Err(Unfit::Long);
        }
        if self.0.to_lowercase() == email.to_lowercase() {
            return Err(Unfit::Email);
        }
        Ok(())
    }
}

/// What a check of a password found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not the password, or there is nobody.
    Wrong,
    /// The password.
    Right,
    /// The password, hashed with other parameters than today's: to be hashed again.
    RightButOld,
}

/// Why a password could not be hashed or checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    /// Too many are being checked.
    #[error("too many passwords are being checked")]
    Busy,
    /// The hash that is kept is damaged, or there is no memory.
    #[error("the password cannot be hashed")]
    Hash(#[from] argon2::password_hash::Error),
    /// The parameters of the hash are out of bounds.
    #[error("the parameters of the password hash are invalid")]
    Parameters(#[from] argon2::Error),
    /// The process is stopping.
    #[error("the check was interrupted")]
    Interrupted,
}

/// Hashes and checks passwords.
pub(crate) struct Passwords {
    places: Arc<Semaphore>,
    working: Arc<Semaphore>,
    params: Params,
    /// Hash of a password that nobody has: checked for accounts that do not exist, so that the
    /// time of the answer tells nothing.
    nobody: String,
}

impl Passwords {
    /// # Errors
    /// When the cryptographic library fails.
    pub(crate) fn new(salt: &[u8; 16]) -> Result<Self, PasswordError> {
        let params = Params::new(MEMORY, PASSES, LANES, None)?;
        let nobody = hash(&params, &[], salt)?;
        Ok(Self {
            places: Arc::new(Semaphore::new(WAITING)),
            working: Arc::new(Semaphore::new(AT_ONCE)),
            params,
            nobody,
        })
    }

    /// The hash to keep, as a PHC string.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub(crate) async fn hash(
        &self,
        password: Password,
        salt: [u8; 16],
    ) -> Result<String, PasswordError> {
        let params = self.params.clone();
        self.work(move || hash(&params, password.0.as_bytes(), &salt))
            .await
    }

    /// Checks a password against the hash that is kept; against nobody's if there is none, which
    /// takes as long and is wrong.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub(crate) async fn check(
        &self,
        password: Password,
        kept: Option<String>,
    ) -> Result<Verdict, PasswordError> {
        let somebody = kept.is_some();
        let kept = kept.unwrap_or_else(|| self.nobody.clone());
        let params = self.params.clone();
        let verdict = self
            .work(move || check(&params, password.0.as_bytes(), &kept))
            .await?;
        Ok(if somebody { verdict } else { Verdict::Wrong })
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let _place = self.places.try_acquire().map_err(|_| PasswordError::Busy)?;
        let working = Arc::clone(&self.working).acquire_owned().await;
        let working = working.map_err(|_| PasswordError::Interrupted)?;
        let done = tokio::task::spawn_blocking(move || {
            // Held by the work itself: a caller that goes away does not make room for another.
            let _working = working;
            work()
        });
        done.await.map_err(|_| PasswordError::Interrupted)?
    }
}

fn hash(params: &Params, password: &[u8], salt: &[u8; 16]) -> Result<String, PasswordError> {
    let hashed: PasswordHash = argon2id(params).hash_password_with_salt(password, salt)?;
    Ok(hashed.to_string())
}

fn check(today: &Params, password: &[u8], kept: &str) -> Result<Verdict, PasswordError> {
    if password.len() > LONGEST {
        return Ok(Verdict::Wrong);
    }
    let kept = PasswordHash::new(kept).map_err(argon2::password_hash::Error::from)?;
    match argon2id(today).verify_password(password, &kept) {
        Ok(()) => {}
        Err(argon2::password_hash::Error::PasswordInvalid) => return Ok(Verdict::Wrong),
        Err(error) => return Err(error.into()),
    }
    let then = Params::try_from(&kept)?;
    let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
    let same = costs(&then) == costs(today) && kept.algorithm == Algorithm::Argon2id.ident();
    Ok(if same {
        Verdict::Right
    } else {
        Verdict::RightButOld
    })
}

fn argon2id(params: &Params) -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::from(text.to_owned())
    }

    #[test]
    fn a_new_password_is_long_enough_and_not_the_email() {
        let email = "Ada.Lovelace@example.org";
        let fit = |text: &str| password(text).fit_for(email);
        assert_eq!(fit("elevenchars"), Err(Unfit::Short));
        assert_eq!(fit("twelve chars"), Ok(()));
        assert_eq!(fit("ada.lovelace@EXAMPLE.org"), Err(Unfit::Email));
        assert_eq!(fit(&"x".repeat(256)), Ok(()));
        assert_eq!(fit(&"x".repeat(257)), Err(Unfit::Long));
        assert_eq!(fit(&"é".repeat(12)), Ok(()));
    }

    #[tokio::test]
    async fn only_the_password_is_right_and_nobody_has_none() {
        let passwords = Passwords::new(&[1; 16]).unwrap();
        let kept = passwords.hash(password("a good password"), [2; 16]).await;
        let kept = kept.unwrap();
        assert!(
            kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{kept}"
        );
        let check = async |text: &str, kept: Option<&String>| {
            let checked = passwords.check(password(text), kept.cloned()).await;
            checked.unwrap()
        };
        assert_eq!(check("a good password", Some(&kept)).await, Verdict::Right);
        assert_eq!(check("a good passwore", Some(&kept)).await, Verdict::Wrong);
        assert_eq!(check("", None).await, Verdict::Wrong);
    }

    #[test]
    fn a_hash_with_other_parameters_is_right_and_to_be_renewed() {
        let old = Params::new(8 * 1024, 1, 1, None).unwrap();
        let kept = hash(&old, b"a good password", &[3; 16]).unwrap();
        let today = Params::new(9 * 1024, 1, 1, None).unwrap();
        assert_eq!(
            check(&today, b"a good password", &kept).unwrap(),
            Verdict::RightButOld
        );
        assert_eq!(
            check(&today, b"another one", &kept).unwrap(),
            Verdict::Wrong
        );
    }

    #[tokio::test]
    async fn a_flood_is_turned_away_instead_of_queued_without_bound() {
        let passwords = Passwords::new(&[1; 16]).unwrap();
        let _all = passwords.places.try_acquire_many(WAITING as u32).unwrap();
        let refused = passwords.check(password("x"), None).await;
        assert!(matches!(refused, Err(PasswordError::Busy)));
    }
}
