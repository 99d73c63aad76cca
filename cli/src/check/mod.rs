//! `kubectl traffictrace check`: the parts of TrafficTrace in the cluster, and the rights of this account.

mod attempt;
mod conclusion;
mod findings;
mod nodes;
mod parts;
mod text;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::ValueEnum;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{Api, api::PostParams};
use traffictrace_crd::{GROUP, VERSION};

use self::findings::{Definitions, Findings, Right, Server};
use crate::{
    cluster::{Cluster, ClusterArgs},
    error::{CliError, is_unknown_resource},
    stop::Stop,
};

/// Verbs that `run` needs on traces.
const NEEDED: [&str; 5] = ["create", "get", "list", "watch", "delete"];
/// Namespace that the chart's documentation uses, for accounts that may not search all namespaces.
const SYSTEM: &str = "traffictrace-system";

/// Check whether tracing works here, and find out what is missing.
///
/// Checks the API server, the definitions and the rights of this account in the namespace. If this account may read them, it also
/// checks the controller and the agents: the nodes on which they run or do not run, and the reasons. The exit status is 0 if tracing
/// works as far as this account can see, 1 if not, and 130 if a signal ended the check before.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  # Can I trace in the namespace shop?
  kubectl traffictrace check -n shop

  # Do the nodes of my pods answer? Creates a trace for some seconds
  kubectl traffictrace check -n shop --try

  # For scripts
  kubectl traffictrace check -o json")]
pub(crate) struct Args {
    /// Trace all pods of the namespace for some seconds, to see whether controller and agents respond.
    #[arg(long = "try")]
    attempt: bool,

    /// Namespace of the controller and the agents, used if this account may not search all namespaces.
    #[arg(long, value_name = "NAMESPACE", default_value = SYSTEM)]
    system_namespace: String,

    /// Output format.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

pub(crate) async fn run(args: &Args, cluster: &ClusterArgs) -> Result<ExitCode, CliError> {
    let mut stop = Stop::listen()?;
    let looked = async {
        let cluster = cluster.connect().await?;
        let findings = gather(args, &cluster).await?;
        Ok::<_, CliError>((cluster, findings))
    };
    let (cluster, findings) = tokio::select! {
        looked = looked => looked?,
        () = stop.asked() => {
            let again = "not everything was looked at, so it is not known whether tracing works here; to look again: \
                         kubectl traffictrace check";
            return Err(CliError::Interrupted(again.to_owned()));
        }
    };
    let findings = match args.attempt && findings.may_trace() {
        true => findings.with_attempt(attempt::run(&cluster, &mut stop).await?),
        false => findings,
    };
    let text = match args.output {
        Output::Text => text::of(&findings),
        Output::Json => {
            let text = serde_json::to_string_pretty(&findings);
            text.map_err(|error| CliError::Output(io::Error::other(error)))? + "\n"
        }
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(if findings.works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn gather(args: &Args, cluster: &Cluster) -> Result<Findings, CliError> {
    let version = cluster.client.apiserver_version().await;
    let version = version.map_err(|error| CliError::of(error, &cluster.url))?;
    let server = Server::new(cluster.url.clone(), &version);
    let definitions = definitions(cluster).await?;
    let mut rights = Vec::new();
    for verb in NEEDED {
        rights.push(right(cluster, verb, "traffictraces").await?);
    }
    rights.push(right(cluster, "list", "traffictraceprofiles").await?);
    let parts = parts::find(cluster, &args.system_namespace).await?;
    Ok(Findings::new(server, definitions, cluster.namespace.clone(), rights, parts))
}

/// Returns the definitions that the API server has. Every account may ask for these.
async fn definitions(cluster: &Cluster) -> Result<Definitions, CliError> {
    let served = match cluster.client.list_api_group_resources(&format!("{GROUP}/{VERSION}")).await {
        Ok(list) => list.resources.into_iter().map(|resource| resource.name).collect(),
        Err(kube::Error::Api(status)) if is_unknown_resource(&status) => Vec::new(),
        Err(error) => return Err(CliError::of(error, &cluster.url)),
    };
    let groups = cluster.client.list_api_groups().await.map_err(|error| CliError::of(error, &cluster.url))?;
    let group = groups.groups.into_iter().find(|group| group.name == GROUP);
    let versions = group.map(|group| group.versions.into_iter().map(|version| version.version).collect());
    Ok(Definitions::new(&served, versions.unwrap_or_default()))
}

/// Asks the API server whether this account may use a verb on a resource in the namespace.
async fn right(cluster: &Cluster, verb: &'static str, resource: &'static str) -> Result<Right, CliError> {
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(ResourceAttributes {
            group: Some(GROUP.to_owned()),
            resource: Some(resource.to_owned()),
            verb: Some(verb.to_owned()),
            namespace: Some(cluster.namespace.clone()),
            ..ResourceAttributes::default()
        }),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await;
    let answer = answer.map_err(|error| CliError::of(error, &cluster.url))?;
    Ok(Right { verb, resource, allowed: answer.status.is_some_and(|status| status.allowed) })
}
