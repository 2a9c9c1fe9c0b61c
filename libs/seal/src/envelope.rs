//! Closing bytes for recipients and opening them again: the age format, armored on the way out,
//! armored or binary on the way in.

use std::io::{self, Read, Write};

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::{DecryptError, Decryptor, EncryptError, Encryptor};
use zeroize::Zeroizing;

use crate::key::{Identity, Recipient};

const ARMOR_BEGIN: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";
const ARMOR_END: &[u8] = b"-----END AGE ENCRYPTED FILE-----";
const BINARY_BEGIN: &[u8] = b"age-encryption.org/";

/// Why nothing was closed.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// Nobody could ever open it.
    #[error("there is no recipient to close for")]
    NoRecipients,
    /// age refused.
    #[error("age cannot close for these recipients")]
    Age(#[from] EncryptError),
    /// The ciphertext could not be written, which memory does not do.
    #[error("the ciphertext cannot be written")]
    Write(#[from] io::Error),
}

/// Why a ciphertext was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The bytes are no age file, armored or binary.
    #[error("this is not an age file")]
    NotAge,
    /// The bytes start as an age file and end before it does.
    #[error("the age file is cut short")]
    Truncated,
    /// It was closed for other keys.
    #[error("the age file was closed for another key")]
    WrongKey,
    /// It was changed after it was closed.
    #[error("the age file is damaged")]
    Damaged,
    /// The plaintext is longer than the caller allows.
    #[error("the content is larger than {max} bytes")]
    TooLarge {
        /// The caller's bound, in bytes.
        max: usize,
    },
}

/// Closes the plaintext so that each of the recipients, and nobody else, can open it.
/// Answers the armored text, which ends with a newline.
///
/// # Errors
/// [`CloseError::NoRecipients`] for an empty list; the others do not happen with X25519 and memory.
pub fn close(plaintext: &[u8], recipients: &[Recipient]) -> Result<String, CloseError> {
    if recipients.is_empty() {
        return Err(CloseError::NoRecipients);
    }
    let encryptor = Encryptor::with_recipients(recipients.iter().map(Recipient::as_age))?;
    let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
    let mut writer = encryptor.wrap_output(armor)?;
    writer.write_all(plaintext)?;
    let armored = writer.finish()?.finish()?;
    String::from_utf8(armored).map_err(|_| io::Error::from(io::ErrorKind::InvalidData).into())
}

/// Opens an armored or binary age file with whichever of the identities fits.
/// Nothing is answered unless the whole content is authentic.
///
/// # Errors
/// [`OpenError`], which tells a wrong key from damage. Of `max_plaintext` bytes and more to come,
/// none is answered.
pub fn open(
    ciphertext: &[u8],
    identities: &[Identity],
    max_plaintext: usize,
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    // Pasted text comes with blank lines around it.
    let armored = ciphertext.trim_ascii();
    if armored.starts_with(ARMOR_BEGIN) {
        if !armored.ends_with(ARMOR_END) {
            return Err(OpenError::Truncated);
        }
        open_reader(
            ArmoredReader::new(armored),
            armored.len(),
            identities,
            max_plaintext,
        )
    } else if ciphertext.starts_with(BINARY_BEGIN) {
        open_reader(ciphertext, ciphertext.len(), identities, max_plaintext)
    } else if !armored.is_empty()
        && [ARMOR_BEGIN, BINARY_BEGIN]
            .iter()
            .any(|b| b.starts_with(armored))
    {
        Err(OpenError::Truncated)
    } else {
        Err(OpenError::NotAge)
    }
}

fn open_reader(
    reader: impl Read,
    length: usize,
    identities: &[Identity],
    max: usize,
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let decryptor = Decryptor::new(reader).map_err(refusal)?;
    let mut content = decryptor
        .decrypt(identities.iter().map(Identity::as_age))
        .map_err(refusal)?;
    // A plaintext is shorter than its ciphertext: the buffer never grows and leaves no copies.
    let mut plaintext = Zeroizing::new(Vec::with_capacity(length.min(max.saturating_add(1))));
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    content
        .by_ref()
        .take(limit)
        .read_to_end(&mut plaintext)
        .map_err(|e| cut_or_damaged(&e))?;
    if plaintext.len() > max {
        return Err(OpenError::TooLarge { max });
    }
    Ok(plaintext)
}

fn refusal(error: DecryptError) -> OpenError {
    match error {
        DecryptError::NoMatchingKeys => OpenError::WrongKey,
        DecryptError::Io(error) => cut_or_damaged(&error),
        DecryptError::UnknownFormat => OpenError::NotAge,
        _ => OpenError::Damaged,
    }
}

fn cut_or_damaged(error: &io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => OpenError::Truncated,
        _ => OpenError::Damaged,
    }
}

#[cfg(test)]
#[path = "envelope/tests.rs"]
mod tests;
