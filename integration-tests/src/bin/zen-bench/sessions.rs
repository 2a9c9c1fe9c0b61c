//! Thousands of agents against one control plane: real bundles, real mutual TLS, one process for
//! the agents and one for the control plane. Memory and processor time of the latter, how soon
//! news reaches everybody, and how soon all are back after a restart, beside a bare TLS echo
//! server that holds as many connections.

mod agent;
mod board;
pub(crate) mod echo;
mod enrol;
mod process;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tokio::task::JoinSet;
use zen_integration_tests::api::Api;
use zen_integration_tests::world::Seat;
use zen_proto::limits;

use self::board::Board;
use self::enrol::{Member, enrol};
use crate::report::Row;

/// Calls of the REST API at the same time.
const CALLS: usize = 16;
/// How long idling is watched.
const IDLE: Duration = Duration::from_secs(60);

/// What a run is asked for.
pub(crate) struct Asked {
    /// Agents, beside that of the data plane.
    pub(crate) agents: usize,
    /// File with the address of a PostgreSQL database to use instead of SQLite.
    pub(crate) postgres: Option<PathBuf>,
}

pub(crate) async fn run(asked: Asked) -> anyhow::Result<Vec<Row>> {
    let (agents, descriptors) = process::affordable(asked.agents);
    let limit = descriptors.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
    eprintln!("  {agents} agents; at most {limit} descriptors a process");
    if agents < asked.agents {
        eprintln!(
            "  fewer than the {} asked for: each needs a descriptor",
            asked.agents
        );
    }
    let bare = echo::measure(agents, IDLE).await?;
    eprintln!("  the bare server is measured");
    let mut settings = vec!["log.level=warn".to_owned()];
    let database = |file: PathBuf| format!("database.url_file={}", file.display());
    settings.extend(asked.postgres.map(database));
    let mut fleet = Fleet::enrolled(agents, &settings).await?;
    let mut rows = told(vec![fleet.enrolment.clone()]);
    rows.extend(told(fleet.connect(&bare).await?));
    rows.extend(told(fleet.idle(&bare).await?));
    rows.extend(told(fleet.news().await?));
    rows.extend(told(fleet.restarts(&bare).await?));
    Ok(rows)
}

/// Tells the figures of a phase as soon as it is over: a run takes minutes.
fn told(rows: Vec<Row>) -> Vec<Row> {
    for Row {
        name, ours, unit, ..
    } in &rows
    {
        eprintln!("  {name}: {ours:.2} {unit}");
    }
    rows
}

/// The control plane and everybody who talks with it.
struct Fleet {
    seat: Seat,
    board: Arc<Board>,
    /// Planes of the agents, by their numbers; the last is the data plane.
    planes: Vec<String>,
    members: Vec<Member>,
    running: JoinSet<()>,
    /// Where the data plane's bridge says it is.
    bridge: watch::Sender<String>,
    enrolment: Row,
}

impl Fleet {
    /// Enrols a data plane and so many edge planes; nobody has a session yet.
    async fn enrolled(agents: usize, settings: &[String]) -> anyhow::Result<Self> {
        let seat = Seat::start(settings).await?;
        let mut data = enrol(&seat.api, agents, "data").await?;
        let bridge = watch::Sender::new("bridge-0.example:7445".to_owned());
        data.agent.bridge = Some(bridge.subscribe());
        let start = Instant::now();
        let api = &seat.api;
        let enrolling = (0..agents).map(|number| async move {
            let start = Instant::now();
            let member = enrol(api, number, "edge").await?;
            anyhow::Ok((member, start.elapsed()))
        });
        let enrolled: Vec<_> = stream::iter(enrolling)
            .buffered(CALLS)
            .try_collect()
            .await?;
        let rate = agents as f64 / start.elapsed().as_secs_f64();
        let mut took = Histogram::new(3)?;
        let mut members = Vec::with_capacity(agents + 1);
        for (member, elapsed) in enrolled {
            took.record(u64::try_from(elapsed.as_micros())?)?;
            members.push(member);
        }
        members.push(data);
        Ok(Self {
            seat,
            board: Arc::new(Board::new(agents + 1)),
            planes: members.iter().map(|member| member.plane.clone()).collect(),
            members,
            running: JoinSet::new(),
            bridge,
            enrolment: Row::rate("enrolled", rate, "planes/s", &took),
        })
    }

    fn pid(&self) -> anyhow::Result<u32> {
        self.seat.control_plane.pid().context("not running")
    }

    /// Connects everybody to a control plane that has just started; the answer is its memory.
    async fn connect(&mut self, bare: &echo::Bare) -> anyhow::Result<Vec<Row>> {
        self.seat.control_plane.terminate().await?;
        self.seat.control_plane.start()?;
        self.seat.control_plane.ready().await?;
        let before = process::settled_rss_kib(self.pid()?).await?;
        for member in self.members.drain(..) {
            self.running
                .spawn(member.agent.run(Arc::clone(&self.board)));
        }
        let start = Instant::now();
        self.board.open();
        let welcomed = self
            .board
            .all("be welcomed", start, |_, line| line.welcomed);
        let took = welcomed.await?;
        let current = self.board.all("get a snapshot", start, |_, line| line.at);
        current.await?;
        let after = process::settled_rss_kib(self.pid()?).await?;
        let agents = self.planes.len() as f64;
        Ok(vec![
            seconds("all connected, at first", &took),
            figure("memory/without sessions", before / 1024.0, "MiB"),
            figure(
                "memory/each session",
                (after - before) * 1.024 / agents,
                "kB",
            )
            .against(bare.kb_each),
        ])
    }

