//! The settings that many parts of a configuration share: how HTTP is spoken, and how targets are
//! found. They stand beside each part's own settings, as in Prometheus, so they are written out by
//! macros: serde's `flatten` would lose the places of what is wrong.
//!
//! Invariant: the settings of one name mean the same wherever they stand.

/// Adds the settings of an HTTP client to a struct, and `http()`, which gives them.
macro_rules! client_settings {
    ($(#[$meta:meta])* pub struct $name:ident { $($body:tt)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($body)*
            /// User name and password.
            #[serde(default)]
            pub basic_auth: Option<::base::diagnostic::Spanned<::base::http::access::BasicAuthConfig>>,
            /// A token.
            #[serde(default)]
            pub authorization: Option<::base::diagnostic::Spanned<::base::http::access::AuthorizationConfig>>,
            /// A token that somebody gives us for our name and secret.
            #[serde(default)]
            pub oauth2: Option<::base::diagnostic::Spanned<::base::http::access::OAuth2Config>>,
            /// The older form of `authorization`.
            #[serde(default)]
            pub bearer_token: Option<::base::diagnostic::Spanned<::base::secret::Secret>>,
            /// The older form of `authorization`, in a file.
            #[serde(default)]
            pub bearer_token_file: Option<::base::diagnostic::Spanned<::std::path::PathBuf>>,
            /// TLS.
            #[serde(default)]
            pub tls_config: Option<::base::diagnostic::Spanned<::base::http::tls::TlsConfig>>,
            /// Whether redirects are followed; by default they are.
            #[serde(default)]
            pub follow_redirects: Option<::base::diagnostic::Spanned<bool>>,
            /// The proxy through which others are reached.
            #[serde(default)]
            pub proxy_url: Option<::base::diagnostic::Spanned<::base::secret::Secret>>,
            /// What is reached without it.
            #[serde(default)]
            pub no_proxy: Option<::base::diagnostic::Spanned<String>>,
            /// Whether the proxy is the one that the environment names.
            #[serde(default)]
            pub proxy_from_environment: Option<::base::diagnostic::Spanned<bool>>,
            /// Further headers for the proxy where it opens a connection.
            #[serde(default)]
            pub proxy_connect_header: Option<
                ::base::diagnostic::Spanned<
                    ::std::collections::BTreeMap<String, Vec<::base::secret::Secret>>,
                >,
            >,
            /// Further headers of every request.
            #[serde(default)]
            pub http_headers: Option<
                ::base::diagnostic::Spanned<
                    ::std::collections::BTreeMap<String, ::base::http::access::HeaderConfig>,
                >,
            >,
            /// HTTP/2 is not spoken; the setting is taken because it changes nothing that one sees.
            #[serde(default)]
            pub enable_http2: Option<bool>,
        }

        impl $name {
            /// How HTTP is spoken; relative paths are relative to `folder`.
            pub fn http(&self, folder: &::std::path::Path) -> ::base::http::access::HttpConfig {
                let http = ::base::http::access::HttpConfig {
                    basic_auth: self.basic_auth.clone(),
                    authorization: self.authorization.clone(),
                    oauth2: self.oauth2.clone(),
                    bearer_token: self.bearer_token.clone(),
                    bearer_token_file: self.bearer_token_file.clone(),
                    tls_config: self.tls_config.clone(),
                    follow_redirects: self.follow_redirects.clone(),
                    proxy_url: self.proxy_url.clone(),
                    no_proxy: self.no_proxy.clone(),
                    proxy_from_environment: self.proxy_from_environment.clone(),
                    proxy_connect_header: self.proxy_connect_header.clone(),
                    http_headers: self.http_headers.clone(),
                    enable_http2: self.enable_http2.clone(),
                };
                http.relative_to(folder)
            }
        }
    };
}

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
