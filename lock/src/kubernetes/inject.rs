//! How a pod is changed so that it finds its secret in a file: a memory-backed volume, an init
//! container that fills it before anything else of the pod runs, and mounts in every other container.
//! Pure: a pod's JSON in, a JSON patch (RFC 6902) out. No value is ever part of it.

use serde_json::{Map, Value, json};

/// Annotation that names the ZenLock.
pub(super) const INJECT: &str = "zen-lock/inject";
/// Annotation that says where its values are mounted.
pub(super) const MOUNT_PATH: &str = "zen-lock/mount-path";
/// Annotation that asks for values in the environment.
pub(super) const INJECT_ENV: &str = "zen-lock/inject-env";
/// Where values are mounted unless the pod says otherwise.
const DEFAULT_PATH: &str = "/zen-lock/secrets";

/// The init container, and the volumes of secrets and token.
pub(super) const CONTAINER: &str = "zen-lock-fetch";
const SECRETS: &str = "zen-lock-secrets";
const TOKEN: &str = "zen-lock-token";
/// Where the init container sees them.
const SECRETS_AT: &str = "/zen-lock/secrets";
const TOKEN_AT: &str = "/var/run/secrets/zen-lock";
/// Whom the token is for.
pub(super) const AUDIENCE: &str = "zen-lock";
/// Life of the token, seconds; the least that Kubernetes allows.
const TOKEN_SECONDS: u32 = 600;
/// Memory that the values may take; they are 128 KiB at the most.
const MEMORY: &str = "1Mi";
const LONGEST_PATH: usize = 1024;
const LONGEST_NAME: usize = 253;

/// Folders that a mount would hide, taking from the image what it needs to run.
const SYSTEM: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/sbin",
    "/var",
    "/var/lib",
    "/var/run",
    "/var/run/secrets",
];
/// Folders in which nothing may be mounted at all.
const CLOSED: &[&str] = &[
    "/dev",
    "/proc",
    "/sys",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/var/run/secrets/kubernetes.io",
    TOKEN_AT,
];

/// What a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// Name of a ZenLock of the pod's namespace.
    pub(super) secret: String,
    mount_path: String,
}

/// What every injection needs to know.
#[derive(Clone, Debug)]
pub(super) struct Means {
    /// Image of the init container.
    pub(super) image: String,
    /// `host:port` of zen-lock, whose certificate names the host.
    pub(super) server: String,
    /// PEM of zen-lock's authority, base64. Public.
    pub(super) ca: String,
    /// User of the init container where the pod names none or root; none leaves it to the cluster.
    pub(super) run_as_user: Option<i64>,
}

/// Why a pod is not admitted. Words for whoever made it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("annotation {INJECT}: {0:?} is not the name of a ZenLock")]
    Name(String),
    #[error("annotation {MOUNT_PATH}: {path:?} {why}")]
    Path { path: String, why: &'static str },
    #[error(
        "annotation {INJECT_ENV}: a value in the environment would stand in the pod's object, for \
         everyone who may read pods. Remove the annotation and read the value from \
         {DEFAULT_PATH}/<key>"
    )]
    Environment,
    #[error("annotation {INJECT_ENV}: {0:?} is neither true nor false")]
    EnvironmentWord(String),
    #[error("the name {0:?} is zen-lock's own: give the pod's container or volume another")]
    NameTaken(&'static str),
    #[error("container {container:?} mounts something else at {path:?}")]
    PathTaken { container: String, path: String },
    #[error("the pod has no containers")]
    NoContainers,
}

