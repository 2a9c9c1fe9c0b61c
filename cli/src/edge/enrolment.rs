//! The bundle is handed to the agent by file. Where it comes from it may stay for ever, as a
//! credential that nobody can delete: a bundle is handed over once, and again only while the plane
//! is not enrolled.

use std::path::Path;

use anyhow::Context;
use zen_chassis::files;

use crate::output;

/// Largest bundle or identity file.
const FILE: usize = 1024 * 1024;
/// The digest of bundle and identity that were handed over last.
const MARK: &str = "handed-over";

/// Copies bundle and identity to where the agent looks for them; the agent deletes its copies
/// when it has redeemed the bundle.
pub(super) fn hand_over(bundle: &Path, identity: &Path, agent: &Path) -> anyhow::Result<()> {
    let enrolled = agent.join("identity.json").exists();
    let (Some(bundle), Some(identity)) = (given(bundle)?, given(identity)?) else {
        anyhow::ensure!(
            enrolled,
            "{} and {}: no plane is enrolled yet, and one of them is missing or empty",
            bundle.display(),
            identity.display()
        );
        return Ok(());
    };
    let digest = digest(&bundle, &identity);
    let mark = agent.join(MARK);
    if enrolled && files::read_if_there(&mark, FILE)?.as_deref() == Some(digest.as_bytes()) {
        output::say("enrolled    the bundle was used before and is not needed");
        return Ok(());
    }
    let folder = agent.join("enrollment");
    files::make_private_folder(&folder)?;
    files::write_durable(&folder.join("identity.txt"), &identity, 0o600)?;
    files::write_durable(&folder.join("bundle.age"), &bundle, 0o600)?;
    files::write_durable(&mark, digest.as_bytes(), 0o600)?;
    Ok(())
}

/// Of both: a bundle whose identity was wrong is another hand-over with the right one.
fn digest(bundle: &[u8], identity: &[u8]) -> String {
    let mut both = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    both.update(&(bundle.len() as u64).to_be_bytes());
    both.update(bundle);
    both.update(identity);
    hex::encode(both.finish().as_ref())
}

/// The file's content, if there is any.
fn given(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let content = files::read_if_there(path, FILE)
        .with_context(|| format!("cannot use {}", path.display()))?;
    Ok(content.filter(|content| !content.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_handed_over_once_and_may_stay_or_go() {
        let folder = tempfile::tempdir().unwrap();
        let (bundle, identity) = (folder.path().join("b"), folder.path().join("i"));
        let agent = folder.path().join("agent");
        let copies = [
            agent.join("enrollment/bundle.age"),
            agent.join("enrollment/identity.txt"),
        ];
        let hand_over = || hand_over(&bundle, &identity, &agent);
        assert!(hand_over().is_err());
        std::fs::write(&bundle, "sealed").unwrap();
        std::fs::write(&identity, "key").unwrap();
        // Not enrolled yet: as often as it takes.
        for _ in 0..2 {
            hand_over().unwrap();
            assert!(copies.iter().all(|copy| copy.exists()));
            copies
                .iter()
                .for_each(|copy| std::fs::remove_file(copy).unwrap());
        }
        std::fs::write(agent.join("identity.json"), "{}").unwrap();
        hand_over().unwrap();
        assert!(!copies.iter().any(|copy| copy.exists()));
        std::fs::write(&identity, "").unwrap();
        hand_over().unwrap();
        std::fs::remove_file(&bundle).unwrap();
        hand_over().unwrap();
        assert!(!copies.iter().any(|copy| copy.exists()));
        // Another bundle: to be enrolled anew.
        std::fs::write(&bundle, "another").unwrap();
        std::fs::write(&identity, "key").unwrap();
        hand_over().unwrap();
        assert!(copies.iter().all(|copy| copy.exists()));
        // Its identity was the wrong one, and is corrected.
        std::fs::write(&identity, "the right key").unwrap();
        hand_over().unwrap();
        assert_eq!(std::fs::read(&copies[1]).unwrap(), b"the right key");
    }
}
