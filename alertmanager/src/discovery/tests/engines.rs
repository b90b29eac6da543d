//! Docker over TCP and over a socket, and Kubernetes: lists, watches, every role.
//!
//! Invariant: every label that is documented is compared.

use tokio::net::UnixListener;

use super::*;

const NETWORKS: &str = r#"[{"Id": "n1", "Name": "app", "Scope": "local", "Internal": false, "Ingress": false,
    "Labels": {"x": "y"}}]"#;
const CONTAINERS: &str = r#"[
  {"Id": "c1", "Names": ["/web"], "Labels": {"com.example": "1"},
   "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}, {"PrivatePort": 53, "Type": "udp"}],
   "HostConfig": {"NetworkMode": "app"}, "NetworkSettings": {"Networks": {"app": {"NetworkID": "n1", "IPAddress": "172.18.0.2"}}}},
  {"Id": "c2", "Names": ["/side"], "HostConfig": {"NetworkMode": "container:c1"}, "NetworkSettings": {"Networks": {}}},
  {"Id": "c3", "Names": ["/plain"], "HostConfig": {"NetworkMode": "host"},
   "NetworkSettings": {"Networks": {"host": {"NetworkID": "h", "IPAddress": ""}}}}]"#;

fn engine(request: &str) -> Option<Vec<u8>> {
    match request {
        r if r.starts_with("GET /networks ") => json(NETWORKS),
        r if r.starts_with("GET /containers/json?filters=") => json(CONTAINERS),
        _ => answer("404 Not Found", "", ""),
    }
}

#[tokio::test]
async fn containers_over_tcp_and_over_a_socket() {
    let common = r#"__meta_docker_network_id="n1", __meta_docker_network_ingress="false", __meta_docker_network_internal="false", __meta_docker_network_ip="172.18.0.2", __meta_docker_network_label_x="y", __meta_docker_network_name="app", __meta_docker_network_scope="local", __meta_docker_port_private="80", __meta_docker_port_public="8080", __meta_docker_port_public_ip="0.0.0.0""#;
    let expected = [
        format!(r#"{{__address__="172.18.0.2:80", __meta_docker_container_id="c1", __meta_docker_container_label_com_example="1", __meta_docker_container_name="/web", __meta_docker_container_network_mode="app", {common}}}"#),
        format!(r#"{{__address__="172.18.0.2:80", __meta_docker_container_id="c2", __meta_docker_container_name="/side", __meta_docker_container_network_mode="container:c1", {common}}}"#),
        r#"{__address__="localhost", __meta_docker_container_id="c3", __meta_docker_container_name="/plain", __meta_docker_container_network_mode="host"}"#.to_owned(),
    ];
    let server = Server::new(engine).await;
    let yaml =
        format!("{{host: 'tcp://{}', filters: [{{name: label, values: [a]}}]}}", server.address);
    assert_eq!(found(&source(&yaml, SdConfig::Docker)).await.unwrap(), expected);
    let asked = server.asked();
    assert!(asked[1].contains("filters=%7B%22label%22%3A%5B%22a%22%5D%7D "), "{asked:?}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    let yaml = format!("{{host: 'unix://{}'}}", path.display());
    let told = found(&source(&yaml, SdConfig::Docker)).await.unwrap_err();
    assert!(told.starts_with(&format!("cannot connect to {}: ", path.display())), "{told}");
    let (listener, supervisor) = (UnixListener::bind(&path).unwrap(), Supervisor::new());
    let scope = supervisor.clone();
    supervisor.spawn("engine", async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            scope.spawn("answer", serve(socket, Arc::new(engine), Arc::default()));
        }
    });
    assert_eq!(found(&source(&yaml, SdConfig::Docker)).await.unwrap(), expected);
    supervisor.stop_token().cancel();
}

const POD: &str = r#"{"metadata": {"name": "web-1", "namespace": "shop", "uid": "u1", "labels": {"app.kubernetes.io/name": "web"},
  "annotations": {"note": "n"}, "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "controller": true}], "resourceVersion": "11"},
  "spec": {"nodeName": "node1", "containers": [{"name": "web", "image": "web:1", "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"},
  {"name": "metrics", "containerPort": 9100, "protocol": "TCP"}]}], "initContainers": [{"name": "init", "image": "i:1"}]},
  "status": {"podIP": "10.1.0.1", "hostIP": "10.0.0.1", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
  "containerStatuses": [{"name": "web", "containerID": "x://1"}]}}"#;
