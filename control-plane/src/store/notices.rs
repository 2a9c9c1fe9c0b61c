//! What control planes on one PostgreSQL database tell each other at once, by NOTIFY. A notice only
//! wakes: whatever it is about stands in the database, and is found without it a little later.

use std::fmt;
use std::str::FromStr;

use sqlx::postgres::{PgListener, PgPoolOptions};
use zen_proto::ids::PlaneId;

use super::{Engine, Store, StoreError, Tx};

/// The channel, one for all notices.
const CHANNEL: &str = "zen_control_plane";

/// Something that another control plane shall look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A snapshot was published.
    Published { plane: PlaneId, revision: u64 },
    /// A plane was retired.
    Retired(PlaneId),
    /// Sessions opened, ended, or said something.
    Sessions,
    /// A question for the replica of this id.
    Asked(String),
    /// An answer for the replica of this id.
    Answered(String),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Published { plane, revision } => write!(f, "published {plane} {revision}"),
            Self::Retired(plane) => write!(f, "retired {plane}"),
            Self::Sessions => f.write_str("sessions"),
            Self::Asked(replica) => write!(f, "asked {replica}"),
            Self::Answered(replica) => write!(f, "answered {replica}"),
        }
    }
}

/// The text is no notice that this version knows.
#[derive(Debug, thiserror::Error)]
#[error("not a notice")]
pub(crate) struct UnknownNotice;

impl FromStr for Notice {
    type Err = UnknownNotice;

    fn from_str(text: &str) -> Result<Self, UnknownNotice> {
        let mut words = text.split(' ');
        let mut word = || words.next().ok_or(UnknownNotice);
        Ok(match word()? {
            "published" => Self::Published {
                plane: word()?.parse().map_err(|_| UnknownNotice)?,
                revision: word()?.parse().map_err(|_| UnknownNotice)?,
            },
            "retired" => Self::Retired(word()?.parse().map_err(|_| UnknownNotice)?),
            "sessions" => Self::Sessions,
            "asked" => Self::Asked(word()?.to_owned()),
            "answered" => Self::Answered(word()?.to_owned()),
            _ => return Err(UnknownNotice),
        })
    }
}

/// Hears notices. A connection that broke is made anew.
pub(crate) struct Notices(PgListener);

impl Notices {
    /// The next notice; none after notices may have been missed. What a later version says and this
    /// one does not know is passed over.
    pub(crate) async fn next(&mut self) -> Result<Option<Notice>, StoreError> {
        loop {
            let Some(heard) = self.0.try_recv().await? else {
                return Ok(None);
            };
            if let Ok(notice) = heard.payload().parse() {
                return Ok(Some(notice));
            }
        }
    }
}

impl Store {
    /// Begins to hear notices; nothing on SQLite, where nobody else could speak.
    pub(crate) async fn notices(&self) -> Result<Option<Notices>, StoreError> {
        let Some(options) = self.listens.clone() else {
            return Ok(None);
        };
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(super::open::ACQUIRE)
            .connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Some(Notices(listener)))
    }

    /// Tells the other control planes when the transaction commits.
    pub(super) async fn notify(&self, tx: &mut Tx, notice: &Notice) -> Result<(), StoreError> {
        if self.engine == Engine::Postgres {
            sqlx::query("SELECT pg_notify($1, $2)")
                .bind(CHANNEL)
                .bind(notice.to_string())
                .execute(&mut **tx)
                .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use zen_proto::ids::Id as _;

    use super::*;

    #[test]
    fn every_notice_is_understood_as_it_was_meant() {
        let plane = PlaneId::generate(1, [1; 10]);
        let revision = 7;
        for notice in [
            Notice::Published { plane, revision },
            Notice::Retired(plane),
            Notice::Sessions,
            Notice::Asked("r1".to_owned()),
            Notice::Answered("r2".to_owned()),
        ] {
            assert_eq!(notice.to_string().parse::<Notice>().unwrap(), notice);
        }
        assert!("of a later version".parse::<Notice>().is_err());
    }
}
