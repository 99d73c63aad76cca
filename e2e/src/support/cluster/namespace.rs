//! A temporary namespace for a test, and the pods in it.

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

/// Time limit for a pod's scheduling, sandbox and start on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A temporary namespace. When dropped, it is deleted with everything in it.
pub struct Namespace {
    client: Client,
    name: String,
}

/// Description of a pod that runs workloads.
#[derive(Clone, Debug)]
pub struct PodPlan {
    /// Name of the pod; also its label `app`.
    pub name: String,
    /// Name of the node that the pod must run on.
    pub node: String,
    /// Value of the label `trace`, by which traces of the suite select pods.
    pub group: String,
    /// Init containers, which run one after the other before the other containers.
    pub init: Vec<Container>,
    /// The other containers.
    pub containers: Vec<Container>,
}

/// A container that runs `tt-workload`.
#[derive(Clone, Debug)]
pub struct Container {
    /// Name of the container.
    pub name: String,
    /// Arguments of `tt-workload`.
    pub arguments: Vec<String>,
}

impl Container {
    /// Describes a container with this name and these arguments.
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
            // The image is loaded into the nodes, and is in no registry.
            image_pull_policy: Some("Never".to_owned()),
            command: Some(vec!["/tt-workload".to_owned()]),
            args: Some(self.arguments.clone()),
            ..ContainerSpec::default()
        }
    }
}

impl PodPlan {
    /// Describes a pod with one container, `main`.
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
    /// Creates a namespace for one test.
    ///
    /// # Errors
    ///
    /// Fails when the API server refuses the namespace.
    pub async fn namespace(&self) -> Result<Namespace> {
        let namespace = Namespace::create(&self.client).await?;
        // The API server refuses pods without this account; after an outage, the controller that creates it needs a
        // while.
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

    /// Name of the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// API of a namespaced kind in this namespace.
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
    /// Fails when the API server refuses the trace.
    pub async fn trace(&self, name: &str, spec: traffictrace_crd::TrafficTraceSpec) -> Result<Trace> {
        Trace::create(self, name, spec).await
    }

    /// Creates a pod.
    ///
    /// # Errors
    ///
    /// Fails when the API server refuses the pod.
    pub async fn start(&self, plan: &PodPlan) -> Result<()> {
        let created = self.api::<Pod>().create(&PostParams::default(), &plan.to_pod()).await;
        created.map(drop).map_err(TestError::kube(format!("create the pod {}", plan.name)))
    }

    /// Reads a pod.
    ///
    /// # Errors
    ///
    /// Fails when there is no such pod.
    pub async fn pod(&self, name: &str) -> Result<Pod> {
        self.api::<Pod>().get(name).await.map_err(TestError::kube(format!("read the pod {name}")))
    }

    /// Deletes a pod and waits until it is gone.
    ///
    /// # Errors
    ///
    /// Fails when the pod does not disappear in time.
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

    /// Waits for a pod's addresses, IPv4 first; they exist once the pod's sandbox does.
    ///
    /// # Errors
    ///
    /// Fails when the pod gets no address in time.
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

    /// Waits until a pod's containers have ended, successfully or not; returns the counts that they printed last.
    ///
    /// # Errors
    ///
    /// Fails when the containers do not end in time.
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

    /// Returns the last line of each process of a container.
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

/// The counts of a container's processes.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Name of the pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
    /// A line for each process.
    pub lines: Vec<Line>,
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The deletion has a client and a runtime of its own, because the test's runtime may be ending.
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
