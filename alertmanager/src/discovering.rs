//! The settings by which targets are found, written out beside those of whoever finds them.
//!
//! Invariant: the settings of one name mean the same wherever they stand.

/// Adds the settings of an HTTP client and all of discovery to a struct.
macro_rules! discovering_settings {
    ($(#[$meta:meta])* pub struct $name:ident { $($body:tt)* }) => {
        client_settings! {
            $(#[$meta])*
            pub struct $name {
                $($body)*
                /// Targets.
                #[serde(default)]
                pub static_configs: Vec<$crate::discovery::TargetGroupConfig>,
                /// Files with targets.
                #[serde(default)]
                pub file_sd_configs: Vec<$crate::discovery::FileSdConfig>,
                /// Targets by `http`.
                #[serde(default)]
                pub http_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::HttpSdConfig>>,
                /// Targets by `dns`.
                #[serde(default)]
                pub dns_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::DnsSdConfig>>,
                /// Targets by `kubernetes`.
                #[serde(default)]
                pub kubernetes_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::KubernetesSdConfig>>,
                /// Targets by `consul`.
                #[serde(default)]
                pub consul_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ConsulSdConfig>>,
                /// Targets by `docker`.
                #[serde(default)]
                pub docker_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::DockerSdConfig>>,
                /// Targets by `ec2`.
                #[serde(default)]
                pub ec2_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::Ec2SdConfig>>,
                /// Targets by `openstack`.
                #[serde(default)]
                pub openstack_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::OpenstackSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub azure_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub digitalocean_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub dockerswarm_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub eureka_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub gce_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub hetzner_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub ionos_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub kuma_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub lightsail_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub linode_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub marathon_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub nerve_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub nomad_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub oci_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub outscale_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub ovhcloud_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub puppetdb_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub scaleway_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub serverset_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub stackit_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub triton_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub uyuni_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
                /// Not discovered with.
                #[serde(default)]
                pub vultr_sd_configs: Vec<::base::diagnostic::Spanned<$crate::discovery::ForeignSdConfig>>,
            }
        }

        impl $name {
            /// Everything by which targets are found; relative paths are relative to `folder`.
            pub fn discovery(
                &self,
                folder: &::std::path::Path,
                diagnostics: &mut ::base::diagnostic::Diagnostics,
            ) -> $crate::discovery::Sources {
                let mut sources = $crate::discovery::Sources::default();
                for group in &self.static_configs {
                    sources.fixed.extend(group.build("", diagnostics));
                }
                for config in &self.file_sd_configs {
                    sources.files.push($crate::discovery::FileSd::build(config, folder, diagnostics));
                }
                for config in &self.http_sd_configs {
                    let kind = $crate::discovery::SdConfig::Http(config.value.clone());
                    sources.asked.extend(kind.build(config.place, folder, diagnostics));
                }
                for config in &self.dns_sd_configs {
                    let kind = $crate::discovery::SdConfig::Dns(config.value.clone());
                    sources.asked.extend(kind.build(config.place, folder, diagnostics));
                }
                for config in &self.kubernetes_sd_configs {
                    let kind = $crate::discovery::SdConfig::Kubernetes(config.value.clone());
                    sources.asked.extend(kind.build(config.place, folder, diagnostics));
                }
                for config in &self.consul_sd_configs {
                    let kind = $crate::discovery::SdConfig::Consul(config.value.clone());
                    sources.asked.extend(kind.build(config.place, folder, diagnostics));
                }
                for config in &self.docker_sd_configs {
                    let kind = $crate::discovery::SdConfig::Docker(config.value.clone());
                    sources.asked.extend(kind.build(config.place, folder, diagnostics));
                }
                for config in &self.ec2_sd_configs {
                    let kind = $crate::discovery::SdConfig::Ec2(config.value.clone());
                    sources.asked.extend(kind.build(config.place, folder, diagnostics));
                }
                for config in &self.openstack_sd_configs {
                    let kind = $crate::discovery::SdConfig::Openstack(config.value.clone());
                    sources.asked.extend(kind.build(config.place, folder, diagnostics));
                }
                for (kind, configs) in [
                    ("azure", &self.azure_sd_configs),
                    ("digitalocean", &self.digitalocean_sd_configs),
                    ("dockerswarm", &self.dockerswarm_sd_configs),
                    ("eureka", &self.eureka_sd_configs),
                    ("gce", &self.gce_sd_configs),
                    ("hetzner", &self.hetzner_sd_configs),
                    ("ionos", &self.ionos_sd_configs),
                    ("kuma", &self.kuma_sd_configs),
                    ("lightsail", &self.lightsail_sd_configs),
                    ("linode", &self.linode_sd_configs),
                    ("marathon", &self.marathon_sd_configs),
                    ("nerve", &self.nerve_sd_configs),
                    ("nomad", &self.nomad_sd_configs),
                    ("oci", &self.oci_sd_configs),
                    ("outscale", &self.outscale_sd_configs),
                    ("ovhcloud", &self.ovhcloud_sd_configs),
                    ("puppetdb", &self.puppetdb_sd_configs),
                    ("scaleway", &self.scaleway_sd_configs),
                    ("serverset", &self.serverset_sd_configs),
                    ("stackit", &self.stackit_sd_configs),
                    ("triton", &self.triton_sd_configs),
                    ("uyuni", &self.uyuni_sd_configs),
                    ("vultr", &self.vultr_sd_configs),
                ] {
                    for config in configs {
                        config.value.report(kind, config.place, diagnostics);
                    }
                }
                sources
            }
        }
    };
}