const SERVICE: &str = r#"{"metadata": {"name": "web", "namespace": "shop", "labels": {"tier": "front"}},
  "spec": {"type": "ClusterIP", "clusterIP": "10.2.0.1", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}}"#;
const ENDPOINTS: &str = r#"{"metadata": {"name": "web", "namespace": "shop"}, "subsets": [{"addresses": [{"ip": "10.1.0.1",
  "nodeName": "node1", "targetRef": {"kind": "Pod", "name": "web-1"}}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]}"#;
const SLICE: &str = r#"{"metadata": {"name": "web-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
  "endpoints": [{"addresses": ["10.9.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false}, "zone": "z", "nodeName": "node1"}],
  "ports": [{"name": "http", "port": 80, "protocol": "TCP", "appProtocol": "http"}]}"#;
const NODE: &str = r#"{"metadata": {"name": "node1", "labels": {"zone": "z"}}, "spec": {"providerID": "p"}, "status": {"addresses":
  [{"type": "Hostname", "address": "node1"}, {"type": "InternalIP", "address": "10.0.0.1"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}}"#;
const INGRESS: &str = r#"{"metadata": {"name": "shop", "namespace": "shop"}, "spec": {"ingressClassName": "c", "tls": [{"hosts": ["*.example"]}],
  "rules": [{"host": "a.example", "http": {"paths": [{"path": "/x"}]}}, {"host": "b.other"}]}}"#;

