//! The permissions of the product's accounts: exactly the listed verbs, out of everything that the API server knows.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::{
    api::authorization::v1::{
        NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
    },
    apimachinery::pkg::apis::meta::v1::APIResource,
};
use kube::{Api, Client, api::PostParams};
use traffictrace_crd::GROUP;
use traffictrace_e2e::support::{
    Result, TestError,
    cluster::{ApiServer, access::Identity},
};

/// Number of simultaneous queries.
const AT_ONCE: usize = 16;
/// Verbs that discovery does not list, with the resources that have them.
const SPECIAL_VERBS: [(&str, &[&str]); 4] = [
    ("impersonate", &["users", "groups", "serviceaccounts"]),
    ("bind", &["roles", "clusterroles"]),
    ("escalate", &["roles", "clusterroles"]),
    ("approve", &["signers"]),
];

/// A permission: a verb on a resource or subresource of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    group: String,
    resource: String,
    verb: String,
}

fn rights(of: &[(&str, &str, &[&str])]) -> BTreeSet<Right> {
    let each = of.iter().flat_map(|&(group, resource, verbs)| {
        verbs.iter().map(move |&verb| Right {
            group: group.to_owned(),
            resource: resource.to_owned(),
            verb: verb.to_owned(),
        })
    });
    each.collect()
}

/// Lists all permissions that exist on this API server.
async fn all_rights(client: &Client) -> Result<BTreeSet<Right>> {
    let failed = || TestError::kube("ask the API server what it knows");
    let mut all = BTreeSet::new();
    let mut note = |group: &str, resources: Vec<APIResource>| {
        for resource in resources {
            all.extend(rights(&[(
                group,
                &resource.name,
                &resource.verbs.iter().map(String::as_str).collect::<Vec<_>>(),
            )]));
        }
    };
    note("", client.list_core_api_resources("v1").await.map_err(failed())?.resources);
    for group in client.list_api_groups().await.map_err(failed())?.groups {
        for version in group.versions {
            let resources = client.list_api_group_resources(&version.group_version).await;
            note(&group.name, resources.map_err(failed())?.resources);
        }
    }
    for (verb, resources) in SPECIAL_VERBS {
        for &resource in resources {
            let group = match resource {
                "roles" | "clusterroles" => "rbac.authorization.k8s.io",
                "signers" => "certificates.k8s.io",
                _ => "",
            };
            all.extend(rights(&[(group, resource, &[verb])]));
        }
    }
    Ok(all)
}