impl Wish {
    /// What the annotations ask for; nothing if the pod does not ask.
    pub(super) fn of(pod: &Value) -> Result<Option<Self>, Unfit> {
        let annotation = |name: &str| {
            let all = pod.pointer("/metadata/annotations")?;
            all.get(name)?.as_str()
        };
        let Some(secret) = annotation(INJECT) else {
            return Ok(None);
        };
        if !is_name(secret) {
            return Err(Unfit::Name(secret.chars().take(LONGEST_NAME).collect()));
        }
        match annotation(INJECT_ENV) {
            None | Some("false") => {}
            Some("true") => return Err(Unfit::Environment),
            Some(other) => return Err(Unfit::EnvironmentWord(other.chars().take(20).collect())),
        }
        let path = annotation(MOUNT_PATH).unwrap_or(DEFAULT_PATH);
        if let Err(why) = check_path(path) {
            let path = path.chars().take(LONGEST_PATH).collect();
            return Err(Unfit::Path { path, why });
        }
        Ok(Some(Self {
            secret: secret.to_owned(),
            mount_path: path.to_owned(),
        }))
    }

    /// The patch that grants it; empty if the pod has all of it already.
    pub(super) fn patch(&self, pod: &Value, means: &Means) -> Result<Vec<Value>, Unfit> {
        let containers = list(pod, "containers");
        if containers.is_empty() {
            return Err(Unfit::NoContainers);
        }
        let inits = list(pod, "initContainers");
        let volumes = list(pod, "volumes");
        let ours = self.container(pod, means);
        let mut patch = Vec::new();
        let injected = injected(containers, inits, volumes)?;
        // The places of the containers behind ours in the list, once it is in.
        let shift = if injected { 0 } else { 1 };
        if !injected {
            for volume in [secrets_volume(), token_volume()] {
                append(&mut patch, "/spec/volumes", volumes.is_empty(), volume);
            }
            if inits.is_empty() {
                patch.push(add("/spec/initContainers", json!([ours])));
            } else {
                patch.push(add("/spec/initContainers/0", ours));
            }
        }
        for (place, container) in containers.iter().enumerate() {
            self.mount(&mut patch, &format!("/spec/containers/{place}"), container)?;
        }
        for (place, container) in inits.iter().enumerate() {
            if name(container) != CONTAINER {
                let at = format!("/spec/initContainers/{}", place + shift);
                self.mount(&mut patch, &at, container)?;
            }
        }
        Ok(patch)
    }

    /// Gives a container the mount, unless it has it.
    fn mount(&self, patch: &mut Vec<Value>, at: &str, container: &Value) -> Result<(), Unfit> {
        let mounts = list_of(container, "volumeMounts");
        let path = |mount: &Value| mount["mountPath"].as_str().unwrap_or_default().to_owned();
        let same = |mount: &&Value| path(mount).trim_end_matches('/') == self.mount_path;
        match mounts.iter().find(same) {
            Some(mount) if mount["name"] == SECRETS => return Ok(()),
            Some(_) => {
                return Err(Unfit::PathTaken {
                    container: name(container).to_owned(),
                    path: self.mount_path.clone(),
                });
            }
            None => {}
        }
        let mount = json!({ "name": SECRETS, "mountPath": self.mount_path, "readOnly": true });
        append(
            patch,
            &format!("{at}/volumeMounts"),
            mounts.is_empty(),
            mount,
        );
        Ok(())
    }

    /// The init container. It ends when the files are there, so that a Job can end, too.
    fn container(&self, pod: &Value, means: &Means) -> Value {
        let mut security = json!({
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "seccompProfile": { "type": "RuntimeDefault" },
        });
        let pods_user = pod.pointer("/spec/securityContext/runAsUser");
        let none_or_root = pods_user.is_none_or(|user| user == 0);
        if let Some(user) = means.run_as_user.filter(|_| none_or_root) {
            security["runAsUser"] = user.into();
        }
        json!({
            "name": CONTAINER,
            "image": means.image,
            "imagePullPolicy": "IfNotPresent",
            "args": [
                "fetch",
                "--secret", self.secret,
                "--server", means.server,
                "--ca", means.ca,
                "--token-file", format!("{TOKEN_AT}/token"),
                "--into", SECRETS_AT,
            ],
            "resources": {
                "requests": { "cpu": "10m", "memory": "16Mi" },
                "limits": { "memory": "64Mi" },
            },
            "securityContext": security,
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": [
                { "name": SECRETS, "mountPath": SECRETS_AT },
                { "name": TOKEN, "mountPath": TOKEN_AT, "readOnly": true },
            ],
        })
    }
}

