//! What a lane's journal holds: a version byte, the time of publishing (Unix milliseconds, eight
//! bytes little endian), and the encoded parcel.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use zen_proto::relay::v1::Parcel;

const VERSION: u8 = 1;
const HEAD: usize = 9;

/// A parcel as it was stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    /// When it was published.
    pub(crate) accepted_at_ms: u64,
    /// The parcel.
    pub(crate) parcel: Parcel,
}

/// The journal gave back whole bytes that are no parcel of this version.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// Written by another version.
    #[error("the record has version {0}, this build reads {VERSION}")]
    Version(u8),
    /// Too short.
    #[error("the record ends within its head")]
    Short,
    /// The parcel does not decode.
    #[error("the record holds no parcel")]
    Parcel(#[source] prost::DecodeError),
}

/// The bytes to store for a parcel published now.
pub(crate) fn encode(parcel: &Parcel, accepted_at_ms: u64) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEAD + parcel.encoded_len());
    bytes.put_u8(VERSION);
    bytes.put_u64_le(accepted_at_ms);
    parcel
        .encode(&mut bytes)
        .expect("a growing buffer takes what is encoded into it");
    bytes.freeze()
}

/// Reads a record back; the content is not copied.
pub(crate) fn decode(mut bytes: Bytes) -> Result<Stored, RecordError> {
    if bytes.len() < HEAD {
        return Err(RecordError::Short);
    }
    let version = bytes.get_u8();
    if version != VERSION {
        return Err(RecordError::Version(version));
    }
    let accepted_at_ms = bytes.get_u64_le();
    let parcel = Parcel::decode(bytes).map_err(RecordError::Parcel)?;
    Ok(Stored {
        accepted_at_ms,
        parcel,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_parcel_reads_back_as_stored(content: Vec<u8>, plane_id: String, at: u64) {
            let parcel = Parcel { plane_id, content: content.into(), ..Parcel::default() };
            let stored = decode(encode(&parcel, at)).unwrap();
            prop_assert_eq!(stored, Stored { accepted_at_ms: at, parcel });
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _outcome = decode(bytes.into());
        }
    }

    #[test]
    fn another_version_is_told_apart() {
        let mut bytes = encode(&Parcel::default(), 1).to_vec();
        bytes[0] = 2;
        assert!(matches!(decode(bytes.into()), Err(RecordError::Version(2))));
        assert!(matches!(decode(Bytes::new()), Err(RecordError::Short)));
    }
}
