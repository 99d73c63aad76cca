//! `kubectl traffictrace get`: traces in the columns that the API server defines.

mod table;

use std::{io, process::ExitCode};

use clap::ValueEnum;
use futures::TryStreamExt as _;
use http::{Request, request::Builder};
use kube::core::WatchEvent;
use serde_json::{Value, json};
use traffictrace_crd::{GROUP, VERSION};

use self::table::{Columns, Table};
use crate::{
    cluster::{Cluster, ClusterArgs},
    error::CliError,
    stop::Stop,
    text::{print_aside, say},
};

/// Media type for rows made by the API server, so that the columns are always those of its definition.
const AS_TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1,application/json";
/// Media type for the objects themselves.
const AS_OBJECTS: &str = "application/json";

/// List traces, as kubectl get does.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  # The traces of the namespace shop, with what they have counted so far
  kubectl traffictrace get -n shop -o wide

  # Those of all namespaces, and their changes
  kubectl traffictrace get -A --watch

  # One trace, whole
  kubectl traffictrace get checkout -o yaml

For -o jsonpath, go-template and custom-columns: kubectl get traffictraces.")]
pub(crate) struct Args {
    /// Names of the traces [default: all].
    #[arg(value_name = "TRACE")]
    names: Vec<String>,

    /// List the traces of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "names")]
    all_namespaces: bool,

    /// List only traces that have these labels themselves, such as team=shop.
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "names")]
    selector: Option<String>,

    /// Output format [default: a table].
    #[arg(short, long, value_enum)]
    output: Option<Output>,

    /// After the list, print every change until Ctrl-C.
    #[arg(short, long)]
    watch: bool,

    /// Omit the names of the columns.
    #[arg(long)]
    no_headers: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table with every column.
    Wide,
    Json,
    Yaml,
    Name,
}

pub(crate) async fn run(args: &Args, cluster: &ClusterArgs) -> Result<ExitCode, CliError> {
    if args.watch && args.names.len() > 1 {
        return Err(CliError::Usage(
            "one trace or all of them can be watched: give one name or none".to_owned(),
        ));
    }
    let mut stop = Stop::listen()?;
    let cluster = cluster.connect().await?;
    let shown = async {
        match args.output {
            Some(Output::Json | Output::Yaml) => documents(args, &cluster).await,
            None | Some(Output::Wide | Output::Name) => rows(args, &cluster).await,
        }
    };
    tokio::select! {
        shown = shown => shown.map(|()| ExitCode::SUCCESS),
        // A watch ends no other way; without it a part of the output is missing.
        () = stop.asked() => if args.watch {
            Ok(ExitCode::SUCCESS)
        } else {
            Err(CliError::Interrupted("not everything was printed".to_owned()))
        },
    }
}

/// Prints the rows that the API server makes and, with `--watch`, those of every change.
async fn rows(args: &Args, cluster: &Cluster) -> Result<(), CliError> {
    let mut columns = Columns::new(args.all_namespaces, args.output == Some(Output::Wide), !args.no_headers);
    let names: Vec<Option<&str>> = match args.names.as_slice() {
        [] => vec![None],
        names => names.iter().map(|name| Some(name.as_str())).collect(),
    };
    let mut missing = None;
    let mut all = Table::default();
    for name in names {
        let answer: Result<Table, CliError> = get(args, cluster, name, AS_TABLE).await;
        match answer {
            Ok(table) => all.extend(table),
            // As in kubectl, an error for one trace does not stop the others.
            Err(error) if args.names.len() > 1 => {
                if let Some(earlier) = missing.replace(error) {
                    say(&earlier.to_string());
                }
            }
            Err(error) => return Err(error),
        }
    }
    print(args, &mut columns, &all).await?;
    if all.rows.is_empty() && !args.watch && missing.is_none() {
        say(&match args.all_namespaces {
            true => "No resources found".to_owned(),
            false => format!("No resources found in {} namespace.", cluster.namespace),
        });
    }
    match missing {
        Some(error) => Err(error),
        None if args.watch => watch(args, cluster, all.metadata.resource_version, &mut columns).await,
        None => Ok(()),
    }
}

async fn print(args: &Args, columns: &mut Columns, table: &Table) -> Result<(), CliError> {
    let text = match args.output {
        Some(Output::Name) => table.rows.iter().map(table::Row::full_name).collect(),
        _ => columns.text(table),
    };
    print_aside(text).await
}

