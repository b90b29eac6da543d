//! Objects into targets, role by role.
//!
//! Source: Prometheus's documentation of `kubernetes_sd_configs`.
//!
//! Invariant: the same objects give the same targets.

use base::labels::LabelsBuilder;
use serde_json::Value;

use super::super::Discovered;
use super::super::web::host_port;
use super::AttachConfig;
use super::backends::{endpoints, endpointslice};
use super::objects::{Objects, describe, list, marks, meta, text};

/// What becomes targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Role {
    Pod,
    Service,
    Endpoints,
    EndpointSlice,
    Node,
    Ingress,
}

impl Role {
    pub(super) fn read(text: &str) -> Option<Self> {
        Some(match text {
            "pod" => Self::Pod,
            "service" => Self::Service,
            "endpoints" => Self::Endpoints,
            "endpointslice" => Self::EndpointSlice,
            "node" => Self::Node,
            "ingress" => Self::Ingress,
            _ => return None,
        })
    }

    /// The kind of objects that it is about.
    pub(super) fn kind(self) -> &'static str {
        self.kinds()[0]
    }

    /// All kinds of objects that its targets are made of.
    pub(super) fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Pod => &["pods"],
            Self::Service => &["services"],
            Self::Endpoints => &["endpoints", "services", "pods"],
            Self::EndpointSlice => &["endpointslices", "services", "pods"],
            Self::Node => &["nodes"],
            Self::Ingress => &["ingresses"],
        }
    }
}

/// All targets of a role.
pub(super) fn all(role: Role, objects: &Objects<'_>, attach: &AttachConfig) -> Vec<Discovered> {
    let mut found = Vec::new();
    for object in objects.all(role.kind()) {
        match role {
            Role::Pod => pod(object, objects, attach, &mut found),
            Role::Service => service(object, objects, attach, &mut found),
            Role::Endpoints => endpoints(object, objects, attach, &mut found),
            Role::EndpointSlice => endpointslice(object, objects, attach, &mut found),
            Role::Node => found.extend(node(object)),
            Role::Ingress => ingress(object, objects, attach, &mut found),
        }
    }
    found
}

/// The labels that say in which namespace an object is.
pub(super) fn place(object: &Value, objects: &Objects<'_>, attach: &AttachConfig) -> LabelsBuilder {
    let (mut labels, namespace) = (LabelsBuilder::default(), text(object, "metadata/namespace"));
    meta(&mut labels, "namespace", &namespace);
    if attach.namespace
        && let Some(namespace) = objects.get("namespaces", "", &namespace)
    {
        marks(&mut labels, "namespace", namespace);
    }
    labels
}

/// The kinds of addresses of a node, the best first.
const ADDRESSES: [&str; 6] =
    ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];

fn node(node: &Value) -> Option<Discovered> {
    let mut labels = LabelsBuilder::default();
    describe(&mut labels, "node", node);
    meta(&mut labels, "node_provider_id", &text(node, "spec/providerID"));
    let address = |kind: &str| {
        let mut addresses = list(node, "status/addresses");
        addresses.find(|address| text(address, "type") == kind).map(|a| text(a, "address"))
    };
    for kind in list(node, "status/addresses").map(|address| text(address, "type")) {
        meta(&mut labels, &format!("node_address_{kind}"), &address(&kind).unwrap_or_default());
    }
    let host = ADDRESSES.into_iter().find_map(address)?;
    let port = text(node, "status/daemonEndpoints/kubeletEndpoint/Port");
    labels.set("__address__", &host_port(&host, port));
    labels.set("instance", &text(node, "metadata/name"));
    Some(labels.build())
}

fn service(
    service: &Value,
    objects: &Objects<'_>,
    attach: &AttachConfig,
    found: &mut Vec<Discovered>,
) {
    let mut common = place(service, objects, attach);
    describe(&mut common, "service", service);
    let kind = text(service, "spec/type");
    meta(&mut common, "service_type", &kind);
    match kind.as_str() {
        "ExternalName" => {
            meta(&mut common, "service_external_name", &text(service, "spec/externalName"));
        }
        _ => meta(&mut common, "service_cluster_ip", &text(service, "spec/clusterIP")),
    }
    if kind == "LoadBalancer" {
        meta(&mut common, "service_loadbalancer_ip", &text(service, "spec/loadBalancerIP"));
    }
    let (name, namespace) = (text(service, "metadata/name"), text(service, "metadata/namespace"));
    for port in list(service, "spec/ports") {
        let mut labels = common.clone();
        let number = text(port, "port");
        meta(&mut labels, "service_port_name", &text(port, "name"));
        meta(&mut labels, "service_port_number", &number);
        meta(&mut labels, "service_port_protocol", &text(port, "protocol"));
        labels.set("__address__", &format!("{name}.{namespace}.svc:{number}"));
        found.push(labels.build());
    }
}

