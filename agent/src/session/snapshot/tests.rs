//! What is believed and what is not; every bound met.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use zen_identity::{PrivateKey, RootCa};
use zen_proto::component::Component;
use zen_proto::ids::{Id as _, TenantId};

use super::*;

struct World {
    root: RootCa,
    key: PrivateKey,
    signer: Vec<bytes::Bytes>,
    plane: PlaneId,
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl World {
    fn new() -> Self {
        let root = RootCa::generate("zen.example".parse().unwrap(), now(), 365 * DAY).unwrap();
        let key = PrivateKey::generate().unwrap();
        let chain = root.issue_control_plane(&key, &[], now(), DAY).unwrap();
        let signer = chain.iter().map(|der| der.to_vec().into()).collect();
        Self {
            root,
            key,
            signer,
            plane: PlaneId::generate(1, [1; 10]),
        }
    }

    fn trust(&self) -> Trust {
        Trust::new(self.root.trust_domain().clone(), &self.root.cert_pem(), []).unwrap()
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            version: 1,
            revision: 7,
            plane_id: self.plane.to_string(),
            ..Snapshot::default()
        }
    }

    fn sign(&self, snapshot: &Snapshot, revision: u64) -> SignedSnapshot {
        let encoded = snapshot.encode_to_vec();
        let digest = digest(&SHA256, &encoded).as_ref().to_vec();
        let signature = self
            .key
            .sign(&signed_message(self.plane, revision, &digest))
            .unwrap();
        SignedSnapshot {
            revision,
            digest: digest.into(),
            signature: signature.into(),
            signer: self.signer.clone(),
            snapshot: encoded.into(),
        }
    }

    fn judge(&self, signed: &SignedSnapshot) -> Result<Snapshot, SnapshotError> {
        believe(signed, self.plane, &self.trust(), now())
    }
}

#[test]
fn a_signed_snapshot_of_this_plane_is_believed() {
    let world = World::new();
    let believed = world.judge(&world.sign(&world.snapshot(), 7)).unwrap();
    assert_eq!(believed, world.snapshot());
}

#[test]
fn each_lie_has_its_own_code() {
    let world = World::new();
    let honest = world.sign(&world.snapshot(), 7);
    let code = |signed: &SignedSnapshot| world.judge(signed).unwrap_err().code();

    let mut content = honest.clone();
    content.snapshot = [&*honest.snapshot, &[0x10, 9]].concat().into();
    assert_eq!(code(&content), "SNAPSHOT_DIGEST");
    content.digest = digest(&SHA256, &content.snapshot).as_ref().to_vec().into();
    assert_eq!(code(&content), "SNAPSHOT_SIGNATURE");

    let renumbered = SignedSnapshot {
        revision: 8,
        ..honest.clone()
    };
    assert_eq!(code(&renumbered), "SNAPSHOT_SIGNATURE");
    assert_eq!(
        code(&world.sign(&world.snapshot(), 8)),
        "SNAPSHOT_MALFORMED"
    );

    let unsigned = SignedSnapshot {
        signer: vec![],
        ..honest.clone()
    };
    assert_eq!(code(&unsigned), "SNAPSHOT_SIGNER");
    let foreign = World {
        plane: world.plane,
        ..World::new()
    };
    assert_eq!(code(&foreign.sign(&world.snapshot(), 7)), "SNAPSHOT_SIGNER");

    let elsewhere = Snapshot {
        plane_id: "pl_x".to_owned(),
        ..world.snapshot()
    };
    assert_eq!(code(&world.sign(&elsewhere, 7)), "SNAPSHOT_OTHER_PLANE");
    let newer = Snapshot {
        version: 2,
        ..world.snapshot()
    };
    assert_eq!(code(&world.sign(&newer, 7)), "SNAPSHOT_VERSION");
}

