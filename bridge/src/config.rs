//! What an operator may set, with its bounds.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use zen_chassis::neighbour::NeighbourSettings;
use zen_chassis::net::Address;
use zen_proto::limits;

/// The bridge's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where lanes and the last good configuration are kept; default `/var/lib/zen/bridge`.
    pub state_dir: PathBuf,
    /// Where ingesters and egresses connect, always in mutual TLS; default `0.0.0.0:7445`.
    pub listen: SocketAddr,
    /// `host:port` under which others reach this bridge, as told to the control plane. Default: the
    /// bound address, with 127.0.0.1 in the place of an unspecified one.
    pub advertise: Option<String>,
    /// The agent next door.
    pub agent: NeighbourSettings,
    /// The store of each destination plane.
    pub lane: LaneSettings,
    /// Parcels that one attachment may have unacknowledged; 1 to 1,000,000, default 4096.
    pub max_in_flight_per_attachment: usize,
    /// Publishing and attached streams together; 1 to 1,000,000, default 4096.
    pub max_streams: usize,
}

/// How one plane's lane is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LaneSettings {
    /// Unsettled bytes one lane may hold before it refuses more; at least `segment_size`,
    /// default 1 GiB.
    pub max_size: ByteSize,
    /// Bytes of one file of a lane, the grain in which room is given back; 64 KiB to 1 GiB,
    /// default 4 MiB.
    pub segment_size: ByteSize,
    /// How long a parcel is kept at the most, whatever its own expiry; at least 1 s, default 7 days.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/var/lib/zen/bridge"),
            listen: SocketAddr::from(([0, 0, 0, 0], 7445)),
            advertise: None,
            agent: NeighbourSettings::default(),
            lane: LaneSettings::default(),
            max_in_flight_per_attachment: 4096,
            max_streams: 4096,
        }
    }
}

impl Default for LaneSettings {
    fn default() -> Self {
        Self {
            max_size: ByteSize::gib(1),
            segment_size: ByteSize::mib(4),
            retention: limits::DELIVERY_RETENTION,
        }
    }
}

const COUNTS: std::ops::RangeInclusive<usize> = 1..=1_000_000;

impl Config {
    /// Whether every value is within its bounds; the error names the key.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            COUNTS.contains(&self.max_in_flight_per_attachment),
            "max_in_flight_per_attachment: {} is not 1 to 1,000,000",
            self.max_in_flight_per_attachment
        );
        ensure!(
            COUNTS.contains(&self.max_streams),
            "max_streams: {} is not 1 to 1,000,000",
            self.max_streams
        );
        let segment = self.lane.segment_size;
        ensure!(
            (ByteSize::kib(64)..=ByteSize::gib(1)).contains(&segment),
            "lane.segment_size: {segment} is not 64 KiB to 1 GiB"
        );
        ensure!(
            self.lane.max_size >= segment,
            "lane.max_size: {} is less than lane.segment_size, {segment}",
            self.lane.max_size
        );
        ensure!(
            self.lane.retention >= Duration::from_secs(1),
            "lane.retention: {:?} is less than 1 s",
            self.lane.retention
        );
        if let Some(advertise) = &self.advertise {
            ensure!(
                matches!(advertise.parse(), Ok(Address::Tcp(_))),
                "advertise: {advertise:?} is not host:port"
            );
        }
        Ok(())
    }

    /// What is told to the control plane as the way here.
    pub(crate) fn advertised(&self, bound: SocketAddr) -> String {
        match &self.advertise {
            Some(address) => address.clone(),
            None if bound.ip().is_unspecified() => format!("127.0.0.1:{}", bound.port()),
            None => bound.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use zen_chassis::config::{self, Sources};

    use super::*;

    #[test]
    fn the_defaults_hold() {
        Config::default().check().unwrap();
    }

    #[test]
    fn settings_are_read_as_an_operator_writes_them() {
        let mut sources = Sources::default();
        let (_, plain) = config::load::<Config>("bridge", &sources).unwrap();
        assert_eq!(plain, Config::default());
        sources.set = vec![
            "lane.max_size=512MiB".to_owned(),
            "lane.retention=36h".to_owned(),
        ];
        let (_, set) = config::load::<Config>("bridge", &sources).unwrap();
        assert_eq!(set.lane.max_size, ByteSize::mib(512));
        assert_eq!(set.lane.retention, Duration::from_secs(36 * 3_600));
        sources.set = vec!["lane.max_bytes=1".to_owned()];
        assert!(config::load::<Config>("bridge", &sources).is_err());
    }

    #[test]
    fn each_wrong_value_is_named_by_its_key() {
        let wrong = |change: fn(&mut Config), key: &str| {
            let mut config = Config::default();
            change(&mut config);
            let error = config.check().unwrap_err().to_string();
            assert!(error.starts_with(key), "{error}");
        };
        wrong(
            |c| c.max_in_flight_per_attachment = 0,
            "max_in_flight_per_attachment:",
        );
        wrong(|c| c.max_streams = 0, "max_streams:");
        wrong(
            |c| c.lane.segment_size = ByteSize::b(1),
            "lane.segment_size:",
        );
        wrong(|c| c.lane.max_size = ByteSize::mib(1), "lane.max_size:");
        wrong(|c| c.lane.retention = Duration::ZERO, "lane.retention:");
        wrong(
            |c| c.advertise = Some("unix:/tmp/x".to_owned()),
            "advertise:",
        );
        wrong(|c| c.advertise = Some("bridge".to_owned()), "advertise:");
    }

    #[test]
    fn an_unspecified_address_is_advertised_as_loopback() {
        let bound = SocketAddr::from(([0, 0, 0, 0], 7445));
        assert_eq!(Config::default().advertised(bound), "127.0.0.1:7445");
        let named = Config {
            advertise: Some("b.example:1".to_owned()),
            ..Config::default()
        };
        assert_eq!(named.advertised(bound), "b.example:1");
    }
}