/// The labels that are the same for all targets of a pod, without its namespace.
pub(super) fn pod_labels(
    labels: &mut LabelsBuilder,
    pod: &Value,
    objects: &Objects<'_>,
    attach: &AttachConfig,
) {
    describe(labels, "pod", pod);
    let mut conditions = list(pod, "status/conditions");
    let ready = conditions.find(|condition| text(condition, "type") == "Ready");
    let ready = ready.map_or_else(|| "unknown".to_owned(), |c| text(c, "status").to_lowercase());
    let node = text(pod, "spec/nodeName");
    meta(labels, "pod_ip", &text(pod, "status/podIP"));
    meta(labels, "pod_ready", &ready);
    meta(labels, "pod_phase", &text(pod, "status/phase"));
    meta(labels, "pod_node_name", &node);
    meta(labels, "pod_host_ip", &text(pod, "status/hostIP"));
    meta(labels, "pod_uid", &text(pod, "metadata/uid"));
    let mut owners = list(pod, "metadata/ownerReferences");
    if let Some(owner) = owners.find(|owner| owner["controller"] == true) {
        meta(labels, "pod_controller_kind", &text(owner, "kind"));
        meta(labels, "pod_controller_name", &text(owner, "name"));
    }
    attach_node(labels, &node, objects, attach);
}

/// Adds what is known of a node.
pub(super) fn attach_node(
    labels: &mut LabelsBuilder,
    name: &str,
    objects: &Objects<'_>,
    attach: &AttachConfig,
) {
    if attach.node
        && let Some(node) = objects.get("nodes", "", name)
    {
        describe(labels, "node", node);
    }
}

/// The containers of a pod, each with whether it is one that only runs at the start.
pub(super) fn containers(pod: &Value) -> impl Iterator<Item = (&Value, bool)> {
    let usual = list(pod, "spec/containers").map(|container| (container, false));
    usual.chain(list(pod, "spec/initContainers").map(|container| (container, true)))
}

/// The labels of a container, and of one of its ports.
pub(super) fn container_labels(
    labels: &mut LabelsBuilder,
    pod: &Value,
    container: &Value,
    port: Option<&Value>,
    is_init: bool,
) {
    let name = text(container, "name");
    let field = if is_init { "status/initContainerStatuses" } else { "status/containerStatuses" };
    let status = list(pod, field).find(|status| text(status, "name") == name);
    meta(labels, "pod_container_name", &name);
    meta(labels, "pod_container_id", &status.map(|s| text(s, "containerID")).unwrap_or_default());
    meta(labels, "pod_container_image", &text(container, "image"));
    meta(labels, "pod_container_init", if is_init { "true" } else { "false" });
    if let Some(port) = port {
        meta(labels, "pod_container_port_name", &text(port, "name"));
        meta(labels, "pod_container_port_number", &text(port, "containerPort"));
        meta(labels, "pod_container_port_protocol", &text(port, "protocol"));
    }
}

fn pod(pod: &Value, objects: &Objects<'_>, attach: &AttachConfig, found: &mut Vec<Discovered>) {
    let address = text(pod, "status/podIP");
    // It has not started, or has ended.
    if address.is_empty() {
        return;
    }
    let mut common = place(pod, objects, attach);
    pod_labels(&mut common, pod, objects, attach);
    for (container, is_init) in containers(pod) {
        let mut ports = list(container, "ports").peekable();
        if ports.peek().is_none() {
            let mut labels = common.clone();
            container_labels(&mut labels, pod, container, None, is_init);
            let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
            found.push(labels.set("__address__", &host).build());
        }
        for port in ports {
            let mut labels = common.clone();
            container_labels(&mut labels, pod, container, Some(port), is_init);
            let address = host_port(&address, text(port, "containerPort"));
            found.push(labels.set("__address__", &address).build());
        }
    }
}

fn ingress(
    ingress: &Value,
    objects: &Objects<'_>,
    attach: &AttachConfig,
    found: &mut Vec<Discovered>,
) {
    let mut common = place(ingress, objects, attach);
    describe(&mut common, "ingress", ingress);
    meta(&mut common, "ingress_class_name", &text(ingress, "spec/ingressClassName"));
    let secured: Vec<String> = list(ingress, "spec/tls")
        .flat_map(|tls| list(tls, "hosts"))
        .map(|host| host.as_str().unwrap_or("").to_owned())
        .collect();
    let everything = list(ingress, "spec/tls").any(|tls| list(tls, "hosts").next().is_none());
    for rule in list(ingress, "spec/rules") {
        let host = text(rule, "host");
        let below = |name: &String| {
            let parent = name.strip_prefix("*.");
            *name == host || host.split_once('.').is_some_and(|(_, rest)| parent == Some(rest))
        };
        let scheme = if everything || secured.iter().any(below) { "https" } else { "http" };
        let mut paths: Vec<String> =
            list(rule, "http/paths").map(|path| text(path, "path")).collect();
        if paths.is_empty() {
            paths.push(String::new());
        }
        for path in paths {
            let mut labels = common.clone();
            meta(&mut labels, "ingress_scheme", scheme);
            meta(&mut labels, "ingress_host", &host);
            meta(&mut labels, "ingress_path", if path.is_empty() { "/" } else { &path });
            found.push(labels.set("__address__", &host).build());
        }
    }
}
