//! What stands behind a service, into targets: `endpoints` and `endpointslice`, and the further ports
//! of the pods behind them.
//!
//! Source: Prometheus's documentation of `kubernetes_sd_configs`.
//!
//! Invariant: a port of a pod that the service names is one target, not two.

use base::labels::LabelsBuilder;
use serde_json::Value;

use super::super::Discovered;
use super::super::web::{host_port, label_name};
use super::AttachConfig;
use super::objects::{Objects, describe, list, meta, text};
use super::targets::{attach_node, container_labels, containers, place, pod_labels};

/// A backend, in the words of both kinds.
struct Backend<'a> {
    address: String,
    port: &'a Value,
    /// What the address belongs to.
    owner: &'a Value,
    node: String,
    labels: LabelsBuilder,
}

/// What is known around the backends of one object.
struct Around<'a> {
    objects: &'a Objects<'a>,
    attach: &'a AttachConfig,
    namespace: String,
    common: LabelsBuilder,
    /// Pods behind the object, each with its ports that are targets already.
    seen: Vec<(&'a Value, Vec<String>)>,
}

pub(super) fn endpoints<'a>(
    object: &'a Value,
    objects: &'a Objects<'a>,
    attach: &'a AttachConfig,
    found: &mut Vec<Discovered>,
) {
    let mut around = Around::new(object, "endpoints", objects, attach);
    around.add_service(&text(object, "metadata/name"));
    for subset in list(object, "subsets") {
        for (field, ready) in [("addresses", "true"), ("notReadyAddresses", "false")] {
            for address in list(subset, field) {
                for port in list(subset, "ports") {
                    let mut labels = LabelsBuilder::default();
                    meta(&mut labels, "endpoint_port_name", &text(port, "name"));
                    meta(&mut labels, "endpoint_port_protocol", &text(port, "protocol"));
                    meta(&mut labels, "endpoint_ready", ready);
                    meta(&mut labels, "endpoint_node_name", &text(address, "nodeName"));
                    meta(&mut labels, "endpoint_hostname", &text(address, "hostname"));
                    let owner = &address["targetRef"];
                    meta(&mut labels, "endpoint_address_target_kind", &text(owner, "kind"));
                    meta(&mut labels, "endpoint_address_target_name", &text(owner, "name"));
                    let node = text(address, "nodeName");
                    let address = text(address, "ip");
                    found.push(around.target(Backend { address, port, owner, node, labels }));
                }
            }
        }
    }
    around.further(found);
}

pub(super) fn endpointslice<'a>(
    object: &'a Value,
    objects: &'a Objects<'a>,
    attach: &'a AttachConfig,
    found: &mut Vec<Discovered>,
) {
    let mut around = Around::new(object, "endpointslice", objects, attach);
    let service = &object["metadata"]["labels"]["kubernetes.io/service-name"];
    around.add_service(service.as_str().unwrap_or(""));
    meta(&mut around.common, "endpointslice_address_type", &text(object, "addressType"));
    for endpoint in list(object, "endpoints") {
        for port in list(object, "ports") {
            let mut labels = LabelsBuilder::default();
            for (label, field) in [
                ("port", "port"),
                ("port_name", "name"),
                ("port_protocol", "protocol"),
                ("port_app_protocol", "appProtocol"),
            ] {
                meta(&mut labels, &format!("endpointslice_{label}"), &text(port, field));
            }
            for (label, field) in [
                ("endpoint_conditions_ready", "conditions/ready"),
                ("endpoint_conditions_serving", "conditions/serving"),
                ("endpoint_conditions_terminating", "conditions/terminating"),
                ("endpoint_hostname", "hostname"),
                ("endpoint_node_name", "nodeName"),
                ("endpoint_zone", "zone"),
                ("address_target_kind", "targetRef/kind"),
                ("address_target_name", "targetRef/name"),
            ] {
                meta(&mut labels, &format!("endpointslice_{label}"), &text(endpoint, field));
            }
            for (name, value) in endpoint["deprecatedTopology"].as_object().into_iter().flatten() {
                let (name, value) = (label_name(name), value.as_str().unwrap_or(""));
                meta(&mut labels, &format!("endpointslice_endpoint_topology_{name}"), value);
                meta(
                    &mut labels,
                    &format!("endpointslice_endpoint_topology_present_{name}"),
                    "true",
                );
            }
            for address in list(endpoint, "addresses") {
                found.push(around.target(Backend {
                    address: address.as_str().unwrap_or("").to_owned(),
                    port,
                    owner: &endpoint["targetRef"],
                    node: text(endpoint, "nodeName"),
                    labels: labels.clone(),
                }));
            }
        }
    }
    around.further(found);
}

impl<'a> Around<'a> {
    fn new(
        object: &'a Value,
        role: &str,
        objects: &'a Objects<'a>,
        attach: &'a AttachConfig,
    ) -> Self {
        let mut common = place(object, objects, attach);
        describe(&mut common, role, object);
        let namespace = text(object, "metadata/namespace");
        Self { objects, attach, namespace, common, seen: Vec::new() }
    }

    fn add_service(&mut self, name: &str) {
        if let Some(service) = self.objects.get("services", &self.namespace, name) {
            describe(&mut self.common, "service", service);
        }
    }

    fn target(&mut self, backend: Backend<'a>) -> Discovered {
        let mut labels = self.common.clone();
        for (name, value) in backend.labels.iter() {
            labels.set(name, value);
        }
        let number = text(backend.port, "port");
        labels.set("__address__", &host_port(&backend.address, &number));
        attach_node(&mut labels, &backend.node, self.objects, self.attach);
        let is_pod = text(backend.owner, "kind") == "Pod";
        let name = text(backend.owner, "name");
        let pod = is_pod.then(|| self.objects.get("pods", &self.namespace, &name)).flatten();
        let Some(pod) = pod else { return labels.build() };
        pod_labels(&mut labels, pod, self.objects, self.attach);
        for (container, is_init) in containers(pod) {
            for port in list(container, "ports") {
                if text(port, "containerPort") == number
                    && text(port, "protocol") == text(backend.port, "protocol")
                {
                    container_labels(&mut labels, pod, container, Some(port), is_init);
                }
            }
        }
        match self.seen.iter_mut().find(|(seen, _)| std::ptr::eq(*seen, pod)) {
            Some((_, ports)) => ports.push(number),
            None => self.seen.push((pod, vec![number])),
        }
        labels.build()
    }

    /// The ports of the pods that the service does not name.
    fn further(&self, found: &mut Vec<Discovered>) {
        for (pod, ports) in &self.seen {
            let address = text(pod, "status/podIP");
            if address.is_empty() {
                continue;
            }
            for (container, is_init) in containers(pod) {
                for port in list(container, "ports") {
                    let number = text(port, "containerPort");
                    if ports.contains(&number) {
                        continue;
                    }
                    let mut labels = self.common.clone();
                    pod_labels(&mut labels, pod, self.objects, self.attach);
                    container_labels(&mut labels, pod, container, Some(port), is_init);
                    labels.set("__address__", &host_port(&address, &number));
                    found.push(labels.build());
                }
            }
        }
    }
}