/// Prints the rows of every change after a resource version.
async fn watch(
    args: &Args,
    cluster: &Cluster,
    mut version: String,
    columns: &mut Columns,
) -> Result<(), CliError> {
    loop {
        let mut query = query(args);
        if let [name] = args.names.as_slice() {
            query.push(("fieldSelector", format!("metadata.name={name}")));
        }
        query.push(("watch", "true".to_owned()));
        query.push(("resourceVersion", version.clone()));
        let request = request(&path(args, cluster, None, &query), AS_TABLE)?;
        let events = cluster.client.request_events::<Table>(request).await;
        let mut events = std::pin::pin!(match events {
            Ok(events) => events,
            Err(error) => return Err(cluster.explain(error).await),
        });
        // The API server ends a watch after some minutes; the next watch continues from the last version.
        while let Some(event) = events.try_next().await.map_err(|error| CliError::of(error, &cluster.url))? {
            match event {
                WatchEvent::Added(table) | WatchEvent::Modified(table) | WatchEvent::Deleted(table) => {
                    if let Some(newer) = table.version() {
                        version = newer;
                    }
                    print(args, columns, &table).await?;
                }
                WatchEvent::Bookmark(_) => {}
                // The version is too old for a watch, so all rows are printed again.
                WatchEvent::Error(status) if status.code == 410 => {
                    let name = args.names.first().map(String::as_str);
                    let table: Table = get(args, cluster, name, AS_TABLE).await?;
                    version.clone_from(&table.metadata.resource_version);
                    print(args, columns, &table).await?;
                    break;
                }
                WatchEvent::Error(status) => {
                    return Err(CliError::of(kube::Error::Api(status), &cluster.url));
                }
            }
        }
    }
}

/// Prints the objects themselves.
async fn documents(args: &Args, cluster: &Cluster) -> Result<(), CliError> {
    if args.watch {
        return Err(CliError::Usage(
            "--watch prints tables and names: for documents, use kubectl get".to_owned(),
        ));
    }
    let mut items = Vec::new();
    match args.names.as_slice() {
        [] => {
            let list: Value = get(args, cluster, None, AS_OBJECTS).await?;
            items.extend(list["items"].as_array().cloned().unwrap_or_default());
        }
        names => {
            for name in names {
                items.push(get(args, cluster, Some(name), AS_OBJECTS).await?);
            }
        }
    }
    for item in &mut items {
        // As in kubectl, managed fields are left out, since they are long and nobody reads them.
        if let Some(metadata) = item["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        // Items of a list have neither a kind nor an API version.
        if item.get("kind").is_none() {
            item["apiVersion"] = json!(format!("{GROUP}/{VERSION}"));
            item["kind"] = json!("TrafficTrace");
        }
    }
    let document = match items.as_mut_slice() {
        [item] if args.names.len() == 1 => item.take(),
        _ => json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}}),
    };
    let unwritable = |cause: &dyn std::fmt::Display| CliError::Answer {
        url: cluster.url.clone(),
        cause: format!("it cannot be written as text: {cause}"),
    };
    let text = match args.output {
        Some(Output::Yaml) => serde_saphyr::to_string(&document).map_err(|cause| unwritable(&cause))?,
        _ => serde_json::to_string_pretty(&document).map_err(|cause| unwritable(&cause))? + "\n",
    };
    print_aside(text).await
}

async fn get<T: serde::de::DeserializeOwned>(
    args: &Args,
    cluster: &Cluster,
    name: Option<&str>,
    accept: &str,
) -> Result<T, CliError> {
    let request = request(&path(args, cluster, name, &query(args)), accept)?;
    match cluster.client.request(request).await {
        Ok(answer) => Ok(answer),
        Err(error) => Err(cluster.explain(error).await),
    }
}

fn query(args: &Args) -> Vec<(&'static str, String)> {
    args.selector.iter().map(|labels| ("labelSelector", labels.clone())).collect()
}

/// Returns the URL path of one trace, or of all.
fn path(args: &Args, cluster: &Cluster, name: Option<&str>, query: &[(&str, String)]) -> String {
    let mut path = format!("/apis/{GROUP}/{VERSION}");
    if !args.all_namespaces {
        path.push_str(&format!("/namespaces/{}", escaped(&cluster.namespace)));
    }
    path.push_str("/traffictraces");
    if let Some(name) = name {
        path.push_str(&format!("/{}", escaped(name)));
    }
    for (at, (key, value)) in query.iter().enumerate() {
        path.push_str(&format!("{}{key}={}", if at == 0 { '?' } else { '&' }, escaped(value)));
    }
    path
}

/// Escapes a text for a path or a query.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

fn request(path: &str, accept: &str) -> Result<Request<Vec<u8>>, CliError> {
    let builder: Builder = Request::get(path).header(http::header::ACCEPT, accept);
    builder.body(Vec::new()).map_err(|error| CliError::Output(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_part_of_a_path() {
        assert_eq!(escaped("web-1.a"), "web-1.a");
        assert_eq!(escaped("../x?a=b&c"), "..%2Fx%3Fa%3Db%26c");
        assert_eq!(escaped("é"), "%C3%A9");
    }
}