    /// Watches them idle.
    async fn idle(&mut self, bare: &echo::Bare) -> anyhow::Result<Vec<Row>> {
        let losses = self.board.losses();
        let cpu = process::cpu_percent(self.pid()?, IDLE).await?;
        let age = self.oldest_heartbeat().await?;
        let rss = process::rss_kib(self.pid()?)?;
        let lost = (self.board.losses() - losses) as f64;
        Ok(vec![
            figure("idle/one core", cpu, "%").against(bare.cpu_percent),
            figure("idle/memory in all", rss / 1024.0, "MiB"),
            figure("idle/oldest heartbeat", age, "s"),
            figure("idle/sessions lost", lost, ""),
        ])
    }

    /// How long ago the most silent plane was heard of, as the API shows it, in seconds.
    async fn oldest_heartbeat(&self) -> anyhow::Result<f64> {
        let mut oldest = 0.0_f64;
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            for plane in self.seat.api.all("/v1/planes", "").await? {
                let at = plane["last_heartbeat_at"].as_str();
                let at = at.with_context(|| format!("never heard of: {plane}"))?;
                let at = OffsetDateTime::parse(at, &Rfc3339)?;
                let now = OffsetDateTime::from(zen_chassis::Clock::system().now());
                oldest = oldest.max((now - at).as_seconds_f64());
            }
        }
        Ok(oldest)
    }

    /// A change that concerns every plane, then one in each.
    async fn news(&mut self) -> anyhow::Result<Vec<Row>> {
        let losses = self.board.losses();
        let before = self.board.revisions();
        let data = self.planes.len() - 1;
        let start = Instant::now();
        self.bridge.send_replace("bridge-1.example:7445".to_owned());
        let reached = self
            .board
            .all("get the common change", start, |agent, line| {
                if agent == data {
                    return Some(start);
                }
                let newer = before
                    .get(agent)
                    .is_some_and(|before| line.revision > *before);
                newer.then_some(line.at).flatten()
            });
        let common = reached.await?;
        let age = self.oldest_heartbeat().await?;
        let each = self.one_each(data).await?;
        let lost = (self.board.losses() - losses) as f64;
        Ok(vec![
            seconds("news/one change for all", &common),
            figure("news/oldest heartbeat after", age, "s"),
            Row::rate("news/one change each", each.0, "changes/s", &each.1),
            figure("news/sessions lost", lost, ""),
        ])
    }

    /// Makes a target in every edge plane: how many a second, and how long after the API's answer
    /// each agent had it.
    async fn one_each(&self, edges: usize) -> anyhow::Result<(f64, Histogram<u64>)> {
        let start = Instant::now();
        let (api, board) = (&self.seat.api, &self.board);
        let planes = self.planes.iter().take(edges).enumerate();
        let changing = planes.map(|(agent, plane)| async move {
            let before = board.read(agent).revision;
            let answered = change(api, plane).await?;
            anyhow::Ok((agent, before, answered))
        });
        let answered: Vec<_> = stream::iter(changing).buffered(CALLS).try_collect().await?;
        let reached = board.all("get its own change", start, |agent, line| {
            match answered.get(agent) {
                Some((_, before, _)) => (line.revision > *before).then_some(line.at).flatten(),
                // The data plane's.
                None => Some(start),
            }
        });
        let all = reached.await?;
        let rate = edges as f64 / (all.max() as f64 / 1e6);
        let mut took = Histogram::new(3)?;
        for (agent, _, answered) in answered {
            let at = board.read(agent).at.unwrap_or(answered);
            let elapsed = at.saturating_duration_since(answered);
            took.record(u64::try_from(elapsed.as_micros())?.max(1))?;
        }
        Ok((rate, took))
    }

    /// A planned stop and start, then a kill.
    async fn restarts(&mut self, bare: &echo::Bare) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        for (name, planned) in [("planned", true), ("killed", false)] {
            let start = Instant::now();
            if planned {
                self.seat.control_plane.terminate().await?;
            } else {
                self.seat.control_plane.kill().await?;
            }
            let stopped = start.elapsed().as_secs_f64();
            self.seat.control_plane.start()?;
            let welcomed = self.board.all("be back", start, |_, line| line.welcomed);
            let took = welcomed.await?;
            rows.push(figure(&format!("{name}/stopped after"), stopped, "s"));
            let row = seconds(&format!("{name}/all are back after"), &took);
            rows.push(row.against(bare.back_seconds));
            self.seat.control_plane.ready().await?;
            // Until everything is as calm as before the next one.
            process::settled_rss_kib(self.pid()?).await?;
        }
        let rss = process::rss_kib(self.pid()?)?;
        rows.push(figure("memory/after a storm", rss / 1024.0, "MiB"));
        let connected = self.connected().await?;
        rows.push(figure("connected at the end", connected, "planes"));
        Ok(rows)
    }

    /// Planes that the API shows as connected.
    async fn connected(&self) -> anyhow::Result<f64> {
        tokio::time::sleep(limits::HEARTBEAT).await;
        let planes = self.seat.api.all("/v1/planes", "").await?;
        let is = |plane: &&Value| plane["status"] == "connected";
        Ok(planes.iter().filter(is).count() as f64)
    }
}

/// Makes a target in a plane; the answer is when the API had answered.
async fn change(api: &Api, plane: &str) -> anyhow::Result<Instant> {
    let body = json!({ "plane_id": plane, "name": format!("t-{plane}"),
        "url": "https://service.example/hooks" });
    api.post("/v1/targets", &body).await?;
    Ok(Instant::now())
}

fn figure(name: &str, ours: f64, unit: &'static str) -> Row {
    Row {
        name: name.to_owned(),
        ours,
        unit,
        ..Row::default()
    }
}

/// The time until the last, with the middle and the last but few.
fn seconds(name: &str, took: &Histogram<u64>) -> Row {
    Row::rate(name, took.max() as f64 / 1e6, "s", took)
}
