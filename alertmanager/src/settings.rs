//! The settings by which HTTP is spoken, which many parts of a configuration share. They stand beside
//! each part's own settings, as in Prometheus, so they are written out by a macro: serde's `flatten`
//! would lose the places of what is wrong.
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
                    allowed_addresses: None,
                    basic_auth: self.basic_auth.clone(),
                    authorization: self.authorization.clone(),
                    oauth2: self.oauth2.clone(),
                    bearer_token: self.bearer_token.clone(),
                    bearer_token_file: self.bearer_token_file.clone(),
                    tls_config: self.tls_config.clone(),
                    follow_redirects: self.follow_redirects,
                    proxy_url: self.proxy_url.clone(),
                    no_proxy: self.no_proxy.clone(),
                    proxy_from_environment: self.proxy_from_environment,
                    proxy_connect_header: self.proxy_connect_header.clone(),
                    http_headers: self.http_headers.clone(),
                    enable_http2: self.enable_http2,
                };
                http.relative_to(folder)
            }
        }
    };
}
