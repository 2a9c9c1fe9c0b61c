//! A small kubelet: runs the pods of rendered Deployments and StatefulSets as containers, with
//! what a pod is promised there: its user, a read-only root, its limits, configuration, tokens and
//! volumes, its Service's name.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

use crate::engine::{Engine, Network};

/// The user that pods run as.
const USER: u32 = 65_532;

/// Where the API server is, as a pod is told.
pub struct Api {
    /// Its address, also in the certificate.
    pub host: IpAddr,
    /// Its port.
    pub port: u16,
    /// PEM of its certificate's root.
    pub ca: String,
}

/// Gives a service account a token for an audience; none is the API server's own.
pub type Minter = Box<dyn Fn(&str, Option<&str>) -> String + Send + Sync>;

/// Runs the pods of one namespace.
pub struct Kubelet<'a> {
    engine: &'a Engine,
    /// What its containers' names begin with.
    name: String,
    network: Network,
    api: Api,
    mint: Minter,
    objects: Vec<Value>,
    /// More names of components in the network.
    aliases: Vec<(String, String)>,
    folder: PathBuf,
}

impl<'a> Kubelet<'a> {
    /// For what a chart rendered. Nothing runs yet.
    ///
    /// # Errors
    /// When it is not YAML, or the folder cannot be made.
    pub fn new(
        engine: &'a Engine,
        name: &str,
        network: &Network,
        api: Api,
        mint: Minter,
        rendered: &str,
    ) -> anyhow::Result<Self> {
        let folder = engine.folder().join(name);
        fs::create_dir_all(&folder)?;
        Ok(Self {
            engine,
            name: name.to_owned(),
            network: network.clone(),
            api,
            mint,
            objects: documents(rendered)?,
            aliases: Vec::new(),
            folder,
        })
    }

    /// Gives a component another name in the network, as a public DNS entry would.
    #[must_use]
    pub fn with_name(mut self, component: &str, name: &str) -> Self {
        self.aliases.push((component.to_owned(), name.to_owned()));
        self
    }

    /// The container of a component.
    #[must_use]
    pub fn container(&self, component: &str) -> String {
        format!("{}-{component}", self.name)
    }

    /// Names of what is to run, in the order of the charts.
    #[must_use]
    pub fn workloads(&self) -> Vec<String> {
        let workloads = self
            .objects
            .iter()
            .filter(|object| matches!(object["kind"].as_str(), Some("Deployment" | "StatefulSet")));
        workloads
            .map(|object| text(&object["metadata"]["name"]))
            .collect()
    }

