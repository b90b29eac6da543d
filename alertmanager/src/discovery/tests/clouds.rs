//! EC2, OpenStack and Consul, against answers as their documentation shows them.
//!
//! Invariant: every label that is documented is compared.

use super::*;

const INSTANCES: &str = r#"<?xml version="1.0"?>
<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>
<reservationSet><item><ownerId>0001</ownerId><instancesSet><item>
<instanceId>i-1</instanceId><imageId>ami-1</imageId><instanceState><code>16</code><name>running</name></instanceState>
<privateDnsName>ip-10-0-0-1.internal</privateDnsName><dnsName>ec2.example</dnsName><instanceType>t3.micro</instanceType>
<placement><availabilityZone>eu-west-3a</availabilityZone></placement><subnetId>s-1</subnetId><vpcId>v-1</vpcId>
<privateIpAddress>10.0.0.1</privateIpAddress><ipAddress>198.51.100.1</ipAddress><architecture>x86_64</architecture>
<tagSet><item><key>team:name</key><value>a &amp; b</value></item></tagSet>
<networkInterfaceSet><item><subnetId>s-1</subnetId><ipv6AddressesSet><item><ipv6Address>2001:db8::1</ipv6Address>
<isPrimaryIpv6>true</isPrimaryIpv6></item></ipv6AddressesSet></item><item><subnetId>s-2</subnetId></item></networkInterfaceSet>
</item><item><instanceId>i-2</instanceId><instanceState><name>terminated</name></instanceState></item></instancesSet></item>
</reservationSet>NEXT</DescribeInstancesResponse>"#;

#[tokio::test]
async fn instances_of_ec2() {
    let server = Server::new(|request| {
        let zones = "<DescribeAvailabilityZonesResponse><availabilityZoneInfo><item><zoneName>eu-west-3a\
                     </zoneName><zoneId>euw3-az1</zoneId></item></availabilityZoneInfo>\
                     </DescribeAvailabilityZonesResponse>";
        let body = match request {
            r if r.contains("Action=DescribeAvailabilityZones") => zones.to_owned(),
            r if r.contains("NextToken=n1") => {
                let id = INSTANCES.replace("i-1", "i-9").replace("10.0.0.1<", "10.0.0.9<");
                id.replace("NEXT", "")
            }
            _ => INSTANCES.replace("NEXT", "<nextToken>n1</nextToken>"),
        };
        answer("200 OK", "Content-Type: text/xml\r\n", &body)
    })
    .await;
    let yaml = format!(
        "{{region: eu-west-3, endpoint: 'http://{}/', access_key: AK, secret_key: s3cret, port: 9100, \
         filters: [{{name: 'tag:x', values: [y, z]}}]}}",
        server.address
    );
    let found = found(&source(&yaml, SdConfig::Ec2)).await.unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    let expected = r#"{__address__="10.0.0.1:9100", __meta_ec2_ami="ami-1", __meta_ec2_architecture="x86_64", __meta_ec2_availability_zone="eu-west-3a", __meta_ec2_availability_zone_id="euw3-az1", __meta_ec2_instance_id="i-1", __meta_ec2_instance_state="running", __meta_ec2_instance_type="t3.micro", __meta_ec2_ipv6_addresses=",2001:db8::1,", __meta_ec2_owner_id="0001", __meta_ec2_primary_ipv6_addresses=",2001:db8::1,", __meta_ec2_primary_subnet_id="s-1", __meta_ec2_private_dns_name="ip-10-0-0-1.internal", __meta_ec2_private_ip="10.0.0.1", __meta_ec2_public_dns_name="ec2.example", __meta_ec2_public_ip="198.51.100.1", __meta_ec2_region="eu-west-3", __meta_ec2_subnet_id=",s-1,s-2,", __meta_ec2_tag_team_name="a & b", __meta_ec2_vpc_id="v-1"}"#;
    assert_eq!(found[0], expected);
    let asked = &server.asked()[1];
    assert!(
        asked.contains("Filter.1.Name=tag%3Ax&Filter.1.Value.1=y&Filter.1.Value.2=z"),
        "{asked}"
    );
    assert!(asked.contains("authorization: AWS4-HMAC-SHA256 Credential=AK/"), "{asked}");
    assert!(asked.contains("/eu-west-3/ec2/aws4_request"), "{asked}");
    assert!(!asked.contains("s3cret"));
    let broken = Server::new(|_| answer("200 OK", "", "<html></html>")).await;
    let yaml = yaml.replace(&server.address.to_string(), &broken.address.to_string());
    let told = super::found(&source(&yaml, SdConfig::Ec2)).await.unwrap_err();
    assert_eq!(told, "DescribeInstances: the answer is `html`");
}