/// A cluster with one object of each kind; its watches bring `event` and then stay quiet.
fn cluster(request: &str, event: &str) -> Option<Vec<u8>> {
    let path = request.split(' ').nth(1).unwrap();
    let (path, query) = path.split_once('?').unwrap();
    let item = match path.rsplit_once('/').unwrap().1 {
        "pods" => POD,
        "services" => SERVICE,
        "endpoints" => ENDPOINTS,
        "endpointslices" => SLICE,
        "nodes" => NODE,
        "ingresses" => INGRESS,
        "namespaces" => r#"{"metadata": {"name": "shop", "labels": {"owner": "o"}}}"#,
        _ => return answer("404 Not Found", "", "no such path"),
    };
    if query.contains("watch=1") {
        // The watch ends after its event, as after its time.
        let lines = if path.ends_with("/pods") { event } else { "" };
        return answer("200 OK", "", lines);
    }
    // Two pages.
    match query.contains("continue=p2") {
        true => {
            json(&format!(r#"{{"metadata": {{"resourceVersion": "10"}}, "items": [{}]}}"#, item))
        }
        false => json(r#"{"metadata": {"continue": "p2"}, "items": []}"#),
    }
}

async fn by_role(settings: &str) -> Vec<String> {
    let server = Server::new(|request| cluster(request, "")).await;
    let yaml = format!("{{api_server: 'http://{}', {settings}}}", server.address);
    found(&source(&yaml, SdConfig::Kubernetes)).await.unwrap()
}

/// The labels of a target without what stands before all of them, in lines.
fn labels(target: &str) -> Vec<String> {
    let inner = target.trim_matches(['{', '}']);
    inner.split(", ").map(|label| label.replace("__meta_kubernetes_", "")).collect()
}

#[tokio::test]
async fn pods_with_each_port_and_what_is_attached() {
    let found = by_role("role: pod, attach_metadata: {node: true, namespace: true}").await;
    assert_eq!(found.len(), 3, "{found:?}");
    let expected = [
        r#"__address__="10.1.0.1:80""#,
        r#"namespace="shop""#,
        r#"namespace_label_owner="o""#,
        r#"namespace_labelpresent_owner="true""#,
        r#"node_label_zone="z""#,
        r#"node_labelpresent_zone="true""#,
        r#"node_name="node1""#,
        r#"pod_annotation_note="n""#,
        r#"pod_annotationpresent_note="true""#,
        r#"pod_container_id="x://1""#,
        r#"pod_container_image="web:1""#,
        r#"pod_container_init="false""#,
        r#"pod_container_name="web""#,
        r#"pod_container_port_name="http""#,
        r#"pod_container_port_number="80""#,
        r#"pod_container_port_protocol="TCP""#,
        r#"pod_controller_kind="ReplicaSet""#,
        r#"pod_controller_name="web""#,
        r#"pod_host_ip="10.0.0.1""#,
        r#"pod_ip="10.1.0.1""#,
        r#"pod_label_app_kubernetes_io_name="web""#,
        r#"pod_labelpresent_app_kubernetes_io_name="true""#,
        r#"pod_name="web-1""#,
        r#"pod_node_name="node1""#,
        r#"pod_phase="Running""#,
        r#"pod_ready="true""#,
        r#"pod_uid="u1""#,
    ];
    let http = found.iter().find(|target| target.contains("10.1.0.1:80\"")).unwrap();
    assert_eq!(labels(http), expected);
    let init = found.iter().find(|target| target.contains("init=\"true\"")).unwrap();
    assert!(init.contains(r#"__address__="10.1.0.1","#), "{init}");
}

#[tokio::test]
async fn services_nodes_and_ingresses() {
    assert_eq!(
        labels(&by_role("role: service, namespaces: {names: [shop]}").await[0]),
        [
            r#"__address__="web.shop.svc:80""#,
            r#"namespace="shop""#,
            r#"service_cluster_ip="10.2.0.1""#,
            r#"service_label_tier="front""#,
            r#"service_labelpresent_tier="true""#,
            r#"service_name="web""#,
            r#"service_port_name="http""#,
            r#"service_port_number="80""#,
            r#"service_port_protocol="TCP""#,
            r#"service_type="ClusterIP""#,
        ]
    );
    assert_eq!(
        labels(&by_role("role: node").await[0]),
        [
            r#"__address__="10.0.0.1:10250""#,
            r#"node_address_Hostname="node1""#,
            r#"node_address_InternalIP="10.0.0.1""#,
            r#"node_label_zone="z""#,
            r#"node_labelpresent_zone="true""#,
            r#"node_name="node1""#,
            r#"node_provider_id="p""#,
            r#"instance="node1""#,
        ]
    );
    let ingresses = by_role("role: ingress").await;
    assert_eq!(
        labels(&ingresses[0]),
        [
            r#"__address__="a.example""#,
            r#"ingress_class_name="c""#,
            r#"ingress_host="a.example""#,
            r#"ingress_name="shop""#,
            r#"ingress_path="/x""#,
            r#"ingress_scheme="https""#,
            r#"namespace="shop""#,
        ]
    );
    assert!(ingresses[1].contains(r#"ingress_path="/", __meta_kubernetes_ingress_scheme="http""#));
}

#[tokio::test]
async fn what_stands_behind_services_and_the_other_ports_of_its_pods() {
    let found = by_role("role: endpoints").await;
    assert_eq!(found.len(), 2, "{found:?}");
    for part in [
        r#"__address__="10.1.0.1:80""#,
        r#"endpoint_address_target_kind="Pod""#,
        r#"endpoint_address_target_name="web-1""#,
        r#"endpoint_node_name="node1""#,
        r#"endpoint_port_name="http""#,
        r#"endpoint_port_protocol="TCP""#,
        r#"endpoint_ready="true""#,
        r#"endpoints_name="web""#,
        r#"pod_container_port_name="http""#,
        r#"pod_name="web-1""#,
        r#"service_name="web""#,
        r#"service_label_tier="front""#,
    ] {
        assert!(found[0].contains(part), "{part}: {}", found[0]);
    }
    assert!(found[1].contains(r#"__address__="10.1.0.1:9100""#), "{}", found[1]);
    assert!(found[1].contains(r#"pod_container_port_name="metrics""#), "{}", found[1]);
    let slices = by_role("role: endpointslice, attach_metadata: {node: true}").await;
    assert_eq!(slices.len(), 1, "{slices:?}");
    for part in [
        r#"__address__="10.9.0.1:80""#,
        r#"endpointslice_name="web-x""#,
        r#"endpointslice_address_type="IPv4""#,
        r#"endpointslice_endpoint_conditions_ready="true""#,
        r#"endpointslice_endpoint_conditions_serving="true""#,
        r#"endpointslice_endpoint_conditions_terminating="false""#,
        r#"endpointslice_endpoint_zone="z""#,
        r#"endpointslice_port="80""#,
        r#"endpointslice_port_app_protocol="http""#,
        r#"service_name="web""#,
        r#"node_label_zone="z""#,
    ] {
        assert!(slices[0].contains(part), "{part}: {}", slices[0]);
    }
}

#[tokio::test]
async fn a_watch_brings_changes_and_one_that_is_too_old_lists_anew() {
    let event: Arc<Mutex<String>> = Arc::default();
    let next = Arc::clone(&event);
    let server = Server::new(move |request| {
        let event = match request.contains("watch=1") {
            true => std::mem::take(&mut *next.lock().unwrap()),
            false => String::new(),
        };
        cluster(request, &event)
    })
    .await;
    let yaml = format!("{{api_server: 'http://{}', role: pod, bearer_token: t0}}", server.address);
    let mut discovery = (source(&yaml, SdConfig::Kubernetes).make)();
    let other = POD.replace("web-1", "web-2").replace("\n", "");
    *event.lock().unwrap() = format!("{{\"type\": \"ADDED\", \"object\": {other}}}\n");
    assert_eq!(discovery.next(Timestamp::default()).await.unwrap().len(), 3);
    let mut counts = Vec::new();
    for said in [
        String::new(),
        format!("{{\"type\": \"DELETED\", \"object\": {other}}}\n"),
        "{\"type\": \"ERROR\", \"object\": {\"code\": 410}}\n".to_owned(),
    ] {
        *event.lock().unwrap() = said;
        // The one that is open ends, and what it brought counts; the next one is opened then.
        for _ in 0..3 {
            counts.push(discovery.next(Timestamp::default()).await.unwrap().len());
        }
    }
    assert!(counts.contains(&6), "{counts:?}");
    assert_eq!(counts.last(), Some(&3), "{counts:?}");
    let asked = server.asked();
    let watches: Vec<_> = asked.iter().filter(|request| request.contains("watch=1")).collect();
    assert!(watches[0].contains("resourceVersion=10"), "{watches:?}");
    assert!(watches.iter().any(|watch| watch.contains("resourceVersion=11")), "{watches:?}");
    assert!(asked.iter().all(|request| request.contains("Bearer t0")));
    // Listed once at the start, in two pages, and anew after the error.
    assert!(asked.iter().filter(|request| request.contains("limit=500")).count() >= 4);
    *event.lock().unwrap() = "garbage\n".to_owned();
    let mut told = None;
    for _ in 0..4 {
        told = told.or(discovery.next(Timestamp::default()).await.err());
    }
    assert!(told.is_some_and(|told| told.starts_with("pods: an event is no JSON")));
}

#[tokio::test]
async fn a_kubeconfig_says_where_the_cluster_is() {
    let server = Server::new(|request| match request.contains("Bearer from-file") {
        true => cluster(request, ""),
        false => answer("401 Unauthorized", "", "who?"),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let text = |user: &str| {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- {{name: c, context: {{cluster: k, user: u}}}}\n\
             clusters:\n- {{name: k, cluster: {{server: 'http://{}'}}}}\nusers:\n- {{name: u, user: {user}}}\n",
            server.address
        )
    };
    std::fs::write(folder.path().join("token"), "from-file\n").unwrap();
    std::fs::write(&path, text("{tokenFile: token}")).unwrap();
    let yaml = format!("{{role: node, kubeconfig_file: '{}'}}", path.display());
    assert_eq!(found(&source(&yaml, SdConfig::Kubernetes)).await.unwrap().len(), 1);
    std::fs::write(&path, text("{exec: {command: aws}}")).unwrap();
    let mut diagnostics = Diagnostics::new("f.yml");
    let config: KubernetesSdConfig = base::yaml::read(&yaml, &mut diagnostics).unwrap();
    let kind = SdConfig::Kubernetes(config);
    assert!(kind.build(Place::default(), Path::new("/"), &mut diagnostics).is_none());
    assert!(diagnostics.to_string().contains("a program or a provider"), "{diagnostics}");
}
