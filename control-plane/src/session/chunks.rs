//! A signed snapshot cut for the session: encoded, compressed, in pieces of at most
//! [`limits::SNAPSHOT_CHUNK`].

use std::io;

use prost::Message as _;
use prost::bytes::Bytes;
use zen_proto::limits;
use zen_proto::session::v1::SnapshotChunk;
use zen_proto::snapshot::v1::SignedSnapshot;

/// Configuration is text and compresses well at any level.
const LEVEL: i32 = 3;

/// The pieces, in order; the last one says so.
///
/// # Errors
/// When memory for compression cannot be had.
pub(super) fn cut(signed: &SignedSnapshot) -> io::Result<Vec<SnapshotChunk>> {
    let compressed = Bytes::from(zstd::bulk::compress(&signed.encode_to_vec(), LEVEL)?);
    let revision = signed.revision;
    let pieces = compressed.len().div_ceil(limits::SNAPSHOT_CHUNK).max(1);
    let piece = |index: usize| {
        let start = index * limits::SNAPSHOT_CHUNK;
        let end = compressed.len().min(start + limits::SNAPSHOT_CHUNK);
        SnapshotChunk {
            revision,
            index: u32::try_from(index).unwrap_or(u32::MAX),
            last: index + 1 == pieces,
            data: compressed.slice(start..end),
        }
    };
    Ok((0..pieces).map(piece).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_together_are_the_whole_and_only_the_last_says_so() {
        // Bytes that do not compress.
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        })
        .take(limits::SNAPSHOT_CHUNK * 5 / 2)
        .collect();
        let signed = SignedSnapshot {
            revision: 4,
            snapshot: noise.into(),
            ..Default::default()
        };
        let pieces = cut(&signed).unwrap();
        assert_eq!(pieces.len(), 3);
        let last: Vec<_> = pieces.iter().map(|piece| piece.last).collect();
        assert_eq!(last, [false, false, true]);
        let whole: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| piece.data.to_vec())
            .collect();
        let read = zstd::bulk::decompress(&whole, limits::SNAPSHOT).unwrap();
        assert_eq!(SignedSnapshot::decode(read.as_slice()).unwrap(), signed);
    }
}