/// Asks whether a user has a permission, in all namespaces or in one, for all objects or for one.
async fn may(
    client: &Client,
    identity: &Identity,
    right: &Right,
    namespace: Option<&str>,
    name: Option<&str>,
) -> Result<bool> {
    let (resource, part) = right.resource.split_once('/').unwrap_or((&right.resource, ""));
    ask(
        client,
        SubjectAccessReviewSpec {
            user: Some(identity.name().to_owned()),
            groups: Some(groups(identity)),
            resource_attributes: Some(ResourceAttributes {
                group: Some(right.group.clone()),
                resource: Some(resource.to_owned()),
                subresource: Some(part.to_owned()),
                verb: Some(right.verb.clone()),
                namespace: namespace.map(str::to_owned),
                name: name.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
    )
    .await
}

/// Returns the groups that the API server gives a service account.
fn groups(identity: &Identity) -> Vec<String> {
    let namespace = identity.name().split(':').nth(2).unwrap_or_default();
    vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ]
}

async fn ask(client: &Client, spec: SubjectAccessReviewSpec) -> Result<bool> {
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await;
    let answer: SubjectAccessReview = answer.map_err(TestError::kube("ask who may do what"))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// Returns the permissions in `all` that the identity has, in all namespaces or in one.
async fn allowed(
    client: &Client,
    identity: &Identity,
    all: &BTreeSet<Right>,
    namespace: Option<&str>,
) -> Result<BTreeSet<Right>> {
    let answers = stream::iter(all).map(async |right| {
        let may = may(client, identity, right, namespace, None).await?;
        Ok::<_, TestError>(may.then(|| right.clone()))
    });
    let allowed: Vec<_> = answers.buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(allowed.into_iter().flatten().collect())
}

/// Asserts that an account has exactly these permissions, apart from those that every account has.
async fn assert_exactly(server: &ApiServer, account: &Identity, expected: &BTreeSet<Right>) -> Result<()> {
    let client = server.client();
    let all = all_rights(client).await?;
    assert!(all.len() > 200 && all.is_superset(expected), "{} can be asked: {all:?}", all.len());
    let namespace = &server.accounts().namespace;
    let nobody = Identity::user(format!("system:serviceaccount:{namespace}:no-such-account"));
    for scope in [None, Some(namespace.as_str())] {
        let everybody = allowed(client, &nobody, &all, scope).await?;
        let own: BTreeSet<_> =
            allowed(client, account, &all, scope).await?.difference(&everybody).cloned().collect();
        println!(
            "{} in {}: {} of {} rights:",
            account.name(),
            scope.unwrap_or("all namespaces"),
            own.len(),
            all.len()
        );
        for right in &own {
            println!("  {} {} {}", right.verb, right.group, right.resource);
        }
        assert_eq!(&own, expected, "{} in {scope:?}", account.name());
    }
    for path in ["/metrics", "/logs", "/debug/pprof/profile", "/configz"] {
        let spec = SubjectAccessReviewSpec {
            user: Some(account.name().to_owned()),
            groups: Some(groups(account)),
            non_resource_attributes: Some(NonResourceAttributes {
                path: Some(path.to_owned()),
                verb: Some("get".to_owned()),
            }),
            ..SubjectAccessReviewSpec::default()
        };
        assert!(!ask(client, spec).await?, "{} may get {path}", account.name());
    }
    Ok(())
}

#[tokio::test]
async fn agents() -> Result<()> {
    let Some(server) = ApiServer::shared().await? else { return Ok(()) };
    let expected = rights(&[
        (GROUP, "traffictraces", &["get", "list", "watch"]),
        (GROUP, "traffictracereports", &["list", "create", "update"]),
        (GROUP, "traffictraceprofiles", &["get", "create", "patch"]),
        ("", "pods", &["list", "watch"]),
    ]);
    let accounts = server.accounts();
    let agents = accounts.agents();
    assert_exactly(&server, &agents, &expected).await?;
    // Agents may also read one object by its name: their own DaemonSet.
    let read = Right { group: "apps".into(), resource: "daemonsets".into(), verb: "get".into() };
    let own = (Some(accounts.namespace.as_str()), Some(accounts.daemon_set.as_str()));
    for (namespace, name, expected) in [
        (own.0, own.1, true),
        (own.0, Some("another"), false),
        (Some("kube-system"), own.1, false),
        (None, own.1, false),
    ] {
        let may_read = may(server.client(), &agents, &read, namespace, name).await?;
        assert_eq!(may_read, expected, "get the DaemonSet {name:?} in {namespace:?}");
        for verb in ["update", "patch", "delete"] {
            let change = Right { verb: verb.to_owned(), ..read.clone() };
            assert!(!may(server.client(), &agents, &change, namespace, name).await?, "{verb} {name:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn controller() -> Result<()> {
    let Some(server) = ApiServer::shared().await? else { return Ok(()) };
    let expected = rights(&[
        (GROUP, "traffictraces", &["list", "watch", "patch", "delete"]),
        (GROUP, "traffictraces/status", &["update"]),
        (GROUP, "traffictracereports", &["list", "watch", "deletecollection"]),
        ("", "pods", &["list", "watch"]),
        ("", "services", &["list", "watch"]),
        ("", "nodes", &["list", "watch"]),
        ("events.k8s.io", "events", &["create", "patch"]),
    ]);
    assert_exactly(&server, &server.accounts().controller(), &expected).await
}
