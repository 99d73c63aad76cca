//! A namespace that goes away with its test, and the pods in it.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use k8s_openapi::{
    api::core::v1::{Container as ContainerSpec, Namespace as NamespaceObject, Pod, PodSpec, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::{DeleteParams, LogParams, PostParams},
};

use super::{super::wait, Cluster, RECOVERED, Trace};
use crate::{
    support::{Result, TestError},
    workload::count::{Event, Line},
};

/// Scheduling, sandbox and start of a pod on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A temporary namespace. When dropped, it is deleted with everything in it.
pub struct Namespace {
    client: Client,
    name: String,
}

/// A pod of workloads to be run.
#[derive(Clone, Debug)]
pub struct PodPlan {
    /// Its name; also the label `app`.
    pub name: String,
    /// The node that it must run on.
    pub node: String,
    /// Label `trace`, which traces of the suite select by.
    pub group: String,
    /// Containers that run one after the other before the rest.
    pub init: Vec<Container>,
    /// Containers.
    pub containers: Vec<Container>,
}

/// A container that runs `tt-workload`.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// The command line.
    pub arguments: Vec<String>,
}

impl Container {
    /// A container with this name and command line.
    pub fn new<S: ToString>(name: &str, arguments: impl IntoIterator<Item = S>) -> Self {
        Self {
            name: name.to_owned(),
            arguments: arguments.into_iter().map(|argument| argument.to_string()).collect(),
        }
    }

    fn to_spec(&self) -> ContainerSpec {
        let image = std::env::var("TRAFFICTRACE_WORKLOAD_IMAGE");
        ContainerSpec {
            name: self.name.clone(),
            image: Some(image.unwrap_or_else(|_| "traffictrace-e2e-workload:dev".to_owned())),
            // The image comes from no registry.
            image_pull_policy: Some("Never".to_owned()),
            command: Some(vec!["/tt-workload".to_owned()]),
            args: Some(self.arguments.clone()),
            ..ContainerSpec::default()
        }
    }
}

impl PodPlan {
    /// A pod with one container, `main`.
    pub fn new<S: ToString>(
        name: &str,
        node: &str,
        group: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            node: node.to_owned(),
            group: group.to_owned(),
            init: Vec::new(),
            containers: vec![Container::new("main", arguments)],
        }
    }

    fn to_pod(&self) -> Pod {
        let labels = [("app", &self.name), ("trace", &self.group)];
        Pod {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value.clone())).into()),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec {
                node_selector: Some(BTreeMap::from([(
                    "kubernetes.io/hostname".to_owned(),
                    self.node.clone(),
                )])),
                restart_policy: Some("Never".to_owned()),
                termination_grace_period_seconds: Some(1),
                automount_service_account_token: Some(false),
                init_containers: Some(self.init.iter().map(Container::to_spec).collect()),
                containers: self.containers.iter().map(Container::to_spec).collect(),
                ..PodSpec::default()
            }),
            status: None,
        }
    }
}

impl Cluster {
    /// Makes a namespace for one test.
    ///
    /// # Errors
    ///
    /// When the API server refuses it.
    pub async fn namespace(&self) -> Result<Namespace> {
        let namespace = Namespace::create(&self.client).await?;
        // Without it the API server refuses pods; after an outage its maker takes a while to come back.
        let accounts: Api<ServiceAccount> = namespace.api();
        wait::until_async("the default ServiceAccount", RECOVERED, async || {
            let account = accounts.get_opt("default").await;
            let account = account.map_err(TestError::kube("look for the default ServiceAccount"))?;
            Ok(account.map(drop).ok_or_else(|| "not there".to_owned()))
        })
        .await?;
        Ok(namespace)
    }
}

