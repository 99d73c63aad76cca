//! Names of a container. Whoever starts the container chooses them, so they are hostile, and their length is limited.

use std::fmt;

use traffictrace_crd::human;

/// Maximum length of a name in bytes, which is the maximum for an object's name in Kubernetes.
const MAX_LENGTH: usize = 253;
/// Name, in Docker and CRI-O, of the container that holds a pod's namespaces (the sandbox).
const SANDBOX: &str = "POD";

/// The names of a container: one name in Docker, Podman or nerdctl, three in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Names {
    /// Namespace of the pod.
    pub(crate) namespace: Option<String>,
    /// Name of the pod.
    pub(crate) pod: Option<String>,
    /// Name of the container. Absent for a pod's sandbox container.
    pub(crate) container: Option<String>,
}

impl Names {
    /// Makes the names from a single name, as Docker, Podman and nerdctl have it. The kubelet calls containers in Docker and
    /// CRI-O `k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT`, which is split into its parts.
    pub(super) fn single(name: &str) -> Option<Self> {
        let name = name.strip_prefix('/').unwrap_or(name);
        if let Some(rest) = name.strip_prefix("k8s_")
            && let [container, pod, namespace, _uid, _attempt] = rest.split('_').collect::<Vec<_>>()[..]
        {
            return Self::in_pod(namespace, pod, Some(container).filter(|name| *name != SANDBOX));
        }
        Some(Self { container: Some(bounded(name)?), ..Self::default() })
    }

    /// Makes the names of a pod's container; without `container`, those of the pod's sandbox.
    pub(super) fn in_pod(namespace: &str, pod: &str, container: Option<&str>) -> Option<Self> {
        let container = match container {
            Some(name) => Some(bounded(name)?),
            None => None,
        };
        Some(Self { namespace: Some(bounded(namespace)?), pod: Some(bounded(pod)?), container })
    }

    /// Returns true if a user can mean this container by `text`: its name or, for a container of a pod, `POD`,
    /// `POD/CONTAINER` or `NAMESPACE/POD/CONTAINER`. Nothing matches a pod's sandbox.
    pub(super) fn is_meant_by(&self, text: &str) -> bool {
        let Some(container) = &self.container else { return false };
        let (Some(namespace), Some(pod)) = (&self.namespace, &self.pod) else { return text == container };
        match text.split('/').collect::<Vec<_>>()[..] {
            [one] => one == container || one == pod,
            [first, second] => first == pod && second == container,
            [first, second, third] => first == namespace && second == pod && third == container,
            _ => false,
        }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&self.namespace, &self.pod, &self.container].into_iter().flatten();
        let parts: Vec<_> = parts.map(|part| human::printable(part)).collect();
        f.write_str(&parts.join("/"))
    }
}

fn bounded(name: &str) -> Option<String> {
    (1..=MAX_LENGTH).contains(&name.len()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pod(container: Option<&str>) -> Names {
        Names::in_pod("shop", "web-7c9f", container).unwrap()
    }

    #[test]
    fn kubelets_names_are_those_of_pods() {
        assert_eq!(Names::single("k8s_nginx_web-7c9f_shop_0d2f3ad1_0"), Some(pod(Some("nginx"))));
        assert_eq!(Names::single("/k8s_POD_web-7c9f_shop_0d2f3ad1_3"), Some(pod(None)));
        for plain in ["web", "k8s_", "k8s_a_b", "k8s_a_b_c_d_e_f"] {
            let names = Names::single(plain).unwrap();
            assert_eq!((names.container.as_deref(), names.pod), (Some(plain), None));
        }
    }

    #[test]
    fn a_container_has_as_many_names_as_people_use() {
        let nginx = pod(Some("nginx"));
        for meant in ["nginx", "web-7c9f", "web-7c9f/nginx", "shop/web-7c9f/nginx"] {
            assert!(nginx.is_meant_by(meant), "{meant}");
        }
        for other in ["", "shop", "shop/web-7c9f", "web", "nginx/web-7c9f", "a/shop/web-7c9f/nginx"] {
            assert!(!nginx.is_meant_by(other), "{other}");
        }
        assert!(!pod(None).is_meant_by("web-7c9f"), "a sandbox has no traffic that anybody means");
        assert_eq!(
            (nginx.to_string(), pod(None).to_string()),
            ("shop/web-7c9f/nginx".into(), "shop/web-7c9f".into())
        );
    }

    #[test]
    fn names_that_nobody_can_have_are_refused() {
        assert_eq!(Names::single(""), None);
        assert_eq!(Names::single("/"), None);
        assert_eq!(Names::single(&"a".repeat(254)), None);
        assert_eq!(Names::in_pod("shop", "", None), None);
    }

    proptest! {
        #[test]
        fn whatever_the_name_a_terminal_is_safe(name in "\\PC*|[\\x00-\\x7f]{0,40}|k8s_[^/]{0,60}") {
            if let Some(names) = Names::single(&name) {
                prop_assert!(!names.to_string().contains(|c: char| c.is_control()));
            }
        }
    }
}