    /// Puts a ConfigMap's content where pods see it, whole or not at all as a kubelet does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn publish(&self, name: &str, data: &BTreeMap<String, String>) -> anyhow::Result<()> {
        let folder = self.folder.join("configmaps").join(name);
        fs::create_dir_all(&folder)?;
        for (key, value) in data {
            let new = folder.join(format!("..{key}"));
            fs::write(&new, value)?;
            fs::rename(new, folder.join(key))?;
        }
        Ok(())
    }

    /// Runs a workload's init containers to their end, then its container.
    ///
    /// # Errors
    /// What cannot be run, or which init container failed with what.
    pub fn start(&self, component: &str) -> anyhow::Result<()> {
        let object = self.object(&["Deployment", "StatefulSet"], component)?;
        let spec = &object["spec"]["template"]["spec"];
        for init in list(&spec["initContainers"]) {
            let name = format!("{}-{}", self.container(component), text(&init["name"]));
            let mut words = vec![
                "run".to_owned(),
                "--rm".to_owned(),
                "--name".to_owned(),
                name,
            ];
            words.extend(self.container_words(component, object, init)?);
            self.docker(&words).context("init container")?;
        }
        let container = list(&spec["containers"]).first().context("no container")?;
        let mut words = vec![
            "run".to_owned(),
            "--detach".to_owned(),
            "--restart=on-failure".to_owned(),
            "--name".to_owned(),
            self.container(component),
        ];
        words.extend(self.container_words(component, object, container)?);
        self.docker(&words)?;
        Ok(())
    }

    fn docker(&self, words: &[String]) -> anyhow::Result<String> {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        self.engine.docker(&words)
    }

    /// All that stands after `run` and its own flags.
    fn container_words(
        &self,
        component: &str,
        object: &Value,
        container: &Value,
    ) -> anyhow::Result<Vec<String>> {
        let spec = &object["spec"]["template"]["spec"];
        let namespace = text(&object["metadata"]["namespace"]);
        let security = &container["securityContext"];
        anyhow::ensure!(
            security["readOnlyRootFilesystem"] == true,
            "a root to write"
        );
        anyhow::ensure!(security["allowPrivilegeEscalation"] == false, "escalation");
        anyhow::ensure!(security["capabilities"]["drop"][0] == "ALL", "capabilities");
        anyhow::ensure!(spec["securityContext"]["runAsUser"] == USER, "another user");
        let mut words = vec![
            format!("--network={}", self.network.name),
            format!("--network-alias={component}.{namespace}.svc"),
            format!("--user={USER}:{USER}"),
            "--read-only".to_owned(),
            "--cap-drop=ALL".to_owned(),
            "--security-opt=no-new-privileges".to_owned(),
        ];
        for (of, name) in &self.aliases {
            if of == component {
                words.push(format!("--network-alias={name}"));
            }
        }
        if let Some(memory) = container["resources"]["limits"]["memory"].as_str() {
            words.push(format!(
                "--memory={}",
                memory.to_lowercase().replace("i", "")
            ));
        }
        for (name, value) in self.environment(component, &namespace, container)? {
            words.push(format!("--env={name}={value}"));
        }
        for mount in list(&container["volumeMounts"]) {
            let host = self.volume(component, object, &text(&mount["name"]))?;
            let host = match mount["subPath"].as_str() {
                Some(sub) => host.join(sub),
                None => host,
            };
            let read_only = if mount["readOnly"] == true { ":ro" } else { "" };
            let path = text(&mount["mountPath"]);
            words.push(format!("--volume={}:{path}{read_only}", host.display()));
        }
        words.push(text(&container["image"]));
        words.extend(list(&container["args"]).iter().map(text));
        Ok(words)
    }

    fn environment(
        &self,
        component: &str,
        namespace: &str,
        container: &Value,
    ) -> anyhow::Result<Vec<(String, String)>> {
        let mut all = vec![
            (
                "KUBERNETES_SERVICE_HOST".to_owned(),
                self.api.host.to_string(),
            ),
            (
                "KUBERNETES_SERVICE_PORT".to_owned(),
                self.api.port.to_string(),
            ),
        ];
        for variable in list(&container["env"]) {
            let field = &variable["valueFrom"]["fieldRef"]["fieldPath"];
            let value = match (variable["value"].as_str(), field.as_str()) {
                // `$(VAR)` is one that was there before.
                (Some(value), _) => all.iter().fold(value.to_owned(), |value, (name, known)| {
                    value.replace(&format!("$({name})"), known)
                }),
                (None, Some("metadata.name")) => pod(component),
                (None, Some("metadata.uid")) => format!("uid-of-{}", pod(component)),
                (None, Some("metadata.namespace")) => namespace.to_owned(),
                _ => anyhow::bail!("a variable of a kind that is not known: {variable}"),
            };
            all.push((text(&variable["name"]), value));
        }
        Ok(all)
    }

    /// The folder that stands for a volume.
    fn volume(&self, component: &str, object: &Value, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(component).join(name);
        let claims = list(&object["spec"]["volumeClaimTemplates"]);
        if claims.iter().any(|claim| claim["metadata"]["name"] == name) {
            own(&folder)?;
            return Ok(folder);
        }
        let volumes = list(&object["spec"]["template"]["spec"]["volumes"]);
        let volume = volumes
            .iter()
            .find(|volume| volume["name"] == name)
            .with_context(|| format!("no volume {name}"))?;
        if let Some(map) = volume.get("configMap") {
            return self.config_map(&text(&map["name"]));
        }
        if volume.get("emptyDir").is_some() {
            own(&folder)?;
            return Ok(folder);
        }
        let sources = list(&volume["projected"]["sources"]);
        anyhow::ensure!(
            !sources.is_empty(),
            "a volume of a kind that is not known: {volume}"
        );
        fs::create_dir_all(&folder)?;
        let account = text(&object["spec"]["template"]["spec"]["serviceAccountName"]);
        for source in sources {
            self.project(&folder, source, &account, object)?;
        }
        Ok(folder)
    }

    fn project(
        &self,
        folder: &Path,
        source: &Value,
        account: &str,
        object: &Value,
    ) -> anyhow::Result<()> {
        if let Some(token) = source.get("serviceAccountToken") {
            let text = (self.mint)(account, token["audience"].as_str());
            fs::write(folder.join(self::text(&token["path"])), text)?;
        } else if source["configMap"]["name"] == "kube-root-ca.crt" {
            fs::write(folder.join("ca.crt"), &self.api.ca)?;
        } else if let Some(downward) = source.get("downwardAPI") {
            for item in list(&downward["items"]) {
                anyhow::ensure!(
                    item["fieldRef"]["fieldPath"] == "metadata.namespace",
                    "{item}"
                );
                let namespace = text(&object["metadata"]["namespace"]);
                fs::write(folder.join(text(&item["path"])), namespace)?;
            }
        } else {
            anyhow::bail!("a source of a kind that is not known: {source}");
        }
        Ok(())
    }

    /// A rendered ConfigMap, or the place of one that comes later.
    fn config_map(&self, name: &str) -> anyhow::Result<PathBuf> {
        if let Ok(object) = self.object(&["ConfigMap"], name) {
            let data = object["data"].as_object().context("no data")?;
            let data = data.iter().map(|(key, value)| (key.clone(), text(value)));
            self.publish(name, &data.collect())?;
        }
        let folder = self.folder.join("configmaps").join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    fn object(&self, kinds: &[&str], name: &str) -> anyhow::Result<&Value> {
        let found = self.objects.iter().find(|object| {
            let kind = object["kind"].as_str().unwrap_or_default();
            kinds.contains(&kind) && object["metadata"]["name"] == name
        });
        found.with_context(|| format!("no {kinds:?} {name}"))
    }
}

/// The documents of a YAML stream.
///
/// # Errors
/// When one is not YAML.
pub fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    for part in format!("\n{text}").split("\n---") {
        let value: Value = serde_saphyr::from_str(part).with_context(|| part.to_owned())?;
        if value.is_object() {
            all.push(value);
        }
    }
    Ok(all)
}

fn pod(component: &str) -> String {
    format!("{component}-0")
}

/// A folder of the pods' user (fsGroup).
fn own(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    Ok(chown(folder, Some(USER), Some(USER))?)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