#[tokio::test]
async fn instances_and_hypervisors_of_openstack() {
    let me: Arc<Mutex<String>> = Arc::default();
    let own = Arc::clone(&me);
    let server = Server::new(move |request| {
        let url = format!("http://{}/compute", own.lock().unwrap());
        if request.starts_with("POST /v3/auth/tokens") {
            let body = format!(
                r#"{{"token": {{"catalog": [{{"type": "compute", "endpoints": [
                {{"interface": "admin", "region": "one", "url": "http://wrong"}},
                {{"interface": "public", "region": "one", "region_id": "one", "url": "{url}"}}]}}]}}}}"#
            );
            return answer("201 Created", "X-Subject-Token: t0\r\n", &body);
        }
        if !request.contains("x-auth-token: t0") {
            return answer("401 Who?", "", "");
        }
        if request.starts_with("GET /compute/os-hypervisors/detail ") {
            return json(r#"{"hypervisors": [{"id": 1, "host_ip": "10.0.0.5", "state": "up", "status": "enabled",
                "hypervisor_type": "QEMU", "hypervisor_hostname": "n5"}]}"#);
        }
        if request.starts_with("GET /compute/servers/detail?marker=a ") {
            return json(r#"{"servers": []}"#);
        }
        json(&format!(
            r#"{{"servers": [{{"id": "s1", "name": "web", "status": "ACTIVE", "tenant_id": "p", "user_id": "u",
            "image": {{"id": "img"}}, "flavor": {{"id": "2"}}, "metadata": {{"env": "prod"}},
            "addresses": {{"private": [
              {{"addr": "10.0.0.7", "OS-EXT-IPS:type": "fixed", "OS-EXT-IPS-MAC:mac_addr": "m"}},
              {{"addr": "198.51.100.7", "OS-EXT-IPS:type": "floating", "OS-EXT-IPS-MAC:mac_addr": "m"}}]}}}}],
            "servers_links": [{{"rel": "next", "href": "{url}/servers/detail?marker=a"}}]}}"#
        ))
    })
    .await;
    *me.lock().unwrap() = server.address.to_string();
    let yaml = |role: &str| {
        format!(
            "{{role: {role}, region: one, identity_endpoint: 'http://{}/v3', username: u, password: p, \
             domain_name: d, project_name: pr, port: 9100}}",
            server.address
        )
    };
    let instances = found(&source(&yaml("instance"), SdConfig::Openstack)).await.unwrap();
    let expected = r#"{__address__="10.0.0.7:9100", __meta_openstack_address_pool="private", __meta_openstack_instance_flavor="2", __meta_openstack_instance_id="s1", __meta_openstack_instance_image="img", __meta_openstack_instance_name="web", __meta_openstack_instance_status="ACTIVE", __meta_openstack_private_ip="10.0.0.7", __meta_openstack_project_id="p", __meta_openstack_public_ip="198.51.100.7", __meta_openstack_tag_env="prod", __meta_openstack_user_id="u"}"#;
    assert_eq!(instances, [expected]);
    let login = r#"{"auth":{"identity":{"methods":["password"],"password":{"user":{"domain":{"name":"d"},"name":"u","password":"p"}}},"scope":{"project":{"domain":{"name":"d"},"name":"pr"}}}}"#;
    assert!(server.asked()[0].ends_with(login), "{}", server.asked()[0]);
    let hypervisors = found(&source(&yaml("hypervisor"), SdConfig::Openstack)).await.unwrap();
    let expected = r#"{__address__="10.0.0.5:9100", __meta_openstack_hypervisor_host_ip="10.0.0.5", __meta_openstack_hypervisor_hostname="n5", __meta_openstack_hypervisor_id="1", __meta_openstack_hypervisor_state="up", __meta_openstack_hypervisor_status="enabled", __meta_openstack_hypervisor_type="QEMU"}"#;
    assert_eq!(hypervisors, [expected]);
    let elsewhere = yaml("instance").replace("region: one", "region: two");
    let told = found(&source(&elsewhere, SdConfig::Openstack)).await.unwrap_err();
    assert_eq!(told, "nothing computes in the region `two`");
}

#[tokio::test]
async fn services_of_consul_and_a_change_that_is_waited_for() {
    let server = Server::new(|request| {
        let index = "Content-Type: application/json\r\nX-Consul-Index: 7\r\n";
        match request {
            r if r.starts_with("GET /v1/agent/self") => json(r#"{"Config": {"Datacenter": "dc1"}}"#),
            r if r.starts_with("GET /v1/catalog/services") => {
                answer("200 OK", index, r#"{"web": ["a", "b"], "db": ["a"], "none": []}"#)
            }
            r if r.starts_with("GET /v1/health/service/web?") => json(
                r#"[{"Node": {"Node": "n1", "Address": "10.0.0.1", "Datacenter": "dc1",
                "TaggedAddresses": {"lan": "10.0.0.1"}, "Meta": {"rack": "7"}},
                "Service": {"ID": "web1", "Service": "web", "Tags": ["a", "b"], "Address": "", "Port": 80,
                "Meta": {"v": "2"}}, "Checks": [{"CheckID": "c", "Status": "passing"},
                {"CheckID": "d", "Status": "warning"}]}]"#,
            ),
            _ => answer("500 Oops", "", "rpc error"),
        }
    })
    .await;
    let yaml = format!("{{server: '{}', token: t0, tags: [a, b]}}", server.address);
    let source = source(&yaml, SdConfig::Consul);
    let mut discovery = (source.make)();
    let expected = r#"{__address__="10.0.0.1:80", __meta_consul_address="10.0.0.1", __meta_consul_dc="dc1", __meta_consul_health="warning", __meta_consul_metadata_rack="7", __meta_consul_node="n1", __meta_consul_service="web", __meta_consul_service_id="web1", __meta_consul_service_metadata_v="2", __meta_consul_service_port="80", __meta_consul_tagged_address_lan="10.0.0.1", __meta_consul_tags=",a,b,"}"#;
    for _ in 0..2 {
        let found = discovery.next(Timestamp::default()).await.unwrap();
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    }
    let asked = server.asked();
    assert!(asked.iter().all(|request| request.contains("x-consul-token: t0")), "{asked:?}");
    let catalog: Vec<_> = asked.iter().filter(|r| r.contains("/v1/catalog/services")).collect();
    assert!(!catalog[0].contains("index="), "{catalog:?}");
    assert!(catalog[1].contains("index=7&wait=30000ms"), "{catalog:?}");
    let yaml = format!("{{server: '{}', datacenter: x, services: [db]}}", server.address);
    let told = found(&super::source(&yaml, SdConfig::Consul)).await.unwrap_err();
    assert_eq!(told, "/v1/health/service/db: HTTP status 500: `rpc error`");
}