#[test]
fn a_planes_own_leaf_signs_no_snapshot() {
    let mut world = World::new();
    let tenant = TenantId::generate(1, [2; 10]);
    let ca_key = PrivateKey::generate().unwrap();
    let csr = ca_key.csr("plane").unwrap();
    let chain = world
        .root
        .sign_plane_ca(&csr, tenant, world.plane, now(), DAY)
        .unwrap();
    let domain = world.root.trust_domain().clone();
    let ca = zen_identity::PlaneCa::new(ca_key, chain, domain).unwrap();
    let csr = world.key.csr("agent").unwrap();
    let leaf = ca.sign_leaf(&csr, Component::Agent, now(), DAY).unwrap();
    world.signer = leaf.iter().map(|der| der.to_vec().into()).collect();
    let error = world.judge(&world.sign(&world.snapshot(), 7)).unwrap_err();
    assert_eq!(error.code(), "SNAPSHOT_SIGNER");
}

#[test]
fn a_snapshot_is_judged_as_of_its_receipt() {
    let world = World::new();
    let signed = world.sign(&world.snapshot(), 7);
    let trust = world.trust();
    assert!(believe(&signed, world.plane, &trust, now() + DAY / 2).is_ok());
    assert!(believe(&signed, world.plane, &trust, now() + 2 * DAY).is_err());
}

fn chunks(revision: u64, data: &[u8], size: usize) -> Vec<SnapshotChunk> {
    let pieces: Vec<_> = data.chunks(size).collect();
    let last = pieces.len() - 1;
    let chunk = |(index, piece): (usize, &&[u8])| SnapshotChunk {
        revision,
        index: u32::try_from(index).unwrap(),
        last: index == last,
        data: piece.to_vec().into(),
    };
    pieces.iter().enumerate().map(chunk).collect()
}

#[test]
fn chunks_out_of_order_are_refused_and_the_next_snapshot_is_not() {
    let mut assembly = Assembly::default();
    let seven = chunks(7, b"abcdef", 2);
    assert!(assembly.push(&seven[0]).unwrap().is_none());
    let error = assembly.push(&seven[2]).unwrap_err();
    assert_eq!(error.code(), "SNAPSHOT_MALFORMED");
    assert!(
        assembly.push(&seven[1]).is_err(),
        "the rest of a broken one is passed over"
    );
    let whole: Vec<_> = chunks(8, b"xyz", 1)
        .iter()
        .filter_map(|c| assembly.push(c).unwrap())
        .collect();
    assert_eq!(whole, [b"xyz".to_vec()]);
}

#[test]
fn an_endless_snapshot_is_cut_off() {
    let mut assembly = Assembly::default();
    let piece = bytes::Bytes::from(vec![0; limits::SNAPSHOT_CHUNK]);
    let mut refused = None;
    for index in 0..=u32::try_from(limits::SNAPSHOT / limits::SNAPSHOT_CHUNK).unwrap() {
        let chunk = SnapshotChunk {
            revision: 1,
            index,
            last: false,
            data: piece.clone(),
        };
        refused = assembly.push(&chunk).err();
    }
    assert_eq!(refused.unwrap().code(), "SNAPSHOT_TOO_LARGE");
}

#[test]
fn a_small_text_that_unpacks_to_much_is_refused() {
    let zeros = vec![0; limits::SNAPSHOT + 2 * ENVELOPE];
    let bomb = zstd::encode_all(&*zeros, 1).unwrap();
    assert!(bomb.len() < 64 * 1024);
    assert_eq!(unpack(&bomb).unwrap_err().code(), "SNAPSHOT_TOO_LARGE");
}

proptest! {
    #[test]
    fn no_bytes_make_unpacking_panic(bytes: Vec<u8>) {
        let _outcome = unpack(&bytes);
    }

    #[test]
    fn chunks_put_together_are_what_was_cut(data in proptest::collection::vec(any::<u8>(), 1..500), size in 1_usize..100) {
        let mut assembly = Assembly::default();
        let whole: Vec<_> = chunks(3, &data, size)
            .iter()
            .filter_map(|chunk| assembly.push(chunk).unwrap())
            .collect();
        prop_assert_eq!(whole, [data]);
    }
}