impl Namespace {
    pub(super) async fn create(client: &Client) -> Result<Self> {
        let namespace = NamespaceObject {
            metadata: ObjectMeta { generate_name: Some("tt-e2e-".to_owned()), ..ObjectMeta::default() },
            ..NamespaceObject::default()
        };
        let made = Api::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await
            .map_err(TestError::kube("make a namespace"))?;
        let name = made.metadata.name.unwrap_or_default();
        println!("namespace {name}");
        Ok(Self { client: client.clone(), name })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The API of a namespaced kind here.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Creates a trace.
    ///
    /// # Errors
    ///
    /// When the API server refuses it.
    pub async fn trace(&self, name: &str, spec: traffictrace_crd::TrafficTraceSpec) -> Result<Trace> {
        Trace::create(self, name, spec).await
    }

    /// Creates a pod.
    ///
    /// # Errors
    ///
    /// When the API server refuses it.
    pub async fn start(&self, plan: &PodPlan) -> Result<()> {
        let created = self.api::<Pod>().create(&PostParams::default(), &plan.to_pod()).await;
        created.map(drop).map_err(TestError::kube(format!("create the pod {}", plan.name)))
    }

    /// Reads a pod.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub async fn pod(&self, name: &str) -> Result<Pod> {
        self.api::<Pod>().get(name).await.map_err(TestError::kube(format!("read the pod {name}")))
    }

    /// Deletes a pod and waits until it is gone.
    ///
    /// # Errors
    ///
    /// When it does not go.
    pub async fn delete_pod(&self, name: &str) -> Result<()> {
        let pods = self.api::<Pod>();
        let action = format!("delete the pod {name}");
        pods.delete(name, &DeleteParams::default()).await.map_err(TestError::kube(&action))?;
        wait::until_async("the pod to be gone", START, async || {
            let there = pods.get_opt(name).await.map_err(TestError::kube(&action))?;
            Ok(if there.is_none() { Ok(()) } else { Err(name.to_owned()) })
        })
        .await
    }

    /// Waits for a pod's addresses, IPv4 first; it has them when its sandbox is made.
    ///
    /// # Errors
    ///
    /// When it gets none.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>> {
        wait::until_async(&format!("an address of the pod {name}"), START, async || {
            let status = self.pod(name).await?.status.unwrap_or_default();
            let addresses = status.pod_ips.iter().flatten();
            let mut addresses: Vec<IpAddr> = addresses.filter_map(|ip| ip.ip.parse().ok()).collect();
            addresses.sort();
            Ok(if addresses.is_empty() { Err(format!("{status:?}")) } else { Ok(addresses) })
        })
        .await
    }

    /// Waits until a pod's containers have ended, well or not, and reads their last lines.
    ///
    /// # Errors
    ///
    /// When they do not end in time.
    pub async fn finished(&self, plan: &PodPlan, limit: Duration) -> Result<Vec<Counted>> {
        let name = &plan.name;
        wait::until_async(&format!("the end of the pod {name}"), limit, async || {
            let status = self.pod(name).await?.status.unwrap_or_default();
            let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
            Ok(if over { Ok(()) } else { Err(format!("{:?}", status.container_statuses)) })
        })
        .await?;
        let mut counted = Vec::new();
        for container in plan.init.iter().chain(&plan.containers) {
            counted.push(Counted {
                pod: name.clone(),
                container: container.name.clone(),
                lines: self.lines(name, &container.name).await?,
            });
        }
        Ok(counted)
    }

    /// The last lines of the processes of a container.
    async fn lines(&self, pod: &str, container: &str) -> Result<Vec<Line>> {
        let parameters = LogParams { container: Some(container.to_owned()), ..LogParams::default() };
        let log = self.api::<Pod>().logs(pod, &parameters).await;
        let log = log.map_err(TestError::kube(format!("read the log of {pod}/{container}")))?;
        let lines = log.lines().map(|line| {
            serde_json::from_str(line).map_err(|error| {
                TestError::unexpected(format!("the log of {pod}/{container}"), format!("{error}: {line}"))
            })
        });
        let lines: Vec<Line> = lines.collect::<Result<_>>()?;
        Ok(lines.into_iter().filter(|line| line.event == Event::Done).collect())
    }
}

/// What the processes of a container counted.
#[derive(Clone, Debug)]
pub struct Counted {
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// A line for each process.
    pub lines: Vec<Line>,
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A client and a runtime of its own: the test's may be ending.
        let name = self.name.clone();
        let deleted = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            runtime.block_on(async {
                let client = Client::try_default().await.map_err(|error| error.to_string())?;
                let namespaces: Api<NamespaceObject> = Api::all(client);
                let deleted = namespaces.delete(&name, &DeleteParams::default()).await;
                deleted.map(drop).map_err(|error| format!("{name}: {error}"))
            })
        });
        match deleted.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("a namespace is left behind: {error}"),
            Err(_) => eprintln!("a namespace is left behind: {}", self.name),
        }
    }
}
