//! A snapshot's way in: chunks → one compressed document → signed snapshot → believed snapshot.
//! Pure: nothing here reads a clock or a disk.

use std::io::Read;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use prost::Message;
use zen_identity::{Expect, Trust, Usage, VerifyError, spki, verify, verify_signature};
use zen_proto::ids::PlaneId;
use zen_proto::limits;
use zen_proto::session::v1::SnapshotChunk;
use zen_proto::snapshot::v1::{SignedSnapshot, Snapshot};

use crate::identity::unix_time;

/// Version of the snapshot's format this code reads.
const VERSION: u32 = 1;
/// Room for revision, digest, signature and certificates around a snapshot.
const ENVELOPE: usize = 64 * 1024;
/// Largest window a compressed snapshot may ask for, as a power of two: that of the largest one.
const WINDOW_LOG: u32 = 24;

/// Why a snapshot is not applied. The one before stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("chunk {found} of revision {revision} came where {expected} was due")]
    ChunkOrder {
        revision: u64,
        found: u32,
        expected: u32,
    },
    #[error("it is larger than {} bytes", limits::SNAPSHOT)]
    TooLarge,
    #[error("it cannot be decompressed")]
    Compression(#[source] std::io::Error),
    #[error("it cannot be decoded")]
    Encoding(#[from] prost::DecodeError),
    #[error("its digest is wrong")]
    Digest,
    #[error("its signer is not believed")]
    Signer(#[from] VerifyError),
    #[error("its signature is wrong")]
    Signature,
    #[error("it is of {0:?}")]
    OtherPlane(String),
    #[error("it has version {0}, this program reads version {VERSION}")]
    Version(u32),
    #[error("it says revision {inner} inside and {outer} outside")]
    RevisionMismatch { inner: u64, outer: u64 },
    #[error("revision {offered} is not newer than the applied {applied}")]
    Stale { offered: u64, applied: u64 },
    #[error("it cannot be stored")]
    NotStored(#[from] crate::store::StoreError),
}

impl SnapshotError {
    /// Stable code for the control plane and the log.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::ChunkOrder { .. }
            | Self::Compression(_)
            | Self::Encoding(_)
            | Self::RevisionMismatch { .. } => "SNAPSHOT_MALFORMED",
            Self::TooLarge => "SNAPSHOT_TOO_LARGE",
            Self::Digest => "SNAPSHOT_DIGEST",
            Self::Signer(_) => "SNAPSHOT_SIGNER",
            Self::Signature => "SNAPSHOT_SIGNATURE",
            Self::OtherPlane(_) => "SNAPSHOT_OTHER_PLANE",
            Self::Version(_) => "SNAPSHOT_VERSION",
            Self::Stale { .. } => "SNAPSHOT_STALE",
            Self::NotStored(_) => "SNAPSHOT_NOT_STORED",
        }
    }
}

/// Puts chunks together.
#[derive(Default)]
pub(crate) struct Assembly {
    revision: u64,
    next_index: u32,
    data: Vec<u8>,
}

impl Assembly {
    /// Takes the next chunk; the whole compressed document after the last one. The first chunk of
    /// another revision begins anew. After an error the rest of that revision is passed over.
    pub(crate) fn push(&mut self, chunk: &SnapshotChunk) -> Result<Option<Vec<u8>>, SnapshotError> {
        if chunk.index == 0 {
            *self = Self {
                revision: chunk.revision,
                next_index: 0,
                data: Vec::new(),
            };
        }
        if (chunk.revision, chunk.index) != (self.revision, self.next_index) {
            let expected = std::mem::take(self).next_index;
            let (revision, found) = (chunk.revision, chunk.index);
            return Err(SnapshotError::ChunkOrder {
                revision,
                found,
                expected,
            });
        }
        if self.data.len() + chunk.data.len() > limits::SNAPSHOT {
            *self = Self::default();
            return Err(SnapshotError::TooLarge);
        }
        self.data.extend_from_slice(&chunk.data);
        self.next_index += 1;
        Ok(chunk.last.then(|| std::mem::take(self).data))
    }
}

/// Opens the compressed document, never growing beyond a snapshot's limit.
pub(crate) fn unpack(compressed: &[u8]) -> Result<SignedSnapshot, SnapshotError> {
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(compressed).map_err(SnapshotError::Compression)?;
    decoder
        .window_log_max(WINDOW_LOG)
        .map_err(SnapshotError::Compression)?;
    let limit = limits::SNAPSHOT + ENVELOPE;
    let mut encoded = Vec::new();
    decoder
        .take(limit as u64 + 1)
        .read_to_end(&mut encoded)
        .map_err(SnapshotError::Compression)?;
    if encoded.len() > limit {
        return Err(SnapshotError::TooLarge);
    }
    // Shares `encoded`: the snapshot inside is not copied.
    let signed = SignedSnapshot::decode(bytes::Bytes::from(encoded))?;
    if signed.snapshot.len() > limits::SNAPSHOT {
        return Err(SnapshotError::TooLarge);
    }
    Ok(signed)
}

/// Judges a signed snapshot for this plane, by the trust at hand and the time it was received.
pub(crate) fn believe(
    signed: &SignedSnapshot,
    plane: PlaneId,
    trust: &Trust,
    received: SystemTime,
) -> Result<Snapshot, SnapshotError> {
    if digest(&SHA256, &signed.snapshot).as_ref() != &*signed.digest {
        return Err(SnapshotError::Digest);
    }
    let signer: Vec<_> = signed
        .signer
        .iter()
        .map(|der| der.to_vec().into())
        .collect();
    verify(
        &signer,
        Usage::Signer,
        trust,
        &Expect::control_plane(),
        unix_time(received),
    )?;
    let key = signer.first().map(spki).transpose()?.unwrap_or_default();
    let message = signed_message(plane, signed.revision, &signed.digest);
    if !verify_signature(&key, &message, &signed.signature) {
        return Err(SnapshotError::Signature);
    }
    let snapshot = Snapshot::decode(signed.snapshot.clone())?;
    if snapshot.version != VERSION {
        return Err(SnapshotError::Version(snapshot.version));
    }
    if snapshot.plane_id.parse() != Ok(plane) {
        return Err(SnapshotError::OtherPlane(
            snapshot.plane_id.chars().take(64).collect(),
        ));
    }
    if snapshot.revision != signed.revision {
        let (inner, outer) = (snapshot.revision, signed.revision);
        return Err(SnapshotError::RevisionMismatch { inner, outer });
    }
    Ok(snapshot)
}

/// What the control plane signs: see `SignedSnapshot` in snapshot.proto.
fn signed_message(plane: PlaneId, revision: u64, digest: &[u8]) -> Vec<u8> {
    let mut message = format!("zen snapshot v1\n{plane}\n").into_bytes();
    message.extend_from_slice(&revision.to_be_bytes());
    message.extend_from_slice(digest);
    message
}

#[cfg(test)]
#[path = "snapshot/tests.rs"]
mod tests;