/// Whether the pod has init container and volumes already: a webhook may be asked again. A name of
/// ours on something else is refused.
fn injected(containers: &[Value], inits: &[Value], volumes: &[Value]) -> Result<bool, Unfit> {
    let has = |all: &[Value], wanted: &str| all.iter().any(|one| name(one) == wanted);
    if has(containers, CONTAINER) {
        return Err(Unfit::NameTaken(CONTAINER));
    }
    let init = has(inits, CONTAINER);
    for (volume, whole) in [(SECRETS, secrets_volume()), (TOKEN, token_volume())] {
        let found = volumes.iter().find(|one| name(one) == volume);
        let sound = found.is_some_and(|found| includes(found, &whole));
        if init != found.is_some() || init && !sound {
            return Err(Unfit::NameTaken(volume));
        }
    }
    Ok(init)
}

/// Whether an object has everything that another has; the API server may have added defaults.
fn includes(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(key, value)| whole.get(key).is_some_and(|found| includes(found, value))),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(a, b)| includes(a, b))
        }
        (whole, part) => whole == part,
    }
}

fn secrets_volume() -> Value {
    json!({ "name": SECRETS, "emptyDir": { "medium": "Memory", "sizeLimit": MEMORY } })
}

fn token_volume() -> Value {
    json!({
        "name": TOKEN,
        "projected": { "sources": [{ "serviceAccountToken": {
            "audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token",
        } }] },
    })
}

/// Adds to a list, which is made first if it is not there.
fn append(patch: &mut Vec<Value>, list: &str, empty: bool, value: Value) {
    let made = patch.iter().any(|step| {
        step["path"]
            .as_str()
            .is_some_and(|path| path.starts_with(list))
    });
    if empty && !made {
        patch.push(add(list, json!([value])));
    } else {
        patch.push(add(&format!("{list}/-"), value));
    }
}

fn add(path: &str, value: Value) -> Value {
    let mut step = Map::new();
    step.insert("op".to_owned(), "add".into());
    step.insert("path".to_owned(), path.into());
    step.insert("value".to_owned(), value);
    step.into()
}

fn check_path(path: &str) -> Result<(), &'static str> {
    let below = |folder: &str| {
        path == folder
            || path
                .strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    if !path.starts_with('/') {
        return Err("does not begin with a slash");
    }
    if path == "/" || SYSTEM.contains(&path) {
        return Err("would hide what the image needs; name a folder below it");
    }
    if path.len() > LONGEST_PATH || path.contains(|c: char| c.is_control() || c == ':') {
        return Err("is longer than 1024 bytes or has characters that no path here may have");
    }
    let parts = path[1..].split('/');
    if parts
        .into_iter()
        .any(|part| matches!(part, "" | "." | ".."))
    {
        return Err("is not written plainly: no `//`, `.`, `..` and no slash at the end");
    }
    if CLOSED.iter().any(|folder| below(folder)) {
        return Err("lies in a folder where nothing may be mounted");
    }
    Ok(())
}

/// Whether a text is a name as Kubernetes gives them (RFC 1123).
pub(super) fn is_name(text: &str) -> bool {
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inside = |c: char| ends(c) || c == '-';
    (1..=LONGEST_NAME).contains(&text.len())
        && text.split('.').all(|label| {
            label.starts_with(ends) && label.ends_with(ends) && label.chars().all(inside)
        })
}

fn name(of: &Value) -> &str {
    of["name"].as_str().unwrap_or_default()
}

fn list<'a>(pod: &'a Value, key: &str) -> &'a [Value] {
    list_of(&pod["spec"], key)
}

fn list_of<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
#[path = "inject/tests.rs"]
mod tests;
