//! The bytes of a frame and of a segment's header: pure encoding and checking, no files.

/// The largest record, in bytes (32 MiB).
pub const MAX_RECORD: usize = 32 << 20;
/// The most payload one `append_all` may carry, in bytes (64 MiB).
pub const MAX_APPEND_ALL: usize = 64 << 20;

/// Length of a segment's header: two copies of the same 32 bytes.
pub(crate) const HEADER_LEN: u64 = 64;
/// Length of a frame before its payload.
pub(crate) const FRAME_HEAD: usize = 24;
/// Frames stand at multiples of this.
pub(crate) const ALIGN: usize = 8;
/// The format this build writes and reads.
pub(crate) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"ZENJRNL\n";
const COPY_LEN: usize = 32;

/// How many bytes the frame of a payload takes, padding included.
pub(crate) const fn frame_len(payload: usize) -> u64 {
    (FRAME_HEAD + payload).next_multiple_of(ALIGN) as u64
}

/// Appends one frame to `batch`. The payload's length fits: the queue refuses more than [`MAX_RECORD`].
pub(crate) fn encode(batch: &mut Vec<u8>, payload: &[u8], position: u64, durable: u64, salt: u32) {
    let start = batch.len();
    batch.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    batch.extend_from_slice(&[0; 4]);
    batch.extend_from_slice(&position.to_le_bytes());
    batch.extend_from_slice(&durable.to_le_bytes());
    batch.extend_from_slice(payload);
    batch.resize(start + frame_len(payload.len()) as usize, 0);
    let crc = checksum(&batch[start..], salt);
    batch[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// What the first bytes of a frame claim; nothing is proven before [`Head::matches`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) payload_len: usize,
    pub(crate) durable: u64,
    position: u64,
}

impl Head {
    /// Reads a head, or nothing where there are too few bytes for one.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            payload_len: u32_at(bytes, 0)? as usize,
            position: u64_at(bytes, 8)?,
            durable: u64_at(bytes, 16)?,
        })
    }

    /// Whether this can be the head of the frame at `at`, in a segment whose frames end by `limit`.
    pub(crate) fn plausible(&self, at: u64, limit: u64) -> bool {
        self.position == at
            && self.durable <= at
            && self.payload_len <= MAX_RECORD
            && self.frame_len() <= limit.saturating_sub(at)
    }

    /// Whether `frame`, which this head was read from and which is as long as it says, is intact.
    pub(crate) fn matches(&self, frame: &[u8], salt: u32) -> bool {
        u32_at(frame, 4) == Some(checksum(frame, salt))
    }

    /// The length of the whole frame.
    pub(crate) const fn frame_len(&self) -> u64 {
        frame_len(self.payload_len)
    }
}

/// Covers everything but the checksum itself, from the length to the padding.
fn checksum(frame: &[u8], salt: u32) -> u32 {
    let (head, rest) = frame.split_at(8);
    crc32c::crc32c_append(crc32c::crc32c_append(salt, &head[..4]), rest)
}

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) salt: u32,
    pub(crate) base: u64,
}

impl Header {
    /// The header as it stands at the start of a file: twice, so that one flipped bit costs nothing.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(HEADER_LEN as usize);
        copy.extend_from_slice(&MAGIC);
        copy.extend_from_slice(&self.version.to_le_bytes());
        copy.extend_from_slice(&self.salt.to_le_bytes());
        copy.extend_from_slice(&self.base.to_le_bytes());
        copy.extend_from_slice(&crc32c::crc32c(&copy).to_le_bytes());
        copy.resize(COPY_LEN, 0);
        copy.extend_from_within(..);
        copy
    }

    /// Reads the first intact copy.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.chunks_exact(COPY_LEN).take(2).find_map(|copy| {
            let intact =
                copy.starts_with(&MAGIC) && u32_at(copy, 24)? == crc32c::crc32c(&copy[..24]);
            let header = Self {
                version: u32_at(copy, 8)?,
                salt: u32_at(copy, 12)?,
                base: u64_at(copy, 16)?,
            };
            intact.then_some(header)
        })
    }
}

/// A little endian `u32` at `offset`, if the bytes reach that far.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// A little endian `u64` at `offset`, if the bytes reach that far.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(frame: &[u8], at: u64, salt: u32) -> bool {
        Head::parse(frame).is_some_and(|head| {
            head.plausible(at, at + frame.len() as u64) && head.matches(frame, salt)
        })
    }

    #[test]
    fn a_frame_is_accepted_only_whole_in_its_place_and_under_its_salt() {
        let mut frame = Vec::new();
        encode(&mut frame, b"thirteen byte", 4096, 4000, 7);
        assert_eq!(frame.len() % ALIGN, 0);
        assert!(accepts(&frame, 4096, 7));
        assert!(!accepts(&frame, 4104, 7));
        assert!(!accepts(&frame, 4096, 8));
        for byte in 0..frame.len() {
            for bit in 0..8 {
                let mut damaged = frame.clone();
                damaged[byte] ^= 1 << bit;
                assert!(
                    !accepts(&damaged, 4096, 7),
                    "flipped bit {bit} of byte {byte}"
                );
            }
        }
    }

    #[test]
    fn zeros_are_never_a_frame() {
        for salt in [0, 1, u32::MAX] {
            assert!(!accepts(&[0; 64], 0, salt));
        }
    }

    #[test]
    fn a_header_survives_damage_to_either_copy() {
        let header = Header {
            version: VERSION,
            salt: 99,
            base: 1 << 40,
        };
        let bytes = header.encode();
        assert_eq!(bytes.len() as u64, HEADER_LEN);
        for byte in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[byte] ^= 0x10;
            assert_eq!(Header::decode(&damaged), Some(header));
        }
        assert_eq!(Header::decode(&[0; 64]), None);
        assert_eq!(Header::decode(&[]), None);
    }
}
